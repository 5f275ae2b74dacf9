"""Augmentation of flow: vectors are scaled and mirrored before they are coloured, proved against flow estimated anew on
scaled and mirrored frames."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from builders import make_context, make_item, make_work, texture, write_input, write_png

from fusionseg.pipeline.basics.resizing import fit, resize
from fusionseg.pipeline.datasets.items import MaskFiles
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.flow.colours import colour, full_magnitude, known_flow, paint
from fusionseg.pipeline.flow.estimation import estimate
from fusionseg.pipeline.settings.sections import FlowImages, Network
from fusionseg.pipeline.settings.trainings import MotionTraining
from fusionseg.pipeline.stages.motion_training import augmented, load_flow_sample, sampler, training_frames
from fusionseg.pipeline.store.bits import pack_label
from fusionseg.pipeline.store.job import Work
from fusionseg.pipeline.training.samples import Augmentation, sample_generator

SIZE = (96, 128)
ACCEPTED = [1, 2, 6]


def frames() -> tuple[np.ndarray, np.ndarray]:
    """Return two frames: a square that moves right and down over ground that moves left."""
    ground, patch = texture((SIZE[0], SIZE[1] + 8), 3), texture((40, 40), 4)
    first, second = ground[:, :-8].copy(), ground[:, 3:-5].copy()
    first[20:60, 40:80], second[24:64, 46:86] = patch, patch
    return first, second


def augment(flow: np.ndarray, scale: float, mirror: bool, settings: FlowImages) -> np.ndarray:
    """Return the flow image (of the whole frame) that training would see, mirrored or not."""
    label = np.zeros(flow.shape[:2], np.uint8)
    size = (round(flow.shape[0] * scale), round(flow.shape[1] * scale))
    augmentation = Augmentation(size, (scale, scale), mirror)
    for seed in range(20):  # half of the samples are mirrored: take the first that is as wanted
        image, _ = augmented(flow, label, augmentation, settings, np.random.default_rng(seed))
        mirrored = np.random.default_rng(seed)
        mirrored.uniform(0, 1), mirrored.integers(0, 1), mirrored.integers(0, 1)
        if not mirror or mirrored.random() < 0.5:
            return image
    raise AssertionError("none was mirrored")


def agreement(ours: np.ndarray, anew: np.ndarray) -> float:
    """Return the median hue difference in degrees where both are saturated."""
    (h1, s1), (h2, s2) = (
        (hsv[..., 0], hsv[..., 1])
        for hsv in (cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2HSV) for image in (ours, anew))
    )
    sure = (s1 > 0.3) & (s2 > 0.3)
    assert sure.mean() > 0.02
    return float(np.median(np.abs((h1 - h2 + 180) % 360 - 180)[sure]))


def check_against_new_flow(first: np.ndarray, second: np.ndarray) -> None:
    flow, settings = estimate(first, second), FlowImages()
    mirrored = paint(estimate(*(np.ascontiguousarray(f[:, ::-1]) for f in (first, second))), settings)
    assert agreement(augment(flow, 1.0, True, settings), mirrored) < 3
    # What mirroring the colours gives is no flow of the mirrored frames.
    assert agreement(np.ascontiguousarray(colour(flow)[:, ::-1]), mirrored) > 30
    larger = (round(first.shape[1] * 1.5), round(first.shape[0] * 1.5))
    scaled = paint(estimate(*(np.asarray(cv2.resize(f, larger), np.uint8) for f in (first, second))), settings)
    assert agreement(augment(flow, 1.5, False, settings), scaled) < 3


def test_augmented_flow_is_that_of_augmented_frames() -> None:
    check_against_new_flow(*frames())


@pytest.mark.real
def test_augmented_flow_is_that_of_augmented_real_frames(real_data: Path) -> None:
    folder = real_data / "davis2016_train/JPEGImages/480p"
    for video in ("mallard-fly", "motorbike", "horsejump-low"):
        check_against_new_flow(*(cv2.imread(str(folder / video / f"{n:05}.jpg")) for n in (20, 21)))


@pytest.mark.parametrize(("scaling", "grows"), [("max", False), ("percentile", False), ("fixed", True)])
def test_a_fixed_scale_sees_that_a_larger_picture_moves_faster(scaling: str, grows: bool) -> None:
    settings = FlowImages.model_validate({"scaling": scaling, "fixed": 20.0})
    flow = np.zeros((20, 30, 2), np.float32)
    flow[5:15, 5:25] = -4, 0
    saturation = 255 - augment(flow, 2.0, False, settings)[20, 30, 0].astype(int)
    plain = 255 - paint(flow, settings)[10, 15, 0].astype(int)
    assert abs(saturation - (2 if grows else 1) * plain) <= 2


def test_the_largest_magnitude_is_the_whole_frame_s() -> None:
    """A crop without the fastest pixel isn't brighter for it."""
    flow = np.zeros((40, 60, 2), np.float32)
    flow[:, :20], flow[39, 59] = (-1, 0), (-10, 0)
    label = np.zeros((40, 60), np.uint8)
    crops = [
        augmented(flow, label, Augmentation((8, 8), (1.0, 1.0), False), FlowImages(), np.random.default_rng(seed))[0]
        for seed in range(30)
    ]
    slow = [crop for crop in crops if (crop == crop[0, 0]).all() and crop[0, 0, 0] < 255]
    assert slow and all(abs(int(crop[0, 0, 0]) - 229) <= 1 for crop in slow)
    assert full_magnitude(flow, FlowImages()) == 10


