"""Pages of our own templates. Those in HTML all extend page.html.j2: one style, nothing fetched from anywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

DASH = "–"


def render(template: str, filters: Mapping[str, Callable[..., str]] | None = None, **values: Any) -> str:
    """A page of one of our templates; `filters`: its own, beside `percent`."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=template.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, **(filters or {})}
    return environment.get_template(template).render(**values)


def percent(value: float | None) -> str:
    """A share as per cent, one decimal; a dash for None and nan.

    >>> percent(0.7221), percent(-0.0001), percent(float("nan"))
    ('72.2', '0.0', '–')
    """
    return DASH if value is None or np.isnan(value) else f"{round(100 * value, 1) + 0.0:.1f}"  # + 0.0: no "-0.0"
