"""Masks of any methods, scored."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from fusionseg.cli.options import PLACES
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.names import ProtocolName

_PROTOCOLS = get_args(ProtocolName)
_WHICH = "What is scored"


def score(
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol",
            metavar="NAME",
            help=f"{', '.join(_PROTOCOLS[:-1])} or {_PROTOCOLS[-1]}",
            autocompletion=lambda: list(_PROTOCOLS),
        ),
    ],
    truth: Annotated[
        Path,
        typer.Option("--truth", metavar="DIR", help="DIR/SEQUENCE/FRAME.png, or DAVIS's", rich_help_panel=PLACES),
    ],
    masks: Annotated[
        list[str],
        typer.Option(
            "--masks",
            metavar="NAME=DIR",
            help="a method's masks, named like the truth's; repeatable",
            rich_help_panel=PLACES,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="where tables and page go", rich_help_panel=PLACES)],
    missing: Annotated[
        Literal["fail", "zero"], typer.Option("--missing", help="zero: missing masks count as empty")
    ] = "fail",
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold", metavar="T", help="masks are probabilities: object above T times the largest value"
        ),
    ] = None,
    sequences: Annotated[
        str | None, typer.Option("--sequences", metavar="A,B", help="only these", rich_help_panel=_WHICH)
    ] = None,
    listing: Annotated[
        Path | None,
        typer.Option("--list", metavar="FILE", help="only those in this list, one a line", rich_help_panel=_WHICH),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", metavar="N", help="processes", show_default="as many as there are cores"),
    ] = None,
) -> None:
    """Score masks of any methods against the truth, as a benchmark does."""
    if sequences is not None and listing is not None:
        raise UserError("give one of --sequences and --list (fusionseg score --help)")
    from fusionseg.pipeline.basics.progress import say
    from fusionseg.pipeline.scoring.benchmark import run_score
    from fusionseg.pipeline.scoring.request import ScoreRequest, named_folders

    request = ScoreRequest(
        protocol,
        truth,
        named_folders(masks),
        missing == "zero",
        threshold,
        tuple(sequences.split(",")) if sequences is not None else (),
        os.cpu_count() or 1 if workers is None else workers,
        listing,
    )
    run_score(request, out, say)
