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
import pandas as pd

from fusionseg.models.labels import VOID

Mask: TypeAlias = npt.NDArray[np.bool_]
Labels: TypeAlias = npt.NDArray[np.bool_ | np.integer[Any]]

RECALL_THRESHOLD = 0.5
BOUNDARY_TOLERANCE = 0.008  # share of the frame's diagonal
SCORE_COLUMNS = ("J", "J_recall", "J_decay", "F", "F_recall", "F_decay", "JF")


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


class SequenceStatistics(NamedTuple):
    """Statistics of one sequence's scores: mean, share of frames above 0.5, and loss from start to end."""

    mean: float
    recall: float
    decay: float


def _quarter_limits(count: int) -> npt.NDArray[np.intp]:
    """Return the five indices that bound the quarters of `count` >= 1 frames; neighbours share their limit.

    Halves round up; the small constant keeps them from rounding to even. The indices stay wide: the
    published Python evaluation casts them to uint8, which is wrong for more than 256 frames.

    >>> _quarter_limits(11).tolist()
    [0, 3, 5, 8, 10]
    """
    return (np.round(np.linspace(1, count, 5) + 1e-10) - 1).astype(np.intp)


def _decay(values: npt.NDArray[np.float64]) -> float:
    """Return the mean of the first quarter less that of the last, for scores (N,), N >= 1, in frame order."""
    limits = _quarter_limits(len(values))
    first = values[limits[0] : limits[1] + 1]
    last = values[limits[3] : limits[4] + 1]
    return float(first.mean() - last.mean())


def sequence_statistics(values: npt.NDArray[np.floating[Any]]) -> SequenceStatistics:
    """Return the mean, recall and decay of one sequence's scores, shape (N,) with N >= 1, in frame order.

    Recall is the share of scores strictly above 0.5. Decay is the mean of the first quarter less that of
    the last and is positive when the scores fall. Raises ValueError when `values` is not one-dimensional,
    is empty or holds a value that is not finite. Source: Perazzi et al. 2016 and its evaluation code.

    >>> sequence_statistics(np.array([1.0, 0.75, 0.5, 0.25]))
    SequenceStatistics(mean=0.625, recall=0.5, decay=0.5)
    """
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or scores.size == 0:
        raise ValueError(f"scores must have shape (N,) with N >= 1, got {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite")
    recall = np.count_nonzero(scores > RECALL_THRESHOLD) / scores.size
    return SequenceStatistics(float(scores.mean()), float(recall), _decay(scores))


def _require(table: pd.DataFrame, key: list[str], columns: list[str]) -> None:
    """Raise ValueError unless `table` has rows, these columns, one row a key and finite values."""
    missing = [column for column in [*key, *columns] if column not in table.columns]
    if missing:
        raise ValueError(f"missing columns: {', '.join(missing)}")
    if table.empty:
        raise ValueError("the table has no rows")
    if table[[name for name in key if name != "object"]].isna().any(axis=None):
        raise ValueError(f"a value of {', '.join(key)} is missing")
    repeated = table.loc[table.duplicated(key), key]
    if not repeated.empty:
        raise ValueError(f"repeated row for {', '.join(f'{k} {v}' for k, v in repeated.iloc[0].items())}")
    if not np.isfinite(table[columns].to_numpy(dtype=np.float64)).all():
        raise ValueError(f"scores must be finite: {', '.join(columns)}")


def _units(table: pd.DataFrame) -> list[str]:
    """The columns that name what statistics are taken of: a method on a sequence, or on one of its objects."""
    return ["method", "sequence", *(["object"] if "object" in table.columns else [])]


def _sequence_row(frames: pd.DataFrame) -> dict[str, float]:
    """Return the SCORE_COLUMNS of one method on one sequence from its rows [frame, J, F], in any order."""
    ordered = frames.sort_values("frame")
    region = sequence_statistics(ordered["J"].to_numpy())
    contour = sequence_statistics(ordered["F"].to_numpy())
    return dict(zip(SCORE_COLUMNS, (*region, *contour, (region.mean + contour.mean) / 2), strict=True))


