"""Pictures: their size from their header, and decoding them."""

from __future__ import annotations

import io
import os
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from fusionseg.pipeline.formats.masks import decode_sbd

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


def decode_frame(data: bytes) -> UInt8:
    """Encoded picture -> (H, W, 3) uint8 BGR. Raises ValueError."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), _AS_STORED) if data else None
    if image is None:
        raise ValueError(f"can't be decoded ({len(data)} bytes)")
    return np.asarray(image, np.uint8)
