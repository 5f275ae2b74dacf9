"""Stage `flow-filter`: weak labels for the motion stream, of what passes the box test and the flow test.

Both thresholds are applied here, on stored measurements, so that another threshold costs seconds. One verdict a frame
and box.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from fusionseg.models.labels import VOID
from fusionseg.pipeline.artifact import Artifact, ArtifactWriter, Record
from fusionseg.pipeline.box_pruning import inside
from fusionseg.pipeline.flow_images import FlowPictures, open_pictures
from fusionseg.pipeline.job import Context, Job, in_order
from fusionseg.pipeline.profile import FlowFilter
from fusionseg.pipeline.store import record_of

UInt8 = npt.NDArray[np.uint8]

BOX = ["x0", "y0", "x1", "y1"]
MEASURED = ["area", "overlap", "contrast", "occluded", "generated"]
VERDICT_COLUMNS = [
    "video", "frame", "box", "x0", "y0", "x1", "y1", "occluded", "generated", "area", "overlap", "contrast", "accepted",
    "reason",
]  # fmt: skip
ACCEPTED = "accepted"
OCCLUDED = "box marked as occluded"
GENERATED = "box interpolated, not drawn"
NO_OBJECT = "no object predicted in the box"
SMALL_OVERLAP = "overlap too small"
NO_FLOW = "no flow: a video of one frame"
NO_BACKGROUND = "no background outside the boxes"
SMALL_CONTRAST = "flow contrast too small"


def flow_contrast(image: UInt8, boxes: npt.NDArray[np.int64]) -> list[float]:
    """For each of (N, 4) boxes, how much the flow image (H, W, 3) uint8 differs in colour inside the box from the
    background, which is all that no box covers: Euclidean distance of the mean colours, 0..441 grey levels. NaN where
    the boxes leave no background."""
    background = ~inside(boxes.astype(np.int32), (image.shape[0], image.shape[1]))
    if not background.any():
        return [float("nan")] * len(boxes)
    outer = image[background].mean(0)
    return [
        float(np.linalg.norm(image[y0:y1, x0:x1].reshape(-1, 3).mean(0) - outer)) if x1 > x0 and y1 > y0 else 0.0
        for x0, y0, x1, y1 in boxes
    ]


def verdict(
    area: int,
    overlap: float,
    contrast: float | None,
    settings: FlowFilter,
    occluded: bool = False,
    generated: bool = False,
) -> str:
    """`ACCEPTED`, or the reason why not; how the box is marked goes first, then the box test. `contrast` None: the
    frame has no flow."""
    if occluded and settings.occluded == "reject":
        return OCCLUDED
    if generated and settings.generated == "reject":
        return GENERATED
    if area == 0:
        return NO_OBJECT
    if overlap < settings.min_overlap:
        return SMALL_OVERLAP
    if contrast is None:
        return NO_FLOW
    if np.isnan(contrast):
        return NO_BACKGROUND
    return ACCEPTED if contrast >= settings.min_contrast else SMALL_CONTRAST


def weak_label(region: UInt8, boxes: npt.NDArray[np.int64], accepted: npt.NDArray[np.bool_]) -> UInt8:
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


def measure(table: pd.DataFrame, images: FlowPictures, workers: int) -> npt.NDArray[np.float64]:
    """Flow contrast of each row of `boxes`, (N,) float64; NaN for rows without background or flow."""
    contrast = np.full(len(table), np.nan)
    if images.count == 0:
        return contrast
    frames, boxes = table["frame"].to_numpy(), table[BOX].to_numpy()
    with_boxes = np.unique(frames)

    def one(number: int) -> list[float]:
        frame = with_boxes[number]
        return flow_contrast(images.image(int(frame)), boxes[frames == frame])

    for frame, values in zip(with_boxes, in_order(one, len(with_boxes), workers), strict=True):
        contrast[frames == frame] = values
    return contrast


def compute(job: Job, context: Context) -> Record:
    """Write `labels` (T, H, W) uint8 in 0, 1, 255 and the table `verdicts`: video, frame, box, x0, y0, x1, y1,
    occluded, generated (0 or 1), area, overlap, contrast, accepted (0 or 1), reason."""
    settings = FlowFilter.model_validate(job.settings[job.stage])
    with (
        job.open(context, "box-pruning") as pruned,
        open_pictures(job, context) as images,
        job.write(context) as writer,
    ):
        table = pruned.table("boxes")
        has_flow = images.count > 0
        table["contrast"] = measure(table, images, context.run.workers)
        table["reason"] = [
            verdict(area, overlap, contrast if has_flow else None, settings, occluded == 1, generated == 1)
            for area, overlap, contrast, occluded, generated in table[MEASURED].to_numpy()
        ]
        table["accepted"] = (table["reason"] == ACCEPTED).astype(np.int8)
        table.insert(0, "video", job.video)
        write_labels(writer, pruned, table)
        writer.table("verdicts", table[VERDICT_COLUMNS])
        writer.counts |= summary(table, pruned.length("regions"))
    return record_of(job, context)


def write_labels(writer: ArtifactWriter, pruned: Artifact, table: pd.DataFrame) -> None:
    """The weak label of every frame; all void for frames without accepted boxes."""
    count, *size = pruned.datasets()["regions"].shape
    data = writer.frames("labels", count, tuple(size), np.uint8)
    rows_of = dict(list(table.groupby("frame")))
    for index in range(count):
        rows = rows_of.get(index, table.iloc[:0])
        boxes = rows[BOX].to_numpy()
        data.append(weak_label(pruned.frame("regions", index), boxes, rows["accepted"].to_numpy() == 1))


def summary(table: pd.DataFrame, frames: int) -> dict[str, float]:
    """The funnel's figures: frames, frames with boxes, boxes, boxes that passed each test, frames with a label."""
    passed_box = ~table["reason"].isin([OCCLUDED, GENERATED, NO_OBJECT, SMALL_OVERLAP])
    return {
        "frames": frames,
        "frames_with_boxes": int(table["frame"].nunique()),
        "boxes": len(table),
        "passed_box_test": int(passed_box.sum()),
        "passed_both_tests": int(table["accepted"].sum()),
        "labelled_frames": int(table.loc[table["accepted"] == 1, "frame"].nunique()),
    }
