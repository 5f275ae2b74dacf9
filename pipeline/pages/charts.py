"""Charts as small inline SVG: lines, bars, histograms.

Drawn by ourselves: a few rectangles and lines need no library, and no script in the page. Colours come from the page's
style sheet, so that charts follow light, dark and print. Each chart says in words what it shows (`aria-label`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

Point = tuple[float, float]
Values = npt.NDArray[np.float64]

_WIDTH, _HEIGHT = 300, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 38, 10, 26, 24  # room for labels around the plot, px
_LABELS, _VALUES, _ROW = 104, 40, 16  # of bars: room for labels and values, height of a row, px
_LABEL_LENGTH = 17  # characters that fit there
BINS = 20


@dataclass(frozen=True)
class Line:
    """One line of a chart; `style`: its class in the style sheet; `dots`: one a point, for few points."""

    style: str
    points: Sequence[Point]
    dots: bool = False


@dataclass(frozen=True)
class Bar:
    """One bar, its value in per cent."""

    label: str
    value: float
    style: str


def svg(title: str, words: str, content: Markup, height: float = _HEIGHT) -> Markup:
    """A chart with its title above, and title and `words` for those who can't see it."""
    return Markup(
        '<svg class="chart" viewBox="0 0 {w} {h}" role="img" aria-label="{title}: {words}">'
        '<text class="title" x="2" y="13">{title}</text>{content}</svg>'
    ).format(w=_WIDTH, h=f"{height:g}", title=title, words=words, content=content)


def line_chart(
    title: str,
    words: str,
    lines: Sequence[Line],
    top: float,
    ends: tuple[float, float],
    unit: str,
    digits: int = 0,
    kept: Point | None = None,
    bottom: float = 0.0,
) -> Markup:
    """Lines from value `bottom` to `top`, between the `ends` of the other axis; a ring around the `kept` point."""
    place = lambda point: _place((point[0], point[1] - bottom), ends, top - bottom)  # noqa: E731
    drawn = [_line(line, [place(point) for point in line.points]) for line in lines]
    if kept is not None:
        drawn.append(Markup('<circle class="ring" cx="{:.1f}" cy="{:.1f}" r="5"/>').format(*place(kept)))
    return svg(title, words, _grid(ends, top, unit, digits, bottom) + Markup("").join(drawn))


def _line(line: Line, places: Sequence[Point]) -> Markup:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    found = Markup('<polyline class="line {}" points="{}"/>').format(line.style, path)
    if line.dots or len(places) == 1:  # one point makes no line
        found += Markup("").join(
            Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="2"/>').format(line.style, *place)
            for place in places
        )
    return found


def _place(point: Point, ends: tuple[float, float], top: float) -> Point:
    step, value = point
    first, last = ends
    x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * (step - first) / max(last - first, 1e-9)
    y = _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * value / (top or 1)
    return x, y


def _grid(ends: tuple[float, float], top: float, unit: str, digits: int, bottom: float = 0.0) -> Markup:
    """Lines and labels at both ends and the middle of the value, and labels at both ends of the other axis."""
    lines = []
    for value in (bottom, (bottom + top) / 2, top):
        _, y = _place((ends[0], value - bottom), ends, top - bottom)
        lines.append(
            Markup(
                '<line class="grid" x1="{x}" y1="{y:.1f}" x2="{end}" y2="{y:.1f}"/>'
                '<text x="{label}" y="{base:.1f}" text-anchor="end">{value}</text>'
            ).format(x=_LEFT, y=y, end=_WIDTH - _RIGHT, label=_LEFT - 5, base=y + 4, value=f"{value:.{digits}f}")
        )
    return Markup("").join(lines) + _end_labels(f"{ends[0]:g}", f"{unit} {ends[1]:g}")


def _end_labels(first: str, last: str) -> Markup:
    return Markup(
        '<text x="{left}" y="{y}">{first}</text><text x="{right}" y="{y}" text-anchor="end">{last}</text>'
    ).format(left=_LEFT, right=_WIDTH - _RIGHT, y=_HEIGHT - 6, first=first, last=last)


def bar_chart(title: str, bars: Sequence[Bar]) -> Markup:
    """Horizontal bars from 0 to 100 per cent, each with its label and value."""
    drawn = [_bar(bar, 20 + _ROW * row) for row, bar in enumerate(bars)]
    words = ", ".join(f"{bar.label} {bar.value:.1f}" for bar in bars)
    return svg(title, words, Markup("").join(drawn), 24 + _ROW * len(bars))


def _bar(bar: Bar, y: float) -> Markup:
    room = _WIDTH - _LABELS - _VALUES
    return Markup(
        '<text x="{label_x}" y="{base}" text-anchor="end">{label}</text>'
        '<rect class="bar {style}" x="{x}" y="{y}" width="{width:.1f}" height="{height}"/>'
        '<text x="{value_x:.1f}" y="{base}">{value:.1f}</text>'
    ).format(
        label_x=_LABELS - 6,
        base=y + _ROW - 5,
        label=shortened(bar.label),
        style=bar.style,
        x=_LABELS,
        y=y + 2,
        width=room * bar.value / 100,
        height=_ROW - 4,
        value_x=_LABELS + room * bar.value / 100 + 4,
        value=bar.value,
    )


def shortened(label: str) -> str:
    """A label that fits beside a bar.

    >>> shortened("joint"), shortened("Somebody's long method (published)")
    ('joint', "Somebody's long …")
    """
    return label if len(label) <= _LABEL_LENGTH else label[: _LABEL_LENGTH - 1] + "…"


def histogram(title: str, values: Values, end: float, threshold: float, unit: str) -> Markup:
    """How many of `values` (N,) fall into each of `BINS` bins from 0 to `end`, those that reach the threshold apart,
    and the threshold as a line."""
    passed = values >= threshold
    below, _ = np.histogram(values[~passed], BINS, (0, end))
    above, _ = np.histogram(values[passed], BINS, (0, end))
    top = max(int((below + above).max(initial=0)), 1)
    words = (
        f"{len(values)} boxes from 0 to {end:g}; {int(passed.sum())} at or above the threshold, "
        f"{int((~passed).sum())} below; the fullest of {BINS} bins holds {top}"
    )
    grid = _grid((0, end), top, unit, 0)
    bars = Markup("").join(_bin(n, int(below[n]), int(above[n]), top) for n in range(BINS))
    return svg(f"{title}, threshold {threshold:g}", words, grid + bars + _threshold(threshold, end))


def _bin(number: int, below: int, above: int, top: int) -> Markup:
    """One bin: what is below the threshold at the bottom, what reaches it on top of that."""
    width = (_WIDTH - _LEFT - _RIGHT) / BINS
    found = Markup("")
    for style, low, high in (("below", 0, below), ("above", below, below + above)):
        if high > low:
            (_, bottom), (_, y) = _place((0, low), (0, 1), top), _place((0, high), (0, 1), top)
            found += Markup('<rect class="bar {}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
                style, _LEFT + number * width + 0.5, y, width - 1, bottom - y
            )
    return found


def _threshold(value: float, end: float) -> Markup:
    x, low = _place((min(value, end), 0), (0, end), 1)
    return Markup('<line class="threshold" x1="{x:.1f}" y1="{low:.1f}" x2="{x:.1f}" y2="{high}"/>').format(
        x=x, low=low, high=_TOP - 4
    )


def nice_top(value: float) -> float:
    """The end of an axis in per cent: the next ten.

    >>> nice_top(61.2), nice_top(0.0)
    (70, 10)
    """
    return min(100, 10 * (int(value // 10) + 1))
