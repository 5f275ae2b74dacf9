"""Augmentation of flow: vectors are scaled and mirrored before they are coloured, proved against flow estimated anew on
scaled and mirrored frames."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from builders import texture

from fusionseg.pipeline.flow_images import colour, full_magnitude, paint
from fusionseg.pipeline.motion_training import augmented
from fusionseg.pipeline.optical_flow import estimate
from fusionseg.pipeline.profile import FlowImages
from fusionseg.pipeline.samples import Augmentation

SIZE = (96, 128)


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
