"""The report's curves: trainings, and scores by sequence and over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from fusionseg.models.weights import WeightsError, read_header
from fusionseg.pipeline.names import MODELS
from fusionseg.pipeline.pages.charts import Bar, Line, Point, bar_chart, line_chart, nice_top
from fusionseg.pipeline.store.runs import RunRecord

HISTORY_COLUMNS = ["stage", "step", "loss", "J", "kept"]
OVER_TIME = ("appearance", "motion", "joint")
_MOST_POINTS = 250  # of a line: one a pixel of its chart


@dataclass(frozen=True)
class Training:
    """One training: its history in words and, where it has one, as pictures."""

    stage: str
    text: str
    charts: tuple[Markup, ...] = ()


def histories(root: Path, run: RunRecord) -> tuple[pd.DataFrame, dict[str, str]]:
    """Histories of the run's trainings as a table (stage, step, loss, J in 0..1 or nan, whether that step's weights
    were kept), and in words why others have none."""
    rows: list[dict[str, Any]] = []
    reasons = {}
    for stage in (stage.name for stage in run.declared if stage.trained):
        header = _header(root, run, stage)
        if isinstance(header, str):
            reasons[stage] = header
        elif not header.get("history"):
            reasons[stage] = "nothing to learn: no parameters, or weights without a history"
        else:
            kept = kept_step(header)
            rows += [{"stage": stage, **row, "kept": row["step"] == kept} for row in header["history"]]
    table = pd.DataFrame(rows).reindex(columns=HISTORY_COLUMNS)
    return table.astype({"loss": float, "J": float, "kept": bool}), reasons


def kept_step(header: Mapping[str, Any]) -> int:
    """The step whose weights a training kept. Older weights don't say so: they were the first best ones."""
    if "kept_step" in header:
        return int(header["kept_step"])
    validated = [row for row in header["history"] if "J" in row]
    chosen = max(validated, key=lambda row: float(row["J"])) if validated else header["history"][-1]
    return int(chosen["step"])


def _header(root: Path, run: RunRecord, stage: str) -> dict[str, Any] | str:
    """Header of a training's weights, or in words why there is none."""
    records = run.records(stage)
    if not records:
        return "not needed by this run"
    try:
        return read_header(root / records[0].path)
    except WeightsError as error:
        return f"no history: {error}"


def trainings(run: RunRecord, history: pd.DataFrame, reasons: Mapping[str, str]) -> list[Training]:
    """The trainings of a run, in order, on common scales: losses from 0, validation J in per cent."""
    top_loss = float(history["loss"].max()) if len(history) else 1.0
    top_j = nice_top(100 * float(history["J"].max())) if history["J"].notna().any() else 100.0
    found = []
    for stage in (stage.name for stage in run.declared if stage.trained):
        if stage in reasons:
            found.append(Training(stage, reasons[stage]))
        else:
            given = run.state(stage) == "given"
            found.append(_training(stage, given, history[history["stage"] == stage], top_loss, top_j))
    return found


def _training(stage: str, given: bool, history: pd.DataFrame, top_loss: float, top_j: float) -> Training:
    losses = points(history["step"], history["loss"])
    validated = history.dropna(subset=["J"])
    scores = points(validated["step"], 100 * validated["J"])
    ends = (0.0, losses[-1][0])
    kept = int(history.loc[history["kept"], "step"].iloc[0])
    kept_loss, kept_j = (next((point for point in line if point[0] == kept), None) for line in (losses, scores))
    text = "given weights, whose own history says: " if given else ""
    text += f"{int(losses[-1][0])} steps; final loss {losses[-1][1]:.3f}"
    words = f"from {losses[0][1]:.3f} to {losses[-1][1]:.3f} in {int(losses[-1][0])} steps"
    line = [Line("joint", losses, dots=True)]
    charts = [line_chart(f"{stage}: loss", words, line, top_loss, ends, "step", 2, kept_loss)]
    if not scores:
        return Training(stage, f"{text}; no validation, the last state was kept", tuple(charts))
    best = max(scores, key=lambda point: point[1])
    text += f"; best validation J {best[1]:.1f} at step {int(best[0])} "
    text += "(kept)" if kept == best[0] or kept_j is None else f"(step {kept} was kept, with {kept_j[1]:.1f})"
    title, words = f"{stage}: validation J, per cent", f"best {best[1]:.1f} at step {int(best[0])}"
    line = [Line("joint", scores, dots=True)]
    charts.append(line_chart(title, words, line, top_j, ends, "step", 0, kept_j))
    return Training(stage, text, tuple(charts))


def points(steps: pd.Series[Any], values: pd.Series[Any]) -> list[Point]:
    """Two columns as points."""
    return list(zip(steps.astype(float), values.astype(float), strict=True))


def sequence_bars(per_sequence: pd.DataFrame, methods: Sequence[str]) -> list[Markup]:
    """A chart a sequence: J of every method, in per cent."""
    found = []
    for name, rows in per_sequence.groupby("sequence", sort=False):
        values = dict(zip(rows["method"], rows["J"], strict=True))
        bars = [Bar(method, 100 * values[method], style_of(method)) for method in methods if method in values]
        found.append(bar_chart(str(name), bars))
    return found


def style_of(method: str) -> str:
    """The class of a method's bars and lines in the style sheet."""
    return method if method in MODELS else "other"


def over_time(per_frame: pd.DataFrame) -> list[Markup]:
    """A chart a sequence: J of both streams and of the joint model on every scored frame, in per cent."""
    found = []
    shown = per_frame[per_frame["method"].isin(OVER_TIME)]
    for name, rows in shown.groupby("sequence", sort=False):
        by_method = {method: rows[rows["method"] == method].sort_values("frame") for method in OVER_TIME}
        present = {method: table for method, table in by_method.items() if len(table)}
        lines = [Line(style_of(m), thinned(points(t["frame"], 100 * t["J"]))) for m, t in present.items()]
        words = "; ".join(_in_words(method, table) for method, table in present.items())
        ends = (float(rows["frame"].min()), float(rows["frame"].max()))
        found.append(line_chart(str(name), words, lines, 100.0, ends, "frame"))
    return found


def _in_words(method: str, table: pd.DataFrame) -> str:
    lowest = table.iloc[int(table["J"].to_numpy().argmin())]
    return f"{method} mean {100 * table['J'].mean():.1f}, lowest {100 * lowest['J']:.1f} at frame {lowest['frame']:.0f}"


def thinned(line: Sequence[Point], most: int = _MOST_POINTS) -> list[Point]:
    """At most `most` points: means of neighbours, where a line has more points than its chart has pixels.

    >>> thinned([(0, 1.0), (1, 2.0), (2, 5.0)], most=2)
    [(0.5, 1.5), (2.0, 5.0)]
    """
    if len(line) <= most:
        return list(line)
    return [(float(part[:, 0].mean()), float(part[:, 1].mean())) for part in np.array_split(np.array(line), most)]
