"""Stage `motion-training`: the motion stream, on flow images of frames whose weak labels passed both tests.

Samples are cut and mirrored as flow vectors and coloured afterwards: a mirrored flow image would have wrong colours.
"""

from __future__ import annotations

import numpy as np

from fusionseg.pipeline.artifact import Record
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.flow_images import colour, largest_magnitude
from fusionseg.pipeline.images import read_mask_sized
from fusionseg.pipeline.job import Context, Job
from fusionseg.pipeline.manifest import Item
from fusionseg.pipeline.profile import Network, StreamTraining
from fusionseg.pipeline.samples import Augmentation, crop_pair, fit, resize, spread
from fusionseg.pipeline.stream_training import Sample, train_stream


def compute(job: Job, context: Context) -> Record:
    """Write the motion stream's weights. Raises UserError if no frame has an accepted weak label."""
    settings = StreamTraining.model_validate(job.settings[job.stage])
    long_side = Network.model_validate(job.settings["network"]).long_side
    augmentation = Augmentation(settings.crop, settings.scales, settings.mirror)
    accepted = [(video, index) for video in job.items["boxed"] for index in accepted_frames(job, context, video)]
    if not accepted:
        raise UserError(
            "motion-training: no frame passed both tests of the weak labels; lower flow-filter.min_overlap or "
            "flow-filter.min_contrast with --set, or look at the verdicts with `fusionseg show`"
        )

    def make(index: int, rng: np.random.Generator) -> Sample:
        flow, label, largest = load_flow_sample(job, context, *accepted[index], long_side)
        flow, label, mirrored = crop_pair(flow, label, augmentation, rng)
        return colour(flow * np.array([-1, 1] if mirrored else [1, 1], np.float32), largest), label

    validation = [
        load_image_sample(job, context, video, index, long_side)
        for video in job.items["validation"]
        for index in spread(annotated_flow(job, context, video), settings.validate_frames)
    ]
    return train_stream(job, context, settings, len(accepted), make, validation, "flow-images")


def accepted_frames(job: Job, context: Context, video: Item) -> list[int]:
    """Frames of `video` with at least one accepted box."""
    with job.open(context, "flow-filter", video) as labels:
        verdicts = labels.table("verdicts")
    return sorted(int(frame) for frame in verdicts.loc[verdicts["accepted"] == 1, "frame"].unique())


def annotated_flow(job: Job, context: Context, video: Item) -> list[int]:
    """Frames of `video` that have both a flow image and a true mask."""
    with job.open(context, "flow-images", video) as images:
        count = images.length("images")
    return [index for index in video.annotated if index < count]


def load_flow_sample(
    job: Job, context: Context, video: Item, index: int, long_side: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Flow (h, w, 2) float32 in pixels of the frame, label (h, w), and the whole frame's largest magnitude."""
    with job.open(context, "optical-flow", video) as source:
        flow = source.frame("flow", index).astype(np.float32)
    with job.open(context, "flow-filter", video) as source:
        label = source.frame("labels", index)
    size = fit((label.shape[0], label.shape[1]), long_side)
    small = resize(flow, size)
    return small, resize(label, size, nearest=True), largest_magnitude(small)


def load_image_sample(job: Job, context: Context, video: Item, index: int, long_side: int) -> Sample:
    """Flow image (h, w, 3) uint8 RGB and true label (h, w)."""
    with job.open(context, "flow-images", video) as source:
        image = source.frame("images", index)
    label = read_mask_sized(video, index, (image.shape[0], image.shape[1]))
    size = fit((label.shape[0], label.shape[1]), long_side)
    return resize(image, size), resize(label, size, nearest=True)
