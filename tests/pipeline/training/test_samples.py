"""Training samples: determined by seed and number alone, image and label always cut alike."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionseg.models.labels import VOID
from fusionseg.pipeline.basics.resizing import fit, resize
from fusionseg.pipeline.basics.spread import evenly
from fusionseg.pipeline.training.samples import Augmentation, crop_pair, draw, mixed, sample_generator


def coordinates(height: int, width: int) -> np.ndarray:
    """Return a picture (H, W, 2) whose values are each pixel's column + 1 and row + 1."""
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    return np.dstack([columns + 1, rows + 1]).astype(np.float32)


@given(st.integers(1, 2000), st.integers(1, 2000), st.integers(1, 600))
def test_fit_gives_the_longer_side_and_keeps_the_shape(height: int, width: int, side: int) -> None:
    found = fit((height, width), side)
    assert max(found) == side and min(found) >= 1
    assert abs(min(found) - min(height, width) * side / max(height, width)) <= 1


def test_resize() -> None:
    picture = np.arange(48, dtype=np.float32).reshape(6, 8)
    assert resize(picture, (6, 8)) is picture
    assert np.allclose(resize(picture, (3, 4)), picture.reshape(3, 2, 4, 2).mean((1, 3)))
    assert resize(np.zeros((6, 8, 4), np.float32), (12, 16)).shape == (12, 16, 4)
    many = np.random.default_rng(0).random((6, 8, 9)).astype(np.float32)  # more channels than OpenCV averages
    for size in ((3, 4), (12, 16)):
        each = [resize(np.ascontiguousarray(many[..., channel]), size) for channel in range(9)]
        assert np.allclose(resize(many, size), np.dstack(each), atol=1e-6)
    labels = np.array([[0, 255], [1, 0]], np.uint8)
    assert np.array_equal(resize(labels, (4, 6), nearest=True), labels.repeat(2, 0).repeat(3, 1))


def test_flow_keeps_its_values_when_resized() -> None:
    assert np.allclose(resize(np.full((8, 8, 2), 3.5, np.float32), (4, 4)), 3.5)


