"""Reading and writing pictures: frames, masks, boxes. Every failure names its file."""

from __future__ import annotations

import io
import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from fusionseg.pipeline.datasets.items import Item, MaskFiles
from fusionseg.pipeline.errors import UNREADABLE, BadFile
from fusionseg.pipeline.formats.boxes import FrameBoxes, frame_boxes, parse_vid_xml, parse_youtube_objects
from fusionseg.pipeline.formats.coco import instances_mask, instances_size
from fusionseg.pipeline.formats.masks import Raw, decode_mask, decode_objects, decode_sbd, mask_label, region_label

UInt8 = npt.NDArray[np.uint8]
# Not turned by EXIF: masks and boxes belong to the picture as it is stored.
_AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
# How the files of a format end; decoders fill what is missing with grey and say nothing.
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
_END_WINDOW = 64  # bytes searched: some writers pad after the end mark
_START_WINDOW = 4096  # bytes that usually hold a picture's size


def image_header(data: bytes) -> tuple[int, int]:
    """(width, height) of an encoded picture, from its header. Raises ValueError if it is not one or is cut off."""
    return _header(data, data[-_END_WINDOW:], len(data))


def file_header(path: Path) -> tuple[int, int]:
    """`image_header` of a file, of which only both ends are read; of a .mat mask, all. Raises OSError, ValueError."""
    if path.suffix.lower() == ".mat":
        return mat_header(path.read_bytes())
    with path.open("rb", buffering=0) as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(max(0, length - _END_WINDOW))
        end = file.read()
        file.seek(0)
        start = file.read(_START_WINDOW)
        try:
            return _header(start, end, length)
        except ValueError:  # what stands before the size, a preview for instance, may be long
            return _header(start + file.read(), end, length)


def mat_header(data: bytes) -> tuple[int, int]:
    """(width, height) of a mask of the Semantic Boundaries Dataset. Raises ValueError."""
    height, width = decode_sbd(data).shape
    return width, height


def _header(start: bytes, end: bytes, length: int) -> tuple[int, int]:
    try:
        with Image.open(io.BytesIO(start)) as image:
            size, kind = image.size, image.format or ""
    except (UnidentifiedImageError, OSError, SyntaxError):
        raise ValueError(f"not a picture ({length} bytes)") from None
    if kind in _ENDS and _ENDS[kind] not in end:
        raise ValueError(f"truncated {kind} ({length} bytes, no end mark)")
    return size


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


def decode_frame(data: bytes) -> UInt8:
    """Encoded picture -> (H, W, 3) uint8 BGR. Raises ValueError."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), _AS_STORED) if data else None
    if image is None:
        raise ValueError(f"can't be decoded ({len(data)} bytes)")
    return np.asarray(image, np.uint8)


def read_frame(item: Item, index: int) -> UInt8:
    """Frame `index` of `item`, (H, W, 3) uint8 BGR. Raises BadFile."""
    path = item.frames[index]
    try:
        return decode_frame(path.read_bytes())
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
    return mask_label(decode_mask(path), item.void)


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
        return parse_youtube_objects(path.read_bytes()) if matlab else parse_vid_xml(path.read_text(encoding="utf-8"))
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


def tight_box(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """Smallest x0, y0, x1, y1 (exclusive ends) around the true pixels of (H, W); None if there are none.

    >>> tight_box(np.array([[0, 0, 0], [0, 1, 1]], bool))
    (1, 1, 3, 2)
    """
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if not columns.size:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


# Black and red of the DAVIS palette: the value is the object's number, the colour only for eyes.
_PALETTE = [0, 0, 0, 128, 0, 0]


def write_mask(path: Path, mask: npt.NDArray[np.bool_]) -> None:
    """(H, W) bool -> an indexed PNG, 0 background and 1 object, as DAVIS 2017 writes masks."""
    image = Image.fromarray(mask.astype(np.uint8), mode="P")
    image.putpalette(_PALETTE)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def bad_file(item: Item, index: int, path: Path, what: str, kind: str = UNREADABLE) -> BadFile:
    """A BadFile for frame `index` of `item`, with its one line of text."""
    text = f"{path}: {what} [{item.dataset}, {item.name}]"
    return BadFile(text, dataset=item.dataset, name=item.name_of(index), kind=kind)
