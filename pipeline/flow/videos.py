"""The flow of a video, pair by pair: estimated or made elsewhere, without the camera's motion, as pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from fusionseg.pipeline.basics.half import to_float16
from fusionseg.pipeline.basics.threads import batches, in_order, opencv_threads
from fusionseg.pipeline.datasets.imported_flow import check_flow
from fusionseg.pipeline.datasets.items import Item
from fusionseg.pipeline.datasets.pairs import Pair, PairReader, all_partners, directions, partner, partner_numbers
from fusionseg.pipeline.datasets.reading import read_frame
from fusionseg.pipeline.flow.camera import CameraMotion, camera_motion, residual
from fusionseg.pipeline.flow.colours import paint
from fusionseg.pipeline.flow.estimation import RAFT, Flow, estimate_pairs
from fusionseg.pipeline.settings.sections import FlowImages, OpticalFlow
from fusionseg.pipeline.store.artifact import Artifact, ArtifactWriter
from fusionseg.pipeline.store.job import Work

T = TypeVar("T")
# Half precision keeps 1/16 px at 100 px; what lies beyond this is no displacement.
_LARGEST = 6e4
BACK = "_back"  # ends the names of datasets of the other direction's flow


def each_flow(work: Work, finish: Callable[[Flow], T]) -> Iterator[list[tuple[T, CameraMotion | None]]]:
    """For every frame of a video, in order, `finish` of its flow in each direction that is wanted, and the camera's
    motion where it was subtracted.

    Threads work a little ahead; memory doesn't grow with the video.
    """
    item, settings = work.item, work.settings(OpticalFlow)
    reader = PairReader(item, work.run.workers, settings.gap)

    def complete(flow: Flow) -> tuple[T, CameraMotion | None]:
        if settings.stabilise == "none":
            return finish(flow), None
        motion = camera_motion(flow)
        return finish(residual(flow, motion)), motion

    def finished(frames: Sequence[Sequence[Pair]]) -> list[list[tuple[T, CameraMotion | None]]]:
        pairs = [pair for frame in frames for pair in frame]
        flows = estimate_pairs(pairs, settings.method, settings.long_side, settings.raft_weights, str(work.device))
        rest = iter(flows)
        return [[complete(flow) for flow in islice(rest, len(frame))] for frame in frames]

    count = len(item.partners)
    if settings.method in RAFT:  # one batch at a time fills the device; threads only read
        groups = list(batches(count, work.run.batch))
        for frames in in_order(lambda n: [reader.pairs(i) for i in groups[n]], len(groups), work.run.workers):
            yield from finished(frames)
    elif settings.method == "import":
        yield from ([complete(flow)] for flow in imported(item, settings))
    else:
        with opencv_threads(1 if work.run.workers > 1 else None):
            yield from in_order(lambda i: finished([reader.pairs(i)])[0], count, work.run.workers)


def imported(item: Item, settings: OpticalFlow) -> Iterator[Flow]:
    """The flow of a video's frames that was made elsewhere, after checking that it is what the settings say. A frame
    without any gets the flow of its partner, negated: most tools end with the last pair. Raises UserError, BadFile."""
    source, count = item.flow, len(item.all_frames)
    if source is None or count < 2:
        return
    whole = replace(item, frames=item.all_frames)
    decode = lambda number: read_frame(whole, number)  # noqa: E731
    first = decode(0)
    check_flow(source, (first.shape[0], first.shape[1]), all_partners(item, settings), decode)
    for number, flow in zip(item.numbers, source.read(item.numbers), strict=True):
        if flow is None:
            (back,) = source.read([partner(number, count, settings.gap, settings.direction)])
            flow = np.zeros((*source.size, 2), np.float32) if back is None else -back
        yield flow


def stored(flow: Flow) -> npt.NDArray[np.float16]:
    """Flow as it is kept: float16 px. What lies beyond its range is no displacement, and unknown (NaN)."""
    inside = not flow.size or cv2.norm(flow, cv2.NORM_INF) < _LARGEST
    return to_float16(flow if inside else np.where(np.abs(flow) < _LARGEST, flow, np.float32(np.nan)))


def write_each(
    work: Work, writer: ArtifactWriter, name: str, channels: int, finish: Callable[[Flow], npt.NDArray[Any]]
) -> None:
    """Write `finish` of every frame's flow, (T, H, W, channels), as the dataset `name`, that of the other direction as
    `name` + BACK, and what `note_pairs` has to say."""
    item, names = work.item, directed(name, work.settings(OpticalFlow))
    height, width = read_frame(item, 0).shape[:2]
    dtype = finish(np.zeros((1, 1, 2), np.float32)).dtype
    data = [writer.frames(one, len(item.partners), (height, width, channels), dtype) for one in names]
    motions: list[list[CameraMotion | None]] = [[] for _ in names]
    for frame in each_flow(work, lambda flow: data[0].pack(finish(flow))):
        for to, kept, (packed, motion) in zip(data, motions, frame, strict=True):
            to.append(packed)
            kept.append(motion)
    note_pairs(writer, work, motions)


def directed(name: str, settings: OpticalFlow) -> list[str]:
    """The names of a dataset, or table, for each direction."""
    return [name, name + BACK] if len(directions(settings)) == 2 else [name]


def note_pairs(writer: ArtifactWriter, work: Work, motions: Sequence[Sequence[CameraMotion | None]]) -> None:
    """What an artifact made of flow says of its pairs and of stabilisation; `motions`: for each direction."""
    item, settings = work.item, work.settings(OpticalFlow)
    writer.facts["frames"] = list(item.numbers)[: len(item.partners)]
    for name, direction in zip(directed("partners", settings), directions(settings), strict=True):
        writer.facts[name] = partner_numbers(item, settings, direction)
    writer.counts["frames"] = len(item.frames)
    if not item.partners:
        writer.counts["without_flow"] = 1
    if item.flow and (filled := sum(item.flow.places[n] is None for n in item.numbers)):
        writer.counts["filled_flow"] = filled
    for name, found in zip(directed("camera", settings), motions, strict=True):
        rows = [{"frame": n, **motion.as_row()} for n, motion in enumerate(found) if motion]
        if rows:
            writer.table(name, pd.DataFrame(rows))
    if settings.stabilise != "none" and item.partners:
        frames = zip(*motions, strict=True)  # a frame counts once, whichever of its flows it is
        writer.counts["not_stabilised"] = sum(any(one and one.reason for one in frame) for frame in frames)


class FlowPictures:
    """The flow images of a video, as they are stored or, where only u,v are kept, coloured on reading. `both`: there
    are those of the other direction, too."""

    def __init__(self, artifact: Artifact, settings: FlowImages) -> None:
        self._artifact, self._settings = artifact, settings
        self._stored = "images" in artifact
        self._name = "images" if self._stored else "flow"
        self.both = self._name + BACK in artifact
        self.count = artifact.length(self._name)
        shape = artifact.datasets()[self._name].shape
        self.size = (int(shape[1]), int(shape[2]))

    def image(self, index: int, back: bool = False) -> npt.NDArray[np.uint8]:
        """Flow image of frame `index`, (H, W, 3) uint8 RGB; `back`: of the other direction."""
        frame = self._artifact.frame(self._name + BACK if back else self._name, index)
        return frame if self._stored else paint(frame, self._settings)


@contextmanager
def open_pictures(work: Work, item: Item | None = None) -> Iterator[FlowPictures]:
    """The flow images among a job's inputs (of `item`, where there is one a video)."""
    settings = work.settings(FlowImages) if work.has_settings(FlowImages) else FlowImages()
    with work.open("flow-images" if work.has("flow-images") else "optical-flow", item) as artifact:
        yield FlowPictures(artifact, settings)
