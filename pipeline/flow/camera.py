"""Camera compensation: the camera's motion as a homography, fitted to the flow itself, and the flow without it.

Where the fit can't be trusted the camera counts as still (the identity), and the reason is named.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from fusionseg.pipeline.formats.flow import UNKNOWN

Flow = npt.NDArray[np.float32]

TOO_SMALL = "frame too small"
TOO_FEW = "too few known vectors"
NO_FIT = "no homography fits"
NO_AGREEMENT = "too few vectors agree"
ONE_PART = "the vectors that agree lie in one part of the frame"
FOLDED = "the homography folds or mirrors the frame"
IMPLAUSIBLE = "the homography zooms beyond reason"

# Vectors on a grid: 1,600 are 16 px apart at 480p. A quarter of them, or four times as many, give the same contrast.
_POINTS = 1600
_FEWEST = 100  # known vectors of them
_SMALLEST = 16  # px a side; in a strip that narrow, eight parameters say little

# Measured on 119 frames of DAVIS's 30 sequences, DIS medium (contrast as in benchmarks/stabilisation.py).
# How far a vector may be from the camera's and agree with it: 1 px at 480p, in proportion to the diagonal, and no less
# than what flow estimators get wrong. From 0.25 to 2 px at 480p, AUC stays within 0.931 to 0.935.
_TOLERANCE = 1e-3  # of the diagonal
_LEAST_TOLERANCE = 0.5  # px
# The quickest of OpenCV's robust estimators, 0.7 ms a frame, separates as well as the others: AUC 0.935 and a colour
# distance of 89.6 (USAC_MAGSAC 0.930 and 88.1, RANSAC 0.933 and 90.0 but up to 35 ms). It draws from a fixed seed.
_ESTIMATOR = cv2.USAC_FAST
_ITERATIONS = 1000
_CONFIDENCE = 0.999
# Share of vectors that must agree: 0.06 to 0.11 where nothing is rigid (mallard-water, all ripples) and the fit helps
# nothing, 0.25 to 0.97 nearly everywhere else.
_LEAST_SHARE = 0.2
# How widely they must be spread, in x and in y, against all vectors (ratio of standard deviations): a strip says
# nothing about the rest of the frame. 0.43 is the least among fits that help (surf, a band of the frame).
_LEAST_SPREAD = 0.4
_MOST_ZOOM = 2.0  # between the two frames of a pair, anywhere in the frame
_PRECISION = 1e-3  # px; a frame with no larger residual holds nothing but rounding


@dataclass(frozen=True, eq=False)
class CameraMotion:
    """How the camera moves between the frames of a pair.

    `matrix`: (3, 3) float64 homography that takes a background pixel's x, y, 1 of the first frame to where it is in
    the second; `share`: of the vectors that agree with what was fitted; `reason`: why `matrix` is the identity, or "".
    """

    matrix: npt.NDArray[np.float64]
    share: float
    reason: str = ""

    def as_row(self) -> dict[str, Any]:
        """The same as columns of a table: h00 ... h22, share, reason."""
        entries = {f"h{row}{column}": float(self.matrix[row, column]) for row in range(3) for column in range(3)}
        return {**entries, "share": self.share, "reason": self.reason}


def camera_motion(flow: Flow) -> CameraMotion:
    """The camera's motion behind (H, W, 2) float32 flow in pixels; unknown vectors (NaN, beyond 1e9) are left out.

    The same flow always gives the same motion.
    """
    height, width = flow.shape[:2]
    if min(height, width) < _SMALLEST:
        return _still(TOO_SMALL)
    spacing = max(1, round((height * width / _POINTS) ** 0.5))
    vectors = flow[spacing // 2 :: spacing, spacing // 2 :: spacing].reshape(-1, 2)
    places = _pixels(height, width)[spacing // 2 :: spacing, spacing // 2 :: spacing].reshape(-1, 2)
    known = (np.abs(vectors) <= UNKNOWN).all(1)
    if known.sum() < _FEWEST:
        return _still(TOO_FEW)
    tolerance = max(_LEAST_TOLERANCE, _TOLERANCE * float(np.hypot(height, width)))
    found, agreeing = cv2.findHomography(
        places[known],
        (places + vectors)[known],
        _ESTIMATOR,
        tolerance,
        maxIters=_ITERATIONS,
        confidence=_CONFIDENCE,
    )
    if found is None or not np.isfinite(found).all():
        return _still(NO_FIT)
    matrix = found.astype(np.float64)
    share = float(agreeing.mean())
    if share < _LEAST_SHARE:
        return _still(NO_AGREEMENT, share)
    spread = places[known][agreeing[:, 0] > 0].std(0) / places.std(0)
    reason = ONE_PART if spread.min() < _LEAST_SPREAD else doubt(matrix, (height, width))
    return _still(reason, share) if reason else CameraMotion(matrix, share)


def _still(reason: str, share: float = 0.0) -> CameraMotion:
    return CameraMotion(np.eye(3), share, reason)


def doubt(matrix: npt.NDArray[np.float64], size: tuple[int, int]) -> str:
    """Why a homography can't be the camera's in a frame of (height, width) `size`, or "".

    The denominator is linear in x and y, so its sign at the corners tells all; the change of area at a point is the
    determinant divided by the cube of the denominator.
    """
    bottom, right = size[0] - 1, size[1] - 1
    corners = np.array([[0, 0, 1], [right, 0, 1], [0, bottom, 1], [right, bottom, 1]], np.float64)
    denominators = corners @ matrix[2]
    determinant = float(np.linalg.det(matrix))
    if determinant * denominators.min() <= 0 or denominators.min() * denominators.max() <= 0:
        return FOLDED
    zooms = np.sqrt(determinant / denominators**3)
    return IMPLAUSIBLE if zooms.max() > _MOST_ZOOM or zooms.min() < 1 / _MOST_ZOOM else ""


def residual(flow: Flow, motion: CameraMotion) -> Flow:
    """(H, W, 2) float32 flow minus the camera's, in pixels: what moves by itself. Unknown vectors stay unknown."""
    if motion.reason:
        return flow
    height, width = flow.shape[:2]
    pixels = _pixels(height, width)
    camera = cv2.subtract(cv2.perspectiveTransform(pixels, motion.matrix), pixels)
    rest = cv2.subtract(flow, camera, dst=camera)
    if cv2.checkRange(rest, minVal=-_PRECISION, maxVal=_PRECISION)[0]:
        return np.zeros_like(flow)
    return np.asarray(rest, np.float32)


@functools.lru_cache(maxsize=2)  # videos are worked on one after the other
def _pixels(height: int, width: int) -> Flow:
    """x and y of each pixel, (H, W, 2)."""
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.stack([x, y], -1)
