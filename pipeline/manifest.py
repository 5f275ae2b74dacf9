"""Data manifests: which files a data set consists of, found once, described as plain data.

A manifest is a YAML file (see `DataManifest`); `load_items` turns one split of it into `Item`s, the videos (or the
set of still images) that stages work on.
"""

from __future__ import annotations

import glob
import re
import string
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

import fusionseg.data_manifests
from fusionseg.pipeline.errors import BadFile, UserError
from fusionseg.pipeline.methods import BASELINES, MODELS

if TYPE_CHECKING:
    from fusionseg.pipeline.flow_files import FlowSource

BOXES_FROM_MASKS = "from-masks"


class SplitFile(BaseModel):
    """A split as a text file under the data root, one name a line (first column counts)."""

    model_config = ConfigDict(extra="forbid")
    file: str


def _check_placeholders(pattern: str) -> None:
    try:
        wrong = [
            (n, s, c) for _, n, s, c in string.Formatter().parse(pattern) if n not in (None, "video", "frame") or s or c
        ]
    except ValueError as error:
        raise ValueError(f"{pattern!r}: {error}") from None
    if wrong:
        raise ValueError(f"{pattern!r}: the only placeholders are {{video}} and {{frame}}, without a format")


class DataManifest(BaseModel):
    """One data set.

    Patterns are paths under the data root in which `{video}` stands for the video's name and `{frame}` for a
    frame's name without suffix; `frames` of stills have no `{video}`.
    """

    model_config = ConfigDict(extra="forbid")
    name: str = Field(pattern=r"^\w[\w.-]*$")
    title: str
    kind: Literal["videos", "stills"]
    licence: str
    home: str = ""
    citation: str = ""
    frames: str
    masks: str | None = None
    boxes: str | None = Field(None, description='pattern of ImageNet-VID XML files, or "from-masks"')
    void: int | None = Field(
        None, ge=1, le=255, description="mask value that counts neither way; all others > 0 are object"
    )
    allow_mask_resize: bool = Field(
        False, description="masks of another size than their frame are resized, not refused"
    )
    protocol: Literal["davis2016"] | None = None
    splits: dict[str, list[str] | SplitFile]
    others: dict[str, str] = Field(
        default_factory=dict, description="published result masks of other methods: name -> pattern"
    )

    @model_validator(mode="after")
    def _inside_root(self) -> DataManifest:
        files = [split.file for split in self.splits.values() if isinstance(split, SplitFile)]
        for path in [self.frames, self.masks or "", self.boxes or "", *self.others.values(), *files]:
            _check_placeholders(path)
            if path.startswith("/") or ".." in PurePosixPath(path).parts:
                raise ValueError(f"{path!r} must be a path below the data root (no '..', not absolute)")
        return self

    @field_validator("others")
    @classmethod
    def _not_our_names(cls, value: dict[str, str]) -> dict[str, str]:
        if taken := sorted(set(value) & {*MODELS, *BASELINES}):
            raise ValueError(f"{', '.join(taken)}: a name of our own methods; give the results another")
        return value


@dataclass(frozen=True)
class Boxes:
    """Where a video's boxes come from: XML files, or the masks (`derived`); one path a frame."""

    paths: tuple[Path, ...]
    derived: bool


