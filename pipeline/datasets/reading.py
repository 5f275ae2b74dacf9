"""Reading and writing pictures: frames, masks, boxes. Every failure names its file."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from fusionseg.pipeline.basics.spread import spread
from fusionseg.pipeline.datasets.items import Item, MaskFiles
from fusionseg.pipeline.errors import UNREADABLE, BadFile
from fusionseg.pipeline.formats.boxes import FrameBoxes, frame_boxes, parse_vid_xml, parse_youtube_objects, tight_box
from fusionseg.pipeline.formats.coco import instances_mask, instances_size
from fusionseg.pipeline.formats.masks import decode_mask, decode_objects, mask_label, region_label
from fusionseg.pipeline.formats.pictures import decode_frame, file_header, frame_notes
from fusionseg.pipeline.formats.planes import Raw
from fusionseg.pipeline.formats.readings import LOOKED_AT

UInt8 = npt.NDArray[np.uint8]


def read_size(item: Item, index: int, path: Path, entry: str = "") -> tuple[int, int]:
    """(width, height) of the picture or mask at `path`, which belongs to frame `index`; `entry`: as in `MaskFiles`.

    Raises BadFile.
    """
    try:
        return instances_size(path, entry) if entry else file_header(path)
    except OSError as error:
        raise bad_file(item, index, path, f"can't be read ({error.strerror or error})") from None
    except ValueError as error:
        raise bad_file(item, index, path, str(error)) from None


def read_frame(item: Item, index: int) -> UInt8:
    """Frame `index` of `item`, (H, W, 3) uint8 BGR. Raises BadFile."""
    path = item.frames[index]
    try:
        return decode_frame(path.read_bytes(), lambda: item.all_frames)
    except (OSError, ValueError) as error:
        raise bad_file(item, index, path, str(error)) from None


def read_mask(item: Item, index: int, files: MaskFiles | None = None) -> UInt8:
    """Truth of frame `index` (or another mask of it, in `files`): (H, W) uint8, 0 background, 1 object, 255 void.

    Of several files, an object in any is an object. Raises BadFile.
    """
    files = files or item.masks[index]
    label = None
    for path in files.paths:
        try:
            one = _read_label(item, path, files)
        except (OSError, ValueError, SyntaxError) as error:
            raise bad_file(item, index, path, f"mask can't be decoded ({error})") from None
        if label is not None and one.shape != label.shape:
            raise bad_file(item, index, path, f"mask is {_of(one)}, that of another object of its frame {_of(label)}")
        label = one if label is None else _merged(label, one)
    if label is None:
        raise bad_file(item, index, item.frames[index], "this frame has no mask")
    return label


def _read_label(item: Item, path: Path, files: MaskFiles) -> UInt8:
    if files.entry:
        return instances_mask(path, files.entry)
    if files.regions:
        return region_label(path, files.regions)
    values, _ = decode_mask(path, item.masks_are, lambda: item.beside(path))
    return mask_label(values, item.void)


def how_read(item: Item, kind: str) -> list[str]:
    """What is to be said of how files of `kind` ("frames", "masks", "boxes", "others") are read, by a few of them; []
    where they are read the obvious way. It belongs to what is read from them. Raises BadFile for one of these few that
    can't be."""
    notes: set[str] = set()
    owners = item.owners(kind)
    for path in spread(_of_kind(item, kind), LOOKED_AT):
        try:
            notes.update(_notes(item, kind, path))
        except (OSError, ValueError, SyntaxError) as error:
            what = str(error) if kind == "frames" else f"mask can't be decoded ({error})"
            raise bad_file(item, owners[path], path, what) from None
    return sorted(notes)


def _notes(item: Item, kind: str, path: Path) -> tuple[str, ...]:
    if kind == "frames":
        return frame_notes(item.all_frames) if path == item.frames[0] else ()
    return decode_mask(path, item.masks_are, lambda: item.beside(path))[1]


def _of_kind(item: Item, kind: str) -> list[Path]:
    """Files of pictures; COCO's and regions of FBMS have rules of their own."""
    if kind in ("frames", "others"):
        return list(item.files(kind))
    masks = item.masks if kind == "masks" else item.boxes.masks if kind == "boxes" and item.boxes else ()
    return [path for mask in masks if not (mask.entry or mask.regions) for path in mask.paths]


