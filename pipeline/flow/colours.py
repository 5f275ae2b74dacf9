"""Stage `flow-images`: optical flow as colour pictures, in the Middlebury colour wheel of 55 hues.

Hue is the direction, saturation the magnitude divided by the frame's largest; no motion is white (Baker et al., IJCV
2011; FusionSeg's released flow images use it too).
"""

from __future__ import annotations

import functools

import cv2
import numpy as np
import numpy.typing as npt

from fusionseg.pipeline.basics.half import to_float32
from fusionseg.pipeline.formats.flow import UNKNOWN
from fusionseg.pipeline.settings.sections import FlowImages

# Hues between red, yellow, green, cyan, blue, magenta and red again.
_SEGMENTS = (("RY", 15), ("YG", 6), ("GC", 4), ("CB", 11), ("BM", 13), ("MR", 6))
_RAMPS = {  # channel held at 255, channel that changes, whether it rises
    "RY": (0, 1, True), "YG": (1, 0, False), "GC": (1, 2, True),
    "CB": (2, 1, False), "BM": (2, 0, True), "MR": (0, 2, False),
}  # fmt: skip
_ROUNDING = 1e-6  # of float32: the largest vector itself may come out just above 1
# Colours are looked up in a table of this many cells from no motion to full saturation: with fewer, rounding shows
# (tests compare with torchvision), more cost memory and time.
_HALF = 511
_DARKENED = 0.75  # of vectors beyond full saturation (Middlebury's code)


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


def magnitudes(flow: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(H, W, 2) flow -> (H, W) magnitudes in the same unit."""
    return np.asarray(cv2.magnitude(*cv2.split(flow)), np.float32)


def known_flow(flow: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """(H, W, 2) flow as float32, unknown vectors (NaN, infinite, or beyond 1e9 px as in .flo files) as no motion."""
    return _known(to_float32(flow))[0]


def _known(flow: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Flow with unknown vectors as no motion, and its magnitudes."""
    if not flow.size:
        return flow, np.zeros(flow.shape[:2], np.float32)
    magnitude = magnitudes(flow)
    if float(magnitude.max()) <= UNKNOWN:  # False for NaN
        return flow, magnitude
    known = (np.abs(flow) <= UNKNOWN).all(-1, keepdims=True)
    flow = np.where(known, flow, np.float32(0))
    return flow, magnitudes(flow)


def largest_magnitude(flow: npt.NDArray[np.floating]) -> float:
    """The largest magnitude of (H, W, 2) flow in pixels, unknown vectors left out; 0 where nothing moves."""
    return float(_known(to_float32(flow))[1].max(initial=0))


def paint(flow: npt.NDArray[np.floating], settings: FlowImages) -> npt.NDArray[np.uint8]:
    """(H, W, 2) flow in pixels -> (H, W, 3) uint8 RGB flow image, scaled as the settings say."""
    return colour(flow, None if settings.scaling == "max" else full_magnitude(flow, settings))


def full_magnitude(flow: npt.NDArray[np.floating], settings: FlowImages) -> float:
    """The magnitude (px) of (H, W, 2) flow that gets full saturation: the frame's largest (the paper), a percentile of
    the frame's, which one wild vector can't move, or a fixed number of pixels."""
    if settings.scaling == "fixed":
        return settings.fixed
    if settings.scaling == "percentile":
        magnitude = _known(to_float32(flow))[1]
        share = float(np.percentile(magnitude, settings.percentile)) if magnitude.size else 0.0
        return share or float(magnitude.max(initial=0))  # 0 where few pixels move and the others stand
    return largest_magnitude(flow)


def colour(flow: npt.NDArray[np.floating], full: float | None = None) -> npt.NDArray[np.uint8]:
    """(H, W, 2) flow in pixels -> (H, W, 3) uint8 RGB flow image.

    `full`: magnitude that gets full saturation, by default the frame's own largest; magnitudes beyond it are darkened.
    Unknown (> 1e9) and NaN vectors count as no motion, and are white.
    """
    values, magnitude = _known(to_float32(flow))
    largest = float(magnitude.max(initial=0))
    full = largest if full is None else full
    if not full > 0 or not largest > 0:
        return np.full((*values.shape[:2], 3), 255, np.uint8)
    if largest <= full * (1 + _ROUNDING):
        return _look_up(values, full)
    beyond = magnitude > full * (1 + _ROUNDING)
    values = values.copy()
    values[beyond] *= (full / magnitude[beyond])[:, None]
    image = _look_up(values, full)
    image[beyond] = (image[beyond] * _DARKENED).astype(np.uint8)
    return image


def _look_up(flow: npt.NDArray[np.float32], full: float) -> npt.NDArray[np.uint8]:
    """Colours of vectors no longer than `full`, from the table."""
    scale, middle = np.float32(_HALF / full), np.float32(_HALF + 0.5)
    if not np.isfinite(scale):  # a subnormal `full`
        flow, scale = flow / np.float32(full), np.float32(_HALF)
    column, row = (np.asarray(part, np.float32) for part in cv2.split(flow))
    for places in (column, row):  # in place: new arrays of this size cost more than the sums
        np.multiply(places, scale, out=places)
        np.add(places, middle, out=places)
    # Hue leaps where v changes its sign: what is negative, but too small for the sum above, belongs below.
    lost = np.flatnonzero(row == middle)
    if lost.size:
        row.reshape(-1)[lost[flow[..., 1].reshape(-1)[lost] < 0]] = _HALF
    return np.asarray(cv2.remap(_colour_table(), column, row, cv2.INTER_NEAREST), np.uint8)


@functools.cache
def _colour_table() -> npt.NDArray[np.uint8]:
    """Colours (2 * _HALF + 2 rows and columns, 3) of vectors whose u runs along columns, v along rows, from -1 to 1.

    Zero lies between cells, not in one, so that no cell has vectors of both signs of v.
    """
    axis = (np.arange(2 * _HALF + 2, dtype=np.float32) - _HALF - 0.5) / np.float32(_HALF)
    u, v = np.meshgrid(axis, axis)
    radius = np.minimum(np.sqrt(u * u + v * v), 1)
    wheel = colour_wheel()
    position = (np.arctan2(-v, -u) / np.float32(np.pi) + 1) / 2 * (len(wheel) - 1)
    table = np.empty((*u.shape, 3), np.uint8)
    for channel in range(3):
        hue = np.interp(position, np.arange(len(wheel)), wheel[:, channel])
        table[..., channel] = 255 * (1 - radius * (1 - hue))
    table[_HALF + 1, _HALF + 1] = 255  # where zero is rounded to
    return table
