"""Names that a shell completes: what comes with the package, and what lies in the store."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import typer


def profiles() -> list[str]:
    """The profiles that come with the package."""
    return _shipped("profiles", ".toml")


def manifests() -> list[str]:
    """The data sets that come with the package."""
    return _shipped("data_manifests", ".yaml")


def stages() -> list[tuple[str, str]]:
    """The stages of the graph, and what each is for."""
    from fusionseg.pipeline.graph import EVERY

    return [(stage.name, stage.title) for stage in EVERY]


def sections() -> list[str]:
    """The sections of a profile."""
    from fusionseg.pipeline.settings.listing import sections

    return list(sections())


def runs(context: typer.Context) -> list[str]:
    """The runs that are recorded below `--out`."""
    from fusionseg.pipeline.basics.text import user_path

    out: Path = context.params.get("out") or Path("out")
    return sorted(path.stem for path in (user_path(out) / "runs").glob("*.json"))


def _shipped(folder: str, suffix: str) -> list[str]:
    found = (Path(file.name) for file in files(f"fusionseg.{folder}").iterdir())
    return sorted(path.stem for path in found if path.suffix == suffix)
