"""Folders that results are exported into: what is there already is replaced where it is an earlier export of the same,
and refused otherwise. A hidden note in the folder says whose export it holds and which files it wrote."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fusionseg.pipeline.basics.atomic import write_json
from fusionseg.pipeline.errors import UserError

NOTE = ".fusionseg-export.json"


@dataclass(frozen=True)
class Written:
    """`count` results in `files` files, of which `replaced` were there before; `removed`: files of the export that was
    there before and isn't any more."""

    count: int
    files: int
    replaced: int
    removed: int

    @property
    def words(self) -> str:
        """What became of files that were there before; "" where none were."""
        gone = f", {self.removed} others of the earlier export removed" if self.removed else ""
        return f"{self.replaced} of {self.files} files replaced{gone}" if self.replaced or self.removed else ""


@dataclass(frozen=True)
class Place:
    """`folder`, where the export `source` (in words: of what run, by what method) writes `files`, named below it;
    `present` of them are there; `earlier`: what the export that is there wrote."""

    folder: Path
    source: str
    files: frozenset[str]
    present: frozenset[str]
    earlier: frozenset[str]

    def begin(self) -> None:
        """Note what is about to be written, so that an export that is stopped can be begun again."""
        self._note(self.files | self.earlier)

    def end(self, count: int) -> Written:
        """Remove what only the earlier export had."""
        stale = [path for path in map(self.folder.joinpath, self.earlier - self.files) if path.is_file()]
        for path in stale:
            path.unlink()
            with contextlib.suppress(OSError):  # a folder that isn't empty stays
                path.parent.rmdir()
        self._note(self.files)
        return Written(count, len(self.files), len(self.present), len(stale))

    def _note(self, files: frozenset[str]) -> None:
        write_json(self.folder / NOTE, {"export": self.source, "files": sorted(files)})


def claim(folder: Path, source: str, files: Sequence[str], overwrite: bool) -> Place:
    """The folder for an export, before anything is written. Raises UserError for a folder that holds another export or
    files that no export wrote, unless `overwrite`."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: a file; expected a folder, there already or not")
    holds, earlier = _noted(folder)
    present = frozenset(name for name in files if (folder / name).exists())
    foreign = sorted(present - earlier) if holds else _visible(folder)
    if not overwrite and holds not in ("", source):
        raise UserError(f"{folder}: holds {holds}, not {source}; {_WAY_OUT} it")
    if not overwrite and foreign:
        what = f"{len(foreign)} files" if len(foreign) > 1 else "a file"
        raise UserError(
            f"{folder}: holds {what} that fusionseg didn't export, e.g. {foreign[0]}; {_WAY_OUT} what has the same name"
        )
    return Place(folder, source, frozenset(files), present, earlier)


_WAY_OUT = "choose another folder, or add --overwrite to replace"


def _noted(folder: Path) -> tuple[str, frozenset[str]]:
    """What export a folder holds, and its files; nothing where no note says so."""
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
        return str(note["export"]), frozenset(map(str, note["files"]))
    except (OSError, ValueError, KeyError, TypeError):
        return "", frozenset()


def _visible(folder: Path) -> list[str]:
    """What lies in a folder, but for hidden files."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []
