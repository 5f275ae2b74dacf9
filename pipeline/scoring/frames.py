"""From masks to the table of their scores, frame by frame: what the stage `scoring` and `fusionseg score` share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from fusionseg.pipeline.formats.planes import Raw
from fusionseg.pipeline.scoring.measures import LabelScores, label_scores, mask_scores
from fusionseg.pipeline.scoring.protocols import Protocol, match_objects

COLUMNS = ["method", "sequence", "frame", "J", "F"]
_TYPES = {"frame": np.int64, "J": np.float64, "F": np.float64}
_MERGED = (1, 1)  # the pair of labels, where all objects are one


def frame_scores(protocol: Protocol, truth: Raw, predictions: Mapping[str, Raw]) -> dict[str, LabelScores]:
    """J and F of every method's mask of one frame, by pairs of labels (one pair where the protocol merges objects).

    All masks are (H, W), boolean or integer, 0 background. Raises ValueError where shapes differ.

    >>> from fusionseg.pipeline.scoring.protocols import PROTOCOLS
    >>> truth, mask = np.array([[1, 2, 255]]), np.array([[True, True, True]])
    >>> frame_scores(PROTOCOLS["davis2016"], truth, {"ours": mask})["ours"]
    {(1, 1): FrameScores(J=1.0, F=1.0)}
    >>> sorted(frame_scores(PROTOCOLS["davis2017-unsupervised"], truth, {"ours": mask})["ours"])  # 255 is void there
    [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
    """
    if not protocol.objects:
        return {method: {_MERGED: mask_scores(truth, mask)} for method, mask in predictions.items()}
    counted = truth != protocol.void
    labels = truth * counted
    return {
        method: label_scores(labels, mask * (counted & (mask != protocol.void))) for method, mask in predictions.items()
    }


def sequence_rows(
    protocol: Protocol, method: str, sequence: str, frames: Sequence[int], scores: Sequence[LabelScores]
) -> pd.DataFrame:
    """The table of one method on one sequence from the `frame_scores` of its frames: COLUMNS, and object where the
    protocol tells objects apart. Raises ValueError for too many proposals (see `match_objects`)."""
    if not protocol.objects:
        return _table(method, sequence, frames, np.array([pairs[_MERGED] for pairs in scores]))
    tables = [
        _table(method, sequence, frames, values).assign(object=label) for label, values in match_objects(scores).items()
    ]
    return joined(tables)


def _table(method: str, sequence: str, frames: Sequence[int], values: npt.NDArray[np.float64]) -> pd.DataFrame:
    columns = {"method": method, "sequence": sequence, "frame": frames, "J": values[:, 0], "F": values[:, 1]}
    return pd.DataFrame(columns, columns=COLUMNS).astype(_TYPES)


def joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One table below the other; without any, one without rows."""
    if not tables:
        return pd.DataFrame(columns=COLUMNS).astype(_TYPES)
    return pd.concat(tables, ignore_index=True)
