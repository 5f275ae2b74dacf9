"""Regions refined by colours: a disc whose colour tells it from the background."""

import cv2
import numpy as np
import pytest

from fusionseg.pipeline.settings.sections import BoxPruning
from fusionseg.pipeline.weak_labels.grabcut import refine, refine_box, separate, small
from fusionseg.pipeline.weak_labels.regions import measure

SIZE = (120, 160)
YS, XS = np.mgrid[: SIZE[0], : SIZE[1]]
DISC = np.hypot(YS - 60, XS - 80) < 30
BOX = np.array([50, 30, 111, 91])


def frame(seed: int = 0) -> np.ndarray:
    """A red disc on green, both noisy, BGR."""
    noise = np.random.default_rng(seed).normal(0, 12, (*SIZE, 3))
    colour = np.where(DISC[..., None], (40, 60, 190), (60, 170, 50))
    return np.clip(colour + noise, 0, 255).astype(np.uint8)


def shifted(by: int, sure: float = 1.0) -> np.ndarray:
    """The margin of a network that sees the disc `by` pixels too far to the right."""
    return np.where(np.roll(DISC, by, 1), sure, -sure).astype(np.float32)


def iou(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


def test_colours_put_a_misplaced_prediction_right() -> None:
    margin = shifted(12)
    before, after = margin > 0, refine(frame(), margin, BOX[None])
    assert iou(before, DISC) < 0.65 and iou(after & (XS < 111), DISC) > 0.97


def test_where_the_network_is_sure_its_word_stands() -> None:
    margin = shifted(12, sure=3.5)
    found = refine_box(small(frame()), margin, BOX)
    np.testing.assert_array_equal(found, (margin > 0)[30:91, 50:111])


def test_outside_the_boxes_the_prediction_stays() -> None:
    margin = shifted(12)
    far = np.hypot(YS - 10, XS - 10) < 6
    margin[far] = 1
    found = refine(frame(), margin, BOX[None])
    inside = np.zeros(SIZE, bool)
    inside[30:91, 50:111] = True
    np.testing.assert_array_equal(found & ~inside, (margin > 0) & ~inside)


def test_of_overlapping_boxes_both_count() -> None:
    margin = shifted(0)
    boxes = np.array([[40, 25, 111, 91], [50, 30, 120, 95]])
    expected = np.zeros(SIZE, bool)
    for x0, y0, x1, y1 in boxes:
        expected[y0:y1, x0:x1] |= refine_box(small(frame()), margin, np.array([x0, y0, x1, y1]))
    np.testing.assert_array_equal(refine(frame(), margin, boxes), expected)
    assert expected.any() and not refine(frame(), np.full(SIZE, -1, np.float32), boxes).any()


@pytest.mark.parametrize("value", [1.0, -1.0])
def test_without_a_background_or_an_object_to_learn_from_the_prediction_stays(value: float) -> None:
    whole = np.array([0, 0, SIZE[1], SIZE[0]])
    found = refine_box(small(frame()), np.full(SIZE, value, np.float32), whole)
    assert found.all() if value > 0 else not found.any()
    assert separate(frame(), np.full(SIZE, cv2.GC_PR_FGD, np.uint8), 1) is None


def test_repeats_itself() -> None:
    noisy = frame(3)
    cv2.setRNGSeed(1)
    first = refine(noisy, shifted(12), BOX[None])
    cv2.setRNGSeed(2)
    np.testing.assert_array_equal(refine(noisy, shifted(12), BOX[None]), first)


def test_large_frames_are_reduced_and_small_ones_kept() -> None:
    assert small(np.zeros((480, 854, 3), np.uint8)).shape == (240, 427, 3)
    assert small(frame()).shape == (*SIZE, 3)


def test_box_pruning_measures_how_far_colours_and_network_agree() -> None:
    margin = shifted(12)
    refined, (found,) = measure(margin, BOX[None], BoxPruning(refine="grabcut"), frame())
    own, predicted = refined[30:91, 50:111], (margin > 0)[30:91, 50:111]
    assert found.agreement == pytest.approx(iou(own, predicted)) and 0.4 < found.agreement < 0.7
    assert found.area == own.sum()
    assert measure(margin, BOX[None], BoxPruning())[1][0].agreement == 1
