"""Region similarity J, contour accuracy F and their statistics, as the DAVIS benchmarks define them.

Frame level: `region_similarity` (J) and `contour_accuracy` (F) compare two masks of one frame; `mask_scores` gives
both, `label_scores` those of every pair of objects of two label pictures.
Sequence level: `sequence_statistics` turns one sequence's scores into mean, recall and decay.
Table level: `per_sequence_table`, `overall_table` and `paired_difference` work on data frames of scores.
Which frames and objects a benchmark scores, `protocols` says.

A mask is a (H, W) array of booleans or integers in which every nonzero value is foreground, so objects
numbered 1, 2, ... merge into one. A void label has to be removed by the caller. Floating-point arrays are
refused: a soft score must be thresholded first, because every nonzero probability would count as foreground.

Source: Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation",
CVPR 2016, and the evaluation code published with it.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from fusionseg.models.labels import VOID

Mask: TypeAlias = npt.NDArray[np.bool_]
Labels: TypeAlias = npt.NDArray[np.bool_ | np.integer[Any]]

BOUNDARY_TOLERANCE = 0.008  # share of the frame's diagonal


def _as_mask(labels: Labels) -> Mask:
    """Return `labels` != 0 as a (H, W) boolean array; ValueError unless (H, W) of booleans or integers."""
    array = np.asarray(labels)
    if array.ndim != 2:
        raise ValueError(f"a mask must have shape (H, W), got {array.shape}")
    if array.dtype.kind not in "bui":
        raise ValueError(f"a mask must hold booleans or integers, got {array.dtype}; threshold it first")
    return array.astype(np.bool_, copy=False)


def _as_mask_pair(truth: Labels, prediction: Labels) -> tuple[Mask, Mask]:
    """Return both as (H, W) boolean arrays; ValueError unless they are masks of the same shape."""
    truth_mask, predicted_mask = _as_mask(truth), _as_mask(prediction)
    if truth_mask.shape != predicted_mask.shape:
        raise ValueError(f"shapes differ: truth {truth_mask.shape}, prediction {predicted_mask.shape}")
    return truth_mask, predicted_mask


def region_similarity(truth: Labels, prediction: Labels) -> float:
    """Return J in [0, 1]: intersection over union of two masks of one frame.

    Both are (H, W), boolean or integer, nonzero meaning foreground. Two empty masks score 1.
    Raises ValueError when the shapes differ or an argument is no mask. Source: Perazzi et al. 2016.

    >>> region_similarity(np.array([[1, 1, 0]]), np.array([[0, 1, 1]])) == 1 / 3
    True
    """
    truth_mask, predicted_mask = _as_mask_pair(truth, prediction)
    union = np.count_nonzero(truth_mask | predicted_mask)
    if union == 0:
        return 1.0
    return float(np.count_nonzero(truth_mask & predicted_mask) / union)


def boundary_map(mask: Labels) -> Mask:
    """Return the (H, W) boolean map of pixels that differ from their right, lower or lower-right neighbour.

    Neighbours outside the frame are ignored: the last row looks right only, the last column down only, and
    the lower-right corner is never boundary. `mask` is (H, W), boolean or integer, nonzero meaning
    foreground; ValueError otherwise. Source: the DAVIS-2016 evaluation code.

    >>> boundary_map(np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]])).astype(int)
    array([[1, 1, 0],
           [1, 1, 0],
           [0, 0, 0]])
    """
    inside = _as_mask(mask)
    boundary = np.zeros_like(inside)
    boundary[:, :-1] |= inside[:, :-1] ^ inside[:, 1:]
    boundary[:-1, :] |= inside[:-1, :] ^ inside[1:, :]
    boundary[:-1, :-1] |= inside[:-1, :-1] ^ inside[1:, 1:]
    return boundary


def _boundary_radius(height: int, width: int) -> int:
    """Return the tolerance of F in pixels, at least 1 for a frame that is not empty.

    >>> _boundary_radius(480, 854)
    8
    """
    return math.ceil(BOUNDARY_TOLERANCE * math.hypot(height, width))


@lru_cache(16)
def _disk_rows(radius: int) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """The disk x^2 + y^2 <= radius^2, row by row: each half width, rising, with the distances y of its rows.

    >>> _disk_rows(2)
    ((0, (2,)), (1, (1,)), (2, (0,)))
    """
    rows: dict[int, tuple[int, ...]] = {}
    for y in range(radius, -1, -1):
        half = math.isqrt(radius**2 - y**2)
        rows[half] = (*rows.get(half, ()), y)
    return tuple(rows.items())


def _dilated(bits: int, stride: int, radius: int) -> int:
    """A picture of `stride` bits a row, the last `radius` of them 0, dilated by the disk; bits outside are undefined.

    Shifting a whole picture as one number costs less than a quarter of what OpenCV's dilation by a disk does.
    """
    wide, reach, found = bits, 0, 0
    for half, distances in _disk_rows(radius):
        for shift in range(reach + 1, half + 1):
            wide |= (bits << shift) | (bits >> shift)
        reach = half
        for y in distances:
            found |= (wide << y * stride) | (wide >> y * stride)
    return found


def _packed(mask: Mask, stride: int) -> int:
    """(H, W) as one number of `stride` bits a row, a multiple of 8 above W."""
    rows = np.zeros((mask.shape[0], stride // 8), np.uint8)
    bits = np.packbits(mask, axis=1, bitorder="little")
    rows[:, : bits.shape[1]] = bits
    return int.from_bytes(rows.tobytes(), "little")


class _Outline(NamedTuple):
    """A mask, its boundary, and what lies within the tolerance of that, as numbers of one bit a pixel."""

    mask: int
    boundary: int
    near: int


_NOTHING = _Outline(0, 0, 0)


def _box(anything: Mask) -> tuple[slice, slice]:
    """Rows and columns of the true pixels of (H, W) and of one pixel around them, as far as the frame goes.

    The box holds whatever is boundary, and the same pixels are boundary in it as in the whole frame.
    """
    x, y, width, height = cv2.boundingRect(anything.view(np.uint8))
    return slice(max(y - 1, 0), y + height + 1), slice(max(x - 1, 0), x + width + 1)


def _outline(mask: Mask, radius: int) -> _Outline:
    """Of a mask (H, W) cut to a box."""
    stride = (mask.shape[1] + radius + 7) // 8 * 8
    boundary = _packed(boundary_map(mask), stride)
    return _Outline(_packed(mask, stride), boundary, _dilated(boundary, stride, radius))


def _region(first: _Outline, second: _Outline) -> float:
    """J."""
    union = (first.mask | second.mask).bit_count()
    return (first.mask & second.mask).bit_count() / union if union else 1.0


def _contour(truth: _Outline, prediction: _Outline) -> float:
    """F."""
    true, predicted = truth.boundary.bit_count(), prediction.boundary.bit_count()
    if not (true and predicted):
        return float(true == predicted)
    precision = (prediction.boundary & truth.near).bit_count() / predicted
    recall = (truth.boundary & prediction.near).bit_count() / true
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def contour_accuracy(truth: Labels, prediction: Labels) -> float:
    """Return F in [0, 1]: the harmonic mean of the precision and recall of the predicted boundary.

    A boundary pixel is matched when the other boundary comes within ceil(0.008 * frame diagonal) pixels of
    it. Two empty boundaries score 1, one empty boundary scores 0. Both masks are (H, W), boolean or integer,
    nonzero meaning foreground. Raises ValueError when the shapes differ or an argument is no mask.
    Source: Perazzi et al. 2016 and its evaluation code.

    >>> mask = np.zeros((20, 20), bool)
    >>> mask[5:10, 5:10] = True
    >>> contour_accuracy(mask, mask), contour_accuracy(mask, ~mask), contour_accuracy(mask, mask & False)
    (1.0, 1.0, 0.0)
    """
    return mask_scores(truth, prediction).F


class FrameScores(NamedTuple):
    """J and F of one frame, both in [0, 1]."""

    J: float
    F: float


def mask_scores(truth: Labels, prediction: Labels) -> FrameScores:
    """Return `region_similarity` and `contour_accuracy` of two masks of one frame, at the cost of one.

    Both are (H, W), boolean or integer, nonzero meaning foreground. Raises ValueError when the shapes differ or an
    argument is no mask.

    >>> mask_scores(np.array([[1, 1, 0]]), np.array([[1, 1, 1]]))
    FrameScores(J=0.6666666666666666, F=0.0)
    """
    truth_mask, predicted_mask = _as_mask_pair(truth, prediction)
    radius = _boundary_radius(*truth_mask.shape)
    box = _box(truth_mask | predicted_mask)
    first, second = _outline(truth_mask[box], radius), _outline(predicted_mask[box], radius)
    return FrameScores(_region(first, second), _contour(first, second))


LabelScores: TypeAlias = Mapping[tuple[int, int], tuple[float, float]]


def label_scores(truth: npt.NDArray[np.integer[Any]], prediction: npt.NDArray[np.integer[Any]]) -> LabelScores:
    """Return the scores of every pair (true object, predicted object) of one frame, by their labels.

    Both are (H, W) integers in which 0 is background and every other value one object. The pairs with 0 are the
    scores against an empty mask, so the keys also tell which labels there are; (0, 0) is always there. Raises
    ValueError when the shapes differ or an argument holds no integers.

    >>> scores = label_scores(np.array([[1, 2, 2]]), np.array([[7, 7, 7]]))
    >>> {pair: round(score.J, 2) for pair, score in scores.items()}
    {(0, 0): 1.0, (0, 7): 0.0, (1, 0): 0.0, (1, 7): 0.33, (2, 0): 0.0, (2, 7): 0.67}
    """
    _as_mask_pair(truth, prediction)
    anything = (truth != 0) | (prediction != 0)
    radius = _boundary_radius(*anything.shape)
    box = _box(anything)
    true, predicted = (_outlines(labels[box], radius) for labels in (truth, prediction))
    return {
        (t, p): FrameScores(_region(first, second), _contour(first, second))
        for t, first in true.items()
        for p, second in predicted.items()
    }


def _outlines(labels: npt.NDArray[np.integer[Any]], radius: int) -> dict[int, _Outline]:
    """Each object's, by label, in a box (H, W); 0 is the empty mask's."""
    found = {int(label): _outline(labels == label, radius) for label in np.unique(labels) if label}
    return {0: _NOTHING, **found}


def valid_j(label: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_]) -> float:
    """J over pixels that aren't void; 1 where both are empty."""
    truth, valid = label == 1, label != VOID
    union = ((truth | mask) & valid).sum()
    return float((truth & mask & valid).sum() / union) if union else 1.0
