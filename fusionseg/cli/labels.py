"""Weak labels: looked at, and measured."""

from __future__ import annotations

from typing import Annotated

import typer

from fusionseg.cli.options import EXTENT, OUT, DataSets, Device, Out, OutPlace, Overrides, Profile, RunName, at_least
from fusionseg.pipeline.names import StudyPart


def audit(
    run: RunName,
    each: Annotated[
        int, typer.Option("--each", callback=at_least(1), metavar="N", help="boxes shown of each verdict")
    ] = 6,
    seed: Annotated[int, typer.Option("--seed", callback=at_least(0), metavar="N", help="which boxes are drawn")] = 0,
    out: Out = OUT,
) -> None:
    """A page to judge them by eye: boxes by verdict, and what other thresholds would yield."""
    from fusionseg.pipeline.basics.progress import say
    from fusionseg.pipeline.report.audit import finish_audit

    finish_audit(out.resolve(), run, each, seed, say)


def study(
    profile: Profile,
    data: DataSets = None,
    out: OutPlace = OUT,
    part: Annotated[
        StudyPart | None,
        typer.Option("--part", help="labels against masks, or trainings", show_default="all", rich_help_panel=EXTENT),
    ] = None,
    seeds: Annotated[
        str, typer.Option("--seeds", metavar="A,B", help="of the trainings", rich_help_panel=EXTENT)
    ] = "0,1,2",
    overrides: Overrides = None,
    device: Device = "auto",
) -> None:
    """Measure weak labels against true masks, and a motion stream trained on them."""
    from fusionseg.pipeline.basics.progress import say
    from fusionseg.pipeline.run.request import Request
    from fusionseg.pipeline.study.study import PARTS, parse_seeds, run_study

    request = Request(profile, tuple(data or ()), str(out), None, tuple(overrides or ()), device)
    run_study(request, [part] if part else PARTS, parse_seeds(seeds), say)
