"""The measures against hand-computed values, a slow reference, and the benchmark's own scores."""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fusionseg.pipeline.scoring.measures import (
    SCORE_COLUMNS,
    boundary_map,
    contour_accuracy,
    overall_table,
    paired_difference,
    per_sequence_table,
    region_similarity,
    sequence_statistics,
)
from fusionseg.pipeline.scoring.protocols import PROTOCOLS, Protocol, scored_frames

Mask = npt.NDArray[np.bool_]


def picture(*rows: str) -> Mask:
    """Return the mask drawn by `rows`, where # is foreground."""
    return np.array([[character == "#" for character in row] for row in rows])


def rectangle(height: int, width: int, rows: slice, columns: slice) -> Mask:
    """Return a (height, width) mask with one rectangle."""
    mask = np.zeros((height, width), bool)
    mask[rows, columns] = True
    return mask


@st.composite
def masks(draw: st.DrawFn, count: int, longest_side: int = 24) -> list[Mask]:
    """Draw `count` masks of one shape; rectangles make sparse boundaries that single pixels seldom give."""
    height, width = draw(st.tuples(*[st.integers(1, longest_side)] * 2))
    rows, columns = st.integers(0, height), st.integers(0, width)
    noise = hnp.arrays(bool, (height, width))
    block = st.builds(
        lambda a, b, c, d: rectangle(height, width, slice(a, b), slice(c, d)), rows, rows, columns, columns
    )
    return [draw(st.one_of(noise, block)) for _ in range(count)]


# ---- J


def test_region_similarity_by_hand() -> None:
    truth = rectangle(10, 10, slice(0, 4), slice(0, 5))
    prediction = rectangle(10, 10, slice(2, 6), slice(0, 5))
    assert region_similarity(truth, prediction) == 10 / 30


def test_region_similarity_of_empty_masks() -> None:
    empty, full = np.zeros((4, 5), bool), np.ones((4, 5), bool)
    assert region_similarity(empty, empty) == 1
    assert region_similarity(full, empty) == region_similarity(empty, full) == 0


def test_objects_are_merged() -> None:
    numbered = np.array([[0, 1, 2], [0, 0, 255]], np.uint8)
    assert region_similarity(numbered, numbered > 0) == contour_accuracy(numbered, numbered > 0) == 1


# ---- boundary


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        pytest.param(
            picture("....", ".##.", ".##.", "...."),
            picture("###.", "#.#.", "###.", "...."),
            id="a square's boundary starts one pixel up and left",
        ),
        pytest.param(picture("..", ".#"), picture("##", "#."), id="last row right, last column down"),
        pytest.param(picture("#.", ".."), picture("#.", ".."), id="the other corners see nothing"),
        pytest.param(picture(".#", "#."), picture("##", "#."), id="anti-diagonal"),
        pytest.param(picture("#.", ".#"), picture("##", "#."), id="diagonal"),
        pytest.param(picture("##", "##"), picture("..", ".."), id="a full frame has no boundary"),
        pytest.param(picture("#.#"), picture("##."), id="one row"),
        pytest.param(picture("#", "."), picture("#", "."), id="one column"),
    ],
)
def test_boundary_map_by_hand(mask: Mask, expected: Mask) -> None:
    found = boundary_map(mask)
    assert found.dtype == np.bool_
    np.testing.assert_array_equal(found, expected)


def test_boundary_map_leaves_its_argument_alone() -> None:
    mask = picture("#.", "..")
    boundary_map(mask)
    np.testing.assert_array_equal(mask, picture("#.", ".."))


# ---- F


def slow_boundary(mask: Mask) -> Mask:
    """Return the boundary map, pixel by pixel."""
    height, width = mask.shape
    boundary = np.zeros_like(mask)
    for y in range(height):
        for x in range(width):
            neighbours = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
            boundary[y, x] = any(mask[y, x] != mask[v, u] for v, u in neighbours if v < height and u < width)
    return boundary


def slow_matches(points: Mask, targets: Mask, radius: int) -> int:
    """Count the pixels of `points` within `radius` of a pixel of `targets`, pair by pair."""
    targeted, count = np.argwhere(targets).tolist(), 0
    for y, x in np.argwhere(points).tolist():
        count += any((y - v) ** 2 + (x - u) ** 2 <= radius**2 for v, u in targeted)
    return count


