"""The report of a run: a table on the terminal, a self-contained HTML page, and the scores as CSV.

A view over the run's artifacts: nothing reads it, and it computes no masks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.files import write_atomically
from fusionseg.pipeline.graph import STAGES, required
from fusionseg.pipeline.manifest import read_manifest
from fusionseg.pipeline.recorded import records_by_unit, scored_names
from fusionseg.pipeline.report_curves import trainings
from fusionseg.pipeline.report_pictures import strips
from fusionseg.pipeline.report_tables import (
    FUNNEL,
    JOINT,
    Scores,
    comparison_line,
    comparisons,
    funnel,
    funnel_line,
    kind_of,
    load_scores,
    reasons,
    text_table,
)
from fusionseg.pipeline.store import read_run, run_records

TEMPLATE = "report.html.j2"
NO_SCORES = "no video has masks and a protocol and is long enough for it"
_ROLES = {
    "stills": "train the appearance stream",
    "boxed": "boxes only: weak labels for the motion stream",
    "fusion": "train the fusion",
    "validation": "choose checkpoints",
    "scored": "scored, and nothing else",
}
# What a step of the weak labels' funnel is a share of.
_WHOLE = {
    "frames_with_boxes": "frames",
    "labelled_frames": "frames",
    "passed_box_test": "boxes",
    "passed_both_tests": "boxes",
}
# By the count of `scoring` that says why a video has no scores.
_UNSCORED = {
    "no_truth": "Without masks, so predicted and not scored",
    "no_protocol": "Without a protocol to score by, so predicted and not scored",
    "unscored": "Too short for the protocol, so not scored",
}
_SHOWN_DIGITS = 12  # of a content digest


def finish(root: Path, name: str, say: Callable[[str], None]) -> Path:
    """Print the results of run `name` and write `reports/NAME.html` with its tables as CSV; the report's path.

    Raises UserError where the run has no scores, or their artifacts are gone.
    """
    run = read_run(root, name)
    scores = load_scores(root, run)
    for line in summary(run, scores):
        say(line)
    folder = root / "reports"
    write_csv(folder / f"{name}-per_frame.csv", scores.per_frame)
    write_csv(folder / f"{name}-overall.csv", scores.overall)
    path = folder / f"{name}.html"
    write_atomically(path, html(root, run, scores).encode())
    say(f"report: {path}")
    return path


def summary(run: Mapping[str, Any], scores: Scores) -> list[str]:
    """The results as lines of text."""
    if not scores.methods:
        return [f"no scores: {NO_SCORES}", funnel_line(run)]
    count = f"{len(scores.sequences)} sequences, {scores.scored_frames} frames"
    title = f"{', '.join(scored_splits(run))}: {count}, per cent"
    found = comparisons(scores)
    return ["", title, *text_table(scores), *([comparison_line(found)] if found else []), funnel_line(run), ""]


def scored_splits(run: Mapping[str, Any]) -> list[str]:
    """What is scored, as "data set/split"."""
    return [f"{ref['manifest']}/{ref['split']}" for ref in run["profile"]["data"]["scored"]]


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table, whole or not at all."""
    write_atomically(path, table.to_csv(index=False, float_format="%.6f").encode())


def html(root: Path, run: Mapping[str, Any], scores: Scores) -> str:
    """The whole page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "duration": duration}
    pictures, missing = strips(root, run, scores.per_frame)
    return environment.get_template(TEMPLATE).render(
        run=run,
        splits=scored_splits(run),
        no_scores=NO_SCORES,
        scores=scores,
        headline=scores.overall.to_dict("records"),
        joint=JOINT,
        kinds={method: kind_of(method) for method in scores.methods},
        sequence_tables=sequence_tables(scores),
        comparisons=comparisons(scores),
        strips=pictures,
        missing_pictures=missing,
        labels=weak_labels(root, run),
        trainings=trainings(root, run),
        stages=stage_rows(run),
        roles=roles(run),
        notes=notes(run),
        profile=json.dumps(run["profile"], indent=1),
    )


@dataclass(frozen=True)
class SequenceTable:
    """One score of every method (columns) on every sequence (rows), and its mean; None where there is none."""

    title: str
    rows: Sequence[tuple[str, Sequence[float | None]]]
    mean: Sequence[float]


def sequence_tables(scores: Scores) -> list[SequenceTable]:
    """J and F by sequence."""
    found = []
    for column, title in (("J", "Region similarity J"), ("F", "Contour accuracy F")):
        cells = {(r["method"], r["sequence"]): r[column] for r in scores.per_sequence.to_dict("records")}
        rows = [(name, [cells.get((method, name)) for method in scores.methods]) for name in scores.sequences]
        found.append(SequenceTable(title, rows, [float(value) for value in scores.overall[column]]))
    return found


@dataclass(frozen=True)
class WeakLabels:
    """The funnel (what, how many, share of the boxes or frames it starts from), verdicts, and what must be said."""

    steps: Sequence[tuple[str, int, float | None]] = ()
    verdicts: Mapping[str, int] | None = None
    skipped: int = 0
    note: str = ""


def weak_labels(root: Path, run: Mapping[str, Any]) -> WeakLabels:
    """The yield of the weak labels, or why there is none."""
    figures = funnel(run)
    if figures is None:
        given = state_of(run, "motion-training") == "given"
        return WeakLabels(note="None made: " + ("the motion stream's weights were given." if given else "not run."))
    steps = []
    for name, title in FUNNEL:
        whole = figures[_WHOLE[name]] if name in _WHOLE else 0
        steps.append((title, figures[name], figures[name] / whole if whole else None))
    skipped = figures["frames"] - figures["frames_with_boxes"]
    try:
        return WeakLabels(steps, reasons(root, run), skipped)
    except UserError as error:
        return WeakLabels(steps, None, skipped, f"Verdicts can't be read: {error.args[0]}")


def state_of(run: Mapping[str, Any], stage: str) -> str | None:
    """ "given", "computed" or "cached"; None where the stage isn't in the run."""
    state: str | None = run["stages"].get(stage, {}).get("state")
    return state


