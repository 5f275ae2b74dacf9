"""Stage `box-motion`: what optical flow shows of each annotated box: how it moves, and differs from the background.

Reads boxes and flow, nothing that was predicted. Measures only; thresholds are applied by `flow-filter`, last.
Background is all that no box covers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from fusionseg.pipeline.flow.camera import camera_motion
from fusionseg.pipeline.formats.flow import UNKNOWN
from fusionseg.pipeline.weak_labels.regions import Box, inside

UInt8 = npt.NDArray[np.uint8]
Flow = npt.NDArray[np.float32]
NAN = float("nan")

# Vectors are looked at on a grid, in the frame and in each box: as many as this tell the same as all (measured on
# DAVIS: to 1 % of a contrast).
_POINTS = 16000
# What flow estimators get wrong where all is well, as a share of the diagonal: 0.5 px at 480p. A background that moves
# as one has no smaller spread, and a mean vector no shorter has no direction.
_NOISE = 5e-4
_FASTEST = 99  # per cent: the largest magnitude of all is a wild vector's


@dataclass(frozen=True)
class Motion:
    """What is measured of a box's flow. NaN where there is nothing to measure: no flow, no background, no u,v kept.

    `background`: share of the frame that no box covers. `contrast`: grey levels 0..441, Euclidean distance of the flow
    image's mean colours in the box and in the background. `vector_contrast`: length of the difference of the mean
    vectors in the box and in the background, divided by the background's spread (root mean square distance from its
    mean). `direction`: degrees 0..180 between these mean vectors. `magnitude_in`, `magnitude_out`: mean length of the
    vectors, px. `residual_in`, `residual_out`: the same of flow without the camera's motion, a homography fitted to the
    frame's flow. `magnitude_p99`: length that 1 % of the frame's vectors exceed, px. `unknown`: share of unknown
    vectors in the box or in the background, whichever is larger.
    """

    background: float
    contrast: float = NAN
    vector_contrast: float = NAN
    direction: float = NAN
    magnitude_in: float = NAN
    magnitude_out: float = NAN
    residual_in: float = NAN
    residual_out: float = NAN
    magnitude_p99: float = NAN
    unknown: float = NAN


def measure(boxes: Box, size: tuple[int, int], image: UInt8 | None = None, flow: Flow | None = None) -> list[Motion]:
    """Of each of (N, 4) boxes that lie in a frame of (height, width): `image` (H, W, 3) uint8 is its flow image, `flow`
    (H, W, 2) float32 its flow in pixels, NaN or beyond 1e9 where unknown."""
    background = ~inside(boxes, size)
    found = [Motion(float(background.mean()))] * len(boxes)
    if image is not None:
        pairs = zip(found, colour_contrast(image, boxes, background), strict=True)
        found = [replace(motion, contrast=contrast) for motion, contrast in pairs]
    if flow is not None:
        found = vector_measures(found, flow, boxes, background)
    return found


def colour_contrast(image: UInt8, boxes: Box, background: npt.NDArray[np.bool_]) -> list[float]:
    """`Motion.contrast` of each box; a box without area doesn't differ."""
    if not background.any():
        return [NAN] * len(boxes)
    outer = np.array(cv2.mean(image, background.view(np.uint8)))
    return [
        float(np.linalg.norm(cv2.mean(image[y0:y1, x0:x1]) - outer)) if x1 > x0 and y1 > y0 else 0.0
        for x0, y0, x1, y1 in boxes
    ]


@dataclass(frozen=True, eq=False)
class _Sample:
    """Vectors (N, 2) float32 px of some part of a frame, known ones alone; the same without the camera's motion; and
    the share of unknown ones."""

    vectors: Flow
    residuals: Flow
    unknown: float


def _sample(flow: Flow, camera: npt.NDArray[np.float64], x: range, y: range, where: npt.NDArray[np.bool_]) -> _Sample:
    """Vectors at columns `x` and rows `y`, of the places where `where`, which has their shape."""
    vectors = flow[y.start : y.stop : y.step, x.start : x.stop : x.step][where]
    places = np.stack(np.meshgrid(x, y), -1).astype(np.float32)[where]
    known = (np.abs(vectors) <= UNKNOWN).all(-1)
    if not known.all():
        vectors, places = vectors[known], places[known]
    moved = cv2.perspectiveTransform(places[None], camera)[0] - places if len(places) else places
    return _Sample(vectors, vectors - moved, 1.0 - float(known.mean()) if known.size else NAN)


def vector_measures(found: list[Motion], flow: Flow, boxes: Box, background: npt.NDArray[np.bool_]) -> list[Motion]:
    """`found` with all that is measured of u and v."""
    height, width = flow.shape[:2]
    noise = _NOISE * float(np.hypot(height, width))
    camera = camera_motion(flow).matrix
    step = _spacing(height * width)
    rows, columns = range(step // 2, height, step), range(step // 2, width, step)
    outside = background[step // 2 :: step, step // 2 :: step]
    outer = _sample(flow, camera, columns, rows, outside)
    fastest = _fastest(flow[step // 2 :: step, step // 2 :: step])
    measured = []
    for motion, (x0, y0, x1, y1) in zip(found, boxes, strict=True):
        step = _spacing(int(x1 - x0) * int(y1 - y0))
        x, y = range(x0, x1, step), range(y0, y1, step)
        inner = _sample(flow, camera, x, y, np.ones((len(y), len(x)), bool))
        measured.append(replace(motion, magnitude_p99=fastest, **_compared(inner, outer, noise)))
    return measured


def _spacing(area: int) -> int:
    """Of the grid of at least `_POINTS` vectors in `area` pixels, px."""
    return max(1, int((area / _POINTS) ** 0.5))


def _fastest(flow: Flow) -> float:
    lengths = _lengths(flow[(np.abs(flow) <= UNKNOWN).all(-1)])
    return float(np.percentile(lengths, _FASTEST)) if lengths.size else NAN


def _compared(inner: _Sample, outer: _Sample, noise: float) -> dict[str, float]:
    """What is measured of the vectors in a box and in the background; `noise` in pixels."""
    found = {
        "unknown": float(np.fmax(inner.unknown, outer.unknown)),
        "magnitude_in": _mean_length(inner.vectors),
        "magnitude_out": _mean_length(outer.vectors),
        "residual_in": _mean_length(inner.residuals),
        "residual_out": _mean_length(outer.residuals),
    }
    if not len(inner.vectors) or not len(outer.vectors):
        return found
    mean_in, mean_out = inner.vectors.mean(0, np.float64), outer.vectors.mean(0, np.float64)
    spread = float(np.sqrt(outer.vectors.var(0, dtype=np.float64).sum()))
    found["vector_contrast"] = float(np.linalg.norm(mean_in - mean_out)) / float(np.hypot(spread, noise))
    if min(np.linalg.norm(mean_in), np.linalg.norm(mean_out)) > noise:
        turned = np.arctan2(mean_in[1], mean_in[0]) - np.arctan2(mean_out[1], mean_out[0])
        found["direction"] = float(np.degrees(abs((turned + np.pi) % (2 * np.pi) - np.pi)))
    return found


def _lengths(vectors: Flow) -> npt.NDArray[np.float32]:
    return np.asarray(np.hypot(vectors[:, 0], vectors[:, 1]))


def _mean_length(vectors: Flow) -> float:
    return float(_lengths(vectors).mean(dtype=np.float64)) if len(vectors) else NAN
