"""Stage `optical-flow`: dense optical flow of each pair of frames.

Pairs go from frame t to t+1; the last frame has no successor and goes to t-1, as in FusionSeg's release.
"""

from __future__ import annotations

import threading
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt

from fusionseg.pipeline.artifact import Record
from fusionseg.pipeline.images import read_frame
from fusionseg.pipeline.job import Context, Job, in_order
from fusionseg.pipeline.store import record_of

_PRESETS = {
    "dis-ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "dis-fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "dis-medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}
# An estimator keeps buffers and may not be shared by threads; making one anew each pair wastes them.
_LOCAL = threading.local()
# Below this many pixels a side DIS has no patch to match (its coarsest scale is empty).
_SMALLEST = 16


def estimate(
    first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8], method: str = "dis-medium"
) -> npt.NDArray[np.float32]:
    """Optical flow from `first` to `second`, both (H, W, 3) uint8 BGR: (H, W, 2) float32 u, v in pixels.

    Raises ValueError for an unknown method or frames of different sizes.
    """
    if first.shape != second.shape:
        raise ValueError(f"frames differ in size: {first.shape} and {second.shape}")
    height, width = first.shape[:2]
    grey = [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in (first, second)]
    bottom, right = max(0, _SMALLEST - height), max(0, _SMALLEST - width)
    if bottom or right:
        grey = [cv2.copyMakeBorder(g, 0, bottom, 0, right, cv2.BORDER_REPLICATE) for g in grey]
    flow = _estimator(method).calc(grey[0], grey[1], cast(np.ndarray, None))
    return np.ascontiguousarray(flow[:height, :width], np.float32)


def _estimator(method: str) -> cv2.DISOpticalFlow:
    if method not in _PRESETS:
        raise ValueError(f"unknown optical flow method {method!r}; known: {', '.join(_PRESETS)}")
    estimators = _LOCAL.__dict__
    if method not in estimators:
        estimator = cv2.DISOpticalFlow.create(_PRESETS[method])
        estimators[method] = estimator, estimator.getFinestScale()
    estimator, finest = estimators[method]
    estimator.setFinestScale(finest)  # OpenCV lowers it for tiny frames, for good
    return cast(cv2.DISOpticalFlow, estimator)


def partner(index: int, frames: int) -> int:
    """The frame that the flow of frame `index` goes to.

    >>> [partner(t, 3) for t in range(3)]
    [1, 2, 1]
    """
    return index + 1 if index + 1 < frames else index - 1


def compute(job: Job, context: Context) -> Record:
    """Write `flow` (T, H, W, 2) float16, u and v in pixels, and the fact `partners`, the frame each one's flow goes to.

    A video of one frame has no pair: T is 0.
    """
    item, method = job.item, job.settings["optical-flow"]["method"]
    count = len(item.frames)
    height, width = read_frame(item, 0).shape[:2]
    pairs = count if count > 1 else 0

    def one(index: int) -> npt.NDArray[np.float16]:
        # float16 keeps 1/16 px at 100 px; what lies beyond its range is no displacement.
        flow = estimate(read_frame(item, index), read_frame(item, partner(index, count)), method)
        return np.clip(flow, -6e4, 6e4).astype(np.float16)

    with job.write(context) as writer:
        data = writer.frames("flow", pairs, (height, width, 2), np.float16)
        for flow in in_order(one, pairs, context.run.workers):
            data.append(flow)
        writer.facts["partners"] = [partner(index, count) for index in range(pairs)]
        writer.counts["frames"] = count
        if not pairs:
            writer.counts["without_flow"] = 1
    return record_of(job, context)
