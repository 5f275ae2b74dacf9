"""Stage `scoring`: region similarity J and contour accuracy F of every method's mask on every scored frame.

`frame_scores` and `sequence_rows` are also what `fusionseg score` computes with, so the two can't disagree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fusionseg.pipeline.artifact import Artifact, Record
from fusionseg.pipeline.images import read_mask_sized, read_objects_sized
from fusionseg.pipeline.job import Context, Job, in_order
from fusionseg.pipeline.manifest import Item, MaskFiles
from fusionseg.pipeline.mask_files import Raw
from fusionseg.pipeline.metrics import LabelScores, label_scores, mask_scores
from fusionseg.pipeline.protocols import PROTOCOLS, Protocol, match_objects, scored_frames
from fusionseg.pipeline.store import record_of

COLUMNS = ["method", "sequence", "frame", "J", "F"]
_TYPES = {"frame": np.int64, "J": np.float64, "F": np.float64}
_MERGED = (1, 1)  # the pair of labels, where all objects are one


def compute(job: Job, context: Context) -> Record:
    """Write the table `per_frame`: method, sequence, frame, J, F (both 0..1), for the models and baselines of
    `prediction` and the published masks of other methods that the manifest names; and object, the label of the true
    object, where the protocol tells objects apart. The models' masks are one proposal then.

    A video that isn't scored has no rows, and a count says why: `no_truth` (no masks), `no_protocol` (none to score it
    by), `unscored` (too short for its protocol, or no mask on a frame that it scores).
    """
    item = job.item
    frames = protocol_frames(item)
    with job.open(context, "prediction") as masks, job.write(context) as writer:
        found = list(in_order(lambda i: score_frame(item, masks, frames[i]), len(frames), context.run.workers))
        methods = [*masks.facts["methods"], *item.others]
        protocol = PROTOCOLS[item.protocol] if item.protocol else None
        tables = [
            sequence_rows(protocol, method, item.name, frames, [scores[method] for scores in found])
            for method in methods
            if protocol and found
        ]
        writer.table("per_frame", joined(tables))
        writer.counts |= {"frames": len(item.frames), "scored_frames": len(frames)}
        if not frames:
            writer.counts["no_truth" if not item.masks else "no_protocol" if not item.protocol else "unscored"] = 1
    return record_of(job, context)


def protocol_frames(item: Item) -> list[int]:
    """Indices of the frames that the data set's protocol scores and that have a true mask; none where the video is too
    short, or there is no protocol."""
    if item.protocol is None:
        return []
    try:
        counted = scored_frames(PROTOCOLS[item.protocol], len(item.frames))
    except ValueError:
        return []
    return [index for index in item.annotated if index in counted]


def score_frame(item: Item, masks: Artifact, index: int) -> dict[str, LabelScores]:
    """`frame_scores` of one frame of a video."""
    assert item.protocol is not None
    protocol = PROTOCOLS[item.protocol]
    predictions: dict[str, Raw] = {method: masks.frame(method, index) > 0 for method in masks.facts["methods"]}
    height, width = next(iter(predictions.values())).shape
    truth = _read(item, protocol, index, (height, width), item.masks[index])
    for method, paths in item.others.items():
        predictions[method] = _read(item, protocol, index, (height, width), MaskFiles((paths[index],)))
    return frame_scores(protocol, truth, predictions)


def _read(item: Item, protocol: Protocol, index: int, size: tuple[int, int], files: MaskFiles) -> Raw:
    if protocol.objects:
        return read_objects_sized(item, index, size, files)
    return read_mask_sized(item, index, size, files) == 1


def frame_scores(protocol: Protocol, truth: Raw, predictions: Mapping[str, Raw]) -> dict[str, LabelScores]:
    """J and F of every method's mask of one frame, by pairs of labels (one pair where the protocol merges objects).

    All masks are (H, W), boolean or integer, 0 background. Raises ValueError where shapes differ.

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
        method: label_scores(labels, mask * (counted & (mask != protocol.void)))
        for method, mask in predictions.items()
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


def _table(method: str, sequence: str, frames: Sequence[int], values: np.ndarray[Any, Any]) -> pd.DataFrame:
    columns = {"method": method, "sequence": sequence, "frame": frames, "J": values[:, 0], "F": values[:, 1]}
    return pd.DataFrame(columns, columns=COLUMNS).astype(_TYPES)


def joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One table below the other; without any, one without rows."""
    if not tables:
        return pd.DataFrame(columns=COLUMNS).astype(_TYPES)
    return pd.concat(tables, ignore_index=True)