def per_sequence_table(per_frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row per method and sequence, in order of first appearance, from one row per scored frame.

    `per_frame` has the columns method, sequence, frame (numbers, or names that sort in time), J and F; its
    rows may come in any order. Where it has a column object (missing where a protocol merges objects), each
    object has a row of its own. The result has method, sequence, object (if given), J, J_recall, J_decay, F,
    F_recall, F_decay and JF, the mean of J and F. Raises ValueError for a missing column, no rows, a repeated
    frame or a score that is not finite.

    >>> scores = {"frame": [1, 2], "J": [0.75, 0.25], "F": [1.0, 1.0]}
    >>> table = per_sequence_table(pd.DataFrame({"method": "ours", "sequence": "bear", **scores}))
    >>> table[["J", "J_recall", "J_decay", "F", "JF"]].to_numpy().tolist()
    [[0.5, 0.5, 0.5, 1.0, 0.75]]
    """
    units = _units(per_frame)
    _require(per_frame, [*units, "frame"], ["J", "F"])
    groups = per_frame.groupby(units, sort=False, observed=True, dropna=False)
    rows = [{**dict(zip(units, key, strict=True)), **_sequence_row(frames)} for key, frames in groups]
    return pd.DataFrame(rows, columns=[*units, *SCORE_COLUMNS])


def overall_table(per_sequence: pd.DataFrame) -> pd.DataFrame:
    """Return one row per method, in order of first appearance: the unweighted mean over its rows, which are
    sequences, or objects of sequences.

    `per_sequence` is a table as `per_sequence_table` returns it; the result has the columns method, J, J_recall,
    J_decay, F, F_recall, F_decay and JF. Raises ValueError for a missing column, no rows, a repeated sequence or
    a value not finite.

    >>> rows = {"method": "ours", "sequence": ["bear", "surf"], **dict.fromkeys(SCORE_COLUMNS, [0.25, 0.75])}
    >>> overall_table(pd.DataFrame(rows))["J"].to_list()
    [0.5]
    """
    columns = list(SCORE_COLUMNS)
    _require(per_sequence, _units(per_sequence), columns)
    return per_sequence.groupby("method", sort=False, observed=True)[columns].mean().reset_index()


class PairedDifference(NamedTuple):
    """A mean difference with the limits of its 95% interval."""

    mean: float
    low: float
    high: float


def _scores_by_sequence(per_sequence: pd.DataFrame, method: str, column: str) -> "pd.Series[float]":
    """Return one method's `column` (the mean over objects) indexed by sequence, sorted; ValueError when the method
    has no rows."""
    rows = per_sequence[per_sequence["method"] == method]
    if rows.empty:
        raise ValueError(f"no rows for method {method!r}")
    return rows.groupby("sequence")[column].mean()


def paired_difference(
    per_sequence: pd.DataFrame,
    first: str,
    second: str,
    column: str = "J",
    samples: int = 10000,
    seed: int = 0,
) -> PairedDifference:
    """Return the mean of `first` - `second` over sequences with its 95% percentile bootstrap interval.

    `per_sequence` has the columns method, sequence and `column`. Whole sequences are drawn with replacement,
    `samples` times, each with both methods' scores. The result does not depend on the order of the rows.
    Raises ValueError when a method has no rows, the two cover different sequences, a sequence repeats, a
    score is not finite or `samples` < 1.
    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993.

    >>> rows = {"method": ["a", "a", "b", "b"], "sequence": ["bear", "surf"] * 2, "J": [0.75, 0.5, 0.5, 0.25]}
    >>> paired_difference(pd.DataFrame(rows), "a", "b")
    PairedDifference(mean=0.25, low=0.25, high=0.25)
    """
    _require(per_sequence, _units(per_sequence), [column])
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    left = _scores_by_sequence(per_sequence, first, column)
    right = _scores_by_sequence(per_sequence, second, column)
    unpaired = left.index.symmetric_difference(right.index).to_list()
    if unpaired:
        raise ValueError(f"{first!r} and {second!r} cover different sequences: {unpaired}")
    differences = (left - right).to_numpy(dtype=np.float64)
    draws = np.random.default_rng(seed).integers(len(differences), size=(samples, len(differences)))
    low, high = np.percentile(differences[draws].mean(axis=1), [2.5, 97.5])
    return PairedDifference(float(differences.mean()), float(low), float(high))


def valid_j(label: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_]) -> float:
    """J over pixels that aren't void; 1 where both are empty."""
    truth, valid = label == 1, label != VOID
    union = ((truth | mask) & valid).sum()
    return float((truth & mask & valid).sum() / union) if union else 1.0