@dataclass(frozen=True)
class StageRow:
    """What became of one stage."""

    name: str
    title: str
    state: str
    seconds: float | None = None
    results: int = 0
    made: str = ""


def stage_rows(run: Mapping[str, Any]) -> list[StageRow]:
    """All stages of the graph, in order."""
    given = frozenset(stage.name for stage in STAGES if state_of(run, stage.name) == "given")
    needed = {stage.name for stage in required(given, run["profile"]["flow-images"]["store"])}
    return [_stage_row(run, stage.name, stage.title, stage.name in needed) for stage in STAGES]


def _stage_row(run: Mapping[str, Any], name: str, title: str, needed: bool) -> StageRow:
    state = state_of(run, name)
    if state is None:
        return StageRow(name, title, "not run" if needed else "not needed")
    records = run_records(run, name)
    if state == "given":
        digest = records[0].content[:_SHOWN_DIGITS]
        return StageRow(name, title, f"given: {Path(records[0].path).name}, content {digest}", results=1)
    new = sum(not record.cached for record in records)
    if 0 < new < len(records):
        state = f"{new} computed, {len(records) - new} cached"
    made = max((record.made for record in records), default="")
    return StageRow(name, title, state, run["stages"][name]["seconds"], len(records), made)


@dataclass(frozen=True)
class RoleRow:
    """What data played one role."""

    role: str
    purpose: str
    split: str
    videos: str
    title: str
    licence: str
    home: str


def roles(run: Mapping[str, Any]) -> list[RoleRow]:
    """Which split of which data set plays which role."""
    found = []
    for role, purpose in _ROLES.items():
        refs = run["profile"]["data"][role]
        for ref in refs if isinstance(refs, list) else [refs] if refs else []:
            found.append(_role_row(run, role, purpose, ref))
    return found


def _role_row(run: Mapping[str, Any], role: str, purpose: str, ref: Mapping[str, str]) -> RoleRow:
    split = f"{ref['manifest']}/{ref['split']}"
    try:
        manifest = read_manifest(ref["manifest"])
    except UserError:
        return RoleRow(role, purpose, split, "", "its manifest is not there any more", "unknown", "")
    names = [name.partition("/")[2] for name in run["videos"].get(role, []) if name.partition("/")[0] == manifest.name]
    videos = "stills" if manifest.kind == "stills" else f"{len(names)} videos: {', '.join(names)}"
    home = manifest.home if manifest.home.startswith(("https://", "http://")) else ""
    return RoleRow(role, purpose, split, videos, manifest.title, manifest.licence, home)


def notes(run: Mapping[str, Any]) -> list[str]:
    """What a reader must know of the data: what was left out, segmented by appearance alone, or not scored."""
    left_out = run["left_out"]
    found = [f"Left out, because a file can't be used: {', '.join(left_out)}." if left_out else "No file was left out."]
    alone = _names(run, "prediction", "appearance_only")
    if alone:
        found.append(f"Videos of one frame have no flow and are segmented by appearance alone: {', '.join(alone)}.")
    for count, why in _UNSCORED.items():
        if names := _names(run, "scoring", count):
            found.append(f"{why}: {', '.join(names)}.")
    return found


def _names(run: Mapping[str, Any], stage: str, count: str) -> list[str]:
    names = scored_names(run)
    records = records_by_unit(run, stage)
    return [names.get(unit, unit[1]) for unit, record in records.items() if record.counts.get(count)]


def percent(value: float | None) -> str:
    """A share as per cent, one decimal; a dash for None."""
    return "–" if value is None else f"{round(100 * value, 1) + 0.0:.1f}"  # + 0.0: no "-0.0"


def duration(seconds: float | None) -> str:
    """Seconds in words.

    >>> duration(3.21), duration(200), duration(7300)
    ('3.2 s', '3 min 20 s', '2 h 1 min')
    """
    if seconds is None:
        return "–"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
