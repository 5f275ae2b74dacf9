"""What flow shows of a box, by flow made by hand."""

import numpy as np
import pytest
from builders import Box
from hypothesis import given
from hypothesis import strategies as st

from fusionseg.pipeline.weak_labels.motion import Motion, colour_contrast, measure
from fusionseg.pipeline.weak_labels.regions import inside

SIZE = (120, 160)  # diagonal 200 px, so noise is 0.1 px
BOX: Box = (40, 30, 100, 80)


def boxes(*rows: Box) -> np.ndarray:
    return np.array(rows, np.int32).reshape(-1, 4)


def contrasts(image: np.ndarray, rows: np.ndarray) -> list[float]:
    return colour_contrast(image, rows, ~inside(rows, (image.shape[0], image.shape[1])))


def test_contrast_is_the_distance_of_mean_colours() -> None:
    image = np.full((4, 10, 3), 100, np.uint8)
    image[1:3, 2:4] = [103, 104, 100]  # 3, 4, 0 -> 5
    image[1:3, 6:8, 2] = 100 + np.array([[0, 20], [0, 20]])  # mean 10
    assert contrasts(image, boxes((2, 1, 4, 3), (6, 1, 8, 3))) == pytest.approx([5, 10])


def test_background_is_what_no_box_covers() -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    image[:, 3:] = 90
    # Were the other box part of the background, its mean would not be 0.
    first, second = contrasts(image, boxes((3, 0, 6, 4), (2, 0, 4, 4)))
    assert first == pytest.approx(90 * 3**0.5) and second == pytest.approx(45 * 3**0.5)


def test_without_background_nothing_is_compared() -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    assert np.isnan(contrasts(image, boxes((0, 0, 6, 4)))).all()
    assert np.isnan(contrasts(image, boxes((0, 0, 3, 4), (3, 0, 6, 4)))).all()
    assert contrasts(image, boxes()) == []
    (found,) = measure(boxes((0, 0, 6, 4)), (4, 6), image, np.ones((4, 6, 2), np.float32))
    assert found.background == 0 and found.magnitude_in == pytest.approx(2**0.5)
    assert np.isnan([found.magnitude_out, found.vector_contrast, found.direction]).all()


def test_a_box_without_area_has_no_contrast() -> None:
    image, rows = np.zeros((4, 6, 3), np.uint8), boxes((6, 1, 6, 3), (2, 4, 4, 4))
    assert contrasts(image, rows) == [0.0, 0.0]
    for found in measure(rows, (4, 6), image, np.ones((4, 6, 2), np.float32)):
        assert np.isnan(found.magnitude_in) and found.magnitude_out == pytest.approx(2**0.5)


def moved(inner: tuple[float, float], outer: tuple[float, float], box: Box = BOX) -> np.ndarray:
    """A background that moves as one, and a box that does."""
    flow = np.full((*SIZE, 2), outer, np.float32)
    flow[box[1] : box[3], box[0] : box[2]] = inner
    return flow


def of(flow: np.ndarray, *rows: Box) -> Motion:
    return measure(boxes(*(rows or (BOX,))), SIZE, flow=flow)[0]


@pytest.mark.parametrize(
    ("inner", "outer", "difference", "direction"),
    [
        ((3, 0), (0, 4), 5.0, 90.0),
        ((6, 0), (2, 0), 4.0, 0.0),  # magnitude alone differs
        ((2, 0), (-2, 0), 4.0, 180.0),  # direction alone
        ((0, 1), (0, 1), 0.0, 0.0),
        ((3, 4), (0, 0), 5.0, np.nan),  # what stands still has no direction
        ((-3, -0.1), (-3, 0.1), 0.2, np.degrees(2 * np.arctan(0.1 / 3))),  # across the jump at 180 degrees
    ],
)
def test_vector_contrast_by_hand(
    inner: tuple[float, float], outer: tuple[float, float], difference: float, direction: float
) -> None:
    found = of(moved(inner, outer))
    assert found.vector_contrast == pytest.approx(difference / 0.1, rel=1e-4, abs=1e-4)  # the spread is but noise
    assert found.direction == pytest.approx(direction, abs=1e-3, nan_ok=True)
    assert (found.magnitude_in, found.magnitude_out) == pytest.approx((np.hypot(*inner), np.hypot(*outer)))
    assert found.unknown == 0 and found.background == pytest.approx(1 - 60 * 50 / (160 * 120))
    assert np.isnan(found.contrast)  # no flow image


def test_vector_contrast_is_in_spreads_of_the_background() -> None:
    flow = moved((12, 0), (0, 0))
    flow[::2, :, 1], flow[1::2, :, 1] = 3, -3  # 3 px root mean square in the background
    assert of(flow).vector_contrast == pytest.approx(12 / np.hypot(3, 0.1), rel=1e-3)


@given(st.floats(0.5, 8), st.sampled_from([1, 2, 3]))
def test_vector_contrast_does_not_depend_on_the_frame_s_size(speed: float, scale: int) -> None:
    flow = np.random.default_rng(0).normal(0, 1, (60, 80, 2)).astype(np.float32)
    flow[20:40, 20:50] += (speed, 0)
    (small,) = measure(boxes((20, 20, 50, 40)), (60, 80), flow=flow)
    large = np.repeat(np.repeat(flow * scale, scale, 0), scale, 1)
    (found,) = measure(boxes((20 * scale, 20 * scale, 50 * scale, 40 * scale)), large.shape[:2], flow=large)
    assert found.vector_contrast == pytest.approx(small.vector_contrast, rel=0.02)
    assert found.magnitude_in == pytest.approx(small.magnitude_in * scale, rel=0.02)


def test_a_camera_that_turns_leaves_no_residual() -> None:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
    zoom = np.stack([0.05 * (x - 80), 0.05 * (y - 60)], -1)
    still = of(zoom)
    assert still.residual_in < 0.01 > still.residual_out and still.magnitude_in > 0.5
    walking = zoom.copy()
    walking[BOX[1] : BOX[3], BOX[0] : BOX[2]] += (3, 0)
    found = of(walking)
    assert found.residual_in == pytest.approx(3, abs=0.05) and found.residual_out < 0.05


@pytest.mark.parametrize("bad", [np.nan, np.inf, 2e9])
def test_unknown_vectors_are_left_out_and_counted(bad: float) -> None:
    flow = moved((3, 4), (0, 1))
    flow[30:55, 40:100] = bad  # half of the box
    found = of(flow)
    assert found.unknown == pytest.approx(0.5) and found.magnitude_in == pytest.approx(5)
    flow[30:80, 40:100] = bad
    found = of(flow)
    assert found.unknown == 1 and found.magnitude_out == pytest.approx(1)
    assert np.isnan([found.magnitude_in, found.vector_contrast, found.residual_in]).all()
    lost = of(np.full((*SIZE, 2), bad, np.float32))
    assert lost.unknown == 1 and np.isnan(lost.magnitude_p99)


def test_one_wild_vector_is_not_the_frame_s_motion() -> None:
    flow = moved((1, 0), (1, 0))
    flow[5, 5] = (5000, 0)
    assert of(flow).magnitude_p99 == pytest.approx(1)


def test_boxes_beyond_the_grid_are_measured_too() -> None:
    """In a large frame only some vectors of the background are looked at; of a small box all."""
    flow = np.zeros((1500, 2000, 2), np.float32)
    flow[7:9, 11:13] = (3, 4)
    (found,) = measure(boxes((11, 7, 13, 9)), (1500, 2000), flow=flow)
    assert found.magnitude_in == pytest.approx(5)
