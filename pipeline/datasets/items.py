"""What a run works on, as plain data: videos and still images with their files, found before anything starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fusionseg.pipeline.names import MasksAre

if TYPE_CHECKING:
    from fusionseg.pipeline.datasets.imported_flow import FlowSource


@dataclass(frozen=True)
class MaskFiles:
    """The truth of one frame: files that are merged, none where the frame has no truth; `entry` tells which entry of a
    file of many, an image's number in COCO's; `regions` is the file that tells background from object (FBMS)."""

    paths: tuple[Path, ...]
    entry: str = ""
    regions: Path | None = None


@dataclass(frozen=True)
class Boxes:
    """Where a video's boxes come from, one entry a frame: annotation files (None where the frame isn't annotated), or
    the masks (`derived`)."""

    paths: tuple[Path | None, ...] = ()
    masks: tuple[MaskFiles, ...] = ()

    @property
    def derived(self) -> bool:
        return bool(self.masks)


@dataclass(frozen=True)
class Item:
    """One video, or one set of still images: its files, in natural order, one mask and box source a frame.

    `frames` are those of `all_frames` that are in use, `numbers` where they stand there; masks, boxes and others go
    with `frames`.
    """

    dataset: str
    name: str
    stills: bool
    frames: tuple[Path, ...]
    masks: tuple[MaskFiles, ...] = ()
    boxes: Boxes | None = None
    void: int | None = None
    masks_are: MasksAre | None = None
    allow_mask_resize: bool = False
    protocol: str | None = None
    names: tuple[str, ...] = ()  # of stills, as their split lists them
    others: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    all_frames: tuple[Path, ...] = ()
    numbers: tuple[int, ...] = ()
    partners: tuple[Path, ...] = ()  # the frame that each frame's optical flow goes to
    partners_back: tuple[Path, ...] = ()  # the same for flow of the other direction, where both are wanted
    flow: FlowSource | None = None  # optical flow made elsewhere

    def __post_init__(self) -> None:
        if not self.all_frames:
            object.__setattr__(self, "all_frames", self.frames)
        if self.masks_are is None and self.void is not None:  # only labels have a void
            object.__setattr__(self, "masks_are", "labels")
        if not self.numbers:
            object.__setattr__(self, "numbers", tuple(range(len(self.frames))))

    def at(self, positions: Sequence[int]) -> Item:
        """The video with none but these of its frames."""
        pick = lambda values: tuple(values[n] for n in positions) if values else ()  # noqa: E731
        boxes = replace(self.boxes, paths=pick(self.boxes.paths), masks=pick(self.boxes.masks)) if self.boxes else None
        others = {title: pick(paths) for title, paths in self.others.items()}
        return replace(
            self,
            frames=pick(self.frames),
            masks=pick(self.masks),
            boxes=boxes,
            others=others,
            numbers=pick(self.numbers),
            partners=pick(self.partners),
            partners_back=pick(self.partners_back),
        )

    @property
    def annotated(self) -> list[int]:
        """Indices of the frames that have a true mask."""
        return [index for index, mask in enumerate(self.masks) if mask.paths]

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
        """All files of one kind, each once."""
        return tuple(self.owners(kind))

    def owners(self, kind: str) -> dict[Path, int]:
        """All files of one kind, each with the first frame that it belongs to."""
        found: dict[Path, int] = {}
        for index, path in self._owned(kind):
            found.setdefault(path, index)
        return found

    def beside(self, mask: Path) -> tuple[Path, ...]:
        """All masks, or results of others, in the folder of one."""
        return self._by_folder.get(mask.parent, ())

    @cached_property
    def _by_folder(self) -> dict[Path, tuple[Path, ...]]:
        found: dict[Path, list[Path]] = {}
        truth = (path for mask in self.masks for path in mask.paths)
        for path in (*truth, *(path for paths in self.others.values() for path in paths)):
            found.setdefault(path.parent, []).append(path)
        return {folder: tuple(paths) for folder, paths in found.items()}

    def _owned(self, kind: str) -> Iterator[tuple[int, Path]]:
        if kind == "frames":
            yield from enumerate(self.frames)
        elif kind == "masks":
            yield from _of_masks(self.masks)
        elif kind == "boxes" and self.boxes:
            yield from _of_masks(self.boxes.masks)
            yield from ((index, path) for index, path in enumerate(self.boxes.paths) if path)
        elif kind == "partners":
            own = set(self.frames)
            for partners in (self.partners, self.partners_back):
                yield from ((index, path) for index, path in enumerate(partners) if path not in own)
        elif kind == "flow" and self.flow:
            yield from self._flow_files(self.flow)
        elif kind == "others":
            for paths in self.others.values():
                yield from enumerate(paths)

    def _flow_files(self, flow: FlowSource) -> Iterator[tuple[int, Path]]:
        """A frame without flow uses that of its partner, which `stride` may have passed over."""
        numbers = {path: number for number, path in enumerate(self.all_frames)}
        for index, place in enumerate(flow.places[number] for number in self.numbers):
            if used := place or flow.places[numbers[self.partners[index]]]:
                yield index, used[0]


def _of_masks(masks: Sequence[MaskFiles]) -> Iterator[tuple[int, Path]]:
    for index, mask in enumerate(masks):
        yield from ((index, path) for path in mask.paths)
        if mask.regions:
            yield index, mask.regions


Frame = tuple[Item, int]  # a video, or set of stills, and the number of one of its frames


def annotated(items: Iterable[Item]) -> list[Frame]:
    """All frames of `items` that have a mask."""
    return [(item, index) for item in items for index in item.annotated]
