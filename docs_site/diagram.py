"""A graph of stages as SVG, without a script: rows by the longest way from a source, lanes for what skips rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from statistics import fmean

BOX, LANE = (176, 40), 26  # px: width and height of a stage, width of a line that passes a row
GAP, ROW = 14, 74  # px between neighbours, from row to row
SWEEPS = 8  # up and down; lines of so few stages have stopped crossing by then

Needs = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Spot:
    """A stage in its row, or where the line from `source` to `target` passes that row."""

    source: str
    target: str = ""


def draw(needs: Needs, notes: Mapping[str, str]) -> str:
    """One `svg`: every stage with its note below its name, a line from each stage to those that need it."""
    rows = _ordered(_rows(needs))
    width = max(sum(map(_width, row)) + GAP * (len(row) - 1) for row in rows)
    places = {}
    for number, row in enumerate(rows):
        x = (width - sum(map(_width, row)) - GAP * (len(row) - 1)) / 2
        for spot in row:
            places[spot, number] = (x + _width(spot) / 2, number * ROW + BOX[1] / 2)
            x += _width(spot) + GAP
    depth = _depths(needs)
    lines = [_line(_way(need, name, depth, places)) for name in needs for need in needs[name]]
    boxes = [_box(name, notes[name], places[Spot(name), depth[name]]) for name in needs]
    size = f"{width + 4:.0f} {(len(rows) - 1) * ROW + BOX[1] + 4}"  # and a margin of 2 px
    head = f'<svg class="graph" role="img" aria-label="the graph of stages" viewBox="-2 -2 {size}">'
    return "".join([head, *lines, *boxes, "</svg>"])


def _width(spot: Spot) -> int:
    return LANE if spot.target else BOX[0]


def _depths(needs: Needs) -> dict[str, int]:
    """Row of each stage; `needs` names a stage after those it needs."""
    depth: dict[str, int] = {}
    for name, inputs in needs.items():
        depth[name] = 1 + max((depth[need] for need in inputs), default=-1)
    return depth


def _rows(needs: Needs) -> list[dict[Spot, list[Spot]]]:
    """Each row's spots with those of the row above that they hang on."""
    depth = _depths(needs)
    rows: list[dict[Spot, list[Spot]]] = [{} for _ in range(max(depth.values()) + 1)]
    for name in needs:
        rows[depth[name]][Spot(name)] = []
    for name, inputs in needs.items():
        for need in inputs:
            above = Spot(need)
            for number in range(depth[need] + 1, depth[name]):
                rows[number][Spot(need, name)] = [above]
                above = Spot(need, name)
            rows[depth[name]][Spot(name)].append(above)
    return rows


def _ordered(rows: list[dict[Spot, list[Spot]]]) -> list[list[Spot]]:
    """The spots of each row from left to right: near the mean of their neighbours, by turns above and below."""
    order = [list(row) for row in rows]
    for sweep in range(SWEEPS):
        for number in range(1, len(rows)) if sweep % 2 == 0 else reversed(range(len(rows) - 1)):
            if sweep % 2 == 0:
                hangs_on, beside = rows[number], order[number - 1]
            else:
                after, beside = rows[number + 1], order[number + 1]
                hangs_on = {spot: [low for low in after if spot in after[low]] for spot in rows[number]}
            order[number] = _near(order[number], hangs_on, beside)
    return order


def _near(row: list[Spot], hangs_on: Mapping[Spot, list[Spot]], beside: list[Spot]) -> list[Spot]:
    """`row`, each spot as far right as its neighbours in the row `beside` are in the mean; without any it stays."""
    share = {spot: (index + 0.5) / len(beside) for index, spot in enumerate(beside)}
    wanted = {
        spot: fmean([share[other] for other in hangs_on[spot]] or [(index + 0.5) / len(row)])
        for index, spot in enumerate(row)
    }
    return sorted(row, key=wanted.__getitem__)


Point = tuple[float, float]


def _way(need: str, name: str, depth: Mapping[str, int], places: Mapping[tuple[Spot, int], Point]) -> list[Point]:
    """From below one stage, past the rows between, to above the other."""
    x, y = places[Spot(need), depth[need]]
    points = [(x, y + BOX[1] / 2)]
    for number in range(depth[need] + 1, depth[name]):
        x, y = places[Spot(need, name), number]
        points += [(x, y - BOX[1] / 2), (x, y + BOX[1] / 2)]
    x, y = places[Spot(name), depth[name]]
    return [*points, (x, y - BOX[1] / 2)]


def _line(points: list[Point]) -> str:
    """Curves between rows, straight past a row."""
    text = f"M{_xy(points[0])}"
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (y0 + y1) / 2
        text += f"L{_xy((x1, y1))}" if x0 == x1 else f"C{_xy((x0, middle))} {_xy((x1, middle))} {_xy((x1, y1))}"
    x, y = points[-1]
    return f'<path d="{text}"/><path class="head" d="M{_xy((x - 4, y - 7))}L{_xy((x, y))}L{_xy((x + 4, y - 7))}z"/>'


def _xy(point: Point) -> str:
    return f"{point[0]:.1f},{point[1]:.1f}"


def _box(name: str, note: str, place: Point) -> str:
    x, y = place
    left, top = x - BOX[0] / 2, y - BOX[1] / 2
    return (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{BOX[0]}" height="{BOX[1]}" rx="4"/>'
        f'<text x="{x:.1f}" y="{y - 3:.1f}">{escape(name)}</text>'
        f'<text class="note" x="{x:.1f}" y="{y + 12:.1f}">{escape(note)}</text>'
    )
