"""Weak labels: every reason, every threshold at its boundary, every kind of overlap."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from builders import make_context, make_item, make_job, write_input

from fusionseg.models.labels import VOID
from fusionseg.pipeline.artifact import Artifact, Record
from fusionseg.pipeline.flow_filter import (
    ACCEPTED,
    GENERATED,
    NO_BACKGROUND,
    NO_FLOW,
    NO_OBJECT,
    OCCLUDED,
    SMALL_CONTRAST,
    SMALL_OVERLAP,
    VERDICT_COLUMNS,
    compute,
    flow_contrast,
    verdict,
    weak_label,
)
from fusionseg.pipeline.profile import FlowFilter

SETTINGS = FlowFilter(min_overlap=0.75, min_contrast=30)


@pytest.mark.parametrize(
    ("area", "overlap", "contrast", "expected"),
    [
        (10, 0.9, 50.0, ACCEPTED),
        (10, 0.75, 30.0, ACCEPTED),  # both thresholds are reached
        (10, np.nextafter(0.75, 0), 50.0, SMALL_OVERLAP),
        (10, 0.9, np.nextafter(30, 0), SMALL_CONTRAST),
        (0, 0.0, 50.0, NO_OBJECT),
        (0, 0.0, None, NO_OBJECT),
        (10, 0.9, float("nan"), NO_BACKGROUND),
        (10, 0.9, None, NO_FLOW),
        (10, 0.1, None, SMALL_OVERLAP),  # the box test goes first
        (10, 0.1, 0.0, SMALL_OVERLAP),
        (10, 0.1, float("nan"), SMALL_OVERLAP),
    ],
)
def test_verdicts(area: int, overlap: float, contrast: float | None, expected: str) -> None:
    assert verdict(area, overlap, contrast, SETTINGS) == expected


def test_thresholds_of_nothing_accept_all_that_can_be_measured() -> None:
    none = FlowFilter(min_overlap=0, min_contrast=0)
    assert verdict(1, 0.01, 0.0, none) == ACCEPTED
    assert verdict(0, 0.0, 0.0, none) == NO_OBJECT and verdict(1, 1.0, float("nan"), none) == NO_BACKGROUND


def boxes(*rows: tuple[int, int, int, int]) -> np.ndarray:
    return np.array(rows, np.int64).reshape(-1, 4)


def test_contrast_is_the_distance_of_mean_colours() -> None:
    image = np.full((4, 10, 3), 100, np.uint8)
    image[1:3, 2:4] = [103, 104, 100]  # 3, 4, 0 -> 5
    image[1:3, 6:8, 2] = 100 + np.array([[0, 20], [0, 20]])  # mean 10
    assert flow_contrast(image, boxes((2, 1, 4, 3), (6, 1, 8, 3))) == pytest.approx([5, 10])


def test_background_is_what_no_box_covers() -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    image[:, 3:] = 90
    # Were the other box part of the background, its mean would not be 0.
    first, second = flow_contrast(image, boxes((3, 0, 6, 4), (2, 0, 4, 4)))
    assert first == pytest.approx(90 * 3**0.5) and second == pytest.approx(45 * 3**0.5)


def test_contrast_without_background_is_not_a_number() -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    assert np.isnan(flow_contrast(image, boxes((0, 0, 6, 4)))).all()
    assert np.isnan(flow_contrast(image, boxes((0, 0, 3, 4), (3, 0, 6, 4)))).all()
    assert flow_contrast(image, boxes()) == []


def test_a_box_without_area_has_no_contrast() -> None:
    assert flow_contrast(np.zeros((4, 6, 3), np.uint8), boxes((6, 1, 6, 3), (2, 4, 4, 4))) == [0.0, 0.0]


REGION = np.zeros((6, 8), np.uint8)
REGION[1:4, 1:4] = 1
REGION[2:5, 5:7] = 1


def label(rows: np.ndarray, accepted: list[bool]) -> np.ndarray:
    return weak_label(REGION, rows, np.array(accepted, bool))


def test_label_is_the_region_of_accepted_boxes_and_void_in_rejected_ones() -> None:
    found = label(boxes((0, 0, 4, 5), (4, 1, 8, 5)), [True, False])
    expected = np.zeros((6, 8), np.uint8)
    expected[1:4, 1:4] = 1
    expected[1:5, 4:8] = VOID
    assert np.array_equal(found, expected)
    both = label(boxes((0, 0, 4, 5), (4, 1, 8, 5)), [True, True])
    assert np.array_equal(both, REGION)


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


COLUMNS = ["frame", "box", "x0", "y0", "x1", "y1", "overlap", "area", "occluded", "generated"]
ROWS = [
    (0, 0, 1, 1, 4, 4, 1.0, 9, 0, 1), (0, 1, 5, 2, 7, 5, 0.5, 6, 1, 0),
    (2, 0, 1, 1, 4, 4, 1.0, 9, 1, 1), (2, 1, 4, 0, 5, 1, 0.0, 0, 0, 0),
    (3, 0, 0, 0, 8, 6, 0.9, 15, 0, 0),
]  # fmt: skip


def run(root: Path, rows: list[Any], flow: bool = True, **settings: Any) -> tuple[Record, Artifact]:
    context = make_context(root)
    images = np.full((4, 6, 8, 3), 255, np.uint8)
    images[0, 1:4, 1:4] = [155, 255, 255]  # differs by 100
    images[2, 1:4, 1:4] = [245, 255, 255]  # by 10
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"occluded": np.int8, "generated": np.int8})
    inputs = [
        write_input(context, "box-pruning", {"regions": np.stack([REGION] * 4)}, tables={"boxes": table}),
        write_input(context, "flow-images", {"images": images if flow else images[:0]}),
    ]
    job = make_job("flow-filter", make_item(), {"flow-filter": FlowFilter(**settings).model_dump()}, inputs)
    record = compute(job, context)
    return record, Artifact(root / record.path)


def test_stage(tmp_path: Path) -> None:
    record, artifact = run(tmp_path, ROWS)
    with artifact:
        table = artifact.table("verdicts")
        labels = np.stack([artifact.frame("labels", n) for n in range(4)])
        artifact.verify()
    assert table.columns.tolist() == VERDICT_COLUMNS and set(table["video"]) == {"clip"}
    assert table["reason"].tolist() == [ACCEPTED, SMALL_OVERLAP, SMALL_CONTRAST, NO_OBJECT, NO_BACKGROUND]
    assert table["accepted"].tolist() == [1, 0, 0, 0, 0]
    assert table["contrast"].tolist() == pytest.approx([100, 0, 10, 0, np.nan], nan_ok=True)
    assert table["overlap"].tolist() == [1.0, 0.5, 1.0, 0.0, 0.9]
    assert table["occluded"].tolist() == [0, 1, 1, 0, 0] and table["generated"].tolist() == [1, 0, 1, 0, 0]
    assert table["occluded"].dtype == table["generated"].dtype == np.int8
    assert (labels[0][1:4, 1:4] == 1).all() and (labels[0][2:5, 5:7] == VOID).all() and labels[0][0, 0] == 0
    assert (labels[1:] == VOID).all()
    assert record.counts == {
        "frames": 4, "frames_with_boxes": 3, "boxes": 5, "passed_box_test": 3, "passed_both_tests": 1,
        "labelled_frames": 1,
    }  # fmt: skip


def test_other_thresholds_other_labels(tmp_path: Path) -> None:
    record, artifact = run(tmp_path, ROWS, min_overlap=0.5, min_contrast=10)
    with artifact:
        assert artifact.table("verdicts")["reason"].tolist() == [
            ACCEPTED,
            SMALL_CONTRAST,
            ACCEPTED,
            NO_OBJECT,
            NO_BACKGROUND,
        ]
    assert record.counts["labelled_frames"] == 2


@pytest.mark.parametrize(
    ("settings", "reasons"),
    [
        ({"occluded": "reject"}, [ACCEPTED, OCCLUDED, OCCLUDED, NO_OBJECT, NO_BACKGROUND]),
        ({"generated": "reject"}, [GENERATED, SMALL_OVERLAP, GENERATED, NO_OBJECT, NO_BACKGROUND]),
        (
            {"occluded": "reject", "generated": "reject"},
            [GENERATED, OCCLUDED, OCCLUDED, NO_OBJECT, NO_BACKGROUND],
        ),
    ],
)
def test_boxes_by_how_they_are_marked(tmp_path: Path, settings: dict[str, str], reasons: list[str]) -> None:
    record, artifact = run(tmp_path, ROWS, **settings)
    with artifact:
        table = artifact.table("verdicts")
        first = artifact.frame("labels", 0)
    assert table["reason"].tolist() == reasons
    passed = reasons.count(ACCEPTED)
    assert table["accepted"].tolist() == [int(reason == ACCEPTED) for reason in reasons]
    assert record.counts["passed_box_test"] == passed + 1 and record.counts["passed_both_tests"] == passed
    # A rejected box is void: nobody knows what is in it.
    assert (first[1:4, 1:4] == (1 if passed else VOID)).all() and (first[2:5, 5:7] == VOID).all()


def test_a_video_of_one_frame_has_no_flow(tmp_path: Path) -> None:
    record, artifact = run(tmp_path, ROWS, flow=False)
    with artifact:
        table = artifact.table("verdicts")
        assert table["reason"].tolist() == [NO_FLOW, SMALL_OVERLAP, NO_FLOW, NO_OBJECT, NO_FLOW]
        assert table["contrast"].isna().all()
        assert (artifact.frame("labels", 0) == VOID).all()
    assert record.counts["passed_both_tests"] == 0 and record.counts["passed_box_test"] == 3


def test_a_video_without_boxes(tmp_path: Path) -> None:
    record, artifact = run(tmp_path, [])
    with artifact:
        assert len(artifact.table("verdicts")) == 0
        assert artifact.table("verdicts").columns.tolist() == VERDICT_COLUMNS
        assert all((artifact.frame("labels", n) == VOID).all() for n in range(4))
    assert record.counts["boxes"] == 0 and record.counts["labelled_frames"] == 0
