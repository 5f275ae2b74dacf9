"""Reading and writing pictures: frames, masks, boxes. Every failure names its file."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from fusionseg.models.losses import VOID
from fusionseg.pipeline.errors import BadFile
from fusionseg.pipeline.manifest import Item, MaskFiles

UInt8 = npt.NDArray[np.uint8]
Raw = npt.NDArray[np.bool_ | np.integer]
# Not turned by EXIF: masks and boxes belong to the picture as it is stored.
_AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
# How the files of a format end; decoders fill what is missing with grey and say nothing.
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
_END_WINDOW = 64  # bytes searched: some writers pad after the end mark


def image_header(data: bytes) -> tuple[int, int]:
    """(width, height) of an encoded picture, from its header. Raises ValueError if it is not one or is cut off."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            size, kind = image.size, image.format or ""
    except (UnidentifiedImageError, OSError, SyntaxError):
        raise ValueError(f"not a picture ({len(data)} bytes)") from None
    if kind in _ENDS and _ENDS[kind] not in data[-_END_WINDOW:]:
        raise ValueError(f"truncated {kind} ({len(data)} bytes, no end mark)")
    return size


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


def decode_mask(path: Path) -> Raw:
    """Mask file -> (H, W) raw values: palette indices, grey levels of 8 or 16 bits, bool of 1-bit files; the largest
    channel of colour files. Raises OSError, ValueError, SyntaxError."""
    with Image.open(path) as image:
        plain = image.mode in ("1", "L", "P", "I", "I;16")
        raw = np.asarray(image if plain else image.convert("RGB"))
    return raw.max(2) if raw.ndim == 3 else raw


def mask_label(raw: Raw, void: int | None) -> UInt8:
    """Raw mask values (H, W) -> 0 background, 1 object, 255 where the value is `void`; a 1-bit mask has no void."""
    label = (raw > 0).astype(np.uint8)
    if void is not None and raw.dtype != np.bool_:
        label[raw == void] = VOID
    return label


def read_mask(item: Item, index: int, files: MaskFiles | None = None) -> UInt8:
    """Truth of frame `index` (or another mask of it, in `files`): (H, W) uint8, 0 background, 1 object, 255 void.

    Of several files, an object in any is an object. Raises BadFile.
    """
    files = files or item.masks[index]
    label = None
    for path in files.paths:
        try:
            one = mask_label(decode_mask(path), item.void)
        except (OSError, ValueError, SyntaxError) as error:
            raise bad_file(item, index, path, f"mask can't be decoded ({error})") from None
        if label is not None and one.shape != label.shape:
            raise bad_file(item, index, path, f"mask is {_of(one)}, that of another object of its frame {_of(label)}")
        label = one if label is None else _merged(label, one)
    if label is None:
        raise bad_file(item, index, item.frames[index], "this frame has no mask")
    return label


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
    mask = read_mask(item, index, files)
    if mask.shape == size:
        return mask
    if not item.allow_mask_resize:
        raise bad_file(item, index, files.paths[0], size_text(mask.shape[1::-1], size[::-1]))
    return np.asarray(cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)


def size_text(found: tuple[int, ...], expected: tuple[int, ...]) -> str:
    """The words for a mask of the wrong size; both (width, height)."""
    return (
        f"mask is {found[0]}x{found[1]}, its frame {expected[0]}x{expected[1]}; "
        "mend it, or set allow_mask_resize: true in the manifest"
    )


def read_boxes(item: Item, index: int) -> npt.NDArray[np.int32]:
    """Boxes of frame `index`: (N, 4) int32 x0, y0, x1, y1 in pixels, x1 and y1 exclusive; N may be 0, and is where
    the frame isn't annotated.

    Raises BadFile.
    """
    assert item.boxes is not None
    if item.boxes.derived:
        files = item.boxes.masks[index]
        box = tight_box(read_mask(item, index, files) == 1) if files.paths else None
        return np.array([box] if box else [], np.int32).reshape(-1, 4)
    path = item.boxes.paths[index]
    if path is None:
        return np.zeros((0, 4), np.int32)
    try:
        return parse_vid_xml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, OverflowError, ElementTree.ParseError) as error:
        raise bad_file(item, index, path, f"not an ImageNet-VID annotation ({error})") from None


def parse_vid_xml(text: str) -> npt.NDArray[np.int32]:
    """Boxes of an ImageNet-VID annotation, whose corners are inclusive pixel coordinates; see `read_boxes`."""
    boxes = []
    for found in ElementTree.fromstring(text).iter("bndbox"):
        corners = {child.tag: int(float(child.text or "")) for child in found}
        missing = {"xmin", "ymin", "xmax", "ymax"} - corners.keys()
        if missing:
            raise ValueError(f"bndbox without {', '.join(sorted(missing))}")
        boxes.append((corners["xmin"], corners["ymin"], corners["xmax"] + 1, corners["ymax"] + 1))
    return np.array(boxes, np.int32).reshape(-1, 4)


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


def bad_file(item: Item, index: int, path: Path, what: str) -> BadFile:
    """A BadFile for frame `index` of `item`, with its one line of text."""
    return BadFile(f"{path}: {what} [{item.dataset}, {item.name}]", dataset=item.dataset, name=item.name_of(index))
