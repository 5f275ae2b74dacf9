"""Errors of pydantic's as one line for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

from pydantic import BaseModel, ValidationError

Kinds = Mapping[str, type[BaseModel]]


def explain(error: ValidationError, model: type[BaseModel], kinds: Kinds | None = None) -> str:
    """The first error of a validation as one line: field, what was found, what is known or expected. `kinds`: models
    that a value may be of, by their tag in an error's location."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "(top)"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _known_keys(model, first["loc"][:-1], kinds or {})
        return f"unknown key {where!r}; known here: {', '.join(known)}{more}"
    found = "" if first["type"] == "missing" or isinstance(first["input"], dict) else f", found {first['input']!r}"
    return f"{where}: {first['msg'].removeprefix('Value error, ')}{found}{more}"


def _known_keys(model: type[BaseModel], loc: Sequence[int | str], kinds: Kinds) -> list[str]:
    for part in loc:
        for name, info in model.model_fields.items():
            for inner in (info.annotation, *get_args(info.annotation)):  # itself, or what a mapping holds
                if part in (name, info.alias) and isinstance(inner, type) and issubclass(inner, BaseModel):
                    model = inner
        model = kinds.get(str(part), model)
    return [info.alias or name for name, info in model.model_fields.items()]
