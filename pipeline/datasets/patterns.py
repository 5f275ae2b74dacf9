"""Finding files: patterns of paths below a data root, matched against folders that are listed once.

A data set may hold a million frames, so no file is asked for by name and none is looked at.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath

from fusionseg.pipeline.basics.text import nfc
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.formats.kinds import PICTURE_SUFFIXES

ANY_PICTURE = ".*"
# How a pattern refers to a frame: by the very text, or by its number, however many digits it is written with.
FRAME = ("{frame}", "{number}")
_REMEMBERED = 64  # folders
_SPACE, _DELETE = 32, 127  # what comes before the one, and the other, are control characters


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


@dataclass
class Listing:
    """One folder: what its files and folders are called, in Unicode's composed form (NFC), and on disk; `linked`: the
    folders that are links; `broken`: links that lead nowhere, which stand among the files too."""

    files: dict[str, str] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)
    linked: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


class Folders:
    """The folders below a data root, each listed once. Hidden files are passed over, links followed.

    Names are given, and asked for, in Unicode's composed form: what one system writes as one letter is two for another.
    Every method raises UserError for names that aren't UTF-8, and for two that are one.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        # Remembered for data sets that keep all their files in a few folders; those of a video are seen only once.
        self._list = lru_cache(_REMEMBERED)(self._scan)
        self._matches = lru_cache(_REMEMBERED)(self._match)

    def files(self, folder: str) -> list[str]:
        """Names of the files in a folder, unordered; none where it isn't there."""
        return list(self._list(folder).files)

    def subfolders(self, folder: str) -> list[str]:
        """Names of the folders in a folder, in natural order."""
        return sorted(self._list(folder).folders, key=natural)

    def broken(self, folder: str) -> list[str]:
        """Names in a folder of links that lead nowhere."""
        return self._list(folder).broken

    def path(self, name: str) -> Path:
        """Where a file or folder lies, by its path below the root."""
        if name.isascii():
            return self.root / name
        folder, _, last = name.rstrip("/").rpartition("/")
        there = self._list(folder)
        return self.path(folder) / (there.files.get(last) or there.folders.get(last) or last)

    def walk(self, folder: str = "") -> Iterator[str]:
        """A folder and all below it, each once, however many links lead to it, and by a name without links if it has
        one; in no order."""
        seen, waiting = set[tuple[int, int]](), [folder]
        links: list[str] = []
        while waiting or links:
            here = waiting.pop() if waiting else links.pop(0)
            with contextlib.suppress(OSError):
                stat = self.path(here).stat()
                if (stat.st_dev, stat.st_ino) in seen:
                    continue
                seen.add((stat.st_dev, stat.st_ino))
            yield here
            listing = self._list(here)
            below = {name: f"{here}/{name}" if here else name for name in listing.folders}
            waiting += [path for name, path in below.items() if name not in listing.linked]
            links += [below[name] for name in listing.linked]

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
            found = [f"{folder}{name}/" for folder in found for name in matching(self.subfolders(folder), part)]
        return [folder.rstrip("/") for folder in found]

    def _match(self, folder: str, last: str) -> Matches:
        wanted, names, by_number = _expression(last), dict[str, tuple[str, ...]](), "{number}" in last
        for name, own in self._list(folder).files.items():
            if found := wanted.fullmatch(name):
                frame = str(int(found["frame"])) if by_number else found["frame"]
                names[frame] = (*names.get(frame, ()), own)
        return Matches(self.path(folder), names, by_number)

    def _scan(self, folder: str) -> Listing:
        found, place = Listing(), self.path(folder)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(place) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    _note(found, entry)
        return found


def _note(found: Listing, entry: os.DirEntry[str]) -> None:
    """Add an entry of a folder."""
    name = nfc(entry.name)
    if any(ord(letter) < _SPACE or ord(letter) == _DELETE for letter in name):
        raise UserError(f"{entry.path!a}: a name with control characters; rename it")
    if name in found.files or name in found.folders:
        raise UserError(f"{entry.path}: there are two of this name, in two forms of Unicode; rename one")
    try:
        os.fsencode(name).decode("utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{entry.path!a}: a name that isn't UTF-8; rename it") from None
    try:
        folder = entry.is_dir()
    except OSError:  # a link to itself
        folder = False
    if not folder and not entry.is_symlink() and not entry.is_file():
        raise UserError(f"{entry.path}: neither a file nor a folder, but a pipe or device; remove it")
    (found.folders if folder else found.files)[name] = entry.name
    if entry.is_symlink():
        if folder:
            found.linked.append(name)
        elif not os.path.exists(entry.path):  # noqa: PTH110 (a link to itself is no error for it)
            found.broken.append(name)


def matching(names: Iterable[str], wanted: str) -> list[str]:
    """The names that match, `*` standing for any text.

    >>> matching(["a [1]", "a [2]", "b [1]"], "a [*")
    ['a [1]', 'a [2]']
    """
    expression = re.compile(".*".join(map(re.escape, wanted.split("*"))))
    return [name for name in names if expression.fullmatch(name)]


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
