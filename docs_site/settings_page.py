"""The page of settings, made of the sections of the profile and of the profiles that come with the package."""

from __future__ import annotations

import inspect
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fusionseg.pipeline.settings.listing import model_of, sections, toml, values_of
from fusionseg.pipeline.settings.profile import read_profile, shipped_profiles

_HEAD = "| setting | default | values | what it is | otherwise in |\n| --- | --- | --- | --- | --- |"


def page() -> str:
    """All of it, as Markdown."""
    profiles = {name: read_profile(name) for name in shipped_profiles()}
    rows = [f"| `{name}` | {_cell(profile.description)} |" for name, profile in profiles.items()]
    about = [
        "# Settings",
        "This page is made of `pipeline/settings/`. A profile (a TOML file) sets what differs from the defaults, and "
        "`--set SECTION.KEY=VALUE` overrides both; unknown keys are errors. *otherwise in*: the profiles that come "
        "with the package and set another value.",
        "\n".join(["| profile | |", "| --- | --- |", *rows]),
    ]
    for name, section in sections().items():
        found = {profile: getattr(values, name.replace("-", "_")) for profile, values in profiles.items()}
        about.append(_section(name, section, found))
    return "\n\n".join(about)


def _section(name: str, section: type[BaseModel], found: dict[str, Any]) -> str:
    parts = [f"## {name}", *_said(section)]
    rows, inner = [], {}
    for key, info in section.model_fields.items():
        if model := model_of(info.annotation):
            inner[model.__name__] = model
        values = {profile: getattr(values, key) for profile, values in found.items() if values is not None}
        rows.append(_row(name, info.alias or key, info, values))
    parts.append("\n".join([_HEAD, *rows]))
    for model in inner.values():
        title = f"### A `{model.__name__}` in {name}"
        parts += [
            title,
            *_said(model),
            "\n".join([_HEAD, *(_row(name, k, i, {}) for k, i in model.model_fields.items())]),
        ]
    return "\n\n".join(parts)


def _said(section: type[BaseModel]) -> list[str]:
    """A section's own docstring, not an inherited one."""
    return [inspect.cleandoc(section.__doc__)] if section.__doc__ else []


def _row(section: str, key: str, info: FieldInfo, values: dict[str, Any]) -> str:
    default, differing = "required", ""
    if not info.is_required():
        usual = toml(info.get_default(call_default_factory=True))
        default = f"`{usual}`"
        others = {profile: toml(value) for profile, value in values.items() if not model_of(info.annotation)}
        differing = ", ".join(f"{profile}: `{value}`" for profile, value in others.items() if value != usual)
    cells = [f"`{key}`", default, values_of(info, section, key), info.description or "", differing]
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