def motion_work(root: Path, settings: MotionTraining, annotated: int = 8, flow: np.ndarray | None = None) -> Work:
    """Return a job on a video of 8 frames, 3 of them with an accepted weak label, the first `annotated` with a mask."""
    context = make_context(root)
    frames = [root / f"{index:05}.jpg" for index in range(8)]
    masks = []
    for index in range(8):
        mask = np.zeros((24, 40), np.uint8)
        mask[index, :10] = 255
        paths = (write_png(root / f"{index:05}.png", mask),) if index < annotated else ()
        masks.append(MaskFiles(paths))
    item = make_item(frames=frames, masks=tuple(masks))
    table = pd.DataFrame({"frame": [0, 1, 1, 2, 6], "accepted": np.array([0, 1, 0, 1, 1], np.int8)})
    labels = np.zeros((8, 24, 40), np.uint8)
    labels[:, 12:20, 20:30] = 1
    if flow is None:
        flow = np.random.default_rng(0).normal(0, 3, (8, 24, 40, 2)).astype(np.float16)
    inputs = [
        write_input(context, "optical-flow", {"flow": flow}),
        write_input(context, "flow-images", {"images": np.stack([colour(one) for one in flow])}),
        write_input(
            context, "flow-filter", {"labels": np.stack([pack_label(label) for label in labels])},
            {"frame_size": [24, 40]}, {"verdicts": table},
        ),
    ]  # fmt: skip
    sections = {
        "motion-training": settings.model_dump(mode="json"), "flow-images": FlowImages().model_dump(mode="json"),
        "network": Network(long_side=32).model_dump(mode="json"),
    }  # fmt: skip
    return make_work(
        context, "motion-training", settings=sections, inputs=inputs, items={"boxed": (item,), "validation": ()}
    )


def numbers(root: Path, settings: MotionTraining, annotated: int = 8) -> list[int]:
    """Return the numbers of the frames that train."""
    work = motion_work(root, settings, annotated)
    return [index for _, index in training_frames(work, settings)]


def test_true_masks_of_the_identical_frames(tmp_path: Path) -> None:
    assert numbers(tmp_path, MotionTraining()) == ACCEPTED
    assert numbers(tmp_path, MotionTraining(labels="masks")) == ACCEPTED


def test_as_many_random_frames_that_the_seed_determines(tmp_path: Path) -> None:
    draws = [numbers(tmp_path, MotionTraining(labels="masks", frames="random", seed=s)) for s in (*range(10), 0)]
    assert all(len(set(d)) == 3 and d == sorted(d) for d in draws)
    assert draws[0] == draws[-1] and {n for d in draws for n in d} == set(range(8))


