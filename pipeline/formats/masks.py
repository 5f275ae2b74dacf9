"""Mask files of every format that data sets use, as raw values or as labels."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from fusionseg.models.labels import VOID
from fusionseg.pipeline.formats.boxes import read_mat
from fusionseg.pipeline.formats.png import decode_plain_png

UInt8 = npt.NDArray[np.uint8]
Raw = npt.NDArray[Any]  # bool or any integers
# JPEG rings around edges, so a mask stored as one is cut in the middle (YouTube-Objects' masks are).
_JPEG_CUT = 128
_BYTE = 256
_BITS_AT = 24  # where a PNG's header says how many bits a channel has
_COLOURS_AT, _INDEXED = 25, 3  # and of what kind its colours are
_GREY_MODES = ("1", "L", "P", "I", "I;16", "I;16B")


def decode_mask(path: Path) -> Raw:
    """Mask file -> (H, W) raw values: palette indices, grey levels of 8 or 16 bits, the largest channel of colours;
    bool of files of 1 bit and of JPEG, which hold nothing but object and background.

    Raises OSError, ValueError, SyntaxError.
    """
    if path.suffix.lower() == ".mat":
        return decode_sbd(path.read_bytes())
    raw, image_format = _decoded(path.read_bytes())
    return raw >= _JPEG_CUT if image_format == "JPEG" else raw


def decode_map(path: Path) -> Raw:
    """File of a map of probabilities -> (H, W) raw values, as `decode_mask`, but a JPEG's are not cut.

    Raises OSError, SyntaxError, ValueError; the last also for indexed PNGs, whose indices are no shares of anything.
    """
    data = path.read_bytes()
    raw, image_format = _decoded(data)
    if image_format == "PNG" and data[_COLOURS_AT] == _INDEXED:
        raise ValueError("holds palette indices, which are no probabilities; score it without --threshold")
    return raw


def _decoded(data: bytes) -> tuple[Raw, str | None]:
    """Raw values of a picture (H, W), and its format; ours for plain PNGs is faster than a library's."""
    plain = decode_plain_png(data)
    if plain is not None:
        return plain, "PNG"
    with _opened(data) as image:
        raw = _deep_colours(data) if _is_deep(image, data) else _values(image)
        return (raw.max(2) if raw.ndim == 3 else raw), image.format


def decode_objects(path: Path) -> Raw:
    """Mask file -> (H, W) integers that number its objects, 0 background.

    Raises OSError, SyntaxError, ValueError; the last also for colours, which give objects no numbers.
    """
    data = path.read_bytes()
    plain = decode_plain_png(data)
    if plain is None:
        with _opened(data) as image:
            plain = _values(image)
    if plain.ndim == 3:
        if (plain != plain[..., :1]).any():
            raise ValueError("holds colours, expected palette indices or grey levels that number the objects")
        plain = plain[..., 0]
    return plain.astype(np.uint8) if plain.dtype == np.bool_ else plain


def _opened(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        raise ValueError(f"not a picture ({len(data)} bytes)") from None


def _is_deep(image: Image.Image, data: bytes) -> bool:
    """Whether it is a PNG of 16 bits a channel: Pillow drops the lower 8, and with them small values."""
    return image.format == "PNG" and data[_BITS_AT] == 16 and image.mode not in _GREY_MODES


def _deep_colours(data: bytes) -> Raw:
    """(H, W, 3) uint16."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError(f"can't be decoded ({len(data)} bytes)")
    return np.asarray(image)[..., :3]


def _values(image: Image.Image) -> Raw:
    """(H, W), or (H, W, 3) of colours."""
    if image.mode == "1":  # a third of the time of converting it to an array at once
        return np.asarray(image.convert("L")) > 0
    if image.mode == "F":
        raise ValueError("holds floating-point numbers; save it as a PNG of 8 or 16 bits")
    return np.asarray(image if image.mode in _GREY_MODES else image.convert("RGB"))


def decode_sbd(data: bytes) -> UInt8:
    """A file of the Semantic Boundaries Dataset -> (H, W) uint8 of classes. Raises ValueError."""
    try:
        classes = read_mat(data, "GTcls")["Segmentation"][0, 0]
    except (IndexError, ValueError) as error:
        raise ValueError(f"no GTcls.Segmentation: {error}") from None
    if classes.ndim != 2 or classes.dtype != np.uint8:
        raise ValueError(f"GTcls.Segmentation is {classes.dtype} {classes.shape}, expected uint8 (H, W)")
    return np.asarray(classes, np.uint8)


def mask_label(raw: Raw, void: int | None) -> UInt8:
    """Raw mask values (H, W) -> 0 background, 1 object, 255 where the value is `void`; bool has no void."""
    label = (raw > 0).astype(np.uint8)
    if void is not None and raw.dtype != np.bool_:
        label[raw == void] = VOID
    return label


def region_label(path: Path, regions: Path) -> UInt8:
    """A mask of numbered regions (FBMS) -> (H, W) uint8: 0 the first region of the definition, 1 the others, 255 what
    it doesn't list. Raises OSError, ValueError, SyntaxError."""
    background, *objects = read_regions(regions)
    codes = region_codes(path)
    label = np.full(codes.shape, VOID, np.uint8)
    label[codes == background] = 0
    label[np.isin(codes, objects)] = 1
    return label


def region_codes(path: Path) -> npt.NDArray[np.int64]:
    """The values of a mask of numbered regions, (H, W), as `read_regions` gives them. Raises OSError, ValueError,
    SyntaxError."""
    with Image.open(path) as image:
        raw = _values(image).astype(np.int64)
    return raw @ np.array([_BYTE**2, _BYTE, 1]) if raw.ndim == 3 else raw


def read_regions(path: Path) -> tuple[int, ...]:
    """The values that the regions of a video have in its masks, from the definition file that comes with them: grey
    levels, or red * 256^2 + green * 256 + blue. Raises OSError, ValueError.

    The format is read as FBMS's own evaluation code does (MoSegEval of Ochs, Malik and Brox, PAMI 2013): after
    "Total number of regions" that number, then after each "Scale of region" its value. Their first region is the
    background. The .pgm beside a .ppm of the same name is a weight of each pixel for their measure, no mask.
    """
    return _read_regions(path, path.stat().st_mtime_ns)


@lru_cache(64)
def _read_regions(path: Path, changed: int) -> tuple[int, ...]:
    lines = [line.strip() for line in path.read_text(encoding="latin-1").splitlines()]
    after = lambda title: [lines[n + 1 : n + 2] for n, line in enumerate(lines) if line.lower().startswith(title)]  # noqa: E731
    try:
        ((count,), *_) = after("total number of regions")
        values = tuple(int(value) for (value,) in after("scale of region"))
    except ValueError:
        raise ValueError(f"{path}: not a definition of regions") from None
    if not values or len(values) != int(count):
        raise ValueError(f"{path}: {len(values)} regions are defined, {count} announced")
    return values


# Black and red of the DAVIS palette: the value is the object's number, the colour only for eyes.
_PALETTE = [0, 0, 0, 128, 0, 0]


def write_mask(path: Path, mask: npt.NDArray[np.bool_]) -> None:
    """(H, W) bool -> an indexed PNG, 0 background and 1 object, as DAVIS 2017 writes masks."""
    image = Image.fromarray(mask.astype(np.uint8), mode="P")
    image.putpalette(_PALETTE)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
