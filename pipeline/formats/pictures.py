"""Pictures: their size from their header, and decoding them as frames."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from fusionseg.pipeline.basics.digests import Stamped, stamped
from fusionseg.pipeline.basics.spread import spread
from fusionseg.pipeline.formats.masks import decode_sbd
from fusionseg.pipeline.formats.planes import BITS_AT, COLOURS_AT, Raw, check_single, opened
from fusionseg.pipeline.formats.readings import depth

UInt8 = npt.NDArray[np.uint8]
# Not turned by EXIF: masks and boxes belong to the picture as it is stored.
_AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
_JPEG_START, _PNG_START = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_WITH_ALPHA = (4, 6)
_TRANSPARENT = b"tRNS"  # a PNG's chunk
_WHITE_16 = 2**16 - 1
_LOOKED_AT = 200  # frames of a video, for the depth of its 16-bit pictures

# How the files of a format end; decoders fill what is missing with grey and say nothing.
_ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
# Formats that may hold several pictures, which the beginning of a file doesn't tell.
_SEVERAL = ("AVIF", "GIF", "TIFF", "WEBP")
_BY_OPENCV = ("AVIF", "JPEG2000", "PNG", "PPM", "TIFF")  # formats of more than 8 bits, which Pillow cuts to 8


_END_WINDOW = 64  # bytes searched: some writers pad after the end mark


_START_WINDOW = 4096  # bytes that usually hold a picture's size


def image_header(data: bytes) -> tuple[int, int]:
    """(width, height) of an encoded picture, from its header. Raises ValueError if it is not one, is cut off, or holds
    several pictures."""
    return _header(data, data[-_END_WINDOW:], len(data))


def file_header(path: Path) -> tuple[int, int]:
    """`image_header` of a file, of which mostly both ends are read; of a .mat mask, all. Raises OSError, ValueError."""
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
            if kind in _SEVERAL and len(start) < length:
                raise ValueError(f"only the beginning of a {kind}")
            check_single(image)
    except (UnidentifiedImageError, OSError, SyntaxError):
        raise ValueError(f"not a picture ({length} bytes)") from None
    if kind in _ENDS and _ENDS[kind] not in end:
        raise ValueError(f"truncated {kind} ({length} bytes, no end mark)")
    return size


def decode_frame(data: bytes, siblings: Callable[[], Sequence[Path]] = tuple) -> UInt8:
    """Encoded picture -> (H, W, 3) uint8 BGR. Of more than 8 bits a channel, white is the largest value of as many bits
    as the video uses, of which `siblings` gives the frames: cameras of 12 bits fill files of 16.

    What is transparent keeps the colour that it is stored with: nothing shines through. Raises ValueError; also for an
    animation and floating-point numbers.
    """
    if _is_usual(data):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), _AS_STORED) if data else None
        if image is None:
            raise ValueError(f"can't be decoded ({len(data)} bytes)")
        return np.asarray(image, np.uint8)
    pixels = _pixels(data)
    if pixels.dtype == np.uint8:
        return pixels
    looked = tuple(spread(siblings(), _LOOKED_AT))
    # One white for all frames, or the video would flicker.
    white = depth(_largest(stamped(looked)) or int(pixels.max()), _WHITE_16)
    return (np.minimum(pixels, white) >> (white.bit_length() - 8)).astype(np.uint8)


def frame_notes(paths: Sequence[Path]) -> tuple[str, ...]:
    """What is to be said of how the frames of a video are read, by its first and, of more than 8 bits a channel, a few
    more; () where it is the obvious way. Raises OSError, ValueError."""
    data = paths[0].read_bytes()
    if _is_usual(data):
        return ()
    pixels, looked = _decoded(data), tuple(spread(paths, _LOOKED_AT))
    clear = pixels.ndim == 3 and pixels.shape[2] == 4 and not (pixels[..., 3] == np.iinfo(pixels.dtype).max).all()
    notes = ("transparent parts keep the colours that they are stored with",) if clear else ()
    if pixels.dtype == np.uint8:
        return notes
    return (*notes, f"16 bits a channel, of which {depth(_largest(stamped(looked)), _WHITE_16).bit_length()} are used")


def _is_usual(data: bytes) -> bool:
    """A JPEG, or a PNG of 8 bits without transparency: decoded by OpenCV, in which nothing gets lost."""
    if data.startswith(_JPEG_START) or not data:
        return True
    if not data.startswith(_PNG_START) or len(data) <= COLOURS_AT:
        return False
    plain = data[BITS_AT] <= 8 and data[COLOURS_AT] not in _WITH_ALPHA
    before_pixels = data[: data.find(b"IDAT")]
    return plain and _TRANSPARENT not in before_pixels and b"acTL" not in before_pixels


def _pixels(data: bytes) -> Raw:
    """(H, W, 3) uint8 or uint16 BGR. Raises ValueError."""
    pixels = _decoded(data)
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else np.ascontiguousarray(pixels[..., :3])


def _decoded(data: bytes) -> Raw:
    """Grey levels (H, W), colours, or colours with an alpha channel, of 8 or 16 bits. Raises ValueError."""
    with opened(data) as image:
        check_single(image)
        found = None
        if image.format == "PPM" and not _is_full(data):  # scaled by what the file says is white
            return (np.asarray(image) >> 8).astype(np.uint8) if image.mode == "I" else _by_pillow(image)
        if image.format in _BY_OPENCV and image.mode != "1":
            found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if found is None:
            found = _by_pillow(image)
    if found.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"pixels of type {found.dtype}, expected 8 or 16 bits; save it as a PNG")
    return np.asarray(found)


def _is_full(data: bytes) -> bool:
    """Whether white is the largest value of a byte or of two, in a PGM or PPM."""
    found = re.match(rb"P[56](?:\s+|#[^\n]*\n)+\d+(?:\s+|#[^\n]*\n)+\d+(?:\s+|#[^\n]*\n)+(\d+)", data)
    return found is None or int(found[1]) in (2**8 - 1, _WHITE_16)


def _by_pillow(image: Image.Image) -> Raw:
    if image.mode in ("F", "I"):
        raise ValueError("pixels that aren't of 8 or 16 bits; save it as a PNG")
    try:
        return np.asarray(image.convert("RGBA"))[..., [2, 1, 0, 3]]
    except (OSError, SyntaxError) as error:
        raise ValueError(f"can't be decoded ({error})") from None


@lru_cache(256)
def _largest(files: Stamped) -> int:
    """The largest value in some frames; those that can't be read are told of when it is their turn."""
    found = 0
    for path, _ in files:
        try:
            found = max(found, int(_pixels(path.read_bytes()).max()))
        except (OSError, ValueError):
            continue
    return found
