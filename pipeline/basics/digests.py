"""Digests of plain values, what file names hold of them; and whether a file is still the one that was read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Stamp = tuple[int, int, int, int]
Stamped = tuple[tuple[Path, Stamp | None], ...]
_KEY_IN_NAME = 12  # hex digits: enough to keep the versions of one video's artifact apart


def json_digest(value: Any) -> str:
    """BLAKE2b-160 of a JSON-able value, keys sorted."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()


def short_key(key: str) -> str:
    """What names of files hold of a key."""
    return key[:_KEY_IN_NAME]


def stamp(stat: os.stat_result) -> Stamp:
    """Size, time of change, number of the file and time of change of its entry.

    The first two a copy may keep (`cp -p`, archives); another file under the same name has another number, and one that
    was written over another time of change of its entry, which nobody can set.
    """
    return stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_ctime_ns


def stamped(paths: Iterable[Path]) -> Stamped:
    """Files with their stamps, for what is remembered while they don't change; None of what isn't there."""
    found: list[tuple[Path, Stamp | None]] = []
    for path in paths:
        try:
            found.append((path, stamp(path.stat())))
        except OSError:
            found.append((path, None))
    return tuple(found)


def changed_at(stat: os.stat_result) -> float:
    """When the file or its entry last changed, s since the epoch."""
    return max(stat.st_mtime, stat.st_ctime)
