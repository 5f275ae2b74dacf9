"""Stage `flow-images`: optical flow as colour pictures, in the Middlebury colour wheel of 55 hues.

Hue is the direction, saturation the magnitude divided by the frame's largest; no motion is white (Baker et al., IJCV
2011; FusionSeg's released flow images use it too).
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from fusionseg.pipeline.artifact import Record
from fusionseg.pipeline.job import Context, Job, in_order
from fusionseg.pipeline.store import record_of

# Hues between red, yellow, green, cyan, blue, magenta and red again.
_SEGMENTS = (("RY", 15), ("YG", 6), ("GC", 4), ("CB", 11), ("BM", 13), ("MR", 6))
_RAMPS = {  # channel held at 255, channel that changes, whether it rises
    "RY": (0, 1, True), "YG": (1, 0, False), "GC": (1, 2, True),
    "CB": (2, 1, False), "BM": (2, 0, True), "MR": (0, 2, False),
}  # fmt: skip
_ROUNDING = 1e-6  # of float32: the largest vector itself may come out just above 1
UNKNOWN = 1e9  # px; larger values mark unknown flow in .flo files


@functools.cache
def colour_wheel() -> npt.NDArray[np.float32]:
    """The 55 colours, (55, 3) float32 RGB in 0..1."""
    rows = []
    for name, count in _SEGMENTS:
        held, changing, rises = _RAMPS[name]
        ramp = np.floor(255 * np.arange(count) / count)
        colours = np.zeros((count, 3))
        colours[:, held] = 255
        colours[:, changing] = ramp if rises else 255 - ramp
        rows.append(colours)
    return (np.concatenate(rows) / 255).astype(np.float32)


def largest_magnitude(flow: npt.NDArray[np.floating]) -> float:
    """The largest magnitude of (H, W, 2) flow in pixels, unknown vectors left out; 0 where nothing moves."""
    u, v = _known(flow)
    return float(np.sqrt((u * u + v * v).max())) if u.size else 0.0


def colour(flow: npt.NDArray[np.floating], largest: float | None = None) -> npt.NDArray[np.uint8]:
    """(H, W, 2) flow in pixels -> (H, W, 3) uint8 RGB flow image.

    `largest`: magnitude that gets full saturation, by default the frame's own largest; magnitudes beyond it are
    darkened. Unknown (> 1e9) and NaN vectors count as no motion.
    """
    u, v = _known(flow)
    scale = largest_magnitude(flow) if largest is None else largest
    if scale > 0:
        u, v = u / scale, v / scale
    radius = np.sqrt(u * u + v * v)
    wheel = colour_wheel()
    position = (np.arctan2(-v, -u) / np.float32(np.pi) + 1) / 2 * (len(wheel) - 1)
    low = np.floor(position).astype(np.intp)
    share = (position - low)[..., None]
    hue = (1 - share) * wheel[low] + share * wheel[(low + 1) % len(wheel)]
    inside = radius <= 1 + _ROUNDING
    tinted = 1 - np.minimum(radius, 1)[..., None] * (1 - hue)
    return np.floor(255 * np.where(inside[..., None], tinted, hue * np.float32(0.75))).astype(np.uint8)


def _known(flow: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    values = flow.astype(np.float32)
    known = (np.abs(values) <= UNKNOWN).all(-1)  # False for NaN too
    return np.where(known, values[..., 0], np.float32(0)), np.where(known, values[..., 1], np.float32(0))


def compute(job: Job, context: Context) -> Record:
    """Write `images` (T, H, W, 3) uint8 RGB."""
    with job.open(context, "optical-flow") as source, job.write(context) as writer:
        count = source.length("flow")
        height, width = source.datasets()["flow"].shape[1:3]
        data = writer.frames("images", count, (height, width, 3), np.uint8)
        for image in in_order(lambda index: colour(source.frame("flow", index)), count, context.run.workers):
            data.append(image)
        writer.counts["frames"] = count
    return record_of(job, context)
