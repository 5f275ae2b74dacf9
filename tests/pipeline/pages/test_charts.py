"""Charts say what was drawn, and draw what they say."""

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fusionseg.pipeline.pages.charts import BINS, Bar, Line, bar_chart, histogram, line_chart
from fusionseg.pipeline.report.curves import thinned


def numbers(pattern: str, text: str) -> list[float]:
    """All numbers that the group of a pattern finds."""
    return [float(found) for found in re.findall(pattern, text)]


def test_bars_are_as_long_as_their_values_say() -> None:
    chart = bar_chart("bear", [Bar("joint", 80.0, "joint"), Bar("motion", 20.0, "motion"), Bar("none", 0.0, "other")])
    long, short, none = numbers(r'<rect[^>]* width="([\d.]+)"', chart)
    assert abs(long - 4 * short) < 0.5
    assert none == 0
    assert 'aria-label="bear: joint 80.0, motion 20.0, none 0.0"' in chart


def test_labels_are_escaped() -> None:
    chart = bar_chart("<bear>", [Bar('"<me>" & you', 1.0, "other")])
    assert "<bear>" not in chart
    assert "<me>" not in chart
    assert "&lt;me&gt;" in chart


def test_lines_begin_and_end_at_the_ends() -> None:
    chart = line_chart("bear", "words", [Line("joint", [(10, 0.0), (15, 50.0), (20, 100.0)])], 100.0, (10, 20), "frame")
    (path,) = re.findall(r'points="([^"]+)"', chart)
    (x0, y0), (x1, y1), (x2, y2) = (tuple(map(float, pair.split(","))) for pair in path.split())
    assert x0 < x1 < x2 and abs(x1 - (x0 + x2) / 2) < 0.11
    assert y0 > y1 > y2 and abs(y1 - (y0 + y2) / 2) < 0.11
    assert ">10</text>" in chart and ">frame 20</text>" in chart


def test_one_point_is_drawn_as_a_dot() -> None:
    chart = line_chart("bear", "words", [Line("joint", [(3, 50.0)])], 100.0, (3, 3), "frame")
    assert chart.count("<circle") == 1
    assert "nan" not in chart and "inf" not in chart


def test_histogram_stacks_what_passed_on_what_did_not() -> None:
    values = np.array([0.0, 0.52, 0.54, 0.54, 0.99, 1.0])
    chart = histogram("box test", values, 1.0, 0.53, "IoU")
    assert "6 boxes from 0 to 1; 4 at or above the threshold, 2 below; the fullest of 20 bins holds 3" in chart
    assert len(re.findall('class="bar below"', chart)) == 2
    assert len(re.findall('class="bar above"', chart)) == 2
    line = numbers(r'class="threshold" x1="([\d.]+)"', chart)[0]
    starts = numbers(r'class="bar above" x="([\d.]+)"', chart)
    assert starts[0] < line < starts[1], "the threshold lies within a bin"


@given(st.lists(st.floats(0, 441), max_size=60), st.floats(0, 441))
def test_histogram_draws_every_value(values: list[float], threshold: float) -> None:
    chart = histogram("flow test", np.array(values), 450.0, threshold, "grey levels")
    top = int(re.search(r"bins holds (\d+)", chart)[1])  # type: ignore[index]
    heights = numbers(r'<rect class="bar \w+"[^>]* height="([\d.]+)"', chart)
    assert len(heights) <= 2 * BINS
    drawn = sum(heights) / 100 * top  # the plot is 100 px high
    assert abs(drawn - len(values)) < 0.05 * top * (len(heights) + 1) / 100 + 1e-6 + 0.001 * len(values)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=900))
def test_thinned_lines_keep_their_mean_and_order(values: list[float]) -> None:
    line = thinned(list(enumerate(values)), most=100)
    assert len(line) == min(len(values), 100)
    assert [x for x, _ in line] == sorted(x for x, _ in line)
    assert min(values) - 1e-9 <= min(y for _, y in line) <= max(y for _, y in line) <= max(values) + 1e-9


def test_a_chart_may_begin_above_nothing() -> None:
    whole = line_chart("bear", "words", [Line("joint", [(0, 0.0), (1, 100.0)])], 100.0, (0, 1), "frame")
    upper = line_chart("bear", "words", [Line("joint", [(0, 60.0), (1, 100.0)])], 100.0, (0, 1), "frame", bottom=60.0)
    path = re.compile(r'points="([^"]*)"')
    assert path.findall(whole) == path.findall(upper)
    assert re.findall(r">(\d+)</text>", upper)[:3] == ["60", "80", "100"]
