"""Protocols of benchmarks, as data: which frames count, whether objects are told apart, which means are taken.

`PROTOCOLS` holds them by name. All take `metrics`' statistics of J and F by sequence; `overall_means` then takes each
protocol's means over them, the first of which is its own figure. `match_objects` finds which predicted object stands
for which true one where a protocol tells them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from fusionseg.pipeline.names import ProtocolName
from fusionseg.pipeline.scoring.measures import LabelScores
from fusionseg.pipeline.scoring.statistics import RECALL_THRESHOLD, SCORE_COLUMNS, overall_table, per_sequence_table

MOST_PROPOSALS = 20
MeanName = Literal["sequences", "objects", "classes", "frames"]


@dataclass(frozen=True)
class Protocol:
    """What a benchmark scores of a video.

    `annotated_only`: truth is there for some frames, and no more is scored. `objects`: true objects are told apart and
    matched with proposals; otherwise all objects are one. `void`: a value of the truth that is taken out of both
    masks. `measures`: those that the benchmark itself reports. `means`: what figures are means over, its own first.
    `object_folders`: each object's truth may lie in a folder of its own, SEQUENCE/1, SEQUENCE/2 ...
    """

    name: ProtocolName
    title: str
    skip_first_and_last: bool = False
    annotated_only: bool = False
    objects: bool = False
    void: int | None = None
    measures: tuple[str, ...] = ("J", "F")
    means: tuple[MeanName, ...] = ("sequences",)
    object_folders: bool = False


_ALL = (
    Protocol("davis2016", "DAVIS 2016: objects merged, without the first and the last frame", skip_first_and_last=True),
    Protocol(
        "davis2017-unsupervised",
        f"DAVIS 2017 unsupervised: up to {MOST_PROPOSALS} proposals, matched with the first frame's objects",
        objects=True,
        void=255,
        means=("objects",),
    ),
    Protocol(
        "youtube-objects",
        "YouTube-Objects: annotated frames, mean of classes",
        annotated_only=True,
        measures=("J",),
        means=("classes", "sequences"),
    ),
    Protocol(
        "segtrack-v2",
        "SegTrack v2: objects merged, mean of sequences",
        measures=("J",),
        means=("sequences", "frames"),
        object_folders=True,
    ),
    Protocol("fbms", "FBMS: annotated frames, objects merged", annotated_only=True),
)
PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in _ALL}


def scored_frames(protocol: Protocol, number_of_frames: int) -> range:
    """Return the zero-based indices of the frames that `protocol` scores in a video of that many frames.

    Raises ValueError when no frame is left to score.

    >>> scored_frames(PROTOCOLS["davis2016"], 5)
    range(1, 4)
    """
    margin = 1 if protocol.skip_first_and_last else 0
    if number_of_frames <= 2 * margin:
        raise ValueError(
            f"{protocol.name}: a video of {number_of_frames} frames has no scored frame; "
            f"at least {2 * margin + 1} are needed"
        )
    return range(margin, number_of_frames - margin)


def proposals_of(frames: Sequence[LabelScores]) -> list[int]:
    """The labels of all predicted objects of a sequence, rising, from `metrics.label_scores` of its frames."""
    return sorted({predicted for scores in frames for _, predicted in scores if predicted})


def match_objects(frames: Sequence[LabelScores]) -> dict[int, npt.NDArray[np.float64]]:
    """J and F of the matched proposal in every frame, (T, 2), by the label of the true object, from
    `metrics.label_scores` of all T frames of a sequence.

    True objects are those of the first frame. Each gets a proposal of its own such that the sum of the means over
    time of (J + F) / 2 is the largest possible (the Hungarian method). Where there are fewer proposals than objects,
    empty masks fill up. Raises ValueError for more than 20 proposals.
    Source: Caelles et al., "The 2019 DAVIS Challenge on VOS: Unsupervised Multi-Object Segmentation", 2019.

    >>> first = {(0, 0): (1, 1), (2, 0): (0, 0), (0, 7): (0, 0), (2, 7): (0.75, 0.5)}
    >>> {label: values.tolist() for label, values in match_objects([first, {(0, 0): (1, 1)}]).items()}
    {2: [[0.75, 0.5], [1.0, 1.0]]}
    """
    from scipy.optimize import linear_sum_assignment  # slow to load, and only such protocols need it

    objects = sorted(true for true, predicted in frames[0] if true and not predicted)
    proposals = proposals_of(frames)
    if len(proposals) > MOST_PROPOSALS:
        raise ValueError(f"{len(proposals)} proposals; at most {MOST_PROPOSALS} are allowed")
    filled = [*proposals, *[0] * (len(objects) - len(proposals))]
    scores = np.array([[[_pair(frame, t, p) for frame in frames] for p in filled] for t in objects], np.float64)
    scores = scores.reshape(len(objects), len(filled), len(frames), 2)
    rows, columns = linear_sum_assignment(scores.mean(axis=(2, 3)), maximize=True)
    return {objects[row]: scores[row, column] for row, column in zip(rows, columns, strict=True)}


def _pair(frame: LabelScores, true: int, predicted: int) -> tuple[float, float]:
    """J and F of a pair of objects, either of which may not be in this frame."""
    return frame[true if (true, 0) in frame else 0, predicted if (0, predicted) in frame else 0]


def class_of(sequence: str) -> str:
    """The class that a sequence belongs to: the first part of its name.

    >>> class_of("aeroplane/data/0001/shots/001"), class_of("cat-0003")
    ('aeroplane', 'cat')
    """
    return sequence.replace("-", "/").replace("_", "/").partition("/")[0]


def overall_means(per_frame: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """One row for each of the protocol's means and each method: method, mean, and the columns of
    `metrics.overall_table`. Pooled frames have no decay (nan).

    `mean` says what the figures are means over: "sequences", "objects" (of all sequences), "classes" (the mean of a
    class is that over its sequences) or "frames" (of all sequences together). Raises ValueError as
    `metrics.per_sequence_table` does.

    >>> rows = {"method": "ours", "sequence": ["cat/1", "cat/2", "dog/1"], "frame": 1, "J": [1.0, 0.5, 0.5], "F": 1.0}
    >>> overall_means(pd.DataFrame(rows), PROTOCOLS["youtube-objects"])[["mean", "J"]].to_numpy().tolist()
    [['classes', 0.625], ['sequences', 0.6666666666666666]]
    """
    per_sequence = per_sequence_table(per_frame)
    tables = (_MEANS[name](per_frame, per_sequence).assign(mean=name) for name in protocol.means)
    return pd.concat(tables, ignore_index=True)[["method", "mean", *SCORE_COLUMNS]]


def _over_sequences(per_frame: pd.DataFrame, per_sequence: pd.DataFrame) -> pd.DataFrame:
    return overall_table(per_sequence)


def _over_classes(per_frame: pd.DataFrame, per_sequence: pd.DataFrame) -> pd.DataFrame:
    return overall_table(per_class_table(per_sequence).rename(columns={"class": "sequence"}))


def per_class_table(per_sequence: pd.DataFrame) -> pd.DataFrame:
    """One row a method and class, the mean over its sequences: method, class, and the columns of
    `metrics.overall_table`."""
    classes = per_sequence["sequence"].map(class_of).rename("class")
    columns = list(SCORE_COLUMNS)
    return per_sequence.groupby(["method", classes], sort=False)[columns].mean().reset_index()


def _over_frames(per_frame: pd.DataFrame, per_sequence: pd.DataFrame) -> pd.DataFrame:
    def pooled() -> Iterator[dict[str, object]]:
        for method, rows in per_frame.groupby("method", sort=False):
            j, f = rows["J"], rows["F"]
            recall = {"J_recall": (j > RECALL_THRESHOLD).mean(), "F_recall": (f > RECALL_THRESHOLD).mean()}
            yield {"method": method, "J": j.mean(), "F": f.mean(), **recall, "JF": (j.mean() + f.mean()) / 2}

    return pd.DataFrame(pooled()).reindex(columns=["method", *SCORE_COLUMNS])


_MEANS: dict[MeanName, Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame]] = {
    "sequences": _over_sequences,
    "objects": _over_sequences,
    "classes": _over_classes,
    "frames": _over_frames,
}
