"""Stage `grabcut` of the study of weak labels: OpenCV's GrabCut, started from every annotated box.

A rival that anybody has at hand: it sees the frame and the box, no network, no flow.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from fusionseg.pipeline.basics.resizing import resize
from fusionseg.pipeline.basics.threads import in_order
from fusionseg.pipeline.datasets.reading import read_boxes, read_frame
from fusionseg.pipeline.store.artifact import ArtifactWriter
from fusionseg.pipeline.store.job import Work
from fusionseg.pipeline.weak_labels.grabcut import separate, small

UInt8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

_ITERATIONS = 5  # OpenCV's own example


def grabcut(frame: UInt8, box: npt.NDArray[np.integer]) -> Mask:
    """The object in a box x0, y0, x1, y1 (px, exclusive ends) of a frame (H, W, 3) uint8 BGR: (H, W) bool, nothing
    outside the box. A box with no colour outside to learn the background from, or none inside, is taken whole."""
    size = (frame.shape[0], frame.shape[1])
    x0, y0, x1, y1 = (int(v) for v in box)
    whole = np.zeros(size, bool)
    whole[y0:y1, x0:x1] = True
    reduced = small(frame)
    inside = resize(whole.astype(np.uint8), (reduced.shape[0], reduced.shape[1]), nearest=True)
    found = separate(reduced, np.where(inside == 1, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8), _ITERATIONS)
    if found is None:
        return whole
    return np.asarray((resize(found.astype(np.uint8), size, nearest=True) == 1) & whole)


def compute(work: Work, writer: ArtifactWriter) -> None:
    """Write `masks` (T, H, W) uint8, 1 where GrabCut finds object in any box of the frame."""
    item = work.item
    height, width = read_frame(item, 0).shape[:2]

    def one(index: int) -> UInt8:
        found, frame = np.zeros((height, width), bool), read_frame(item, index)
        for box in read_boxes(item, index).boxes:
            found |= grabcut(frame, np.clip(box, 0, [width, height, width, height]))
        return found.astype(np.uint8)

    data = writer.frames("masks", len(item.frames), (height, width), np.uint8)
    for mask in in_order(one, len(item.frames), work.run.workers):
        data.append(mask)
    writer.counts["frames"] = len(item.frames)
