"""Stage `box-pruning`: the appearance stream's prediction, with all object outside the annotated boxes removed, and how
well each box is filled.

Reads scores, boxes and frames, never masks. Measures only; thresholds are applied by `flow-filter`, last. Where boxes
overlap, what is predicted in both belongs to both: a network that knows but one kind of object can't tell whose it is.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from torch import Tensor

from fusionseg.pipeline.scoring.measures import region_similarity
from fusionseg.pipeline.settings.sections import BoxPruning
from fusionseg.pipeline.weak_labels.grabcut import refine

Mask = npt.NDArray[np.bool_]
UInt8 = npt.NDArray[np.uint8]
Box = npt.NDArray[np.int32]
Corners = tuple[int, int, int, int]
Scores = npt.NDArray[np.float32]
_LARGEST_MARGIN = 80.0  # where float32's exponential is at home; far beyond any doubt


class Parts(NamedTuple):
    """The 8-connected parts of a frame's prediction: `numbers` (H, W) int32, 0 background; `stats` OpenCV's, by
    number."""

    numbers: npt.NDArray[np.int32]
    stats: npt.NDArray[np.int32]


class Region(NamedTuple):
    """What is measured of the region in a box.

    `area` (px), `overlap` (IoU of the region's tight box with the box) and `coverage` (share of the box's area) are of
    what is kept; `components` (number of 8-connected parts) and `largest_share` (of all that is predicted in the box,
    in the largest part) of what is there before anything is removed. `uncut_overlap` is the IoU of the box with the
    tight box of the region and of all of the prediction's part that has most pixels in the box, wherever it goes: a
    prediction that floods the box has a perfect `overlap`, and a small one of these. `confidence` is what the network
    itself expects the IoU of the region and the object in the box to be (see `expected_iou`); `agreement` the IoU of
    the region with what the network predicted in the box, before colours refined it. 0 where there is nothing.
    """

    area: int = 0
    components: int = 0
    largest_share: float = 0.0
    overlap: float = 0.0
    coverage: float = 0.0
    uncut_overlap: float = 0.0
    confidence: float = 0.0
    agreement: float = 0.0


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


def prune_box(parts: Parts, box: Box, settings: BoxPruning) -> tuple[Mask, Region]:
    """Of the object predicted in a box, the part that is kept, (h, w) bool, and what is measured.

    The region is cut to its box, so its tight box lies within it and their IoU is the ratio of their areas.
    """
    x0, y0, x1, y1 = (int(value) for value in box)
    inner = np.ascontiguousarray(parts.numbers[y0:y1, x0:x1])
    if not inner.any():
        return inner > 0, Region()
    own, stats = parts_of(inner > 0)
    areas = stats[1:, cv2.CC_STAT_AREA]
    kept = kept_parts(areas, inner.size, settings)
    found = Region(components=len(areas), largest_share=float(areas.max() / areas.sum()))
    if not kept.any():
        return np.zeros(inner.shape, bool), found
    tight, area = tight_box(stats[1:][kept]), int(areas[kept].sum())
    main = int(np.bincount(inner[inner > 0]).argmax())
    left, top, right, bottom = tight_box(parts.stats[main : main + 1])
    uncut = (
        min(tight[0] + x0, left), min(tight[1] + y0, top), max(tight[2] + x0, right), max(tight[3] + y0, bottom)
    )  # fmt: skip
    region = inner > 0 if kept.all() else np.concatenate([[False], kept])[own]
    return region, found._replace(
        area=area,
        overlap=box_area(tight) / inner.size,
        coverage=area / inner.size,
        uncut_overlap=box_iou(uncut, (x0, y0, x1, y1)),
    )


def parts_of(mask: Mask) -> Parts:
    """The 8-connected parts of (H, W) bool."""
    _, numbers, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    return Parts(np.asarray(numbers, np.int32), np.asarray(stats, np.int32))


def tight_box(stats: npt.NDArray[np.int32]) -> Corners:
    """x0, y0, x1, y1 around all of OpenCV's parts (N, 5), N > 0."""
    left, top, width, height = stats[:, :4].T
    return int(left.min()), int(top.min()), int((left + width).max()), int((top + height).max())


def box_area(box: Corners) -> int:
    """Area of x0, y0, x1, y1; 0 where they are inverted."""
    return max(0, box[2] - box[0]) * max(0, box[3] - box[1])


def box_iou(first: Corners, second: Corners) -> float:
    """Intersection over union of two boxes, at least one of which has an area.

    >>> box_iou((0, 0, 2, 2), (1, 0, 3, 2))
    0.3333333333333333
    """
    shared = box_area(
        (max(first[0], second[0]), max(first[1], second[1]), min(first[2], second[2]), min(first[3], second[3]))
    )
    return shared / (box_area(first) + box_area(second) - shared)


def kept_parts(areas: npt.NDArray[np.integer], box_area: int, settings: BoxPruning) -> npt.NDArray[np.bool_]:
    """Which parts of (N,) areas in pixels make the region: no specks, and of the others all or the largest."""
    kept = areas >= settings.min_component * box_area
    if settings.components == "largest":
        kept &= np.arange(len(areas)) == areas.argmax()
    return np.asarray(kept)


def prune(mask: Mask, boxes: Box, settings: BoxPruning) -> tuple[Mask, list[Region]]:
    """Of (H, W) bool, what is kept in at least one of (N, 4) boxes that lie in the picture, and what is measured of
    each."""
    region, found = np.zeros_like(mask), list[Region]()
    if not len(boxes):
        return region, found
    parts = parts_of(mask)
    for box in boxes:
        kept, measured = prune_box(parts, box, settings)
        region[box[1] : box[3], box[0] : box[2]] |= kept
        found.append(measured)
    return region, found


def expected_iou(margin: Scores, region: Mask) -> float:
    """IoU of a region, (h, w) bool, and the object, by what the network says of every pixel: `margin` is the score of
    object less that of background, whose sigmoid is the probability p of object.

    The sum of p in the region over the region's area plus the sum of p outside: a ratio of expectations, close to the
    expectation of the ratio for more than a few pixels. To four decimals: further ones depend on the processor.
    """
    probability = 1 / (1 + np.exp(-np.clip(margin, -_LARGEST_MARGIN, _LARGEST_MARGIN)))
    inner = float(probability[region].sum(dtype=np.float64))
    outer = float(probability.sum(dtype=np.float64)) - inner
    return round(inner / (int(region.sum()) + outer), 4)


def measure(margin: Scores, boxes: Box, settings: BoxPruning, frame: UInt8 | None = None) -> tuple[Mask, list[Region]]:
    """`prune` of what is predicted where `margin` (H, W) is positive or, with the `frame` (H, W, 3) uint8 BGR, of what
    colours make of it; with confidence and agreement of each box's region."""
    mask = margin > 0 if frame is None else refine(frame, margin, boxes)
    region, found = prune(mask, boxes, settings)
    for number, (x0, y0, x1, y1) in enumerate(boxes):
        if found[number].area:
            own, predicted = region[y0:y1, x0:x1], margin[y0:y1, x0:x1]
            confidence, agreement = expected_iou(predicted, own), region_similarity(own, predicted > 0)
            found[number] = found[number]._replace(confidence=confidence, agreement=agreement)
    return region, found


def margin_of(scores: Tensor) -> Scores:
    """Score of object less that of background, of the scores (1, 2, H, W) of one frame: (H, W) float32."""
    background, found = scores[0].numpy()
    return np.asarray(found - background)
