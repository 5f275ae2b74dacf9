"""Weak labels: every reason, every threshold at its boundary, every kind of overlap."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionseg.models.labels import VOID
from fusionseg.pipeline.settings.sections import FlowFilter
from fusionseg.pipeline.weak_labels.verdicts import (
    ACCEPTED,
    BROKEN_FLOW,
    CAMERA_ONLY,
    DISAGREEING,
    FRAME_DROPPED,
    GENERATED,
    LARGE_BOX,
    NO_BACKGROUND,
    NO_FLOW,
    NO_MOTION,
    NO_OBJECT,
    OCCLUDED,
    REASONS,
    SMALL_BOX,
    SMALL_CONTRAST,
    SMALL_OVERLAP,
    UNSURE,
    summary,
    verdicts,
    weak_label,
    yields,
)

NAN = float("nan")
# A box of a quarter of a frame whose diagonal is 500 px, which passes all tests.
GOOD = {
    "video": "clip", "frame": 0, "box": 0, "x0": 0, "y0": 0, "x1": 200, "y1": 150, "height": 300, "width": 400,
    "occluded": 0, "generated": 0, "area": 10, "components": 1, "largest_share": 1.0, "overlap": 0.9, "coverage": 0.6,
    "uncut_overlap": 0.8, "confidence": 0.7, "agreement": 0.8,
    "background": 0.75, "contrast": 50.0, "vector_contrast": 3.0, "direction": 90.0, "magnitude_in": 5.0,
    "magnitude_out": 1.0, "residual_in": 4.0, "residual_out": 0.1, "magnitude_p99": 8.0, "unknown": 0.0,
}  # fmt: skip


def boxes_of(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame([GOOD | row for row in rows], columns=list(GOOD))


def verdict(row: dict[str, Any], **settings: Any) -> str:
    return str(verdicts(boxes_of(row), FlowFilter(**settings)).item())


def below(value: float) -> float:
    return float(np.nextafter(value, 0))


def above(value: float) -> float:
    return float(np.nextafter(value, np.inf))


@pytest.mark.parametrize(
    ("row", "settings", "expected"),
    [
        ({}, {}, ACCEPTED),
        ({"overlap": 0.75, "contrast": 30.0}, {}, ACCEPTED),  # both thresholds are reached
        ({"overlap": below(0.75)}, {}, SMALL_OVERLAP),
        ({"contrast": below(30)}, {}, SMALL_CONTRAST),
        ({"coverage": 0.75}, {"measure": "coverage"}, ACCEPTED),
        ({"coverage": below(0.75)}, {"measure": "coverage"}, SMALL_OVERLAP),
        ({"overlap": 0.0, "coverage": 0.8}, {"measure": "coverage"}, ACCEPTED),
        ({}, {"measure": "uncut-iou"}, ACCEPTED),
        ({"uncut_overlap": below(0.75)}, {"measure": "uncut-iou"}, SMALL_OVERLAP),
        ({"uncut_overlap": below(0.75)}, {}, ACCEPTED),
        ({}, {"min_confidence": 0.7}, ACCEPTED),
        ({}, {"min_confidence": above(0.7)}, UNSURE),
        ({}, {"min_agreement": 0.8}, ACCEPTED),
        ({}, {"min_agreement": above(0.8)}, DISAGREEING),
        ({"contrast": 0.0, "vector_contrast": 1.0}, {"contrast": "vector"}, ACCEPTED),
        ({"vector_contrast": below(1)}, {"contrast": "vector"}, SMALL_CONTRAST),
        ({"area": 0, "overlap": 0.0}, {}, NO_OBJECT),
        ({"occluded": 1}, {}, ACCEPTED),
        ({"occluded": 1}, {"occluded": "reject"}, OCCLUDED),
        ({"generated": 1}, {}, ACCEPTED),
        ({"generated": 1}, {"generated": "reject"}, GENERATED),
        ({}, {"min_box": 0.25}, ACCEPTED),
        ({}, {"min_box": above(0.25)}, SMALL_BOX),
        ({}, {"max_box": 0.25}, ACCEPTED),
        ({}, {"max_box": below(0.25)}, LARGE_BOX),
        ({"x1": 400, "y1": 300}, {}, LARGE_BOX),
        ({"x1": 0, "area": 0}, {}, SMALL_BOX),  # wholly outside the frame
        ({"x1": 0, "area": 0}, {"min_box": 0}, NO_OBJECT),
        ({"background": 0.0, "contrast": NAN}, {}, NO_BACKGROUND),
        ({"contrast": NAN, "unknown": NAN, "magnitude_p99": NAN, "residual_in": NAN}, {}, NO_FLOW),
        ({"unknown": 0.5}, {}, ACCEPTED),
        ({"unknown": above(0.5)}, {}, BROKEN_FLOW),
        ({"unknown": 1.0, "vector_contrast": NAN}, {"contrast": "vector", "max_unknown": 1}, BROKEN_FLOW),
        ({"magnitude_p99": 250.0}, {}, ACCEPTED),
        ({"magnitude_p99": 250.1}, {}, BROKEN_FLOW),
        ({"magnitude_p99": 0.25, "residual_in": 0.25}, {}, ACCEPTED),
        ({"magnitude_p99": 0.2, "residual_in": 0.2}, {}, NO_MOTION),
        ({"residual_in": 0.2}, {}, CAMERA_ONLY),
    ],
)  # fmt: skip
def test_verdicts(row: dict[str, Any], settings: dict[str, Any], expected: str) -> None:
    assert verdict(row, **settings) == expected


# Each makes a box fail one test, in the order of REASONS.
FAILURES: dict[str, dict[str, Any]] = {
    OCCLUDED: {"occluded": 1}, GENERATED: {"generated": 1}, SMALL_BOX: {"x1": 1, "y1": 1},
    LARGE_BOX: {"x1": 400, "y1": 300}, NO_OBJECT: {"area": 0}, SMALL_OVERLAP: {"overlap": 0.1},
    UNSURE: {"confidence": 0.1},
    DISAGREEING: {"agreement": 0.1},
    NO_BACKGROUND: {"background": 0.0}, NO_FLOW: {"contrast": NAN}, BROKEN_FLOW: {"unknown": 0.9},
    NO_MOTION: {"magnitude_p99": 0.0}, CAMERA_ONLY: {"residual_in": 0.0}, SMALL_CONTRAST: {"contrast": 1.0},
}  # fmt: skip


def test_every_reason_can_occur() -> None:
    assert {*FAILURES, FRAME_DROPPED} == set(REASONS)


@given(st.sets(st.sampled_from(list(FAILURES))))
def test_the_first_reason_counts(failing: set[str]) -> None:
    row: dict[str, Any] = {}
    for reason in reversed(list(FAILURES)):
        row |= FAILURES[reason] if reason in failing else {}
    expected = next((reason for reason in REASONS if reason in failing), ACCEPTED)
    assert verdict(row, occluded="reject", generated="reject", min_confidence=0.5, min_agreement=0.5) == expected


def test_thresholds_of_nothing_accept_all_that_can_be_measured() -> None:
    off = {
        "min_overlap": 0, "min_contrast": 0, "min_box": 0, "max_box": 1, "min_motion": 0, "max_motion": 9,
        "max_unknown": 1, "min_own_motion": 0,
    }  # fmt: skip
    least = {"x1": 400, "y1": 300, "overlap": 0.01, "contrast": 0.0, "magnitude_p99": 0.0, "residual_in": 0.0}
    assert verdict({**least, "unknown": 1.0, "vector_contrast": 0.0}, **off) == ACCEPTED
    assert verdict(least | {"area": 0}, **off) == NO_OBJECT
    assert verdict(least | {"contrast": NAN}, **off) == NO_FLOW


def test_without_u_and_v_colour_alone_decides() -> None:
    """What wasn't measured rejects nothing."""
    gone = dict.fromkeys(("unknown", "magnitude_p99", "residual_in", "vector_contrast", "direction"), NAN)
    assert verdict(gone) == ACCEPTED and verdict(gone | {"contrast": 1.0}) == SMALL_CONTRAST


