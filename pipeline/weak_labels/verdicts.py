"""Weak labels, pure: verdicts on boxes from what was measured of them, and the label of a frame.

Thresholds act here alone, on tables: thousands of boxes take milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from fusionseg.models.labels import VOID
from fusionseg.pipeline.settings.sections import FlowFilter

UInt8 = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]

BOX = ["x0", "y0", "x1", "y1"]
# Of every box: what it is, what box-pruning measured of the region in it, and what box-motion measured of its flow.
MARKS = ["occluded", "generated", "height", "width"]
REGION = ["area", "components", "largest_share", "overlap", "coverage", "uncut_overlap", "confidence", "agreement"]
MOTION = [
    "background", "contrast", "vector_contrast", "direction", "magnitude_in", "magnitude_out", "residual_in",
    "residual_out", "magnitude_p99", "unknown",
]  # fmt: skip
VERDICT_COLUMNS = ["video", "frame", "box", *BOX, *MARKS, *REGION, *MOTION, "accepted", "reason"]

ACCEPTED = "accepted"
OCCLUDED = "box marked as occluded"
GENERATED = "box interpolated, not drawn"
SMALL_BOX = "box too small"
LARGE_BOX = "box covers nearly the whole frame"
NO_OBJECT = "no object predicted in the box"
SMALL_OVERLAP = "overlap too small"
UNSURE = "the network is unsure of the region"
DISAGREEING = "colours and network disagree on the region"
NO_BACKGROUND = "no background outside the boxes"
NO_FLOW = "no flow: a video of one frame"
BROKEN_FLOW = "broken flow: unknown or absurd vectors"
NO_MOTION = "no motion in the frame"
CAMERA_ONLY = "moves with the camera only"
SMALL_CONTRAST = "flow contrast too small"
FRAME_DROPPED = "another box of its frame was rejected"
# In the order in which they are tested: the first that holds is the verdict.
BOX_REASONS = (OCCLUDED, GENERATED, SMALL_BOX, LARGE_BOX, NO_OBJECT, SMALL_OVERLAP, UNSURE, DISAGREEING)
FLOW_REASONS = (NO_BACKGROUND, NO_FLOW, BROKEN_FLOW, NO_MOTION, CAMERA_ONLY, SMALL_CONTRAST)
REASONS = (*BOX_REASONS, *FLOW_REASONS, FRAME_DROPPED)


def verdicts(table: pd.DataFrame, settings: FlowFilter) -> pd.Series:
    """The verdict on every box of `table`, a row each with the columns MARKS, REGION, MOTION, BOX, frame and, of
    several videos, video and dataset: `ACCEPTED`, or the first of `REASONS` that holds.

    What wasn't measured (NaN: no u,v are kept) rejects nothing, but a box without the chosen contrast has no flow.
    """
    tests = _box_tests(table, settings) | _flow_tests(table, settings)
    reasons = np.select([tests[reason] for reason in tests], list(tests), ACCEPTED).astype(object)
    if settings.rejected == "drop":
        rejected, frame = reasons != ACCEPTED, frame_numbers(table)
        spoiled = np.bincount(frame, rejected) > 0
        reasons[spoiled[frame] & ~rejected] = FRAME_DROPPED
    return pd.Series(reasons, table.index, name="reason", dtype=object)


def frame_numbers(table: pd.DataFrame) -> npt.NDArray[np.int64]:
    """For each row, a number from 0 of the frame it belongs to."""
    keys = [name for name in ("dataset", "video", "frame") if name in table]
    return np.asarray(table.groupby(keys, sort=False).ngroup(), np.int64)


def yields(
    table: pd.DataFrame, settings: FlowFilter, overlaps: Sequence[float], contrasts: Sequence[float]
) -> pd.DataFrame:
    """What would be accepted under each pair of thresholds of the two tests, all else as in `settings`; `table` as for
    `verdicts`.

    Columns: overlap, contrast (the thresholds), boxes (that pass both tests), frames (with a label), and box_share and
    frame_share (of all boxes, and of all frames with boxes).
    """
    column = contrast_test(settings)[0]
    least = {"min_overlap": 0.0, "min_contrast": 0.0, "min_vector_contrast": 0.0, "rejected": "void"}
    possible = (verdicts(table, settings.model_copy(update=least)) == ACCEPTED).to_numpy(bool)
    frame, count = frame_numbers(table), max(len(table), 1)
    frames = max(len(np.unique(frame)), 1)
    fills, differs = table[measured_by(settings)].to_numpy(), table[column].to_numpy()
    rows = []
    for overlap in overlaps:
        for contrast in contrasts:
            passed = possible & (fills >= overlap) & (differs >= contrast)
            labelled = np.bincount(frame, passed) > 0
            if settings.rejected == "drop":
                labelled &= np.bincount(frame, ~passed) == 0
            boxes, kept = int(passed.sum()), int(labelled.sum())
            rows.append((overlap, contrast, boxes, kept, boxes / count, kept / frames))
    return pd.DataFrame(rows, columns=["overlap", "contrast", "boxes", "frames", "box_share", "frame_share"])


def _box_tests(table: pd.DataFrame, settings: FlowFilter) -> dict[str, Flags]:
    """By reason, in order: which boxes it rejects."""
    share = (table["x1"] - table["x0"]) * (table["y1"] - table["y0"]) / (table["width"] * table["height"])
    tests = {
        OCCLUDED: (table["occluded"] == 1) & (settings.occluded == "reject"),
        GENERATED: (table["generated"] == 1) & (settings.generated == "reject"),
        SMALL_BOX: share < settings.min_box,
        LARGE_BOX: share > settings.max_box,
        NO_OBJECT: table["area"] == 0,
        SMALL_OVERLAP: table[measured_by(settings)] < settings.min_overlap,
        UNSURE: table["confidence"] < settings.min_confidence,
        DISAGREEING: table["agreement"] < settings.min_agreement,
    }
    return {reason: rejected.to_numpy(bool) for reason, rejected in tests.items()}


def _flow_tests(table: pd.DataFrame, settings: FlowFilter) -> dict[str, Flags]:
    """By reason, in order: which boxes it rejects."""
    diagonal = np.hypot(table["width"], table["height"])
    column, least = contrast_test(settings)
    absurd = table["magnitude_p99"] > settings.max_motion * diagonal
    tests = {
        NO_BACKGROUND: table["background"] == 0,
        NO_FLOW: table["contrast"].isna(),
        BROKEN_FLOW: absurd | (table["unknown"] > settings.max_unknown) | table[column].isna(),
        NO_MOTION: table["magnitude_p99"] < settings.min_motion * diagonal,
        CAMERA_ONLY: table["residual_in"] < settings.min_own_motion * diagonal,
        SMALL_CONTRAST: table[column] < least,
    }
    return {reason: rejected.to_numpy(bool) for reason, rejected in tests.items()}


def measured_by(settings: FlowFilter) -> str:
    """The column that the box test looks at."""
    return {"iou": "overlap", "coverage": "coverage", "uncut-iou": "uncut_overlap"}[settings.measure]


def contrast_test(settings: FlowFilter) -> tuple[str, float]:
    """The column that the flow test looks at, and its threshold."""
    if settings.contrast == "colour":
        return "contrast", settings.min_contrast
    return "vector_contrast", settings.min_vector_contrast


def weak_label(region: UInt8, boxes: npt.NDArray[np.int64], accepted: Flags) -> UInt8:
    """Label of one frame (H, W): 1 the region in accepted boxes, 255 (void) what rejected boxes cover, 0 elsewhere.
    All void where nothing was accepted."""
    if not accepted.any():
        return np.full(region.shape, VOID, np.uint8)
    label = np.zeros(region.shape, np.uint8)
    for x0, y0, x1, y1 in boxes[~accepted]:
        label[y0:y1, x0:x1] = VOID
    for x0, y0, x1, y1 in boxes[accepted]:
        label[y0:y1, x0:x1][region[y0:y1, x0:x1] > 0] = 1
    return label


def summary(table: pd.DataFrame, frames: int) -> dict[str, float]:
    """The funnel's figures of one video of so many frames, from its judged boxes: frames, frames with boxes, boxes,
    boxes that passed each test, frames with a label."""
    return {
        "frames": frames,
        "frames_with_boxes": int(table["frame"].nunique()),
        "boxes": len(table),
        "passed_box_test": int((~table["reason"].isin(BOX_REASONS)).sum()),
        "passed_both_tests": int(table["reason"].isin((ACCEPTED, FRAME_DROPPED)).sum()),
        "labelled_frames": int(table.loc[table["accepted"] == 1, "frame"].nunique()),
    }
