"""Flow images against torchvision's, and against those that FusionSeg published."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torchvision.utils import flow_to_image

from fusionseg.pipeline.datasets.pairs import partner
from fusionseg.pipeline.flow.colours import colour, colour_wheel, full_magnitude, largest_magnitude, paint
from fusionseg.pipeline.flow.estimation import estimate
from fusionseg.pipeline.settings.sections import FlowImages

RED, YELLOW = [255, 0, 0], [255, 255, 0]


def reference(flow: np.ndarray) -> np.ndarray:
    """Return torchvision's flow image (H, W, 3), as integers.

    Where its rounding takes the largest vector's saturation past 1, its bytes overflow from -1 to 255; the frame's
    largest magnitude is made larger by 1e-6, outside the picture, to keep clear of that.
    """
    larger = np.zeros((1, flow.shape[1], 2), np.float32)
    larger[0, 0, 0] = np.sqrt((flow.astype(np.float64) ** 2).sum(-1).max()) * (1 + 1e-6)
    both = torch.from_numpy(np.concatenate([flow.astype(np.float32), larger]).transpose(2, 0, 1).copy())
    return flow_to_image(both).numpy().transpose(1, 2, 0)[:-1].astype(int)


def test_wheel_has_the_55_middlebury_colours() -> None:
    wheel = np.round(colour_wheel() * 255).astype(int).tolist()
    assert len(wheel) == 55
    # First of each segment: RY 15, YG 6, GC 4, CB 11, BM 13, MR 6.
    assert [wheel[n] for n in (0, 15, 21, 25, 36, 49)] == [
        RED, YELLOW, [0, 255, 0], [0, 255, 255], [0, 0, 255], [255, 0, 255]
    ]  # fmt: skip
    assert wheel[1] == [255, 17, 0] and wheel[54] == [255, 0, 43]
    assert len({tuple(c) for c in wheel}) == 55


def test_no_motion_is_white() -> None:
    assert (colour(np.zeros((3, 4, 2), np.float32)) == 255).all()
    assert largest_magnitude(np.zeros((3, 4, 2))) == 0


@pytest.mark.parametrize("seed", range(30))
def test_equals_torchvision(seed: int) -> None:
    rng = np.random.default_rng(seed)
    flow = rng.normal(0, rng.uniform(0.1, 50), (24, 31, 2)).astype(np.float32)
    assert np.abs(colour(flow).astype(int) - reference(flow)).max() <= 1


def test_equals_torchvision_with_unknown_flow() -> None:
    flow = np.random.default_rng(0).normal(0, 5, (24, 31, 2)).astype(np.float32)
    known = flow.copy()
    for row, value in enumerate((2e9, -2e9, np.inf, np.nan)):
        flow[row, :, row % 2] = value
        known[row] = 0
    found = colour(flow)
    assert (found[:4] == 255).all()
    assert np.abs(found.astype(int) - reference(known)).max() <= 1


def test_half_precision_is_enough() -> None:
    flow = np.random.default_rng(1).normal(0, 30, (24, 31, 2)).astype(np.float16)
    assert np.abs(colour(flow).astype(int) - reference(flow)).max() <= 1


@pytest.mark.parametrize("seed", range(300))
def test_the_largest_vector_is_saturated_and_never_darkened(seed: int) -> None:
    """A whole picture in one motion would turn dark by a rounding error."""
    flow = np.random.default_rng(seed).normal(0, 20, 2).astype(np.float32)
    picture = colour(np.broadcast_to(flow, (2, 2, 2)))
    assert picture.max() >= 254 and picture.min() <= 1


def test_directions_have_their_colours() -> None:
    right, left, down, up = (
        colour(np.array([[v]], np.float32))[0, 0].astype(int) for v in ((1, 0), (-1, 0), (0, 1), (0, -1))
    )
    assert right.argmax() == 0 and right.max() == 255 and right[1] < 10  # red
    assert left.argmin() == 0 and min(left[1:]) > 150  # cyan
    assert down.argmin() == 2 and min(down[:2]) > 150  # yellow
    assert up.argmin() == 1 and up.argmax() == 2  # blue to violet


def test_magnitude_is_divided_by_the_largest_or_by_the_given_one() -> None:
    flow = np.zeros((1, 3, 2), np.float32)
    flow[0, :, 0] = [-1, -2, -4]
    own = colour(flow)[0, :, 0].astype(int)
    assert np.abs(own - [191, 127, 0]).max() <= 1
    given = colour(flow, 8.0)[0, :, 0].astype(int)
    assert np.abs(given - [223, 191, 127]).max() <= 1
    assert np.array_equal(colour(flow * 3), colour(flow))
    beyond = colour(flow, 2.0)[0].astype(int)
    assert beyond[2].max() < 192 < beyond[1].max()  # darkened


def test_largest_magnitude_passes_over_what_is_unknown() -> None:
    flow = np.zeros((2, 2, 2), np.float32)
    flow[0, 0], flow[0, 1], flow[1, 0] = (3, 4), (1e10, 0), (np.nan, 7)
    assert largest_magnitude(flow) == 5.0


def test_negative_values_too_small_for_the_table_keep_their_hue() -> None:
    """Hue leaps where v changes its sign; a table alone would round a tiny negative v to the other side."""
    flow = np.zeros((1, 4, 2), np.float32)
    flow[0, :, 0] = 10
    flow[0, :, 1] = -1e-7, -1e-12, 0, 1e-12
    assert np.abs(colour(flow).astype(int) - reference(flow)).max() <= 1
    assert colour(flow)[0, 0].tolist() != colour(flow)[0, 3].tolist()


@given(hnp.arrays(np.float32, (3, 4, 2), elements=st.floats(-1e6, 1e6, width=32)))
def test_equals_torchvision_whatever_the_flow(flow: np.ndarray) -> None:
    flow = flow + 0.0  # torchvision tells zero from negative zero, which is no direction
    largest = np.sqrt((flow.astype(np.float64) ** 2).sum(-1).max())
    assume(largest == 0 or largest > 1e-2)  # torchvision divides by a millionth of a pixel more than the largest
    assert np.abs(colour(flow).astype(int) - reference(flow)).max() <= 1


def test_a_percentile_is_not_moved_by_one_wild_vector() -> None:
    flow = np.random.default_rng(0).normal(0, 1, (60, 80, 2)).astype(np.float32)
    wild = flow.copy()
    wild[10, 20] = 500, 0
    calm, by_max = FlowImages(scaling="percentile"), FlowImages()
    difference = lambda settings: np.abs(  # noqa: E731
        paint(flow, settings).astype(int) - paint(wild, settings).astype(int)
    ).mean()
    assert difference(calm) < 0.5 < 30 < difference(by_max)
    assert abs(full_magnitude(wild, calm) - np.percentile(np.linalg.norm(flow, axis=-1), 99)) < 0.05


def test_a_fixed_scale_shows_speed() -> None:
    flow = np.zeros((4, 5, 2), np.float32)
    flow[...] = -2, 0

    def saturation(pixels: int, full: float) -> int:
        return 255 - int(paint(flow * pixels, FlowImages(scaling="fixed", fixed=full))[0, 0, 0])

    assert abs(saturation(1, 8.0) - 64) <= 1 and abs(saturation(2, 8.0) - 128) <= 1
    assert full_magnitude(flow, FlowImages(scaling="fixed", fixed=8.0)) == 8


def test_a_percentile_does_not_lose_the_few_pixels_that_move() -> None:
    flow = np.zeros((50, 80, 2), np.float32)
    flow[20:24, 30:34] = (5, 0)
    assert np.array_equal(paint(flow, FlowImages(scaling="percentile")), paint(flow, FlowImages()))


@pytest.mark.parametrize("scaling", ["max", "percentile", "fixed"])
def test_unknown_vectors_and_stillness_are_white_under_every_scaling(scaling: str) -> None:
    settings = FlowImages.model_validate({"scaling": scaling})
    still = np.zeros((6, 7, 2), np.float16)
    assert (paint(still, settings) == 255).all()
    still[2, 3], still[4, 5] = (np.nan, 1), (np.inf, 0)
    assert (paint(still, settings) == 255).all()
    moving = still.copy()
    moving[1, 1] = 5, 5
    assert (paint(moving, settings)[2, 3] == 255).all() and (paint(moving, settings)[1, 1] < 255).any()


def hue_and_saturation(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return hue in degrees and saturation in 0..1."""
    hsv = cv2.cvtColor(np.ascontiguousarray(rgb, np.float32) / 255, cv2.COLOR_RGB2HSV)
    return hsv[..., 0], hsv[..., 1]


@pytest.mark.real
def test_hues_agree_with_the_published_flow_images(real_data: Path) -> None:
    """Another flow method made them, so compare where both are sure of a motion."""
    folder = real_data / "fusionseg_release_sample"
    frames = [cv2.imread(str(p)) for p in sorted((folder / "images").iterdir())]
    published = [cv2.imread(str(p))[..., ::-1] for p in sorted((folder / "motion_images").iterdir())]
    medians = []
    for index, theirs in enumerate(published):
        ours = colour(estimate(frames[index], frames[partner(index, len(frames))]))
        (h1, s1), (h2, s2) = hue_and_saturation(ours), hue_and_saturation(theirs)
        sure = (s1 > 0.3) & (s2 > 0.3)
        assert sure.sum() > 200
        medians.append(float(np.median(np.abs((h1 - h2 + 180) % 360 - 180)[sure])))
    print("median hue difference of each frame, degrees:", [round(m, 1) for m in medians])
    assert len(medians) == 10 and np.median(medians) < 3 and max(medians) < 10