def slow_contour_accuracy(truth: Mask, prediction: Mask) -> float:
    """Return F by the definition, over the whole frame."""
    height, width = truth.shape
    radius = math.ceil(0.008 * math.sqrt(height**2 + width**2))
    true, predicted = slow_boundary(truth), slow_boundary(prediction)
    if true.sum() == 0 and predicted.sum() == 0:
        return 1.0
    if true.sum() == 0 or predicted.sum() == 0:
        return 0.0
    precision = slow_matches(predicted, true, radius) / predicted.sum()
    recall = slow_matches(true, predicted, radius) / true.sum()
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


@settings(max_examples=60, deadline=None)
@given(masks(2))
def test_contour_accuracy_is_the_slow_reference(pair: list[Mask]) -> None:
    truth, prediction = pair
    np.testing.assert_array_equal(boundary_map(truth), slow_boundary(truth))
    expected = slow_contour_accuracy(truth, prediction)
    assert contour_accuracy(truth, prediction) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_contour_accuracy_is_the_slow_reference_at_larger_radii(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth, prediction = np.zeros((2, 24, 400), bool)  # radius 4
    for mask in (truth, prediction):
        y, x, height, width = generator.integers([0, 0, 4, 4], [16, 20, 16, 16])
        mask[y : y + height, x : x + width] = True
    shifted = np.roll(truth, tuple(generator.integers(-6, 7, 2)), (0, 1))
    for other in (prediction, shifted, truth | prediction):
        expected = slow_contour_accuracy(truth, other)
        assert contour_accuracy(truth, other) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("shape", "radius"),
    [((10, 10), 1), ((75, 100), 1), ((76, 100), 2), ((288, 384), 4), ((480, 854), 8), ((1080, 1920), 18)],
)
def test_a_boundary_counts_up_to_the_radius_and_no_further(shape: tuple[int, int], radius: int) -> None:
    height, width = shape
    truth, near, far = (
        rectangle(height, width, slice(None), slice(0, column)) for column in (2, 2 + radius, 3 + radius)
    )
    assert contour_accuracy(truth, near) == contour_accuracy(near, truth) == 1
    assert contour_accuracy(truth, far) == contour_accuracy(far, truth) == 0


def test_the_neighbourhood_is_a_disk() -> None:
    height, width = 288, 384  # radius 4: (3, 2) is inside the disk, (3, 3) is not
    truth = rectangle(height, width, slice(100, 101), slice(100, 101))
    inside = np.roll(truth, (3, 2), (0, 1))
    diagonal = np.roll(truth, (5, 5), (0, 1))  # boundary 2 x 2, nearest corners (4, 4) apart
    assert contour_accuracy(truth, inside) == 1
    assert contour_accuracy(truth, diagonal) == 0


def test_contour_accuracy_by_hand() -> None:
    truth = rectangle(60, 60, slice(None), slice(0, 10))  # boundary: column 9, 60 pixels
    prediction = truth | rectangle(60, 60, slice(None), slice(30, 60))  # and column 29
    assert contour_accuracy(truth, prediction) == pytest.approx(2 * 0.5 * 1 / 1.5)


def test_contour_accuracy_of_empty_boundaries() -> None:
    empty, full = np.zeros((20, 20), bool), np.ones((20, 20), bool)
    block = rectangle(20, 20, slice(5, 9), slice(5, 9))
    for first, second in ((empty, empty), (empty, full), (full, empty), (full, full)):
        assert contour_accuracy(first, second) == 1
    for other in (empty, full):
        assert contour_accuracy(block, other) == contour_accuracy(other, block) == 0


# ---- J and F


@settings(max_examples=60, deadline=None)
@given(masks(2))
def test_both_measures_are_symmetric_bounded_and_one_for_equal_masks(pair: list[Mask]) -> None:
    first, second = pair
    for measure in (region_similarity, contour_accuracy):
        assert 0 <= measure(first, second) <= 1
        assert measure(first, second) == pytest.approx(measure(second, first), abs=1e-15)
        assert measure(first, first) == 1
        assert isinstance(measure(first, second), float)


