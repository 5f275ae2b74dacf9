"""Stage `appearance-training`: the appearance stream, on still images with masks of merged objects."""

from __future__ import annotations

import numpy as np

from fusionseg.pipeline.basics.resizing import fit, resize
from fusionseg.pipeline.basics.spread import spread
from fusionseg.pipeline.datasets.items import Item
from fusionseg.pipeline.datasets.reading import read_frame, read_mask_sized
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.networks.per_frame import write_weights
from fusionseg.pipeline.networks.trained import STREAM
from fusionseg.pipeline.settings.sections import AppearanceTraining, Network
from fusionseg.pipeline.store.artifacts import WeightsWriter
from fusionseg.pipeline.store.job import Work
from fusionseg.pipeline.training.cache import SampleCache
from fusionseg.pipeline.training.photometric import vary_look
from fusionseg.pipeline.training.samples import Augmentation, crop_pair
from fusionseg.pipeline.training.streams import MakeSample, Sample, train_stream


def compute(work: Work, writer: WeightsWriter) -> None:
    """Write the appearance stream's weights, or those of a per-frame model in its place. Raises UserError if no still
    has a mask."""
    settings = work.settings(AppearanceTraining)
    long_side = work.settings(Network).long_side
    (stills,) = work.items["stills"]
    if not stills.annotated:
        raise UserError(f"appearance-training: none of the {len(stills.frames)} stills of {stills.dataset} has a mask")
    if settings.model != STREAM:
        write_weights(work, writer)
        return
    validation = [
        load_sample(video, index, long_side)
        for video in work.items["validation"]
        for index in spread(video.annotated, settings.validate_frames)
    ]
    make = sampler(work, settings)
    train_stream(work, writer, settings, len(stills.annotated), make, validation, "frames")


def sampler(work: Work, settings: AppearanceTraining) -> MakeSample:
    """What makes augmented samples of the stills that have a mask, loaded ones being kept in memory."""
    (stills,) = work.items["stills"]
    annotated, long_side = stills.annotated, work.settings(Network).long_side
    augmentation = Augmentation(settings.crop, settings.scales, settings.mirror)
    loaded = SampleCache(lambda index: load_sample(stills, annotated[index], long_side), work.run.cache_mb)

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
