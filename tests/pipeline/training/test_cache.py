"""Samples kept in memory: the same as without, bounded, shared by threads."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fusionseg.pipeline.training.cache import SampleCache

Pair = tuple[np.ndarray, np.ndarray]


class Loader:
    """Makes samples of 0.5 MB and counts how often each was asked for."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, index: int) -> Pair:
        self.calls.append(index)
        return np.full(400_000, index, np.uint8), np.full(100_000, index, np.uint8)


def test_what_fits_is_loaded_once_and_stays() -> None:
    loader = Loader()
    cached = SampleCache(loader, 1)
    for _ in range(3):
        for index in range(4):
            image, label = cached(index)
            assert (image == index).all() and (label == index).all()
    assert loader.calls == [0, 1, 2, 3, 2, 3, 2, 3]


def test_without_room_all_is_loaded_each_time() -> None:
    loader = Loader()
    cached = SampleCache(loader, 0)
    cached(5), cached(5)
    assert loader.calls == [5, 5]


def test_what_is_not_an_array_takes_no_room() -> None:
    cached = SampleCache(lambda index: ("facts", np.zeros(1_000_000, np.uint8)), 1)
    assert cached(0) is cached(0)


def test_kept_samples_cannot_be_changed() -> None:
    image, _ = SampleCache(Loader(), 1)(0)
    with pytest.raises(ValueError, match="read-only"):
        image[0] = 9


def test_threads_share_it_and_its_bound() -> None:
    loader = Loader()
    cached = SampleCache(loader, 5)
    order = list(np.random.default_rng(0).permutation(np.repeat(np.arange(20), 20)))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda index: int(cached(int(index))[0][0]), order))
    assert found == order
    loader.calls.clear()
    for index in range(20):
        cached(index)
    assert len(loader.calls) == 10
