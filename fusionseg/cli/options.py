"""Arguments and options that several commands take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from fusionseg.cli import names

OUT = Path("out")

# Headings in the help of commands with many options.
PLACES = "Data and results"
EXTENT = "What is computed"
MANNER = "How"


def out_option(panel: str | None = None) -> Any:
    """`--out`, under a heading."""
    return typer.Option("--out", metavar="DIR", help="where artifacts and runs are kept", rich_help_panel=panel)


def run_argument(metavar: str = "RUN", help: str = "name of a run") -> Any:
    """The name of a run, completed."""
    return typer.Argument(metavar=metavar, help=help, autocompletion=names.runs)


def at_least(least: int) -> Callable[[int], int]:
    """What refuses smaller values of an option."""

    def refuse(value: int) -> int:
        if value < least:
            raise typer.BadParameter(f"expected {least} or more, found {value}")
        return value

    return refuse


Out = Annotated[Path, out_option()]
OutPlace = Annotated[Path, out_option(PLACES)]
RunName = Annotated[str, run_argument()]
Profile = Annotated[
    str,
    typer.Argument(
        metavar="PROFILE",
        help="name of a profile that comes with the package, or path of a TOML file",
        autocompletion=names.profiles,
    ),
]
DataSets = Annotated[
    list[str] | None,
    typer.Option(
        "--data", metavar="[NAME=]ROOT", help="folder of all data sets, or of one; repeatable", rich_help_panel=PLACES
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="K=V", help="override a setting, e.g. motion-training.steps=500", rich_help_panel=MANNER
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="DEVICE",
        help="auto, cpu or cuda[:N]".replace("[", r"\["),  # a bracket would be rich's
        autocompletion=lambda: ["auto", "cpu", "cuda"],
        rich_help_panel=MANNER,
    ),
]