def _merged(first: UInt8, second: UInt8) -> UInt8:
    """Object over void over background."""
    merged = np.maximum(first, second)
    merged[(first == 1) | (second == 1)] = 1
    return merged


def _of(mask: UInt8) -> str:
    return f"{mask.shape[1]}x{mask.shape[0]}"


def read_mask_sized(item: Item, index: int, size: tuple[int, int], files: MaskFiles | None = None) -> UInt8:
    """`read_mask` at `size` (height, width): resized where the manifest allows it. Raises BadFile."""
    files = files or item.masks[index]
    return np.asarray(_sized(item, index, size, files, read_mask(item, index, files)), np.uint8)


def read_objects_sized(item: Item, index: int, size: tuple[int, int], files: MaskFiles | None = None) -> Raw:
    """The objects of frame `index` (or another mask of it, in `files`) at `size` (height, width), told apart by the
    file's own values: (H, W) integers, 0 background. Raises BadFile."""
    files = files or item.masks[index]
    path = files.paths[0]
    try:
        return _sized(item, index, size, files, decode_objects(path))
    except (OSError, ValueError, SyntaxError) as error:
        raise bad_file(item, index, path, f"mask can't be decoded ({error})") from None


def _sized(item: Item, index: int, size: tuple[int, int], files: MaskFiles, mask: Raw) -> Raw:
    """`mask` at `size` (height, width)."""
    if mask.shape == size:
        return mask
    if not item.allow_mask_resize:
        raise bad_file(item, index, files.paths[0], size_text(mask.shape[1::-1], size[::-1]))
    return np.asarray(cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST))


def size_text(found: tuple[int, ...], expected: tuple[int, ...]) -> str:
    """The words for a mask of the wrong size; both (width, height)."""
    return (
        f"mask is {found[0]}x{found[1]}, its frame {expected[0]}x{expected[1]}; "
        "mend it, or set allow_mask_resize: true in the manifest"
    )


def frame_size_text(found: tuple[int, ...], first: tuple[int, ...]) -> str:
    """The words for a frame of another size than the video's first; both (width, height)."""
    return f"frame is {found[0]}x{found[1]}, the video's first {first[0]}x{first[1]}; expected one size"


def read_boxes(item: Item, index: int) -> FrameBoxes:
    """Boxes of frame `index`; none where it shows no object or isn't annotated. Raises BadFile."""
    assert item.boxes is not None
    if item.boxes.derived:
        return _mask_boxes(item, index, item.boxes.masks[index])
    path = item.boxes.paths[index]
    if path is None:
        return frame_boxes([])
    matlab = path.suffix.lower() == ".mat"
    try:
        return parse_youtube_objects(path.read_bytes()) if matlab else parse_vid_xml(path.read_bytes())
    except (OSError, ValueError, OverflowError, ElementTree.ParseError) as error:
        kind = "a YouTube-Objects" if matlab else "an ImageNet-VID"
        raise bad_file(item, index, path, f"not {kind} annotation ({error})") from None


def _mask_boxes(item: Item, index: int, files: MaskFiles) -> FrameBoxes:
    """The tight box of a mask, at the size of its frame."""
    if not files.paths:
        return frame_boxes([])
    if item.allow_mask_resize:
        try:
            width, height = file_header(item.frames[index])
        except (OSError, ValueError) as error:
            raise bad_file(item, index, item.frames[index], str(error)) from None
        mask = read_mask_sized(item, index, (height, width), files)
    else:
        mask = read_mask(item, index, files)
    box = tight_box(mask == 1)
    return frame_boxes([box] if box else [])


def bad_file(item: Item, index: int, path: Path, what: str, kind: str = UNREADABLE) -> BadFile:
    """A BadFile for frame `index` of `item`, with its one line of text."""
    text = f"{path}: {what} [{item.dataset}, {item.name}]"
    return BadFile(text, dataset=item.dataset, name=item.name_of(index), kind=kind)
