"""Stage `motion-pretraining`: the motion stream on flow that is rendered from masks of stills.

Every sample gets motions of its own, so a still is another one in each epoch; neither a video nor a flow network is
needed (the idea: Cho et al., arXiv 2407.11714; how flow is made: `pipeline/flow/rendered.py`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fusionseg.pipeline.basics.resizing import fit, resize
from fusionseg.pipeline.datasets.items import Frame, Item
from fusionseg.pipeline.datasets.reading import read_mask
from fusionseg.pipeline.flow.colours import colour, full_magnitude, known_flow
from fusionseg.pipeline.flow.rendered import render_flow
from fusionseg.pipeline.settings.sections import FlowImages, Network
from fusionseg.pipeline.settings.trainings import MotionPretraining
from fusionseg.pipeline.stages.appearance_training import stills_with_masks
from fusionseg.pipeline.stages.motion_training import validation_samples
from fusionseg.pipeline.store.artifacts import WeightsWriter
from fusionseg.pipeline.store.job import Work
from fusionseg.pipeline.training.cache import SampleCache
from fusionseg.pipeline.training.samples import Augmentation, crop_pair
from fusionseg.pipeline.training.streams import MakeSample, Sample, train_stream


def compute(work: Work, writer: WeightsWriter) -> None:
    """Write the motion stream's weights. Raises UserError if no still has a mask."""
    settings = work.settings(MotionPretraining)
    stills = stills_with_masks(work)
    make = sampler(work, settings, stills)
    train_stream(work, writer, settings, len(stills), make, validation_samples(work, settings), "flow-images")


def sampler(work: Work, settings: MotionPretraining, stills: list[Frame]) -> MakeSample:
    """What makes samples: a crop of a mask, and the flow image of motions drawn for it."""
    images, long_side = work.settings(FlowImages), work.settings(Network).long_side
    augmentation = Augmentation(settings.crop, settings.scales, settings.mirror)
    masks = SampleCache(lambda number: (load_mask(*stills[number], long_side),), work.run.cache_mb)

    def make(number: int, rng: np.random.Generator) -> Sample:
        (mask,) = masks(number)
        _, label, _ = crop_pair(mask[..., None], mask, augmentation, rng)
        flow = known_flow(render_flow(label, rng, settings.useless))
        return colour(flow, full_magnitude(flow, images)), np.ascontiguousarray(label)

    return make


def load_mask(item: Item, index: int, long_side: int) -> npt.NDArray[np.uint8]:
    """The mask (h, w) of a still, resized for the network."""
    mask = read_mask(item, index)
    return np.asarray(resize(mask, fit((mask.shape[0], mask.shape[1]), long_side), nearest=True), np.uint8)
