"""Loaded training samples kept in memory, so that every epoch but the first reads no files."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np

Sample = TypeVar("Sample", bound=tuple[Any, ...])
_MB = 1_000_000  # bytes


class SampleCache(Generic[Sample]):
    """`load(index)`, remembered for the first samples that fit into `megabytes` MB (0: none).

    A sample is a tuple; its arrays count, and become read-only, since all epochs share them. Threads may share it.
    What is in stays in: an epoch asks for each sample once, and by the time the least recently used one is asked for
    again, it would always have been dropped.
    """

    def __init__(self, load: Callable[[int], Sample], megabytes: int) -> None:
        self._load, self._free = load, megabytes * _MB
        self._kept: dict[int, Sample] = {}
        self._lock = threading.Lock()

    def __call__(self, index: int) -> Sample:
        """The sample, from memory or loaded now."""
        kept = self._kept.get(index)
        if kept is not None:
            return kept
        sample = self._load(index)  # outside the lock: threads load at the same time
        arrays = [part for part in sample if isinstance(part, np.ndarray)]
        for array in arrays:
            array.flags.writeable = False
        size = sum(array.nbytes for array in arrays)
        with self._lock:
            if index not in self._kept and size <= self._free:
                self._free -= size
                self._kept[index] = sample
        return sample
