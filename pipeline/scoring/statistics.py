"""Statistics of scores: over the frames of a sequence, over sequences, and of paired differences."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

RECALL_THRESHOLD = 0.5
SCORE_COLUMNS = ("J", "J_recall", "J_decay", "F", "F_recall", "F_decay", "JF")


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
