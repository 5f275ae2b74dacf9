"""Data manifests: which files a data set consists of, as YAML (see `DataManifest`)."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

import fusionseg.data_manifests
from fusionseg.pipeline.basics.text import nfc, read_text, user_path
from fusionseg.pipeline.basics.validation import explain
from fusionseg.pipeline.datasets.patterns import FRAME, check_pattern
from fusionseg.pipeline.datasets.splits import SPLIT_KINDS, Split, SplitStills, Written, is_null
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.formats.coco import is_instances
from fusionseg.pipeline.names import BASELINES, MODELS, OBJECT_PROTOCOLS, MasksAre, ProtocolName

BOXES_FROM_MASKS = "from-masks"


def _checked(*known: str) -> AfterValidator:
    def check(pattern: str) -> str:
        check_pattern(pattern, known)
        return pattern

    return AfterValidator(check)


Pattern = Annotated[str, _checked("video", "frame", "number", "split")]


class Expected(Written):
    """How much a split holds, as its owners publish it; what isn't named isn't checked."""

    videos: int | None = None
    stills: int | None = None
    frames: int | None = None
    masks: int | None = None
    boxes: int | None = None


class DataManifest(Written):
    """One data set.

    Patterns are paths under the data root in which `{video}` stands for the video's name and `{frame}` for a
    frame's name without suffix; patterns of stills have no `{video}`. Beside frames, `{number}` stands for the frame's
    number written with any number of digits. `{split}` is the split's name and `{object}`, in masks, any one folder:
    the masks of several objects are merged. A suffix `.*` stands for any picture's.
    """

    name: str = Field(pattern=r"^\w[\w.-]*$")
    title: str
    kind: Literal["videos", "stills"]
    licence: str
    home: str = ""
    citation: str = ""
    layout: Literal["patterns", "folder"] = Field(
        "patterns", description='"folder": pictures or video files of a user\'s own, see `folder`'
    )
    frames: Annotated[str, _checked("video", "frame", "split")] = ""
    masks: list[Annotated[str, _checked("video", "frame", "number", "split", "object")]] = Field(
        [], description="one pattern, or several: the first that has a file for a frame wins; a .json file is COCO's"
    )
    regions: Annotated[str, _checked("video", "split")] | None = Field(
        None, description="of each video, a definition file whose first region is background (FBMS)"
    )
    sparse_masks: bool = Field(False, description="frames without a mask are no error; a video without any is")
    boxes: Pattern | None = Field(
        None, description='pattern of ImageNet-VID XML or YouTube-Objects .mat files, or "from-masks"'
    )
    sparse_boxes: bool = Field(False, description="frames without a box file are no error; a video without any is")
    void: int | None = Field(
        None, ge=1, le=255, description="mask value that counts neither way; all others > 0 are object"
    )
    masks_are: MasksAre | None = Field(
        None, description='"labels": all values > 0 are object; "soft": cut at half; by default, what the files tell'
    )
    allow_mask_resize: bool = Field(
        False, description="masks of another size than their frame are resized, not refused"
    )
    protocol: ProtocolName | None = Field(None, description="how predicted masks are scored, see protocols.py")
    splits: dict[str, Split]
    expected: dict[str, Expected] = Field({}, description="by split: the counts that the owners publish")
    others: dict[str, Pattern] = Field(
        default_factory=dict, description="published result masks of other methods: name -> pattern"
    )

    @field_validator("masks", mode="before")
    @classmethod
    def _several(cls, value: object) -> object:
        return [] if is_null(value) else [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits_together(self) -> DataManifest:
        if self.layout == "folder" and (self.kind == "stills" or self.frames or self.masks or self.boxes):
            raise ValueError("layout: folder finds videos and masks itself; leave out frames, masks and boxes")
        if self.layout == "patterns" and not self.frames:
            raise ValueError("frames is missing; expected a pattern such as frames/{video}/{frame}.jpg")
        for pattern in filter(None, (self.frames, *self.masks, self.boxes, *self.others.values())):
            one_a_frame = pattern != BOXES_FROM_MASKS and not (pattern in self.masks and is_instances(pattern))
            if one_a_frame and not any(place in pattern for place in FRAME):
                raise ValueError(f"{pattern!r}: {{frame}} must stand in its last part")
            if "{video}" in pattern and self.kind == "stills":
                raise ValueError(f"{pattern!r}: stills have no {{video}}")
            if self.kind == "videos" and not one_a_frame and pattern != BOXES_FROM_MASKS:
                raise ValueError(f"{pattern!r}: a file of COCO's instances holds masks of stills, not of videos")
        if self.kind == "stills" and (self.boxes or self.regions or self.others):
            raise ValueError("stills have no boxes, regions or others; only videos have")
        if self.kind == "videos" and any(isinstance(split, SplitStills) for split in self.splits.values()):
            raise ValueError("a split of {stills: ...} is for stills; expected {folders: ...} for videos")
        if unknown := sorted(set(self.expected) - set(self.splits)):
            raise ValueError(f"expected names {', '.join(unknown)}, which is no split")
        if self.masks_are == "soft" and self.void is not None:
            raise ValueError("masks_are: soft, but a void value is one of labels; leave out one of them")
        if self.boxes == BOXES_FROM_MASKS and not self.masks:
            raise ValueError("boxes: from-masks, but the manifest names no masks")
        if self.protocol in OBJECT_PROTOCOLS and (self.regions or any("{object}" in pattern for pattern in self.masks)):
            raise ValueError(f"protocol {self.protocol}: needs one mask a frame, in which objects are numbered")
        return self

    @field_validator("others")
    @classmethod
    def _not_our_names(cls, value: dict[str, str]) -> dict[str, str]:
        if taken := sorted(set(value) & {*MODELS, *BASELINES}):
            raise ValueError(f"{', '.join(taken)}: a name of our own methods; give the results another")
        return value


class _Loader(yaml.SafeLoader):
    """YAML in which what is written without quotes is text: a video may be called 007, 12:30, on or null. What must be
    a number or yes or no, the manifest's fields know. A key stands once in a mapping."""

    # Of YAML 1.1's guesses at what a plain word is, only `<<`, which takes over another mapping's keys.
    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's own shape)
        first: [found for found in resolvers if found[0] == "tag:yaml.org,2002:merge"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        lines: dict[str, int] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in lines:
                what = f"the key {key.value!r} is there twice, first in line {lines[key.value]}; keep one"
                raise yaml.MarkedYAMLError(problem=what, problem_mark=key.start_mark)
            lines[key.value] = key.start_mark.line + 1
        return super().construct_mapping(node, deep)


def _read(path: Path) -> object:
    """What a YAML file says. Raises OSError, and UserError with file and line."""
    try:
        return yaml.load(nfc(read_text(path)), _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{where}: not valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise UserError(f"{path}: not valid YAML: it nests too deeply") from None
    except ValueError as error:
        raise UserError(str(error)) from None


def read_manifest(name: str) -> DataManifest:
    """A manifest by the name of one that comes with the package, or by path. Raises UserError."""
    shipped = Path(fusionseg.data_manifests.__file__ or "").parent
    path = user_path(name) if name.lower().endswith((".yaml", ".yml")) else shipped / f"{name}.yaml"
    try:
        return DataManifest.model_validate(_read(path))
    except OSError as error:
        if path.exists():
            raise UserError(f"{path}: can't be read ({error.strerror or error})") from None
        known = ", ".join(sorted(p.stem for p in shipped.glob("*.yaml")))
        raise UserError(
            f"no data manifest {name!r} ({path}); known: {known}, or give the path of a .yaml file"
        ) from None
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error, DataManifest, SPLIT_KINDS)}") from None