@settings(max_examples=40, deadline=None)
@given(masks(2, longest_side=12), st.integers(1, 20), st.integers(1, 20))
def test_both_measures_are_invariant_to_translation(pair: list[Mask], down: int, right: int) -> None:
    def placed(mask: Mask, y: int, x: int) -> Mask:
        frame = np.zeros((40, 40), bool)
        frame[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
        return frame

    for measure in (region_similarity, contour_accuracy):
        here = measure(*(placed(mask, 1, 1) for mask in pair))
        assert measure(*(placed(mask, down, right) for mask in pair)) == pytest.approx(here, abs=1e-12)


@pytest.mark.parametrize("measure", [region_similarity, contour_accuracy])
@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        (np.zeros((4, 5), bool), np.zeros((5, 4), bool), "shapes differ"),
        (np.zeros((4, 5), bool), np.zeros((4, 1), bool), "shapes differ"),
        (np.zeros((4, 5, 1), bool), np.zeros((4, 5, 1), bool), r"\(H, W\)"),
        (np.zeros((4, 5), bool), np.full((4, 5), 0.2), "threshold"),
    ],
)
def test_what_is_no_pair_of_masks_is_refused(
    measure: Any, truth: npt.NDArray[Any], prediction: npt.NDArray[Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        measure(truth, prediction)


# ---- statistics of a sequence


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


# ---- protocols


def test_davis2016_leaves_out_the_first_and_the_last_frame() -> None:
    davis = PROTOCOLS["davis2016"]
    assert list(scored_frames(davis, 3)) == [1]
    assert list(scored_frames(davis, 82)) == list(range(1, 81))
    assert all(name == protocol.name for name, protocol in PROTOCOLS.items())


@pytest.mark.parametrize("count", [-1, 0, 1, 2])
def test_davis2016_needs_three_frames(count: int) -> None:
    with pytest.raises(ValueError, match=r"davis2016: a video of .* at least 3"):
        scored_frames(PROTOCOLS["davis2016"], count)


def test_a_protocol_may_keep_all_frames() -> None:
    every = Protocol("fbms", "every frame")
    assert list(scored_frames(every, 2)) == [0, 1]
    with pytest.raises(ValueError, match="at least 1"):
        scored_frames(every, 0)


# ---- tables


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


# ---- paired bootstrap


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


# ---- the benchmark's own scores


def scores_of_sequence(truths: Path, predictions: Path) -> dict[str, list[float]]:
    """Return J and F of the scored frames of one sequence, both folders holding one PNG mask a frame."""
    names = sorted(path.name for path in truths.glob("*.png"))
    scores: dict[str, list[float]] = {"J": [], "F": []}
    for index in scored_frames(PROTOCOLS["davis2016"], len(names)):
        truth, prediction = (
            np.asarray(cv2.imread(str(folder / names[index]), cv2.IMREAD_GRAYSCALE)) > 0
            for folder in (truths, predictions)
        )
        scores["J"].append(region_similarity(truth, prediction))
        scores["F"].append(contour_accuracy(truth, prediction))
    return scores


@pytest.mark.real
def test_published_masks_get_their_published_scores(real_data: Path) -> None:
    official = json.loads((real_data / "fseg_masks_train30_official_scores.json").read_text())
    truths = real_data / "davis2016_train" / "Annotations" / "480p"
    predictions = real_data / "fseg_masks_train30"
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda name: scores_of_sequence(truths / name, predictions / name), official)
        tables = [
            pd.DataFrame({"method": "fseg", "sequence": name, "frame": range(1, len(s["J"]) + 1), **s})
            for name, s in zip(official, found, strict=True)
        ]
    per_frame = pd.concat(tables, ignore_index=True)
    assert per_frame["sequence"].nunique() == 30
    for measure in ("J", "F"):
        published = np.concatenate([np.array(official[name][measure], float) for name in official])
        np.testing.assert_allclose(per_frame[measure], published, rtol=0, atol=0.0005 + 1e-9)
    overall = overall_table(per_sequence_table(per_frame)).iloc[0]
    assert (round(overall["J"], 4), round(overall["F"], 4)) == (0.7221, 0.6617)
