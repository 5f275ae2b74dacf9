"""Which names a split of a data set consists of: written in the manifest, in lists beside the data, or as folders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, Field, field_validator

from fusionseg.pipeline.layout import Folders, check_inside, check_pattern

# What the column of a list may hold beside the name.
_LINE = ("video", "frame")


class SplitFile(BaseModel):
    """A split as a text file below the data root, one name a line (first column counts)."""

    model_config = ConfigDict(extra="forbid")
    file: str
    line: str = Field("{video}", description="what the first column holds; lists of frames give each video once")

    @field_validator("file")
    @classmethod
    def _inside_root(cls, value: str) -> str:
        check_inside(value)
        return value

    @field_validator("line")
    @classmethod
    def _names_a_video(cls, value: str) -> str:
        check_pattern(value.lstrip("/"), _LINE)
        if value.count("{video}") != 1:
            raise ValueError(f"{value!r}: {{video}} must stand in it, once")
        return value


class SplitFolders(BaseModel):
    """A split as all folders that match a path below the data root, `*` standing for any one folder."""

    model_config = ConfigDict(extra="forbid")
    folders: str

    @field_validator("folders")
    @classmethod
    def _inside_root(cls, value: str) -> str:
        check_inside(value)
        return value


class SplitUnion(BaseModel):
    """A split as the union of lists, each name once, in order, without the names of other lists."""

    model_config = ConfigDict(extra="forbid")
    union: list[str] = Field(min_length=1)
    without: list[str] = []

    @field_validator("union", "without")
    @classmethod
    def _inside_root(cls, value: list[str]) -> list[str]:
        for path in value:
            check_inside(path)
        return value


Split = list[str] | SplitFile | SplitFolders | SplitUnion


def check_name(name: str) -> None:
    """Raises ValueError for a name that leads out of the data root, or nowhere."""
    check_inside(name)
    if not PurePosixPath(name).parts:
        raise ValueError(f"{name!r} names no video or picture")


def names_of(split: Split, frames: str, split_name: str, folders: Folders) -> list[str]:
    """The names in a split; `frames` is the manifest's pattern.

    Raises OSError for a list that can't be read, and ValueError, with the words to say, for what is wrong in one.
    """
    if isinstance(split, SplitFile):
        return read_list(folders.root / split.file, split.line)
    if isinstance(split, SplitUnion):
        without = {name for file in split.without for name in read_list(folders.root / file)}
        union = (name for file in split.union for name in read_list(folders.root / file))
        return list(dict.fromkeys(name for name in union if name not in without))
    if isinstance(split, SplitFolders):
        return _folder_names(folders.below(split.folders), frames.replace("{split}", split_name))
    for name in split:
        check_name(name)
    return split


def read_list(path: Path, line: str = "{video}") -> list[str]:
    """The distinct names in a text file, in order: what `{video}` stands for in the first column of each line."""
    wanted = re.compile(re.escape(line).replace(r"\{video\}", "(?P<video>.+)").replace(r"\{frame\}", "[^/]+"))
    names: dict[str, None] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text (byte {error.start})") from None
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        found = wanted.fullmatch(text.split()[0])
        if found is None:
            raise ValueError(f"{path}, line {number}: found {text.split()[0]!r}, expected {line!r}")
        try:
            check_name(found["video"])
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
        names[found["video"]] = None
    return list(names)


def _folder_names(found: Sequence[str], frames: str) -> list[str]:
    """What `{video}` of the pattern `frames` stands for in these folders."""
    head, _, rest = frames.partition("{video}")
    tail = rest.split("/")[0]
    for folder in found:
        if not (folder.startswith(head) and folder.endswith(tail)):
            raise ValueError(f"the folder {folder!r} doesn't fit {frames!r}, where the frames lie")
    return [folder[len(head) : len(folder) - len(tail)] for folder in found]
