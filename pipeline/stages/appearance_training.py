"""Stage `appearance-training`: the appearance stream, on still images with masks of merged objects and, beyond the
paper, on frames of videos."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fusionseg.pipeline.basics.resizing import fit, resize
from fusionseg.pipeline.basics.spread import spread
from fusionseg.pipeline.datasets.items import Frame, Item, annotated
from fusionseg.pipeline.datasets.reading import read_frame, read_mask_sized
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.networks.per_frame import write_weights
from fusionseg.pipeline.networks.trained import STREAM
from fusionseg.pipeline.settings.sections import Network
from fusionseg.pipeline.settings.trainings import AppearanceTraining, FrameTraining
from fusionseg.pipeline.store.artifacts import WeightsWriter
from fusionseg.pipeline.store.job import Work
from fusionseg.pipeline.training.cache import SampleCache
from fusionseg.pipeline.training.photometric import vary_look
from fusionseg.pipeline.training.samples import Augmentation, crop_pair, mixed
from fusionseg.pipeline.training.streams import MakeSample, Sample, train_stream


def compute(work: Work, writer: WeightsWriter) -> None:
    """Write the appearance stream's weights, or those of a per-frame model in its place. Raises UserError if no still
    has a mask."""
    settings = work.settings(AppearanceTraining)
    if settings.model != STREAM:
        write_weights(work, writer)
        return
    videos = annotated(work.items.get("annotated", ()))
    train(work, writer, settings, mixed(stills_with_masks(work), videos, settings.annotated_share))


def train(work: Work, writer: WeightsWriter, settings: FrameTraining, frames: Sequence[Frame]) -> None:
    """Train on `frames`; choose on those of the validation videos."""
    long_side = work.settings(Network).long_side
    validation = [
        load_sample(video, index, long_side)
        for video in work.items["validation"]
        for index in spread(video.annotated, settings.validate_frames)
    ]
    train_stream(work, writer, settings, len(frames), sampler(work, settings, frames), validation, "frames")


def stills_with_masks(work: Work) -> list[Frame]:
    """The stills that train. Raises UserError if there is none."""
    items = work.items["stills"]
    if found := annotated(items):
        return found
    names = ", ".join(item.dataset for item in items)
    raise UserError(f"{work.stage}: none of the {sum(len(i.frames) for i in items)} stills of {names} has a mask")


def sampler(work: Work, settings: FrameTraining, frames: Sequence[Frame]) -> MakeSample:
    """What makes augmented samples of `frames`, loaded ones being kept in memory."""
    long_side = work.settings(Network).long_side
    augmentation = Augmentation(settings.crop, settings.scales, settings.mirror)
    loaded = SampleCache(lambda index: load_sample(*frames[index], long_side), work.run.cache_mb)

    def make(index: int, rng: np.random.Generator) -> Sample:
        image, label, _ = crop_pair(*loaded(index), augmentation, rng)
        return vary_look(image, settings.colour, settings.blur, rng), label

    return make


def load_sample(item: Item, index: int, long_side: int) -> Sample:
    """Frame (h, w, 3) uint8 RGB and label (h, w), resized for the network."""
    frame = read_frame(item, index)
    label = read_mask_sized(item, index, (frame.shape[0], frame.shape[1]))
    size = fit((frame.shape[0], frame.shape[1]), long_side)
    return np.ascontiguousarray(resize(frame, size)[..., ::-1]), resize(label, size, nearest=True)
