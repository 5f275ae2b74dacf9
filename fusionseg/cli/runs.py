"""Runs: computed, compared, handed on as files."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusionseg.cli import names
from fusionseg.cli.options import (
    EXTENT,
    MANNER,
    OUT,
    PLACES,
    DataSets,
    Device,
    Out,
    OutPlace,
    Overrides,
    Profile,
    RunName,
    run_argument,
)
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.names import FlowFormat

if TYPE_CHECKING:
    from fusionseg.pipeline.run.request import Request

Name = Annotated[
    str | None,
    typer.Option(
        "--name", metavar="NAME", help="name of the run", show_default="the profile's", rich_help_panel=PLACES
    ),
]
Only = Annotated[
    str | None,
    typer.Option(
        "--only",
        metavar="STAGE",
        help="run this stage alone, on what is there",
        autocompletion=names.stages,
        rich_help_panel=EXTENT,
    ),
]
Refresh = Annotated[
    list[str] | None,
    typer.Option(
        "--refresh",
        metavar="STAGE",
        help="compute this stage anew; repeatable",
        autocompletion=names.stages,
        rich_help_panel=EXTENT,
    ),
]
Shard = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="K/N",
        help="with --only: the K-th of N parts of the videos, e.g. for one of N machines",
        rich_help_panel=EXTENT,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        metavar="",
        help="say which stages would be computed, and why; compute nothing",
        rich_help_panel=MANNER,
    ),
]
Plain = Annotated[bool, typer.Option("--plain", metavar="", help="without Prefect", rich_help_panel=MANNER)]


def demo(
    out: OutPlace = OUT,
    name: Name = None,
    only: Only = None,
    refresh: Refresh = None,
    shard: Shard = None,
    overrides: Overrides = None,
    device: Device = "auto",
    plain: Plain = False,
    dry_run: DryRun = False,
) -> None:
    """Run the whole chain on built-in data."""
    run("demo", None, out, name, only, refresh, shard, overrides, device, plain, dry_run)


def run(
    profile: Profile,
    data: DataSets = None,
    out: OutPlace = OUT,
    name: Name = None,
    only: Only = None,
    refresh: Refresh = None,
    shard: Shard = None,
    overrides: Overrides = None,
    device: Device = "auto",
    plain: Plain = False,
    dry_run: DryRun = False,
) -> None:
    """Run a profile: the whole chain, or one stage."""
    from fusionseg.pipeline.basics.processes import launched, leave
    from fusionseg.pipeline.basics.progress import say
    from fusionseg.pipeline.run.request import Request
    from fusionseg.pipeline.run.runner import run_plain

    request = Request(
        profile,
        tuple(data or ()),
        str(out),
        name,
        tuple(overrides or ()),
        device,
        shard=shard,
        only=only,
        refresh=tuple(refresh or ()),
    )
    if dry_run:
        from fusionseg.pipeline.run.preview import preview

        preview(request, say)
        return
    if launched() > 1 and not plain:
        raise UserError("several processes under one launcher work without Prefect only; add --plain")
    if plain:
        run_plain(request, say)
    else:
        _prefect_runner()(request)
    leave()


def _prefect_runner() -> Callable[[Request], None]:
    """The function that runs the chain under Prefect. Raises UserError where Prefect isn't installed."""
    if importlib.util.find_spec("prefect") is None:
        raise UserError("Prefect is not installed; install it (pip install prefect), or add --plain")
    from fusionseg.flows.local import run_under_prefect

    return run_under_prefect


def compare(
    run_a: Annotated[str, run_argument("RUN_A")],
    run_b: Annotated[str, run_argument("RUN_B", "name of another; differences are RUN_B less RUN_A")],
    out: Out = OUT,
) -> None:
    """What differs between two runs: settings, scores, masks."""
    from fusionseg.pipeline.basics.progress import say
    from fusionseg.pipeline.report.compare import finish_comparison

    finish_comparison(out.resolve(), run_a, run_b, say)


def export(
    run: RunName,
    masks: Annotated[
        Path | None, typer.Option("--masks", metavar="DIR", help="indexed PNGs, DIR/SEQUENCE/00000.png")
    ] = None,
    flow: Annotated[
        Path | None,
        typer.Option("--flow", metavar="DIR", help="optical flow, DIR/VIDEO/00000.flo or DIR/VIDEO.npz"),
    ] = None,
    format: Annotated[FlowFormat, typer.Option("--format", help="of --flow")] = "flo",
    method: Annotated[
        str,
        typer.Option(
            "--method",
            metavar="METHOD",
            help="appearance, motion, average, joint or a baseline",
            autocompletion=lambda: ["appearance", "motion", "average", "joint"],
        ),
    ] = "joint",
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", metavar="", help="into a folder that holds anything else than the same export"),
    ] = False,
    out: Out = OUT,
) -> None:
    """Results of a run as files: one of --masks and --flow."""
    if (masks is None) == (flow is None):
        raise UserError("give one of --masks and --flow (fusionseg export --help)")
    from fusionseg.pipeline.basics.progress import say
    from fusionseg.pipeline.report.export import export_flow, export_masks

    if flow is not None:
        done = export_flow(out, run, format, flow, overwrite)
        told = f"flow of {done.count} frames written to {flow}"
    elif masks is not None:
        done = export_masks(out, run, method, masks, overwrite)
        told = f"{done.count} masks written to {masks}"
    say("; ".join(filter(None, (told, done.words))))
