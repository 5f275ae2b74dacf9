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

from fusionseg.pipeline.scoring.measures import boundary_map, contour_accuracy, region_similarity
from fusionseg.pipeline.scoring.protocols import PROTOCOLS, Protocol, scored_frames
from fusionseg.pipeline.scoring.statistics import (
    overall_table,
    per_sequence_table,
)

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


# ---- paired bootstrap


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
