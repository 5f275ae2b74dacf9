"""Which names a split of a data set consists of: written in the manifest, in lists beside the data, or as folders."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Annotated, get_args

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from fusionseg.pipeline.basics.lists import candidates, read_lines
from fusionseg.pipeline.basics.text import nfc
from fusionseg.pipeline.datasets.patterns import Folders, check_inside, check_pattern, filled, matching, natural
from fusionseg.pipeline.formats.coco import is_instances, read_instances

# What the column of a list may hold beside the name.
_LINE = ("video", "frame")


def is_null(value: object) -> bool:
    """Whether YAML writes nothing by it; read as text, since a video may be called null."""
    return value is None or value in ("", "~", "null", "Null", "NULL")


class Written(BaseModel):
    """A mapping of a manifest: unknown keys refused; a key with nothing behind it is left out where it may be."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _left_out(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        optional = {name for name, info in cls.model_fields.items() if type(None) in get_args(info.annotation)}
        return {key: one for key, one in value.items() if not (key in optional and is_null(one))}


class SplitFile(Written):
    """A split as a text file below the data root, one name a line (first column counts)."""

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


class SplitFolders(Written):
    """A split as all folders that match a path below the data root, `*` standing for any one folder.

    Their names begin below the folder `below`; without it, where `{video}` begins in the pattern of the frames.
    """

    folders: str
    below: str | None = Field(None, min_length=1)
    having: str | None = Field(None, description="only folders with a file of such a name, `*` standing for any text")

    @field_validator("folders", "below")
    @classmethod
    def _inside_root(cls, value: str | None) -> str | None:
        check_inside(value or "")
        return value


class SplitUnion(Written):
    """A split as the union of lists, each name once, in order, without the names of other lists."""

    union: list[str] = Field(min_length=1)
    without: list[str] = []

    @field_validator("union", "without")
    @classmethod
    def _inside_root(cls, value: list[str]) -> list[str]:
        for path in value:
            check_inside(path)
        return value


class SplitStills(Written):
    """A split as all stills there are, without a list, whose name (what `{frame}` stands for) matches, `*` standing for
    any text."""

    stills: str = Field(min_length=1)


SPLIT_KINDS: dict[str, type[BaseModel]] = {
    "file": SplitFile,
    "folders": SplitFolders,
    "union": SplitUnion,
    "stills": SplitStills,
}


def _kind(value: object) -> str:
    """Which kind of split a value is meant to be, so that errors speak of that one only."""
    if isinstance(value, BaseModel):
        return next(name for name, kind in SPLIT_KINDS.items() if isinstance(value, kind))
    return next((name for name in SPLIT_KINDS if name in value), "file") if isinstance(value, dict) else "names"


Split = Annotated[
    Annotated[list[str], Tag("names")]
    | Annotated[SplitFile, Tag("file")]
    | Annotated[SplitFolders, Tag("folders")]
    | Annotated[SplitUnion, Tag("union")]
    | Annotated[SplitStills, Tag("stills")],
    Discriminator(_kind),
]


def check_name(name: str) -> None:
    """Raises ValueError for a name that leads out of the data root, or nowhere."""
    check_inside(name)
    if not PurePosixPath(name).parts:
        raise ValueError(f"{name!r} names no video or picture")


def names_of(split: Split, frames: str, split_name: str, folders: Folders) -> list[str]:
    """The names in a split; `frames` is the manifest's pattern.

    Raises OSError for a list that can't be read, and ValueError, with the words to say, for what is wrong in one.
    """
    if isinstance(split, SplitFolders):
        return _folder_names(split, frames.replace("{split}", split_name), folders)
    if isinstance(split, SplitStills):
        return _still_names(split, frames, split_name, folders)
    known = _known(frames, split_name, folders)
    if isinstance(split, SplitFile):
        return read_list(folders.root / split.file, split.line, known)
    if isinstance(split, SplitUnion):
        union = dict.fromkeys(name for file in split.union for name in read_list(folders.root / file, known=known))
        without = {name for file in split.without for name in read_list(folders.root / file, known=known)}
        return [name for name in union if name not in without]
    for name in split:
        check_name(name)
    return list(dict.fromkeys(map(nfc, split)))


def _known(frames: str, split: str, folders: Folders) -> Callable[[str], bool]:
    """Whether there are frames of a video, or a still, of a name."""

    @cache
    def known(name: str) -> bool:
        folder, slash, key = ("", "", "") if "{video}" in frames else name.rpartition("/")
        pattern = frames.replace("{frame}", f"{folder}{slash}{{frame}}")
        try:
            return any(matches.of(key) if key else matches.names for matches in folders.matches(pattern, name, split))
        except OSError:  # a line so long that it can't be a file's name
            return False

    return known


def read_list(path: Path, line: str = "{video}", known: Callable[[str], bool] = lambda name: False) -> list[str]:
    """The distinct names in a list, in order: what `{video}` stands for in each line of a text file, whose first column
    counts, or as much of the line as is a `known` name; or the images of a COCO file. Raises OSError, ValueError."""
    if is_instances(path.name):
        try:
            names = dict.fromkeys(read_instances(path).by_name)
        except ValueError as error:
            raise ValueError(f"{path}: not COCO's instances ({error})") from None
    else:
        names = dict.fromkeys(_column(path, line, known))
    for name in names:
        try:
            check_name(name)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    return list(names)


def _column(path: Path, line: str, known: Callable[[str], bool]) -> Iterator[str]:
    wanted = re.compile(re.escape(line).replace(r"\{video\}", "(?P<video>.+)").replace(r"\{frame\}", "[^/]+"))
    for number, text in read_lines(path, known):
        *longer, first = candidates(text)
        matches = (found["video"] for one in longer if (found := wanted.fullmatch(one)))
        name = next(filter(known, matches), None)
        if name is None and (found := wanted.fullmatch(first)):
            name = found["video"]
        if name is None:
            raise ValueError(f"{path}, line {number}: found {first!r}, expected {line!r}")
        yield name


def _folder_names(split: SplitFolders, frames: str, folders: Folders) -> list[str]:
    before = frames.partition("{video}")[0] if split.below is None else f"{split.below}/"
    names = []
    for folder in folders.below(split.folders):
        if not folder.startswith(before):
            raise ValueError(f"the folder {folder!r} doesn't lie below {before!r}, where the names of videos begin")
        if split.having is None or matching(folders.files(folder), split.having):
            names.append(folder[len(before) :])
    return names


def _still_names(split: SplitStills, frames: str, split_name: str, folders: Folders) -> list[str]:
    (there,) = folders.matches(frames, split=split_name)
    if not (names := matching(there.names, split.stills)):
        wanted = filled(frames, "", split_name).replace("{frame}", split.stills)
        raise ValueError(f"there is no {folders.root / wanted}; is --data the right folder?")
    return sorted(names, key=natural)
