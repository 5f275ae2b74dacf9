"""What was computed: a table of it, and what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusionseg.cli import names
from fusionseg.cli.exits import EXIT_PROBLEMS
from fusionseg.cli.options import OUT, Out


def artifacts(
    out: Out = OUT,
    stage: Annotated[
        str | None, typer.Option("--stage", metavar="STAGE", help="only this stage's", autocompletion=names.stages)
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", metavar="", help="read every artifact whole and compare with its digest")
    ] = False,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="write the whole table there")] = None,
) -> int:
    """A table of all artifacts; exit code 1 if one is damaged."""
    from fusionseg.pipeline.report.listing import print_artifacts

    return EXIT_PROBLEMS if print_artifacts(out, stage, verify, csv) else 0


def show(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="artifacts (.h5) or weights (.safetensors)")],
    png: Annotated[Path | None, typer.Option("--png", metavar="DIR", help="write pictures of it there")] = None,
) -> None:
    """What an artifact holds."""
    from fusionseg.pipeline.report.listing import describe

    for path in files:
        describe(path, png / path.stem if png and len(files) > 1 else png)
