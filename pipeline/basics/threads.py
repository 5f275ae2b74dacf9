"""Threads: work done a little ahead, in order, by a few of them; OpenCV's own, kept out of the way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    pass

import cv2

T = TypeVar("T")


def in_order(function: Callable[[int], T], count: int, workers: int, start: int = 0) -> Generator[T, None, None]:
    """`function(start)` ... `function(count - 1)`, computed by threads a little ahead, given in order.

    OpenCV, HDF5 and NumPy release the interpreter's lock, so threads suffice, and memory stays bounded.
    """
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for index in range(start, count):
                waiting.append(pool.submit(function, index))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def batches(count: int, size: int) -> Iterable[range]:
    """Ranges of at most `size` indices that cover `count`."""
    return (range(start, min(start + size, count)) for start in range(0, count, size))


@contextmanager
def opencv_threads(count: int | None) -> Iterator[None]:
    """OpenCV's own threads, for a while (None: as they are): where ours keep the cores busy, its are in the way (16.4
    against 17.4 ms a 480p pair)."""
    before = cv2.getNumThreads()
    try:
        if count is not None:
            cv2.setNumThreads(count)
        yield
    finally:
        cv2.setNumThreads(before)
