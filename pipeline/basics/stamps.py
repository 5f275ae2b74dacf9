"""Whether a file is still the one that was read: what its entry in the file system says, without reading it."""

from __future__ import annotations

import os

Stamp = tuple[int, int, int, int]


def stamp(stat: os.stat_result) -> Stamp:
    """Size, time of change, number of the file and time of change of its entry.

    The first two a copy may keep (`cp -p`, archives); another file under the same name has another number, and one that
    was written over another time of change of its entry, which nobody can set.
    """
    return stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_ctime_ns


def changed_at(stat: os.stat_result) -> float:
    """When the file or its entry last changed, s since the epoch."""
    return max(stat.st_mtime, stat.st_ctime)
