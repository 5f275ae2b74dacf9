"""Stage `label-quality` of the study of weak labels: labels against true masks, frame by frame.

The study alone may look: no stage of a run reads true masks of boxed videos, nor what is written here.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fusionseg.models.labels import VOID
from fusionseg.pipeline.basics.threads import in_order
from fusionseg.pipeline.datasets.reading import read_mask_sized
from fusionseg.pipeline.networks.scores import full_scores, object_mask
from fusionseg.pipeline.scoring.measures import valid_j
from fusionseg.pipeline.settings.profile import read_profile
from fusionseg.pipeline.settings.sections import FlowFilter
from fusionseg.pipeline.store.artifact import ArtifactWriter
from fusionseg.pipeline.store.bits import read_plain
from fusionseg.pipeline.store.job import Work
from fusionseg.pipeline.weak_labels.regions import inside
from fusionseg.pipeline.weak_labels.verdicts import ACCEPTED, BOX, BOX_REASONS, FRAME_DROPPED, verdicts, weak_label

UInt8 = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]

# Thresholds that are tried: of the box test, and of the flow test, whose ranges cover all that DAVIS shows.
MEASURES = {
    "iou": (0.0, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95),
    "uncut-iou": (0.0, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95),
    "coverage": (0.0, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75),
    # Beside the paper's box test: of the network in its region, of colours and network on it.
    "confidence": (0.0, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.775, 0.8, 0.825, 0.85, 0.875, 0.9),
    "agreement": (0.0, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95),
}
_BESIDE = {"confidence": "min_confidence", "agreement": "min_agreement"}
_NONE_BESIDE = dict.fromkeys(_BESIDE.values(), 0.0)
CONTRASTS = {
    "colour": (0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0, 80.0, 100.0),  # grey levels
    "vector": (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0),  # spreads of the background
}
LABELS = ("label", "filled_box", "grabcut")  # what is compared with the truth, for each set of accepted boxes
COLUMNS = ["frame", "accepted", "unpruned", "pruned", *LABELS]


@dataclass(frozen=True)
class Trial:
    """What both tests look at, as in `FlowFilter` (`contrast` "colour" or "vector"; `measure`, or "confidence" or
    "agreement" beside the paper's box test), and their thresholds."""

    measure: str
    contrast: str
    min_overlap: float
    min_contrast: float

    def changes(self) -> dict[str, Any]:
        """The settings of `flow-filter` that it changes."""
        name = "min_contrast" if self.contrast == "colour" else "min_vector_contrast"
        box = {"measure": self.measure, "min_overlap": self.min_overlap, **_NONE_BESIDE}
        if self.measure in _BESIDE:
            box |= {"measure": "iou", "min_overlap": paper_settings().min_overlap}
            box[_BESIDE[self.measure]] = self.min_overlap
        return {**box, "contrast": self.contrast, name: self.min_contrast}

    def settings(self, base: FlowFilter) -> FlowFilter:
        """`base` with these thresholds."""
        return base.model_copy(update=self.changes())


def trials() -> list[Trial]:
    """The whole grid."""
    return [
        Trial(measure, contrast, overlap, least)
        for measure, overlaps in MEASURES.items()
        for contrast, contrasts in CONTRASTS.items()
        for overlap in overlaps
        for least in contrasts
    ]


@functools.cache
def paper_settings() -> FlowFilter:
    """The thresholds of the paper, as its profile has them."""
    return read_profile("paper").flow_filter


def without_box_test(settings: FlowFilter) -> FlowFilter:
    """The flow test of `settings` alone."""
    return settings.model_copy(update={"min_overlap": 0.0, **_NONE_BESIDE})


def tried(base: FlowFilter) -> list[FlowFilter]:
    """All settings whose labels are measured: the paper's and `base`, each also without its box test, and the grid."""
    named = [base, paper_settings()]
    return [
        *named,
        *(without_box_test(one) for one in named),
        *(trial.settings(base) for trial in trials()),
    ]


def passed(table: pd.DataFrame, settings: FlowFilter) -> tuple[Flags, Flags]:
    """Which boxes (N,) pass the box test, and which both tests, whatever becomes of their frame."""
    reasons = verdicts(table, settings)
    box, both = ~reasons.isin(BOX_REASONS), reasons.isin((ACCEPTED, FRAME_DROPPED))
    return box.to_numpy(bool), both.to_numpy(bool)


def frame_starts(table: pd.DataFrame) -> npt.NDArray[np.intp]:
    """Where in a table of boxes, all of a frame together, each frame begins."""
    keys = table[[name for name in ("dataset", "video", "frame") if name in table]]
    return np.flatnonzero((keys != keys.shift()).any(axis=1).to_numpy())


def accepted_sets(starts: npt.NDArray[np.intp], accepted: Flags) -> list[str]:
    """Of boxes (N,) and which of them are accepted: for each frame a text of one "1" or "0" a box."""
    marks = np.where(accepted, "1", "0").astype(object)
    return [str(text) for text in np.add.reduceat(marks, starts)] if len(starts) else []


def all_sets(table: pd.DataFrame, base: FlowFilter) -> dict[int, list[str]]:
    """By frame of a video with boxes: all its boxes accepted, and every other set that is under any settings `tried`;
    no box accepted is no label."""
    starts = frame_starts(table)
    flags = {np.ones(len(table), bool).tobytes()}
    for settings in tried(base):
        flags |= {test.tobytes() for test in passed(table, settings)}
    sets = [accepted_sets(starts, np.frombuffer(packed, bool)) for packed in flags]
    frames = table["frame"].to_numpy()[starts]
    return {
        int(frame): sorted({text for text in texts if "1" in text})
        for frame, texts in zip(frames, zip(*sets, strict=True), strict=True)
    }


def quality(label: UInt8, truth: UInt8) -> float:
    """IoU of a label with the truth, both (H, W) uint8 of 0, 1 and 255: over pixels that are void in neither, 1 where
    both show no object there."""
    return valid_j(np.where(label == VOID, np.uint8(VOID), truth), label == 1)


def frame_quality(
    truth: UInt8, predicted: Flags, regions: Sequence[UInt8], boxes: npt.NDArray[np.int64], sets: Sequence[str]
) -> Iterator[tuple[str, float, float, float, float, float]]:
    """For each of a frame's sets of accepted boxes: the set, the quality of the whole prediction and of what of it lies
    in the boxes, and of the labels that the three `regions` (H, W) uint8 make: what box-pruning left, all of the boxes,
    what GrabCut found in them."""
    unpruned = quality(predicted.astype(np.uint8), truth)
    pruned = quality((predicted & inside(boxes.astype(np.int32), truth.shape)).astype(np.uint8), truth)
    for text in sets:
        accepted = np.array(list(text)) == "1"
        label, filled, cut = (quality(weak_label(region, boxes, accepted), truth) for region in regions)
        yield text, unpruned, pruned, label, filled, cut


def compute(work: Work, writer: ArtifactWriter) -> None:
    """Write the table `quality`: frame, accepted (which of its boxes are, a text of 1 and 0), unpruned, pruned, label,
    filled_box and grabcut (0..1, NaN where GrabCut wasn't run). A row for every set of boxes that is accepted under any
    thresholds tried; none for frames without boxes or without truth."""
    base = work.settings(FlowFilter)
    item, rival = work.item, work.has("grabcut")
    with work.open("flow-filter") as labels:
        table = labels.table("verdicts")
    annotated = set(item.annotated)
    by_frame = {frame: sets for frame, sets in all_sets(table, base).items() if frame in annotated}
    frames = list(by_frame)
    boxes = {int(str(frame)): rows[BOX].to_numpy(np.int64) for frame, rows in table.groupby("frame")}
    with (
        work.open("appearance-scores") as scores,
        work.open("box-pruning") as pruned,
        work.open("grabcut" if rival else "box-pruning") as cuts,
    ):

        def one(number: int) -> list[tuple[int, str, float, float, float, float, float]]:
            frame = frames[number]
            region = read_plain(pruned, "regions", frame)
            truth = read_mask_sized(item, frame, (region.shape[0], region.shape[1]))
            cut = cuts.frame("masks", frame) if rival else np.zeros_like(region)
            regions = (region, np.ones_like(region), cut)
            predicted = object_mask(full_scores(scores, frame))
            found = frame_quality(truth, predicted, regions, boxes[frame], by_frame[frame])
            return [(frame, *row[:-1], row[-1] if rival else float("nan")) for row in found]

        rows = [row for some in in_order(one, len(frames), work.run.workers) for row in some]
        types = {"frame": np.int64, **dict.fromkeys(("unpruned", "pruned", *LABELS), np.float64)}
        writer.table("quality", pd.DataFrame(rows, columns=COLUMNS).astype(types))
        writer.counts |= {"frames": len(item.frames), "measured": len(frames)}
