"""Stage `box-pruning`: the appearance stream's prediction, with all object outside the annotated boxes removed, and how
well each box is filled.

Reads scores and boxes, never masks. Measures only; thresholds are applied by `flow-filter`, last. Where boxes overlap,
what is predicted in both belongs to both: a network that knows but one kind of object can't tell whose it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from fusionseg.models.fusion import AverageFusion
from fusionseg.pipeline.artifact import Artifact, Packed, Record
from fusionseg.pipeline.bit_masks import FRAME_SIZE, pack_mask, packed_width
from fusionseg.pipeline.images import read_boxes
from fusionseg.pipeline.job import Context, Job, in_order
from fusionseg.pipeline.profile import BoxPruning, WeakLabels
from fusionseg.pipeline.store import record_of
from fusionseg.pipeline.stream_scores import full_scores, object_mask
from fusionseg.pipeline.weak_labels import BOX, MARKS, REGION

Mask = npt.NDArray[np.bool_]
Box = npt.NDArray[np.int32]
_TYPES = {
    **dict.fromkeys(("frame", "box", *BOX, "height", "width", "area", "components"), np.int64),
    **dict.fromkeys(("largest_share", "overlap", "coverage"), np.float64),
    **dict.fromkeys(("occluded", "generated"), np.int8),
}


class Region(NamedTuple):
    """What is measured of the region in a box.

    `area` (px), `overlap` (IoU of the region's tight box with the box) and `coverage` (share of the box's area) are of
    what is kept; `components` (number of 8-connected parts) and `largest_share` (of all that is predicted in the box,
    in the largest part) of what is there before anything is removed. 0 where there is nothing.
    """

    area: int = 0
    components: int = 0
    largest_share: float = 0.0
    overlap: float = 0.0
    coverage: float = 0.0


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


def prune_box(predicted: Mask, settings: BoxPruning) -> tuple[Mask, Region]:
    """Of the object predicted in a box, (h, w) bool, the part that is kept, and what is measured.

    The region is cut to its box, so its tight box lies within it and their IoU is the ratio of their areas.
    """
    if not predicted.any():
        return predicted, Region()
    count, parts, stats, _ = cv2.connectedComponentsWithStats(predicted.view(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    kept = kept_parts(areas, predicted.size, settings)
    found = Region(components=count - 1, largest_share=float(areas.max() / areas.sum()))
    if not kept.any():
        return np.zeros_like(predicted), found
    left, top, wide, high = stats[1:][kept, :4].T
    tight = int((left + wide).max() - left.min()) * int((top + high).max() - top.min())
    area = int(areas[kept].sum())
    region = predicted if kept.all() else np.concatenate([[False], kept])[parts]
    return region, found._replace(area=area, overlap=tight / predicted.size, coverage=area / predicted.size)


def kept_parts(areas: npt.NDArray[np.integer], box_area: int, settings: BoxPruning) -> npt.NDArray[np.bool_]:
    """Which parts of (N,) areas in pixels make the region: no specks, and of the others all or the largest."""
    kept = areas >= settings.min_component * box_area
    if settings.components == "largest":
        kept &= np.arange(len(areas)) == areas.argmax()
    return np.asarray(kept)


def prune(mask: Mask, boxes: Box, settings: BoxPruning) -> tuple[Mask, list[Region]]:
    """Of (H, W) bool, what is kept in at least one of (N, 4) boxes that lie in the picture, and what is measured of
    each."""
    region, found = np.zeros_like(mask), []
    for x0, y0, x1, y1 in boxes:
        kept, measured = prune_box(np.ascontiguousarray(mask[y0:y1, x0:x1]), settings)
        region[y0:y1, x0:x1] |= kept
        found.append(measured)
    return region, found


@contextmanager
def open_predictions(job: Job, context: Context) -> Iterator[tuple[Artifact, Callable[[int], Mask]]]:
    """The appearance stream's scores, and the function that gives the object (H, W) predicted on a frame."""
    with job.open(context, "appearance-scores") as appearance:
        if not job.has("motion-scores"):
            yield appearance, lambda index: object_mask(full_scores(appearance, index))
            return
        with job.open(context, "motion-scores") as motion:
            alone = motion.length("scores") == 0  # a video of one frame, whose boxes no flow will accept
            fused = WeakLabels.model_validate(job.settings["weak-labels"]).source == "fused"

            def predicted(index: int) -> Mask:
                if alone:
                    return object_mask(full_scores(appearance, index))
                scores = full_scores(motion, index)
                return object_mask(AverageFusion()(full_scores(appearance, index), scores) if fused else scores)

            yield appearance, predicted


def compute(job: Job, context: Context) -> Record:
    """Prune the appearance stream's predictions or, in the second round of weak labels, what `weak-labels.source` says.

    Write `regions` (T, H, W / 8) uint8, the bits of what is kept (see `bit_masks`), and the table `boxes`: frame,
    box, x0, y0, x1, y1 (px, exclusive ends), occluded, generated (0 or 1), height and width of the frame (px), and the
    fields of `Region`."""
    item, rows = job.item, []
    settings = BoxPruning.model_validate(job.own)
    with open_predictions(job, context) as (scores, predicted), job.write(context) as writer:
        height, width = size = tuple(scores.facts[FRAME_SIZE])
        count = scores.length("scores")
        data = writer.frames("regions", count, (height, packed_width(width)), np.uint8)

        def one(index: int) -> tuple[Packed, list[tuple[float, ...]]]:
            found = read_boxes(item, index)
            boxes = clip_boxes(found.boxes, size)
            region, measured = prune(predicted(index), boxes, settings)
            marks = zip(found.occluded, found.generated, strict=True)
            parts = enumerate(zip(boxes, marks, measured, strict=True))
            return data.pack(pack_mask(region)), [(index, n, *b, *m, height, width, *r) for n, (b, m, r) in parts]

        for packed, of_frame in in_order(one, count, context.run.workers):
            data.append(packed)
            rows += of_frame
        table = pd.DataFrame(rows, columns=["frame", "box", *BOX, *MARKS, *REGION]).astype(_TYPES)
        writer.table("boxes", table)
        writer.facts[FRAME_SIZE] = [height, width]
        writer.counts |= {
            "frames": count,
            "boxes": len(rows),
            "frames_without_boxes": count - int(table["frame"].nunique()),
        }
    return record_of(job, context)
