"""Examples in docstrings (`>>>`) as blocks of code; Markdown would take them for quotations."""

from __future__ import annotations

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"^([ ]*)>>> .*?(?=\n\s*\n(?!\1>>>)|\Z)", re.MULTILINE | re.DOTALL)


class Doctests(griffe.Extension):
    """Fences every example."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(text: str) -> str:
    """`text` with its examples in fences, not indented."""
    return _EXAMPLE.sub(_fence, text)


def _fence(example: re.Match[str]) -> str:
    indent = len(example[1])
    lines = [line[indent:] for line in example[0].splitlines()]
    return "\n".join(["```pycon", *lines, "```"])
