"""Stage `motion-training`: the motion stream, on flow images of frames whose weak labels passed both tests.

Samples are cut and mirrored as flow vectors and coloured afterwards: a mirrored flow image would have wrong colours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fusionseg.pipeline.basics.half import to_float32
from fusionseg.pipeline.basics.resizing import fit, resize
from fusionseg.pipeline.basics.spread import spread
from fusionseg.pipeline.datasets.items import Frame, Item
from fusionseg.pipeline.datasets.reading import read_mask_sized
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.flow.colours import colour, full_magnitude, known_flow
from fusionseg.pipeline.flow.videos import BACK, open_pictures
from fusionseg.pipeline.settings.sections import FlowImages, Network
from fusionseg.pipeline.settings.trainings import MotionTraining, Training
from fusionseg.pipeline.store.artifacts import WeightsWriter
from fusionseg.pipeline.store.bits import read_plain
from fusionseg.pipeline.store.job import Work
from fusionseg.pipeline.training.cache import SampleCache
from fusionseg.pipeline.training.samples import Augmentation, crop_pair
from fusionseg.pipeline.training.streams import MakeSample, Sample, train_stream

FlowSample = tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]  # flow (h, w, 2) in pixels, label (h, w)


def compute(work: Work, writer: WeightsWriter) -> None:
    """Write the motion stream's weights. Raises UserError if no frame has an accepted weak label, or true masks are
    asked for and missing."""
    settings = work.settings(MotionTraining)
    frames = training_frames(work, settings)
    with open_pictures(work, frames[0][0]) as images:
        each = 2 if images.both else 1
    make = sampler(work, settings, frames, each)
    train_stream(work, writer, settings, each * len(frames), make, validation_samples(work, settings), "flow-images")


def validation_samples(work: Work, settings: Training) -> list[Sample]:
    """Flow images of the validation videos, and their true labels."""
    long_side = work.settings(Network).long_side
    return [
        load_image_sample(work, video, index, long_side)
        for video in work.items["validation"]
        for index in spread(annotated_flow(work, video), settings.validate_frames)
    ]


def sampler(work: Work, settings: MotionTraining, frames: Sequence[Frame], each: int = 1) -> MakeSample:
    """What makes augmented samples of `frames`, loaded ones being kept in memory; `each`: samples that a frame gives, 2
    where there is flow of both directions."""
    images = work.settings(FlowImages)
    long_side = work.settings(Network).long_side
    augmentation = Augmentation(settings.crop, settings.scales, settings.mirror)
    weak, room = settings.labels == "weak", work.run.cache_mb
    if work.has("optical-flow"):
        flows = SampleCache(lambda n: load_flow_sample(work, *frames[n // each], long_side, weak, n % each > 0), room)
        return lambda n, rng: augmented(*flows(n), augmentation, images, rng)
    # Only pictures are kept, and the profile asks for no more than cropping.
    pictures = SampleCache(lambda n: load_image_sample(work, *frames[n // each], long_side, weak, n % each > 0), room)
    return lambda n, rng: crop_pair(*pictures(n), augmentation, rng)[:2]


def training_frames(work: Work, settings: MotionTraining) -> list[Frame]:
    """The frames that train: those with an accepted weak label or, with `labels = "masks"`, perhaps as many drawn by
    the seed from all that have flow and a true mask, or all of those. Raises UserError."""
    videos = work.items["boxed"]
    if settings.frames == "all":
        known = with_masks(work, videos)
        if not known:
            raise UserError(
                f'{work.stage}: motion-training.frames = "all", but no frame of data.boxed has flow and a true mask; '
                "name videos of two frames or more with masks"
            )
        return known
    accepted = [(video, index) for video in videos for index in accepted_frames(work, video)]
    if not accepted:
        raise UserError(
            f"{work.stage}: no frame passed both tests of the weak labels; lower flow-filter.min_overlap or "
            "flow-filter.min_contrast with --set, or look at the verdicts with `fusionseg show`"
        )
    if settings.labels == "weak":
        return accepted
    known = with_masks(work, videos)
    if settings.frames == "random":
        return drawn(known, len(accepted), settings.seed)
    check_annotated(accepted)
    return accepted


def with_masks(work: Work, videos: Sequence[Item]) -> list[Frame]:
    """All frames that have flow and a true mask."""
    return [(video, index) for video in videos for index in annotated_flow(work, video)]


def drawn(frames: Sequence[Frame], wanted: int, seed: int) -> list[Frame]:
    """`wanted` of `frames`, each at most once, drawn at random, in order. Raises UserError if there are too few."""
    if len(frames) < wanted:
        raise UserError(
            f'motion-training.frames = "random": {wanted} frames have an accepted weak label, but only {len(frames)} '
            'have flow and a true mask, and as many are needed; set it to "accepted", or name videos with more masks'
        )
    chosen = np.random.default_rng([seed, wanted]).choice(len(frames), wanted, replace=False)
    return [frames[index] for index in sorted(chosen)]


def check_annotated(frames: Sequence[Frame]) -> None:
    """Each frame has a true mask. Raises UserError."""
    without = [(video, index) for video, index in frames if not (video.masks and video.masks[index].paths)]
    if without:
        video, index = without[0]
        raise UserError(
            f'motion-training.labels = "masks": {len(without)} of {len(frames)} frames with an accepted weak label '
            f"have no true mask, first {video.name} {video.frames[index].stem}; name videos whose every frame has one"
        )


def accepted_frames(work: Work, video: Item) -> list[int]:
    """Frames of `video` with at least one accepted box."""
    with work.open("flow-filter", video) as labels:
        verdicts = labels.table("verdicts")
    return sorted(int(frame) for frame in verdicts.loc[verdicts["accepted"] == 1, "frame"].unique())


def annotated_flow(work: Work, video: Item) -> list[int]:
    """Frames of `video` that have both a flow image and a true mask."""
    with open_pictures(work, video) as images:
        count = images.count
    return [index for index in video.annotated if index < count]


def load_flow_sample(
    work: Work, video: Item, index: int, long_side: int, weak: bool = True, back: bool = False
) -> FlowSample:
    """Flow (h, w, 2) float32 in pixels of the frame, without unknown vectors, and weak, or true, label (h, w); `back`:
    of the other direction.

    Flow stays float32: to keep it in half precision would change samples that are kept in memory.
    """
    with work.open("optical-flow", video) as source:
        flow = to_float32(source.frame("flow" + BACK if back else "flow", index))
    label = weak_label(work, video, index) if weak else read_mask_sized(video, index, flow.shape[:2])
    size = fit((label.shape[0], label.shape[1]), long_side)
    small = resize(flow, size)
    if not np.isfinite(small).all():  # unknown vectors spread; looking for them in the small flow costs less
        small = resize(known_flow(flow), size)
    return small, resize(label, size, nearest=True)


def weak_label(work: Work, video: Item, index: int) -> npt.NDArray[np.uint8]:
    """The weak label (H, W) of a frame."""
    with work.open("flow-filter", video) as source:
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
    work: Work, video: Item, index: int, long_side: int, weak: bool = False, back: bool = False
) -> Sample:
    """Flow image (h, w, 3) uint8 RGB and true, or weak, label (h, w); `back`: of the other direction's flow."""
    with open_pictures(work, video) as images:
        image = images.image(index, back)
    size = (image.shape[0], image.shape[1])
    label = weak_label(work, video, index) if weak else read_mask_sized(video, index, size)
    size = fit((label.shape[0], label.shape[1]), long_side)
    return resize(image, size), resize(label, size, nearest=True)
