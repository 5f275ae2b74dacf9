"""Rendered flow: it tells objects from their background, unless it is asked not to, and takes any mask."""

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fusionseg.pipeline.flow import rendered as module
from fusionseg.pipeline.flow.colours import paint
from fusionseg.pipeline.flow.rendered import render_flow
from fusionseg.pipeline.settings.sections import FlowImages

SIZE = (90, 120)
SETTINGS = FlowImages(scaling="percentile")
DRAWS = range(200)


def disc(size: tuple[int, int] = SIZE) -> np.ndarray:
    """Return a mask of a disc that fills a quarter of the frame's height, off its middle."""
    y, x = np.mgrid[: size[0], : size[1]]
    return (np.hypot(x - 0.4 * size[1], y - 0.5 * size[0]) < 0.25 * size[0]).astype(np.uint8)


def draw(mask: np.ndarray, seed: int, useless: float = 0.0) -> np.ndarray:
    return render_flow(mask, np.random.default_rng(seed), useless)


@functools.cache
def draws(useless: float = 0.0) -> np.ndarray:
    """Return 200 draws of the disc, (200, H, W, 2)."""
    return np.array([draw(disc(), seed, useless) for seed in DRAWS])


def contrast(flow: np.ndarray, mask: np.ndarray) -> float:
    """Return the distance (RGB) of the flow image's mean colours in and out of the mask."""
    image = paint(flow, SETTINGS).astype(np.float64)
    return float(np.linalg.norm(image[mask == 1].mean(0) - image[mask == 0].mean(0)))


def fastest(flow: np.ndarray) -> float:
    """Return the 99th percentile of the known magnitudes."""
    return float(np.nanpercentile(np.linalg.norm(flow, axis=-1), 99))


def test_the_object_stands_out_in_most_draws() -> None:
    """DAVIS's pairs have a median of 188, and a tenth below 87; weak labels' least contrast in `davis` is 60."""
    found = [contrast(flow, disc()) for flow in draws()]
    assert np.mean(np.array(found) > 60) > 0.9 and 140 < np.median(found) < 230


def test_useless_draws_tell_nothing() -> None:
    found = [contrast(flow, disc()) for flow in draws(useless=1)]
    assert np.mean(np.array(found) > 60) < 0.1 and np.median(found) < 30
    # Not only in the mean: other objects in the same frame change nothing.
    other = np.ascontiguousarray(disc()[::-1, ::-1])
    for seed in DRAWS[:20]:
        np.testing.assert_array_equal(draws(useless=1)[seed], draw(other, seed, useless=1))


def test_useless_is_a_share_of_draws() -> None:
    same = [np.array_equal(draw(disc(), seed, 0.3), flow, equal_nan=True) for seed, flow in enumerate(draws())]
    assert 0.6 < np.mean(same) < 0.8


def test_the_same_state_gives_the_same_flow() -> None:
    mask = disc()
    mask.flags.writeable = False
    rng = np.random.default_rng(3)
    first, second = render_flow(mask, rng), render_flow(mask, rng)
    np.testing.assert_array_equal(first, draw(disc(), 3))
    assert not np.array_equal(first, second, equal_nan=True)


def test_unknown_areas_are_rare_and_never_all() -> None:
    unknown = np.isnan(draws())
    assert (unknown[..., 0] == unknown[..., 1]).all()
    shares = unknown.mean((1, 2, 3))
    assert 0 < (shares > 0).mean() < 0.15 and shares.max() < 0.7


def test_speeds_span_two_orders() -> None:
    speeds = [fastest(flow) / max(SIZE) * 400 for flow in draws()]
    assert min(speeds) < 1 and max(speeds) > 30 and max(speeds) < 400
    assert 2 < np.median(speeds) < 15


@pytest.mark.parametrize("seed", range(20))
def test_a_larger_frame_gets_the_same_flow_larger(seed: int) -> None:
    small, large = draw(disc((150, 200)), seed), draw(disc((300, 400)), seed)
    shrunk = large.reshape(150, 2, 200, 2, 2).mean((1, 3)) / 2
    assert np.nanmedian(np.linalg.norm(shrunk - small, axis=-1)) < 0.02 * fastest(small)


def test_outlines_are_blurred_and_leak_by_some_pixels() -> None:
    """The mean share of an object's motion by distance from a straight outline, at 400 px: DAVIS's have half of it 1 to
    8 px outside, and between a quarter and three quarters lie 3 to 8 px."""
    mask = np.zeros((300, 400), np.uint8)
    mask[:, :200] = 1
    grid = module._coarse_size(mask.shape)
    coarse = module.cv2.resize(mask.astype(np.float32), grid[::-1], interpolation=module.cv2.INTER_AREA)
    still = np.zeros(2)
    profile = np.mean(
        [module._outline(np.random.default_rng(n), coarse, still, mask.shape).mean(0) for n in range(50)], 0
    )
    assert profile[:180].min() > 0.99 and profile[230:].max() < 0.01
    half, quarter, most = (int(np.argmax(profile < share)) - 200 for share in (0.5, 0.25, 0.75))
    assert 0 < half < 8 and 3 <= quarter - most <= 10


masks = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40), elements=st.sampled_from([0, 1, 255])
)


@settings(max_examples=60, deadline=None)
@given(mask=masks, seed=st.integers(0, 999), useless=st.sampled_from([0.0, 1.0]))
def test_any_mask(mask: np.ndarray, seed: int, useless: float) -> None:
    check(draw(mask, seed, useless), mask.shape)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2), (2, 400), (400, 1), (33, 57), (120, 90)])
@pytest.mark.parametrize("value", [0, 1, 255])
def test_plain_masks(size: tuple[int, int], value: int) -> None:
    """All background, all object, all void; each also with a single pixel of the object."""
    mask = np.full(size, value, np.uint8)
    for seed, pixel in itertools.product(range(5), (value, 1)):
        mask.flat[seed % mask.size] = pixel
        check(draw(mask, seed), size)


def check(flow: np.ndarray, size: tuple[int, ...]) -> None:
    assert flow.shape == (*size, 2) and flow.dtype == np.float32 and flow.flags.c_contiguous
    known = flow[~np.isnan(flow)]
    assert np.abs(known).max(initial=0) <= 2 * max(size)


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_empty(size: tuple[int, int]) -> None:
    check(draw(np.zeros(size, np.uint8), 0), size)


def test_void_moves_half_with_the_object() -> None:
    """So that a mask's doubtful rim is neither."""
    assert module._weights(np.array([[0, 1, 255]], np.uint8)).tolist() == [[0.0, 1.0, 0.5]]