def test_frames_without_a_true_mask_are_named(tmp_path: Path) -> None:
    assert numbers(tmp_path, MotionTraining(), annotated=0) == ACCEPTED  # weak labels want none
    with pytest.raises(UserError, match=r'labels = "masks": 1 of 3 frames .* first clip 00006; name videos'):
        numbers(tmp_path, MotionTraining(labels="masks"), annotated=5)
    assert set(numbers(tmp_path, MotionTraining(labels="masks", frames="random"), annotated=5)) <= set(range(5))
    with pytest.raises(UserError, match="3 frames have an accepted weak label, but only 2 have flow and a true mask"):
        numbers(tmp_path, MotionTraining(labels="masks", frames="random"), annotated=2)


def test_random_frames_without_true_masks_make_no_sense() -> None:
    with pytest.raises(ValueError, match='set labels = "masks", too'):
        MotionTraining(frames="random")


@pytest.mark.parametrize("labels", ["weak", "masks"])
def test_samples_are_the_same_with_and_without_cache(tmp_path: Path, labels: str) -> None:
    settings = MotionTraining.model_validate({"labels": labels, "crop": (16, 24)})
    work = motion_work(tmp_path, settings)
    (item,) = work.items["boxed"]
    frames = [(item, index) for index in ACCEPTED]
    cached, plain = (sampler(Work(work.job, make_context(tmp_path, cache_mb=mb)), settings, frames) for mb in (10, 0))
    for step in range(12):
        ours, theirs = (make(step % 3, sample_generator(0, step, 0)) for make in (cached, plain))
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_labels_are_the_weak_or_the_true_ones(tmp_path: Path) -> None:
    work = motion_work(tmp_path, MotionTraining())
    (item,) = work.items["boxed"]
    weak, true = (load_flow_sample(work, item, 6, 0, weak)[1] for weak in (True, False))
    assert np.array_equal(np.argwhere(weak).min(0), (12, 20)) and weak.sum() == 80
    assert np.array_equal(np.argwhere(true), [(6, column) for column in range(10)])


@pytest.mark.parametrize("long_side", [0, 20, 32, 60])
@pytest.mark.parametrize("unknown", [None, np.nan, np.inf])
def test_unknown_vectors_count_as_no_motion_before_flow_is_resized(
    tmp_path: Path, unknown: float | None, long_side: int
) -> None:
    flow = np.random.default_rng(0).normal(0, 3, (8, 24, 40, 2)).astype(np.float16)
    if unknown is not None:
        flow[2, 3, 5], flow[2, 23, 39, 1] = unknown, -unknown
    work = motion_work(tmp_path, MotionTraining(), flow=flow)
    (item,) = work.items["boxed"]
    found, _ = load_flow_sample(work, item, 2, long_side)
    assert np.array_equal(found, resize(known_flow(flow[2]), fit((24, 40), long_side)))


def test_a_frame_gives_a_sample_of_each_direction(tmp_path: Path) -> None:
    size = fit((24, 40), 32)
    settings = MotionTraining(crop=size, scales=(1.0, 1.0), mirror=False)
    work = motion_work(tmp_path, settings)
    flow, back = np.random.default_rng(1).normal(0, 3, (2, 8, 24, 40, 2)).astype(np.float16)
    write_input(work.context, "optical-flow", {"flow": flow, "flow_back": back})
    make = sampler(work, settings, training_frames(work, settings), each=2)
    for number, wanted in enumerate([flow[1], back[1], flow[2], back[2], flow[6], back[6]]):
        image, label = make(number, np.random.default_rng(0))
        assert np.array_equal(image, colour(resize(wanted.astype(np.float32), size))) and (label == 1).any()


def test_all_frames_with_masks_are_none(tmp_path: Path) -> None:
    settings = MotionTraining(labels="masks", frames="all")
    with pytest.raises(UserError, match=r"no frame of data\.boxed has flow and a true mask; name videos"):
        training_frames(motion_work(tmp_path, settings, annotated=0), settings)
