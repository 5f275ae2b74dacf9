"""The report of a run: a table on the terminal, a self-contained HTML page, and the tables that it is made from.

A view over the run's artifacts: nothing reads it, and it computes no masks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from fusionseg.pipeline.basics.atomic import write_atomically
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.pages.charts import histogram
from fusionseg.pipeline.pages.render import render
from fusionseg.pipeline.report.curves import OVER_TIME, histories, over_time, sequence_bars, trainings
from fusionseg.pipeline.report.pictures import strips
from fusionseg.pipeline.report.provenance import data_table, digests, notes, roles, stages_table
from fusionseg.pipeline.report.tables import (
    JOINT,
    Scores,
    comparison_line,
    comparisons,
    differences_table,
    funnel_line,
    funnel_table,
    kind_of,
    load_scores,
    means_table,
    published_table,
    tables_folder,
    text_table,
    write_tables,
)
from fusionseg.pipeline.report.verdicts import run_verdicts
from fusionseg.pipeline.store.runs import RunRecord, read_run
from fusionseg.pipeline.weak_labels.verdicts import (
    ACCEPTED,
    FLOW_REASONS,
    FRAME_DROPPED,
    SMALL_CONTRAST,
    SMALL_OVERLAP,
    UNSURE,
    VERDICT_COLUMNS,
    contrast_test,
    measured_by,
)

TEMPLATE = "report.html.j2"
NO_SCORES = "no video has masks and a protocol and is long enough for it"
_CONTRAST_STEP, _VECTOR_STEP = 50, 5  # grey levels, spreads: where the histogram's axis may end


def finish(root: Path, name: str, say: Callable[[str], None]) -> Path:
    """Print the results of run `name`, write `reports/NAME.html` and its tables beside it; the report's path.

    Raises UserError where the run has no scores, or their artifacts are gone.
    """
    run = read_run(root, name)
    scores = load_scores(root, run)
    for line in summary(run, scores):
        say(line)
    found = collect(root, run, scores)
    write_tables(tables_folder(root, name), found.tables)
    path = report_path(root, name)
    write_atomically(path, html(root, run, scores, found).encode())
    say(f"report: {path}")
    return path


def report_path(root: Path, name: str) -> Path:
    """Where the report of run `name` lies."""
    return root / "reports" / f"{name}.html"


def summary(run: RunRecord, scores: Scores) -> list[str]:
    """The results as lines of text."""
    if not scores.methods:
        return [f"no scores: {NO_SCORES}", funnel_line(run)]
    count = f"{scores.means_over}, {scores.scored_frames} frames"
    title = f"{', '.join(scored_splits(run))}: {count}, per cent"
    found = comparisons(scores)
    return ["", title, *text_table(scores), *([comparison_line(found)] if found else []), funnel_line(run), ""]


def scored_splits(run: RunRecord) -> list[str]:
    """What is scored, as "data set/split"."""
    return [f"{ref.manifest}/{ref.split}" for ref in run.profile.data.scored]


@dataclass(frozen=True)
class Found:
    """The report's tables by name, and in words what couldn't be read: trainings without a history, verdicts ("" if
    they could), and how many artifacts are gone."""

    tables: Mapping[str, pd.DataFrame]
    untrained: Mapping[str, str]
    no_verdicts: str
    gone: int


def collect(root: Path, run: RunRecord, scores: Scores) -> Found:
    """Everything that the page shows in figures, as tables."""
    history, untrained = histories(root, run)
    data, gone = data_table(root, run)
    try:
        verdicts, problem = run_verdicts(root, run), ""
    except UserError as error:
        verdicts, problem = (
            pd.DataFrame(columns=["dataset", *VERDICT_COLUMNS]),
            f"Verdicts can't be read: {error.args[0]}",
        )
    tables = {
        "per_frame": scores.per_frame,
        "per_sequence": scores.per_sequence,
        "overall": scores.overall,
        "means": means_table(run, scores),
        "differences": differences_table(scores),
        "published": published_table(run),
        "funnel": funnel_table(run),
        "verdicts": verdicts,
        "history": history,
        "stages": stages_table(run),
        "data": data,
    }
    return Found(tables, untrained, problem, gone)


def html(root: Path, run: RunRecord, scores: Scores, found: Found) -> str:
    """The whole page."""
    tables = found.tables
    pictures, missing = strips(root, run, scores.by_frame)
    published = tables["published"].to_dict("records")
    return render(
        TEMPLATE,
        {"duration": duration, "memory": memory},
        run=run,
        splits=scored_splits(run),
        no_scores=NO_SCORES,
        scores=scores,
        headline=headline(tables),
        own_published=[row for row in published if is_own(row)],
        means=tables["means"].to_dict("records"),
        published=published,
        joint=JOINT,
        bars=sequence_bars(scores.by_sequence, scores.methods),
        over_time=over_time(scores.by_frame),
        over_time_methods=OVER_TIME,
        sequence_tables=sequence_tables(scores),
        comparisons=comparisons(scores),
        strips=pictures,
        missing_pictures=missing,
        labels=weak_labels(run, tables["funnel"], tables["verdicts"], found.no_verdicts),
        trainings=trainings(run, tables["history"], found.untrained),
        stages=tables["stages"].astype(object).where(tables["stages"].notna(), None).to_dict("records"),
        gpu=bool(tables["stages"]["peak_gpu_memory"].notna().any()),
        roles=roles(run),
        digests=digests(tables["data"]),
        unasked=found.gone,
        notes=notes(run),
        tables_folder=tables_folder(root, run.name).name,
        table_names=list(tables),
        profile=json.dumps(run.profile.as_dict(), indent=1),
    )


def headline(tables: Mapping[str, pd.DataFrame]) -> list[dict[Any, Any]]:
    """The rows of `overall`, each with its kind and how much better the joint model is: `points` (of J, or "") and
    `difference` in words."""
    rows = []
    found = {str(row["second"]): row for row in tables["differences"].to_dict("records")}
    for row in tables["overall"].to_dict("records"):
        gain = found.get(str(row["method"]))
        points = f"{100 * gain['J']:.4f}" if gain else ""
        text = _interval(gain) if gain else "–"
        rows.append({**row, "kind": kind_of(str(row["method"])), "points": points, "difference": text})
    return rows


def _interval(gain: Mapping[Any, Any]) -> str:
    mean, low, high = (f"{round(100 * gain[name], 1) + 0.0:+.1f}" for name in ("J", "low", "high"))
    return mean if gain["sequences"] == 1 else f"{mean} [{low}, {high}]"


def is_own(row: Mapping[Any, Any]) -> bool:
    """Whether a published row is FusionSeg's, over a whole split."""
    return str(row["method"]).startswith("FSEG") and not str(row["split"]).startswith("class ")