def test_a_frame_with_a_rejected_box_is_dropped() -> None:
    table = boxes_of(
        {"frame": 0}, {"frame": 0, "box": 1, "overlap": 0.1}, {"frame": 1}, {"frame": 1, "box": 1},
        {"frame": 0, "video": "other"}, {"frame": 2, "contrast": 1.0},
    )  # fmt: skip
    table.index = pd.Index([7, 3, 5, 9, 1, 2])
    expected = [FRAME_DROPPED, SMALL_OVERLAP, ACCEPTED, ACCEPTED, ACCEPTED, SMALL_CONTRAST]
    found = verdicts(table, FlowFilter(rejected="drop"))
    assert found.tolist() == expected and found.index.equals(table.index)
    assert verdicts(table, FlowFilter()).tolist() == [ACCEPTED, *expected[1:]]
    judged = table.assign(reason=found, accepted=found == ACCEPTED)
    assert summary(judged[judged["video"] == "clip"], 4) == {
        "frames": 4, "frames_with_boxes": 3, "boxes": 5, "passed_box_test": 4, "passed_both_tests": 3,
        "labelled_frames": 1,
    }  # fmt: skip


@pytest.mark.parametrize("rejected", ["void", "drop"])
@pytest.mark.parametrize("contrast", ["colour", "vector"])
def test_yields_are_what_verdicts_under_these_thresholds_give(rejected: str, contrast: str) -> None:
    rng = np.random.default_rng(1)
    values = rng.random((60, 4))
    table = boxes_of(
        *({"frame": int(n // 2), "overlap": a, "contrast": 100 * b, "vector_contrast": 3 * c, "area": int(d > 0.1)}
          for n, (a, b, c, d) in enumerate(values))
    )  # fmt: skip
    own = FlowFilter(rejected=rejected, contrast=contrast)
    thresholds = [0.0, 10.0, 60.0] if contrast == "colour" else [0.0, 0.5, 2.0]
    found = yields(table, own, [0.0, 0.4, 1.0], thresholds)
    name = "min_contrast" if contrast == "colour" else "min_vector_contrast"
    for row in found.itertuples():
        settings = own.model_copy(update={"min_overlap": row.overlap, name: row.contrast})
        reasons = verdicts(table, settings)
        frames = table.loc[reasons == ACCEPTED, "frame"].nunique()
        assert (row.boxes, row.frames) == (reasons.isin([ACCEPTED, FRAME_DROPPED]).sum(), frames)
        assert (row.box_share, row.frame_share) == pytest.approx((row.boxes / 60, row.frames / 30))
    assert len(found) == 9 and found["frames"].iloc[0] > 0 and found["frames"].iloc[-1] == 0


def test_no_boxes_no_verdicts() -> None:
    for rejected in ("void", "drop"):
        assert verdicts(boxes_of().astype(float), FlowFilter(rejected=rejected)).tolist() == []


def boxes(*rows: tuple[int, int, int, int]) -> np.ndarray:
    return np.array(rows, np.int64).reshape(-1, 4)


PREDICTED = np.zeros((6, 8), np.uint8)
PREDICTED[1:4, 1:4] = 1
PREDICTED[2:5, 5:7] = 1


def label(rows: np.ndarray, accepted: list[bool]) -> np.ndarray:
    return weak_label(PREDICTED, rows, np.array(accepted, bool))


def test_label_is_the_region_of_accepted_boxes_and_void_in_rejected_ones() -> None:
    found = label(boxes((0, 0, 4, 5), (4, 1, 8, 5)), [True, False])
    expected = np.zeros((6, 8), np.uint8)
    expected[1:4, 1:4] = 1
    expected[1:5, 4:8] = VOID
    assert np.array_equal(found, expected)
    both = label(boxes((0, 0, 4, 5), (4, 1, 8, 5)), [True, True])
    assert np.array_equal(both, PREDICTED)


def test_where_boxes_overlap_an_accepted_object_stands_and_the_rest_is_void() -> None:
    found = label(boxes((0, 0, 4, 5), (2, 2, 8, 6)), [True, False])
    assert (found[1:4, 1:4] == 1).all()
    assert (found[4, 2:4] == VOID).all()  # in both boxes, no object: unknown
    assert (found[2:6, 4:8] == VOID).all() and (found[4, 0:2] == 0).all() and (found[0] == 0).all()
    order = label(boxes((2, 2, 8, 6), (0, 0, 4, 5)), [False, True])
    assert np.array_equal(order, found)


def test_region_outside_the_accepted_boxes_is_background() -> None:
    assert np.array_equal(label(boxes((0, 0, 4, 5)), [True])[:, 4:], np.zeros((6, 4), np.uint8))


@pytest.mark.parametrize("rows", [boxes(), boxes((0, 0, 4, 5), (4, 1, 8, 5))])
def test_without_an_accepted_box_all_is_void(rows: np.ndarray) -> None:
    assert (label(rows, [False] * len(rows)) == VOID).all()
