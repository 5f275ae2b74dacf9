"""The report's training curves, as small inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from fusionseg.models.weights import WeightsError, read_header
from fusionseg.pipeline.graph import STAGES
from fusionseg.pipeline.store import run_records

Point = tuple[float, float]

_WIDTH, _HEIGHT = 300, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 38, 10, 26, 24  # room for labels around the plot, px


@dataclass(frozen=True)
class Training:
    """One training: its history in words and, where it has one, as pictures."""

    stage: str
    text: str
    charts: tuple[Markup, ...] = ()


def trainings(root: Path, run: Mapping[str, Any]) -> list[Training]:
    """The trainings of a run, in order, on common scales: losses from 0, validation J in per cent."""
    headers = {stage.name: _header(root, run, stage.name) for stage in STAGES if stage.trained}
    histories = {name: h.get("history") or [] for name, h in headers.items() if not isinstance(h, str)}
    rows = [row for history in histories.values() for row in history]
    top_loss = max([row["loss"] for row in rows], default=1.0)
    top_j = nice_top(100 * max([row["J"] for row in rows if "J" in row], default=1.0))
    found = []
    for name, header in headers.items():
        if isinstance(header, str):
            found.append(Training(name, header))
        elif not histories[name]:
            found.append(Training(name, "nothing to learn: no parameters, or weights without a history"))
        else:
            found.append(_training(name, run, histories[name], top_loss, top_j))
    return found


def _header(root: Path, run: Mapping[str, Any], stage: str) -> dict[str, Any] | str:
    """Header of a training's weights, or in words why there is none."""
    records = run_records(run, stage)
    if not records:
        return "not needed by this run"
    try:
        return read_header(root / records[0].path)
    except WeightsError as error:
        return f"no history: {error}"


def _training(
    stage: str, run: Mapping[str, Any], history: Sequence[Mapping[str, float]], top_loss: float, top_j: float
) -> Training:
    losses = [(row["step"], row["loss"]) for row in history]
    scores = [(row["step"], 100 * row["J"]) for row in history if "J" in row]
    given = "given weights, whose own history says: " if run["stages"][stage]["state"] == "given" else ""
    text = f"{given}{int(losses[-1][0])} steps; final loss {losses[-1][1]:.3f}"
    charts = [chart(f"{stage}: loss", "loss", losses, top_loss, digits=2)]
    if scores:
        best = max(scores, key=lambda point: point[1])
        text += f"; best validation J {best[1]:.1f} at step {int(best[0])} (kept)"
        title = f"{stage}: validation J, per cent"
        charts.append(chart(title, "validation J", scores, top_j, digits=0, kept=best))
    else:
        text += "; no validation, the last state was kept"
    return Training(stage, text, tuple(charts))


def nice_top(value: float) -> float:
    """The end of an axis in per cent: the next ten.

    >>> nice_top(61.2), nice_top(0.0)
    (70, 10)
    """
    return min(100, 10 * (int(value // 10) + 1))


def chart(
    title: str, label: str, points: Sequence[Point], top: float, digits: int, kept: Point | None = None
) -> Markup:
    """A line from step 0 and value 0 to `top`, with a dot a value and a ring around the one that was kept."""
    last = max(step for step, _ in points)
    places = [_place(point, last, top) for point in points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = Markup("").join(Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="2"/>').format(*p) for p in places)
    ring = Markup("")
    if kept is not None:
        ring = Markup('<circle class="ring" cx="{:.1f}" cy="{:.1f}" r="5"/>').format(*_place(kept, last, top))
    return Markup(
        '<svg class="chart" viewBox="0 0 {w} {h}" role="img" aria-label="{title}"><title>{title}</title>'
        '<text x="{left}" y="13">{label}</text>{grid}<polyline class="line" points="{line}"/>{dots}{ring}</svg>'
    ).format(
        w=_WIDTH,
        h=_HEIGHT,
        title=title,
        left=_LEFT,
        label=label,
        grid=_grid(last, top, digits),
        line=line,
        dots=dots,
        ring=ring,
    )


def _place(point: Point, last: float, top: float) -> Point:
    step, value = point
    x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * step / max(last, 1)
    y = _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * value / (top or 1)
    return x, y


def _grid(last: float, top: float, digits: int) -> Markup:
    """Lines and labels at nothing, half and all of the value, and at the first and last step."""
    lines = []
    for value in (0.0, top / 2, top):
        x, y = _place((0, value), last, top)
        lines.append(
            Markup(
                '<line class="grid" x1="{x}" y1="{y:.1f}" x2="{end}" y2="{y:.1f}"/>'
                '<text x="{label}" y="{base:.1f}" text-anchor="end">{value}</text>'
            ).format(x=_LEFT, y=y, end=_WIDTH - _RIGHT, label=_LEFT - 5, base=y + 4, value=f"{value:.{digits}f}")
        )
    for step, anchor in ((0, "start"), (last, "end")):
        x, _ = _place((step, 0), last, top)
        lines.append(
            Markup('<text x="{x:.1f}" y="{y}" text-anchor="{anchor}">{text}</text>').format(
                x=x, y=_HEIGHT - 6, anchor=anchor, text=f"step {int(step)}" if step else "0"
            )
        )
    return Markup("").join(lines)
