"""Sizes of pictures."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
_CHANNELS = 4  # that OpenCV averages at most


def fit(size: tuple[int, int], long_side: int) -> tuple[int, int]:
    """(height, width) scaled so that the longer side is `long_side`; unchanged for 0.

    >>> fit((480, 854), 425), fit((480, 854), 0)
    ((239, 425), (480, 854))
    """
    if not long_side:
        return size
    scale = long_side / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def resize(image: Array, size: tuple[int, int], nearest: bool = False) -> Array:
    """(H, W, ...) to (height, width), averaging where it shrinks; `nearest` for labels. Flow keeps its values."""
    if image.shape[:2] == size:
        return image
    smaller = size[0] < image.shape[0]
    if image.ndim > 2 and image.shape[2] > _CHANNELS:
        parts = [image[..., first : first + _CHANNELS] for first in range(0, image.shape[2], _CHANNELS)]
        return np.concatenate([resize(np.ascontiguousarray(part), size, nearest) for part in parts], 2)
    method = cv2.INTER_NEAREST if nearest else cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    # OpenCV drops a last axis of one.
    return np.asarray(cv2.resize(image, size[::-1], interpolation=method)).reshape(*size, *image.shape[2:])
