"""Statistics of scores, by hand and against what was published."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fusionseg.pipeline.scoring.statistics import (
    SCORE_COLUMNS,
    overall_table,
    paired_difference,
    per_sequence_table,
    sequence_statistics,
)


@pytest.mark.parametrize(
    ("count", "first", "last"),
    [
        # Limits of the quarters, both ends included, worked out by hand from linspace(1, n, 5).
        (1, (0, 0), (0, 0)),
        (2, (0, 0), (1, 1)),  # 1, 1.25, 1.5, 1.75, 2
        (3, (0, 1), (2, 2)),  # 1, 1.5, 2, 2.5, 3: halves go up
        (4, (0, 1), (2, 3)),  # 1, 1.75, 2.5, 3.25, 4
        (5, (0, 1), (3, 4)),
        (6, (0, 1), (4, 5)),  # 1, 2.25, 3.5, 4.75, 6
        (7, (0, 2), (5, 6)),  # 1, 2.5, 4, 5.5, 7: 2.5 to even would give 1, not 2
        (8, (0, 2), (5, 7)),  # 1, 2.75, 4.5, 6.25, 8
        (11, (0, 3), (8, 10)),  # 1, 3.5, 6, 8.5, 11: 8.5 to even would give 7
        (80, (0, 20), (59, 79)),  # 1, 20.75, 40.5, 60.25, 80
        (257, (0, 64), (192, 256)),
        (1000, (0, 250), (749, 999)),  # 1, 250.75, 500.5, 750.25, 1000
    ],
)
def test_decay_takes_these_quarters(count: int, first: tuple[int, int], last: tuple[int, int]) -> None:
    scores = np.sqrt(np.arange(count)) / count  # no two different spans have the same mean difference
    expected = scores[first[0] : first[1] + 1].mean() - scores[last[0] : last[1] + 1].mean()
    assert sequence_statistics(scores).decay == pytest.approx(expected, abs=1e-12)


def test_decay_of_a_fall_and_of_a_rise() -> None:
    fall = np.repeat([1.0, 0.25], 200)
    assert sequence_statistics(fall).decay == 0.75
    assert sequence_statistics(fall[::-1]).decay == -0.75


def test_recall_counts_only_scores_above_a_half() -> None:
    statistics = sequence_statistics(np.array([0.5, np.nextafter(0.5, 1), 0.25, 1.0]))
    assert statistics.recall == 0.5
    assert statistics.mean == pytest.approx(0.5625)


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.float64, st.integers(1, 600), elements=st.floats(0, 1)))
def test_statistics_are_bounded(scores: npt.NDArray[np.float64]) -> None:
    mean, recall, decay = sequence_statistics(scores)
    assert scores.min() - 1e-12 <= mean <= scores.max() + 1e-12
    assert 0 <= recall <= 1
    assert -1 <= decay <= 1
    assert sequence_statistics(scores[:1]).decay == 0


@pytest.mark.parametrize("values", [[], [0.5, math.nan], [math.inf], [[0.5]], 0.5])
def test_statistics_refuse_what_is_no_sequence_of_scores(values: Any) -> None:
    with pytest.raises(ValueError, match="scores must"):
        sequence_statistics(np.array(values))


@pytest.fixture
def per_frame() -> pd.DataFrame:
    """Return two methods on two sequences of different length, names out of alphabetical order."""
    rows = [
        (method, sequence, frame, min(1, gain + 0.1 * frame), 1 - 0.05 * frame)
        for method, gain in (("zeta", 0.3), ("alpha", 0.1))
        for sequence, count in (("surf", 8), ("bear", 4))
        for frame in range(1, count + 1)
    ]
    return pd.DataFrame(rows, columns=["method", "sequence", "frame", "J", "F"])


def test_per_sequence_table(per_frame: pd.DataFrame) -> None:
    table = per_sequence_table(per_frame)
    assert table.columns.to_list() == ["method", "sequence", *SCORE_COLUMNS]
    assert table["method"].to_list() == ["zeta", "zeta", "alpha", "alpha"]
    assert table["sequence"].to_list() == ["surf", "bear", "surf", "bear"]
    expected = [0.55, 0.5, -0.2, 0.875, 1.0, 0.1, 0.7125]  # zeta on bear: J 0.4 to 0.7, F 0.95 to 0.8
    assert table[list(SCORE_COLUMNS)].to_numpy()[1] == pytest.approx(expected)


def test_tables_do_not_depend_on_the_order_of_frames(per_frame: pd.DataFrame) -> None:
    shuffled = per_frame.sample(frac=1, random_state=1)
    expected, found = (
        per_sequence_table(table).sort_values(["method", "sequence"], ignore_index=True)
        for table in (per_frame, shuffled)
    )
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


def test_tables_leave_their_argument_alone(per_frame: pd.DataFrame) -> None:
    before = per_frame.copy(deep=True)
    overall_table(per_sequence_table(per_frame))
    pd.testing.assert_frame_equal(per_frame, before)


def test_overall_table_weighs_sequences_not_frames(per_frame: pd.DataFrame) -> None:
    per_sequence = per_sequence_table(per_frame)
    overall = overall_table(per_sequence)
    assert overall.columns.to_list() == ["method", *SCORE_COLUMNS]
    assert overall["method"].to_list() == ["zeta", "alpha"]
    for column in SCORE_COLUMNS:
        assert overall.loc[0, column] == pytest.approx(per_sequence[column].iloc[:2].mean())
    assert overall.loc[0, "J"] != pytest.approx(per_frame[per_frame["method"] == "zeta"]["J"].mean())


def test_tables_refuse_bad_rows(per_frame: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="missing columns: F"):
        per_sequence_table(per_frame.drop(columns="F"))
    with pytest.raises(ValueError, match="repeated row for method zeta, sequence surf, frame 1"):
        per_sequence_table(pd.concat([per_frame, per_frame.head(1)]))
    with pytest.raises(ValueError, match="no rows"):
        per_sequence_table(per_frame.head(0))
    with pytest.raises(ValueError, match="finite"):
        per_sequence_table(per_frame.assign(J=math.nan))
    with pytest.raises(ValueError, match="is missing"):
        per_sequence_table(per_frame.assign(sequence=None))
    with pytest.raises(ValueError, match="finite"):
        overall_table(per_sequence_table(per_frame).assign(F_decay=math.nan))
    with pytest.raises(ValueError, match="repeated row for method zeta, sequence surf"):
        overall_table(pd.concat([per_sequence_table(per_frame)] * 2))


def two_methods(first: npt.ArrayLike, second: npt.ArrayLike) -> pd.DataFrame:
    """Return the table of methods a and b with these J values, a sequence each."""
    parts = [
        pd.DataFrame({"method": method, "J": np.asarray(values, float)}).rename_axis("sequence").reset_index()
        for method, values in (("a", first), ("b", second))
    ]
    return pd.concat(parts, ignore_index=True)


def test_paired_difference_of_a_constant_gain_has_no_width() -> None:
    scores = np.random.default_rng(0).uniform(0, 0.5, 30)
    table = two_methods(scores + 0.25, scores)
    assert paired_difference(table, "a", "b") == pytest.approx((0.25, 0.25, 0.25))


def test_paired_difference_is_near_the_normal_interval() -> None:
    generator = np.random.default_rng(3)
    base, gain = generator.uniform(0, 1, 200), generator.normal(0.05, 0.1, 200)
    mean, low, high = paired_difference(two_methods(base + gain, base), "a", "b")
    half_width = 1.96 * gain.std() / math.sqrt(200)
    assert mean == pytest.approx(gain.mean())
    assert (low, high) == pytest.approx((mean - half_width, mean + half_width), abs=0.05 * half_width)


def test_paired_difference_repeats_and_changes_sign() -> None:
    generator = np.random.default_rng(4)
    table = two_methods(generator.uniform(size=20), generator.uniform(size=20))
    result = paired_difference(table, "a", "b")
    assert result.low < result.mean < result.high
    for reordered in (table.iloc[::-1], table.sample(frac=1, random_state=0)):
        assert paired_difference(reordered, "a", "b") == result
    assert paired_difference(table, "a", "b", seed=1) != result
    swapped = paired_difference(table, "b", "a")
    assert swapped == pytest.approx((-result.mean, -result.high, -result.low))


def test_paired_difference_takes_any_column() -> None:
    table = two_methods([0.5, 0.75], [0.25, 0.5]).rename(columns={"J": "JF"})
    assert paired_difference(table, "a", "b", column="JF") == (0.25, 0.25, 0.25)


def test_paired_difference_refuses_what_it_cannot_pair() -> None:
    table = two_methods([0.5, 0.75], [0.25, 0.5])
    with pytest.raises(ValueError, match=r"different sequences: \[1\]"):
        paired_difference(table.head(3), "a", "b")
    with pytest.raises(ValueError, match="no rows for method 'c'"):
        paired_difference(table, "a", "c")
    with pytest.raises(ValueError, match="missing columns: F"):
        paired_difference(table, "a", "b", column="F")
    with pytest.raises(ValueError, match="samples"):
        paired_difference(table, "a", "b", samples=0)
