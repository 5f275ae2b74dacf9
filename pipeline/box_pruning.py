"""Stage `box-pruning`: the appearance stream's prediction, with all object outside the annotated boxes removed, and how
well each box is filled.

Reads scores and boxes, never masks. Measures only; thresholds are applied by `flow-filter`, last.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from fusionseg.pipeline.artifact import Record
from fusionseg.pipeline.boxes import FrameBoxes
from fusionseg.pipeline.images import read_boxes, tight_box
from fusionseg.pipeline.job import Context, Job, in_order
from fusionseg.pipeline.store import record_of
from fusionseg.pipeline.stream_scores import full_scores, object_mask

Mask = npt.NDArray[np.bool_]
Box = npt.NDArray[np.int32]


def clip_boxes(boxes: Box, size: tuple[int, int]) -> Box:
    """(N, 4) boxes x0, y0, x1, y1 cut to a picture of (height, width)."""
    height, width = size
    return np.clip(boxes, 0, [width, height, width, height]).astype(np.int32)


def inside(boxes: Box, size: tuple[int, int]) -> Mask:
    """(H, W) bool: what at least one box covers."""
    covered = np.zeros(size, bool)
    for x0, y0, x1, y1 in boxes:
        covered[y0:y1, x0:x1] = True
    return covered


def box_overlap(mask: Mask, box: Box) -> tuple[float, int]:
    """IoU of `box` with the tight box of the object predicted within it, and that object's area in pixels; (0, 0)
    where none is predicted.

    The region is cut to its box, so its tight box lies within it and the IoU is the ratio of their areas.
    """
    x0, y0, x1, y1 = (int(v) for v in box)
    region = mask[y0:y1, x0:x1]
    tight = tight_box(region)
    if tight is None:
        return 0.0, 0
    return (tight[2] - tight[0]) * (tight[3] - tight[1]) / region.size, int(region.sum())


def compute(job: Job, context: Context) -> Record:
    """Write `regions` (T, H, W) uint8, 1 where object is predicted inside a box, and the table `boxes`: frame, box, x0,
    y0, x1, y1 (px, exclusive ends), overlap (0..1), area (px), occluded, generated (0 or 1)."""
    item, rows = job.item, []
    columns = ["frame", "box", "x0", "y0", "x1", "y1", "overlap", "area", "occluded", "generated"]
    with job.open(context, "appearance-scores") as scores, job.write(context) as writer:
        size = tuple(scores.facts["frame_size"])
        count = scores.length("scores")
        data = writer.frames("regions", count, size, np.uint8, fast=False)

        def one(index: int) -> tuple[Mask, FrameBoxes]:
            return object_mask(full_scores(scores, index)), read_boxes(item, index)

        for index, (mask, found) in enumerate(in_order(one, count, context.run.workers)):
            boxes = clip_boxes(found.boxes, size)
            for number, box in enumerate(boxes):
                marks = found.occluded[number], found.generated[number]
                rows.append((index, number, *map(int, box), *box_overlap(mask, box), *map(int, marks)))
            data.append((mask & inside(boxes, size)).astype(np.uint8))
        table = pd.DataFrame(rows, columns=columns).astype(
            {"overlap": np.float64, "occluded": np.int8, "generated": np.int8}
        )
        writer.table("boxes", table)
        writer.counts |= {
            "frames": count,
            "boxes": len(rows),
            "frames_without_boxes": count - int(table["frame"].nunique()),
        }
    return record_of(job, context)
