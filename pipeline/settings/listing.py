"""All settings as data and as text: what each is called, what it may be, its value and why."""

from __future__ import annotations

import inspect
import json
import textwrap
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fusionseg.pipeline.basics.validation import meant
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.settings.plug_ins import CHOICES
from fusionseg.pipeline.settings.profile import Profile

_BOUNDS = {"ge": "{} or more", "gt": "more than {}", "le": "{} or less", "lt": "less than {}"}


@dataclass(frozen=True)
class Setting:
    """One setting. `name`: as one types it behind --set; `value`: a profile's, or the default where none was asked for;
    both are JSON-able, and `default` is None where `required`; `values`: what it may be, in words."""

    name: str
    section: str
    value: Any
    default: Any
    required: bool
    values: str
    description: str

    @property
    def changed(self) -> bool:
        """Whether a profile says something else than the default."""
        return not self.required and self.value != self.default


def sections() -> dict[str, type[BaseModel]]:
    """The sections of a profile by their names in files."""
    found = {info.alias or name: model_of(info.annotation) for name, info in Profile.model_fields.items()}
    return {name: model for name, model in found.items() if model is not None}


def collect(profile: Profile | None = None, section: str | None = None, word: str = "") -> list[Setting]:
    """All settings in order, with a profile's values; only of a `section`, and with `word` in name or description.
    Raises UserError for an unknown section."""
    known = sections()
    if section is not None and section not in known:
        raise UserError(f"no section {section!r}; the sections are: {', '.join(known)}{meant(section, known)}")
    values = profile.as_dict() if profile else {}
    chosen = {name: model for name, model in known.items() if section in (None, name)}
    found = [one for name, model in chosen.items() for one in _of(name, name, model, values.get(name) or {})]
    return [one for one in found if word.lower() in f"{one.name} {one.description}".lower()]


def _of(section: str, prefix: str, model: type[BaseModel], values: dict[str, Any]) -> Iterator[Setting]:
    for key, info in model.model_fields.items():
        name, inner = f"{prefix}.{info.alias or key}", model_of(info.annotation)
        parts = list(_of(section, name, inner, values.get(key) or {})) if inner and not _several(info) else []
        if parts and info.is_required():
            yield from parts
            continue
        default = None if info.is_required() else _jsonable(info.get_default(call_default_factory=True))
        value = values.get(key, default)
        kind = values_of(info, section, key)
        yield Setting(name, section, value, default, info.is_required(), kind, info.description or "")
        if not values or value is not None:  # of what a profile leaves out, nothing more is said
            yield from parts


def _several(info: FieldInfo) -> bool:
    return typing.get_origin(info.annotation) is tuple


def _jsonable(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def text(found: Sequence[Setting], width: int) -> list[str]:
    """Settings for a terminal of this width: name and value, then what it may be and why. A value that differs from the
    default is followed by that."""
    lines: list[str] = []
    section = ""
    for one in found:
        if one.section != section:
            section = one.section
            lines += ["", f"[{section}]"] if lines else [f"[{section}]"]
        lines += _about(one, width)
    return lines


def _about(one: Setting, width: int) -> list[str]:
    needed = one.required and one.value is None
    default = f"  (default {toml(one.default)})" if one.changed else ""
    head = f"{one.name}: required" if needed else f"{one.name}={toml(one.value)}{default}"
    said = f"{one.values}; {one.description}" if one.description else one.values
    return [*_wrapped(head, width, "  "), *_wrapped(said, width, "      ")]


def _wrapped(words: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(words, width, initial_indent=indent, subsequent_indent="      ", break_on_hyphens=False)


def values_of(info: FieldInfo, section: str = "", key: str = "") -> str:
    """Choices of a setting (`key` of `section`), or its type and bounds."""
    if (section, key) in CHOICES:
        return f"{', '.join(map(toml, CHOICES[section, key].shipped))}, or another's"
    named = [(words, getattr(part, bound, None)) for part in info.metadata for bound, words in _BOUNDS.items()]
    bounds = [words.format(value) for words, value in named if value is not None]
    return ", ".join([_kind(info.annotation), *bounds])


def _kind(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        *others, last = map(toml, arguments)
        return f"{', '.join(others)} or {last}" if others else last
    if origin in (typing.Union, UnionType):
        return " or ".join(_kind(part) for part in arguments)
    if origin is typing.Annotated:
        return _kind(arguments[0])
    if origin is tuple:
        return f"list of {', '.join(_kind(part) for part in arguments if part is not Ellipsis)}"
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return f"{{{', '.join(annotation.model_fields)}}}"
    names = {NoneType: "none", str: "text", int: "integer", float: "number", bool: "true or false", Path: "path"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def model_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, alone, optionally or in a tuple."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(model_of, typing.get_args(annotation))), None)


def toml(value: Any) -> str:
    """A value as a profile has it.

    >>> toml([0.5, 1.5]), toml("poly"), toml(None), toml([{"manifest": "folder", "stride": 2}])
    ('[0.5, 1.5]', '"poly"', 'none', '[{manifest = "folder", stride = 2}]')
    """
    if value is None:
        return "none"
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key} = {toml(part)}' for key, part in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value, default=str, ensure_ascii=False)
