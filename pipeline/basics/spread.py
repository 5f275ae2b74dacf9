"""A few of many, evenly spread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def evenly(count: int, wanted: int) -> list[int]:
    """At most `wanted` indices spread evenly over `count`; all of them for 0.

    >>> evenly(10, 3), evenly(2, 8)
    ([0, 4, 9], [0, 1])
    """
    if not wanted or wanted >= count:
        return list(range(count))
    return [int(i) for i in np.linspace(0, count - 1, wanted)]


def spread(values: Sequence[T], wanted: int) -> list[T]:
    """At most `wanted` of `values`, evenly spread; all of them for 0.

    >>> spread([0, 10, 20, 30], 2)
    [0, 30]
    """
    return [values[index] for index in evenly(len(values), wanted)]