@dataclass(frozen=True)
class SequenceTable:
    """One score of every method (columns) on every sequence (rows), and its mean; None where there is none."""

    score: str
    title: str
    rows: Sequence[tuple[str, Sequence[float | None]]]
    mean: Sequence[float]


def sequence_tables(scores: Scores) -> list[SequenceTable]:
    """J and F by sequence."""
    found = []
    for column, title in (("J", "Region similarity J"), ("F", "Contour accuracy F")):
        cells = {(r["method"], r["sequence"]): r[column] for r in scores.by_sequence.to_dict("records")}
        rows = [(name, [cells.get((method, name)) for method in scores.methods]) for name in scores.sequences]
        found.append(SequenceTable(column, title, rows, [float(value) for value in scores.overall[column]]))
    return found


@dataclass(frozen=True)
class WeakLabels:
    """The funnel (step, count, share of the boxes or frames it starts from), verdicts, histograms of what the tests
    measured, and what must be said."""

    steps: Sequence[Mapping[Any, Any]] = ()
    verdicts: Mapping[str, int] | None = None
    charts: Sequence[Markup] = ()
    skipped: int = 0
    note: str = ""


def weak_labels(run: RunRecord, funnel: pd.DataFrame, verdicts: pd.DataFrame, problem: str) -> WeakLabels:
    """The yield of the weak labels, or why there is none; `problem`: why there are no verdicts."""
    if funnel.empty:
        given = run.state("motion-training") == "given"
        return WeakLabels(note="None made: " + ("the motion stream's weights were given." if given else "not run."))
    counts = dict(zip(funnel["step"], funnel["count"], strict=True))
    return WeakLabels(
        steps=funnel.to_dict("records"),
        verdicts={str(reason): int(count) for reason, count in verdicts["reason"].value_counts().items()},
        charts=measurement_charts(run, verdicts) if len(verdicts) else (),
        skipped=int(counts["frames"] - counts["frames with boxes"]),
        note=problem,
    )


def measurement_charts(run: RunRecord, verdicts: pd.DataFrame) -> list[Markup]:
    """Histograms of what both tests measured, of the boxes that came to them, with the run's thresholds."""
    settings = run.profile.flow_filter
    boxes = verdicts[verdicts["reason"].isin([SMALL_OVERLAP, UNSURE, *FLOW_REASONS, FRAME_DROPPED, ACCEPTED])]
    passed = verdicts[verdicts["reason"].isin([SMALL_CONTRAST, FRAME_DROPPED, ACCEPTED])]
    column, least = contrast_test(settings)
    step, unit = (_CONTRAST_STEP, "grey levels") if column == "contrast" else (_VECTOR_STEP, "spreads")
    contrast = passed[column].to_numpy(dtype=np.float64)
    end = step * np.ceil(max(contrast.max(initial=0), least, step) / step)
    overlap = boxes[measured_by(settings)].to_numpy(dtype=np.float64)
    unit_in = "IoU" if settings.measure == "iou" else "coverage"
    return [
        histogram(f"box test: {measured_by(settings)}", overlap, 1.0, settings.min_overlap, unit_in),
        histogram("flow test: contrast", contrast, float(end), least, unit),
    ]


def memory(size: float | None) -> str:
    """Bytes for people; a dash for None.

    >>> memory(412_000_000), memory(3_440_000_000), memory(None)
    ('412 MB', '3.4 GB', '–')
    """
    if size is None:
        return "–"
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


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
