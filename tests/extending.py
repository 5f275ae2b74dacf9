"""Packages of plug-ins that look installed: the one of docs/extending.md, and broken ones."""

import re
import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
PAGE = (CHECKOUT / "docs" / "extending.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The page's code blocks."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def install(folder: Path, name: str, version: str, files: dict[str, str], points: dict[str, dict[str, str]]) -> None:
    """Write modules and metadata as an installer leaves them. `points`: entry points by group."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    text = "".join(f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in ps.items()) for group, ps in points.items())
    info.joinpath("entry_points.txt").write_text(text, encoding="utf-8")
    for file, content in files.items():
        folder.joinpath(file).write_text(content, encoding="utf-8")


def install_page(folder: Path) -> None:
    """The package that the page describes."""
    files = {re.findall(r"# (\w+\.py)\n", block)[0]: block for block in blocks("python")}
    (project,) = (tomllib.loads(block)["project"] for block in blocks("toml"))
    install(folder, project["name"], project["version"], files, project["entry-points"])
