"""The page of settings, made of the sections of the profile and of the profiles that come with the package."""

from __future__ import annotations

import inspect
import json
import typing
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

import fusionseg.profiles
from fusionseg.pipeline.settings.profile import Profile, read_profile

_HEAD = "| setting | default | values | what it is | otherwise in |\n| --- | --- | --- | --- | --- |"
_BOUNDS = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "lt": "< {}"}


def page() -> str:
    """All of it, as Markdown."""
    shipped = sorted(path.stem for path in Path(fusionseg.profiles.__file__ or "").parent.glob("*.toml"))
    profiles = {name: read_profile(name) for name in shipped}
    rows = [f"| `{name}` | {_cell(profile.description)} |" for name, profile in profiles.items()]
    about = [
        "# Settings",
        "This page is made of `pipeline/settings/`. A profile (a TOML file) sets what differs from the defaults, and "
        "`--set SECTION.KEY=VALUE` overrides both; unknown keys are errors. *otherwise in*: the profiles that come "
        "with the package and set another value.",
        "\n".join(["| profile | |", "| --- | --- |", *rows]),
    ]
    for name, info in Profile.model_fields.items():
        if section := _model(info.annotation):
            found = {profile: getattr(values, name) for profile, values in profiles.items()}
            about.append(_section(info.alias or name.replace("_", "-"), section, found))
    return "\n\n".join(about)


def _section(name: str, section: type[BaseModel], found: dict[str, Any]) -> str:
    parts = [f"## {name}", *_said(section)]
    rows, inner = [], {}
    for key, info in section.model_fields.items():
        if model := _model(info.annotation):
            inner[model.__name__] = model
        values = {profile: getattr(values, key) for profile, values in found.items() if values is not None}
        rows.append(_row(info.alias or key, info, values))
    parts.append("\n".join([_HEAD, *rows]))
    for model in inner.values():
        title = f"### A `{model.__name__}` in {name}"
        parts += [title, *_said(model), "\n".join([_HEAD, *(_row(k, i, {}) for k, i in model.model_fields.items())])]
    return "\n\n".join(parts)


def _said(section: type[BaseModel]) -> list[str]:
    """A section's own docstring, not an inherited one."""
    return [inspect.cleandoc(section.__doc__)] if section.__doc__ else []


def _row(key: str, info: FieldInfo, values: dict[str, Any]) -> str:
    default, differing = "required", ""
    if not info.is_required():
        usual = _toml(info.get_default(call_default_factory=True))
        default = f"`{usual}`"
        others = {profile: _toml(value) for profile, value in values.items() if not _model(info.annotation)}
        differing = ", ".join(f"{profile}: `{value}`" for profile, value in others.items() if value != usual)
    cells = [f"`{key}`", default, _values(info), info.description or "", differing]
    return f"| {' | '.join(map(_cell, cells))} |"


def _values(info: FieldInfo) -> str:
    """Choices of a setting, or its type and bounds."""
    named = [(text, getattr(part, bound, None)) for part in info.metadata for bound, text in _BOUNDS.items()]
    bounds = [text.format(value) for text, value in named if value is not None]
    return " ".join([_kind(info.annotation), ", ".join(bounds)]).strip()


def _kind(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return ", ".join(f"`{_toml(value)}`" for value in arguments)
    if origin in (typing.Union, UnionType):
        return " or ".join(_kind(part) for part in arguments)
    if origin is typing.Annotated:
        return _kind(arguments[0])
    if origin is tuple:
        return f"list of {', '.join(_kind(part) for part in arguments if part is not Ellipsis)}"
    names = {NoneType: "none", str: "text", int: "integer", float: "number", bool: "true, false", Path: "path"}
    return names.get(annotation, f"`{getattr(annotation, '__name__', annotation)}`")


def _model(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, alone, optionally or in a tuple."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model, typing.get_args(annotation))), None)


def _toml(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, Enum):
        value = value.value
    return json.dumps(value, default=str, ensure_ascii=False)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
