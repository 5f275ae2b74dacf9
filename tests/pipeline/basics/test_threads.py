"""Work in order, by threads."""

import threading
import time

import pytest

from fusionseg.pipeline.basics.threads import batches, in_order


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize(("count", "start"), [(0, 0), (1, 0), (17, 0), (17, 12), (5, 5), (5, 9)])
def test_in_order_gives_every_result_in_order(workers: int, count: int, start: int) -> None:
    def slow_if_even(index: int) -> int:
        time.sleep(0.004 * (index % 2 == 0))
        return index * index

    assert list(in_order(slow_if_even, count, workers, start)) == [n * n for n in range(start, count)]


def test_in_order_works_only_a_little_ahead() -> None:
    begun: list[int] = []
    workers = 2
    results = in_order(lambda index: begun.append(index), 1000, workers)
    for taken in range(1, 20):
        next(results)
        assert len(begun) <= taken + 2 * workers
    results.close()  # type: ignore[attr-defined]
    assert len(begun) <= 20 + 2 * workers


def test_in_order_really_uses_threads() -> None:
    both = threading.Barrier(2, timeout=20)
    assert list(in_order(lambda index: both.wait() >= 0, 2, 2)) == [True, True]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_in_order_gives_what_came_before_an_error_then_the_error(error: type[BaseException]) -> None:
    begun: list[int] = []

    def work(index: int) -> int:
        begun.append(index)
        if index == 3:
            raise error(index)
        return index

    taken = []
    with pytest.raises(error):
        for value in in_order(work, 1000, 2):
            taken.append(value)
    assert taken == [0, 1, 2] and len(begun) < 20


def test_batches_cover_all() -> None:
    assert [list(b) for b in batches(7, 3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batches(0, 3)) == []
