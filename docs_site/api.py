"""Pages of the API, one a room, made of docstrings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PLACES = ("models", "pipeline", "flows")  # folders of the checkout that are packages inside `fusionseg`


@dataclass(frozen=True)
class Room:
    """A package whose modules share a page."""

    package: str  # "fusionseg.pipeline.scoring"
    modules: tuple[str, ...]  # "measures", ...

    @property
    def title(self) -> str:
        return self.package.removeprefix("fusionseg.")

    @property
    def page(self) -> str:
        return f"api/{self.title.replace('.', '-')}.md"

    @property
    def markdown(self) -> str:
        names = [self.package, *(f"{self.package}.{module}" for module in self.modules)]
        return "\n\n".join([f"# {self.title}", *(f"::: {name}" for name in names)])


def rooms(checkout: Path) -> list[Room]:
    """Every package with Python in it: `fusionseg`, then the rooms below it."""
    folders = [("fusionseg", checkout / "fusionseg")]
    for place in PLACES:
        inside = sorted(path.parent for path in (checkout / place).rglob("__init__.py"))
        folders += [(f"fusionseg.{'.'.join(folder.relative_to(checkout).parts)}", folder) for folder in inside]
    return [Room(package, _modules(folder)) for package, folder in folders]


def _modules(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("__")))


def link_package(checkout: Path, tree: Path) -> None:
    """Make `tree/fusionseg` what an installed copy looks like, of links: griffe finds modules by folders alone."""
    package = tree / "fusionseg"
    package.mkdir()
    for entry in (checkout / "fusionseg").iterdir():
        (package / entry.name).symlink_to(entry)
    for place in PLACES:
        (package / place).symlink_to(checkout / place)
