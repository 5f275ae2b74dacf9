"""Finding files: patterns of paths below a data root, matched against folders that are listed once.

A data set may hold a million frames, so no file is asked for by name and none is looked at.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
ANY_PICTURE = ".*"
# How a pattern refers to a frame: by the very text, or by its number, however many digits it is written with.
FRAME = ("{frame}", "{number}")
_REMEMBERED = 64  # folders


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key: numbers by value.

    >>> sorted(["10", "9", "a2", "a10"], key=natural)
    ['9', '10', 'a2', 'a10']
    """
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]


def check_inside(path: str) -> None:
    """Raises ValueError for a path that leads out of its root."""
    if path.startswith("/") or ".." in PurePosixPath(path).parts:
        raise ValueError(f"{path!r} must be a path below the data root (no '..', not absolute)")


def check_pattern(pattern: str, known: Iterable[str]) -> None:
    """Raises ValueError for a pattern that leads out of its root, an unknown placeholder, or one in a wrong place."""
    names = [f"{{{name}}}" for name in known]
    rest = pattern
    for name in names:
        rest = rest.replace(name, "")
    if "{" in rest or "}" in rest:
        raise ValueError(f"{pattern!r}: the only placeholders are {', '.join(names)}, without a format")
    check_inside(pattern)
    *folders, last = pattern.split("/")
    if any(place in folder for folder in folders for place in FRAME) or sum(map(last.count, FRAME)) > 1:
        raise ValueError(f"{pattern!r}: {' or '.join(FRAME)} may only stand in the last part, once")
    if "{object}" in last or any("{object}" in folder and folder != "{object}" for folder in folders):
        raise ValueError(f"{pattern!r}: {{object}} must be a whole folder's name")


@dataclass(frozen=True)
class Matches:
    """Files of one folder: the names of those that match, by what `{frame}` stands for, or by number; two for one
    frame are kept, to be told of."""

    folder: Path
    names: Mapping[str, tuple[str, ...]]
    by_number: bool = False

    def of(self, frame: str) -> tuple[str, ...]:
        """Names of the files of one frame; none where it has no file."""
        if self.by_number:
            return self.names.get(str(int(frame)), ()) if frame.isdecimal() else ()
        return self.names.get(frame, ())


class Folders:
    """The folders below a data root, each listed once. Hidden files are passed over, links followed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # Remembered for data sets that keep all their files in a few folders; those of a video are seen only once.
        self._list = lru_cache(_REMEMBERED)(self._scan)
        self._matches = lru_cache(_REMEMBERED)(self._match)

    def files(self, folder: str) -> list[str]:
        """Names of the files in a folder, unordered; none where it isn't there."""
        return self._list(folder)[0]

    def subfolders(self, folder: str) -> list[str]:
        """Names of the folders in a folder, in natural order."""
        return sorted(self._list(folder)[1], key=natural)

    def matches(self, pattern: str, video: str = "", split: str = "") -> list[Matches]:
        """What matches `pattern` in each folder it leads to: one, or one an object."""
        *parts, last = pattern.split("/")
        found = [""]
        for part in parts:
            if part == "{object}":
                found = [f"{folder}{name}/" for folder in found for name in self.subfolders(folder)]
            else:
                found = [f"{folder}{filled(part, video, split)}/" for folder in found]
        return [self._matches(folder, filled(last, video, split)) for folder in found]

    def below(self, pattern: str) -> list[str]:
        """The folders that match a path in which `*` stands for any one folder, in natural order."""
        found = [""]
        for part in pattern.strip("/").split("/"):
            wanted = re.compile(".*".join(map(re.escape, part.split("*"))))
            found = [
                f"{folder}{name}/" for folder in found for name in self.subfolders(folder) if wanted.fullmatch(name)
            ]
        return [folder.rstrip("/") for folder in found]

    def _match(self, folder: str, last: str) -> Matches:
        wanted, names, by_number = _expression(last), dict[str, tuple[str, ...]](), "{number}" in last
        for name in self.files(folder):
            if found := wanted.fullmatch(name):
                frame = str(int(found["frame"])) if by_number else found["frame"]
                names[frame] = (*names.get(frame, ()), name)
        return Matches(self.root / folder, names, by_number)

    def _scan(self, folder: str) -> tuple[list[str], list[str]]:
        files: list[str] = []
        folders: list[str] = []
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(self.root / folder) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    (folders if entry.is_dir() else files).append(entry.name)
        return files, folders


def filled(part: str, video: str, split: str) -> str:
    """A pattern with the names of video and split put in."""
    return part.replace("{split}", split).replace("{video}", video)


@lru_cache(_REMEMBERED)
def _expression(last: str) -> re.Pattern[str]:
    """What names a pattern's last part stands for; the case of the suffix doesn't matter."""
    head, place, tail = last.partition("{number}" if "{number}" in last else "{frame}")
    stem, dot, suffix = tail.rpartition(".")
    if dot + suffix == ANY_PICTURE:
        end = "|".join(re.escape(known) for known in PICTURE_SUFFIXES)
    else:
        end = re.escape(dot + suffix)
    frame = r"\d+" if place == "{number}" else ".+"
    return re.compile(f"{re.escape(head)}(?P<frame>{frame}){re.escape(stem)}(?i:{end})")