@given(st.integers(1, 12), st.integers(1, 20), st.integers(0, 3))
def test_every_epoch_draws_every_sample_once(count: int, batch: int, seed: int) -> None:
    steps = 3 * count
    drawn = [index for step in range(steps) for index in draw(count, batch, step, seed)]
    assert len(drawn) == steps * batch
    for epoch in range(len(drawn) // count):
        assert sorted(drawn[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_draw_depends_on_nothing_before_it() -> None:
    forward = [draw(50, 8, step, 3) for step in range(30)]
    backward = [draw(50, 8, step, 3) for step in reversed(range(30))]
    assert forward == backward[::-1]
    assert draw(50, 8, 0, 3) != draw(50, 8, 0, 4)
    first, second = [[i for step in range(e, e + 6) for i in draw(48, 8, step, 0)] for e in (0, 6)]
    assert first != second  # a new shuffle every epoch


def test_sample_generators_differ_and_repeat() -> None:
    numbers = {
        (seed, step, position): sample_generator(seed, step, position).random()
        for seed in range(3) for step in range(4) for position in range(4)
    }  # fmt: skip
    assert len(set(numbers.values())) == len(numbers)
    assert sample_generator(1, 2, 3).random() == numbers[1, 2, 3]


def test_image_and_label_are_cut_alike() -> None:
    image = coordinates(40, 60)
    label = (np.arange(40 * 60) % 251).astype(np.uint8).reshape(40, 60)
    seen = set()
    for number in range(60):
        cut, cut_label, moved = crop_pair(
            image, label, Augmentation((16, 24), (1.0, 1.0), True), sample_generator(0, 0, number)
        )
        assert cut.shape == (16, 24, 2) and cut_label.shape == (16, 24)
        columns, rows = cut[..., 0].astype(int) - 1, cut[..., 1].astype(int) - 1
        assert np.array_equal(cut_label, label[rows, columns])
        assert (np.diff(columns, axis=1) == (-1 if moved.mirrored else 1)).all() and (np.diff(rows, axis=0) == 1).all()
        seen.add((moved.mirrored, int(columns.min()), int(rows.min())))
    assert {m for m, _, _ in seen} == {False, True}
    assert len({left for _, left, _ in seen}) > 15 and len({top for _, _, top in seen}) > 10


def test_every_place_can_be_cut() -> None:
    image, label = coordinates(3, 4), np.zeros((3, 4), np.uint8)
    corners = {
        tuple(crop_pair(image, label, Augmentation((2, 2), (1.0, 1.0), False), sample_generator(0, 0, n))[0][0, 0])
        for n in range(100)
    }
    assert corners == {(x, y) for x in (1, 2, 3) for y in (1, 2)}


def test_past_the_edge_the_image_is_zero_and_the_label_void() -> None:
    image, label = coordinates(5, 6) + 1, np.ones((5, 6), np.uint8)
    cut, cut_label, _ = crop_pair(image, label, Augmentation((8, 10), (1.0, 1.0), False), sample_generator(0, 0, 0))
    assert np.array_equal(cut[:5, :6], image) and not cut[5:].any() and not cut[:, 6:].any()
    assert (cut_label[:5, :6] == 1).all() and (cut_label[5:] == VOID).all() and (cut_label[:, 6:] == VOID).all()
    assert cut.dtype == image.dtype and cut_label.dtype == np.uint8


def test_scales_span_their_range() -> None:
    image, label = coordinates(100, 100), np.zeros((100, 100), np.uint8)
    sides = []
    for number in range(80):
        cut, cut_label, _ = crop_pair(
            image, label, Augmentation((200, 200), (0.5, 2.0), False), sample_generator(0, 1, number)
        )
        sides.append(int((cut_label[:, 0] != VOID).sum()))
        assert int((cut[..., 0] > 0).any(0).sum()) == sides[-1]
    assert min(sides) >= 50 and max(sides) <= 200
    assert min(sides) < 60 and max(sides) > 170
    assert 80 < np.median(sides) < 120  # doubling is as likely as halving


def test_labels_are_never_blended() -> None:
    label = np.random.default_rng(0).choice([0, 1, VOID], (30, 40)).astype(np.uint8)
    for number in range(10):
        _, cut, _ = crop_pair(
            coordinates(30, 40), label, Augmentation((20, 20), (0.5, 2.0), True), sample_generator(0, 2, number)
        )
        assert set(np.unique(cut)) <= {0, 1, VOID}


@given(st.integers(1, 200), st.integers(0, 250))
def test_evenly_is_sorted_unique_and_spans_all(count: int, wanted: int) -> None:
    found = evenly(count, wanted)
    assert found == sorted(set(found)) and len(found) == (min(wanted, count) or count)
    assert found[0] == 0 and (len(found) == 1 or found[-1] == count - 1)


def test_evenly_of_no_frames_is_none() -> None:
    assert evenly(0, 8) == [] == evenly(0, 0)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (3, 2)])
def test_tiny_pictures_can_be_cut(size: tuple[int, int]) -> None:
    cut, label, _ = crop_pair(
        coordinates(*size), np.ones(size, np.uint8), Augmentation((8, 8), (0.1, 0.2), True), sample_generator(0, 0, 0)
    )
    assert cut.shape == (8, 8, 2) and label.shape == (8, 8)


@pytest.mark.parametrize(
    ("first", "second", "share"), [(7, 3, 0.5), (3, 7, 0.5), (5, 40, 0.2), (40, 5, 0.9), (4, 4, 0.25)]
)
def test_a_mixture_leaves_nothing_out_and_has_the_share(first: int, second: int, share: float) -> None:
    found = mixed(range(first), range(100, 100 + second), share)
    assert set(found) == {*range(first), *range(100, 100 + second)}
    assert abs(sum(n >= 100 for n in found) - share * len(found)) <= 0.5


def test_a_mixture_of_one() -> None:
    assert mixed([1, 2], [3], 0) == [1, 2] and mixed([1, 2], [3], 1) == [3] and mixed([1, 2], [], 1) == [1, 2]