@dataclass(frozen=True)
class Item:
    """One video, or one set of still images: its files, in natural order, one mask and box source a frame."""

    dataset: str
    name: str
    stills: bool
    frames: tuple[Path, ...]
    masks: tuple[Path, ...] = ()
    boxes: Boxes | None = None
    void: int | None = None
    allow_mask_resize: bool = False
    protocol: str | None = None
    names: tuple[str, ...] = ()  # of stills, as their split lists them
    others: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    all_frames: tuple[Path, ...] = ()
    stride: int = 1
    partners: tuple[Path, ...] = ()  # the frame that each frame's optical flow goes to
    flow: FlowSource | None = None  # optical flow made elsewhere

    def name_of(self, index: int) -> str:
        """What to leave out if a file of frame `index` is bad: the video, or the still as its split lists it."""
        if not self.stills:
            return self.name
        return self.names[index] if self.names else self.frames[index].stem

    def only(self, kinds: Sequence[str]) -> Item:
        """The same item with nothing but `kinds` ("frames", "masks", "boxes", "others"): what a stage may see."""
        return replace(
            self,
            masks=self.masks if "masks" in kinds else (),
            boxes=self.boxes if "boxes" in kinds else None,
            others=self.others if "others" in kinds else {},
        )

    def files(self, kind: str) -> tuple[Path, ...]:
        """All files of one kind."""
        if kind == "frames":
            return self.frames
        if kind == "masks":
            return self.masks
        if kind == "boxes":
            return self.boxes.paths if self.boxes else ()
        if kind == "partners":
            return tuple(dict.fromkeys(path for path in self.partners if path not in set(self.frames)))
        if kind == "flow":
            return self.flow.paths if self.flow else ()
        return tuple(path for paths in self.others.values() for path in paths)


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key: numbers by value.

    >>> sorted(["10", "9", "a2", "a10"], key=natural)
    ['9', '10', 'a2', 'a10']
    """
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]


def read_manifest(name: str) -> DataManifest:
    """A manifest by the name of one that comes with the package, or by path. Raises UserError."""
    shipped = Path(fusionseg.data_manifests.__file__ or "").parent
    path = Path(name) if name.endswith((".yaml", ".yml")) else shipped / f"{name}.yaml"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        known = ", ".join(sorted(p.stem for p in shipped.glob("*.yaml")))
        raise UserError(
            f"no data manifest {name!r} ({path}); known: {known}, or give the path of a .yaml file"
        ) from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    try:
        return DataManifest.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error, DataManifest)}") from None


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first error of a validation as one line: field, what was found, what is known or expected."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "(top)"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"unknown key {where!r}; known here: {', '.join(_known_keys(model, first['loc'][:-1]))}{more}"
    found = "" if first["type"] == "missing" or isinstance(first["input"], dict) else f", found {first['input']!r}"
    return f"{where}: {first['msg']}{found}{more}"


def _known_keys(model: type[BaseModel], loc: Sequence[int | str]) -> list[str]:
    for part in loc:
        for name, info in model.model_fields.items():
            inner = info.annotation
            if part in (name, info.alias) and isinstance(inner, type) and issubclass(inner, BaseModel):
                model = inner
    return [info.alias or name for name, info in model.model_fields.items()]


def load_items(manifest: DataManifest, split: str, root: Path, leave_out: Collection[str] = ()) -> list[Item]:
    """The items of one split, with all files found; `leave_out` names videos or still images to pass over.

    Raises UserError (missing folder, unknown or empty split) and BadFile (missing file, no frames).
    """
    if not root.is_dir():
        raise UserError(
            f"data set {manifest.name}: no folder {root}; give it with --data ROOT or --data {manifest.name}=ROOT"
        )
    names = [name for name in split_names(manifest, split, root) if name not in leave_out]
    if not names:
        raise UserError(f"data set {manifest.name}: nothing is left of the split {split!r} after leaving out bad files")
    if manifest.kind == "stills":
        return [_stills(manifest, split, names, root)]
    return [_video(manifest, name, root) for name in names]


def split_names(manifest: DataManifest, split: str, root: Path) -> list[str]:
    """The names in a split. Raises UserError for an unknown split or a missing or empty split file."""
    if split not in manifest.splits:
        raise UserError(f"data set {manifest.name} has no split {split!r}; it has: {', '.join(manifest.splits)}")
    listed = manifest.splits[split]
    if isinstance(listed, SplitFile):
        path = root / listed.file
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except OSError:
            raise UserError(
                f"data set {manifest.name}: its list of the split {split!r}, {path}, is not there; "
                f"is --data the right folder? ({manifest.title}: {manifest.home or 'see the manifest'})"
            ) from None
        listed = [line.split()[0] for line in lines if line.strip()]
    if not listed:
        raise UserError(f"data set {manifest.name}: split {split!r} is empty; expected at least one name")
    return listed


def _stills(manifest: DataManifest, split: str, names: list[str], root: Path) -> Item:
    paths = lambda pattern: tuple(root / pattern.format(frame=name) for name in names)  # noqa: E731
    item = Item(
        manifest.name,
        split,
        True,
        paths(manifest.frames),
        masks=paths(manifest.masks) if manifest.masks else (),
        names=tuple(names),
        void=manifest.void,
        allow_mask_resize=manifest.allow_mask_resize,
    )
    _existing(item.frames, item, "image")
    _existing(item.masks, item, "mask")
    return item


def _video(manifest: DataManifest, name: str, root: Path) -> Item:
    pattern = manifest.frames.format(video=glob.escape(name), frame="*")
    frames = tuple(sorted(root.glob(pattern), key=lambda path: natural(path.name)))
    if not frames:
        raise BadFile(
            f"{root / pattern}: video {name!r} of {manifest.name} has no frames; is --data the right folder?",
            dataset=manifest.name,
            name=name,
        )
    found = Item(
        manifest.name,
        name,
        False,
        frames,
        all_frames=frames,
        void=manifest.void,
        allow_mask_resize=manifest.allow_mask_resize,
        protocol=manifest.protocol,
    )
    fill = lambda pattern: tuple(root / pattern.format(video=name, frame=path.stem) for path in frames)  # noqa: E731
    masks = _existing(fill(manifest.masks), found, "mask") if manifest.masks else ()
    boxes = None
    if manifest.boxes == BOXES_FROM_MASKS:
        boxes = Boxes(masks, derived=True)
    elif manifest.boxes:
        boxes = Boxes(_existing(fill(manifest.boxes), found, "box file"), derived=False)
    # Result masks of others are optional: a video that has none is scored without them.
    others = {title: fill(pattern) for title, pattern in manifest.others.items()}
    others = {title: paths for title, paths in others.items() if any(path.is_file() for path in paths)}
    for paths in others.values():
        _existing(paths, found, "result mask")
    return replace(found, masks=masks, boxes=boxes, others=others)


def _existing(paths: tuple[Path, ...], item: Item, what: str) -> tuple[Path, ...]:
    for index, path in enumerate(paths):
        if not path.is_file():
            raise BadFile(
                f"{path}: missing {what} of {item.frames[index].name} ({item.dataset}, {item.name})",
                dataset=item.dataset,
                name=item.name_of(index),
            )
    return paths
