"""Stage `motion-training`: the motion stream, on flow images of frames whose weak labels passed both tests.

Samples are cut and mirrored as flow vectors and coloured afterwards: a mirrored flow image would have wrong colours.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fusionseg.pipeline.artifact import Record
from fusionseg.pipeline.bit_masks import read_plain
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.flow_images import colour, full_magnitude, known_flow, open_pictures
from fusionseg.pipeline.images import read_mask_sized
from fusionseg.pipeline.job import Context, Job
from fusionseg.pipeline.manifest import Item
from fusionseg.pipeline.profile import FlowImages, Network, StreamTraining
from fusionseg.pipeline.samples import Augmentation, crop_pair, fit, resize, spread
from fusionseg.pipeline.stream_training import Sample, train_stream


def compute(job: Job, context: Context) -> Record:
    """Write the motion stream's weights. Raises UserError if no frame has an accepted weak label."""
    settings = StreamTraining.model_validate(job.settings[job.stage])
    images = FlowImages.model_validate(job.settings["flow-images"])
    long_side = Network.model_validate(job.settings["network"]).long_side
    augmentation = Augmentation(settings.crop, settings.scales, settings.mirror)
    accepted = [(video, index) for video in job.items["boxed"] for index in accepted_frames(job, context, video)]
    if not accepted:
        raise UserError(
            "motion-training: no frame passed both tests of the weak labels; lower flow-filter.min_overlap or "
            "flow-filter.min_contrast with --set, or look at the verdicts with `fusionseg show`"
        )

    def make(index: int, rng: np.random.Generator) -> Sample:
        if not job.has("optical-flow"):  # only pictures are kept, and the profile asks for no more than cropping
            image, label = load_image_sample(job, context, *accepted[index], long_side, weak=True)
            return crop_pair(image, label, augmentation, rng)[:2]
        flow, label = load_flow_sample(job, context, *accepted[index], long_side)
        return augmented(flow, label, augmentation, images, rng)

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
    with open_pictures(job, context, video) as images:
        count = images.count
    return [index for index in video.annotated if index < count]


def load_flow_sample(
    job: Job, context: Context, video: Item, index: int, long_side: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Flow (h, w, 2) float32 in pixels of the frame, without unknown vectors, and weak label (h, w)."""
    with job.open(context, "optical-flow", video) as source:
        flow = known_flow(source.frame("flow", index))
    label = weak_label(job, context, video, index)
    size = fit((label.shape[0], label.shape[1]), long_side)
    return resize(flow, size), resize(label, size, nearest=True)


def weak_label(job: Job, context: Context, video: Item, index: int) -> npt.NDArray[np.uint8]:
    """The weak label (H, W) of a frame."""
    with job.open(context, "flow-filter", video) as source:
        return read_plain(source, "labels", index)


def augmented(
    flow: npt.NDArray[np.float32],
    label: npt.NDArray[np.uint8],
    augmentation: Augmentation,
    settings: FlowImages,
    rng: np.random.Generator,
) -> Sample:
    """A crop of flow (h, w, 2) and label (h, w), as flow image and label.

    Vectors are scaled and mirrored, then coloured; what gets full saturation is taken of the whole frame and, unless it
    is a fixed number of pixels, grows with the scale.
    """
    full = full_magnitude(flow, settings)
    flow, label, moved = crop_pair(flow, label, augmentation, rng)
    return colour(moved.vectors(flow), full if settings.scaling == "fixed" else full * moved.scale), label


def load_image_sample(
    job: Job, context: Context, video: Item, index: int, long_side: int, weak: bool = False
) -> Sample:
    """Flow image (h, w, 3) uint8 RGB and true, or weak, label (h, w)."""
    with open_pictures(job, context, video) as images:
        image = images.image(index)
    size = (image.shape[0], image.shape[1])
    label = weak_label(job, context, video, index) if weak else read_mask_sized(video, index, size)
    size = fit((label.shape[0], label.shape[1]), long_side)
    return resize(image, size), resize(label, size, nearest=True)
