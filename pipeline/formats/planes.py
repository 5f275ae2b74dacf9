"""What a file of a mask holds, as one plane of values, with nothing dropped: grey levels of any depth, palette indices,
colours, and the alpha channel where the shape is in it.

What can't be told, or isn't a mask, is refused in words.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from fusionseg.pipeline.formats.png import PlainPNG, decode_plain_png

Raw = npt.NDArray[Any]  # bool or any integers
_WHITE_8, _WHITE_16 = 2**8 - 1, 2**16 - 1
BITS_AT, COLOURS_AT = 24, 25  # where a PNG's header says how many bits a channel has, and what its channels are
_MANY_CHANNELS = (2, 4, 6)  # colours, grey and alpha, colours and alpha
_BITS_PER_SAMPLE = 258  # TIFF's tag
_GREY_16 = ("I", "I;16", "I;16B", "I;16L")
_SEVERAL_COLOURS = 22  # of a drawn mask; a photograph's cut-out has many
MOST_LABELS = 64  # in one picture; no data set has as many objects in a frame
_PHOTOGRAPH = 0.5  # share of pixels that are neither dark nor bright, from which on colours are no mask's


@dataclass(frozen=True)
class Plane:
    """`values` (H, W), bool or integers; `white`: the largest value that its type, or its colours, can have; `labels`:
    the values are names, not shades; `lossy`: they ring around edges, as JPEG's do; `relative`: white is what is the
    brightest in the sequence, as of colours or an overlay; `coloured`: the values are the largest channel of colours;
    `notes`: how it was read, where that isn't the obvious way."""

    values: Raw
    white: int
    labels: bool = False
    lossy: bool = False
    relative: bool = False
    coloured: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Held:
    """What a decoder gives: (H, W) or (H, W, 3) `values`, (H, W) `alpha` where not all is opaque, (N, 3) `palette`."""

    values: Raw
    white: int
    alpha: Raw | None = None
    palette: npt.NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 3), np.uint8))
    lossy: bool = False


def read_plane(data: bytes) -> Plane:
    """The plane of an encoded picture. Raises OSError, SyntaxError, ValueError."""
    held = _held(data)
    if held.alpha is not None:
        return _by_alpha(held)
    return _by_palette(held) if len(held.palette) else _by_colours(held)


def _held(data: bytes) -> _Held:
    plain = decode_plain_png(data)  # faster than a library
    if plain is not None:
        return _of_plain(plain)
    with opened(data) as image:
        check_single(image)
        if _is_deep(image, data):
            return _of_deep(data)
        return _of_image(image, _is_lossy(image, data))


def _is_lossy(image: Image.Image, data: bytes) -> bool:
    """Whether a file's values are only about what was stored."""
    if image.format == "WEBP":
        return b"VP8L" not in data
    if image.format == "JPEG2000":  # its coding style says which wavelet: 1 can be undone exactly
        return data[data.find(b"\xff\x52") + 13 :][:1] == b"\0"
    return image.format in ("JPEG", "MPO", "AVIF")


def _of_plain(png: PlainPNG) -> _Held:
    if png.values.dtype == np.bool_:
        return _Held(png.values, 1)
    return _Held(png.values, _WHITE_8, palette=png.palette)


def opened(data: bytes) -> Image.Image:
    """A picture by Pillow, not decoded yet. Raises ValueError for what is none."""
    try:
        return Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        raise ValueError(f"not a picture ({len(data)} bytes)") from None


def check_single(image: Image.Image) -> None:
    """Raises ValueError for an animation, or pages. What cameras hide behind a JPEG (format MPO) is no picture more."""
    count = getattr(image, "n_frames", 1)
    if count > 1 and image.format != "MPO":
        raise ValueError(f"holds {count} pictures, expected one; save each as a file of its own, or give it as a video")


def _is_deep(image: Image.Image, data: bytes) -> bool:
    """Whether it has several channels of 16 bits: Pillow drops the lower 8, and with them small values."""
    if image.format == "PNG":
        return data[BITS_AT] == 16 and data[COLOURS_AT] in _MANY_CHANNELS
    if image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (8,))
        return len(bits) > 1 and max(bits) > 8
    return False


def _of_deep(data: bytes) -> _Held:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype != np.uint16 or image.ndim != 3:
        raise ValueError("more than 8 bits a channel in a way that isn't known; save it as a PNG of 8 or 16 bits")
    return _Held(np.asarray(image[..., 2::-1]), _WHITE_16, _seen(image[..., 3]) if image.shape[2] == 4 else None)


def _of_image(image: Image.Image, lossy: bool) -> _Held:
    key = image.info.get("transparency")
    if image.mode == "1":  # a third of the time of converting it to an array at once
        bits = np.asarray(image.convert("L")) > 0
        return _Held(~bits if key else bits, 1)  # where white is what nobody sees, black is the shape
    if image.mode == "F":
        raise ValueError("holds floating-point numbers; save it as a PNG of 8 or 16 bits")
    if image.mode in _GREY_16:
        return _deep_grey(np.asarray(image), key)
    if image.has_transparency_data:
        return _with_alpha(image, lossy)
    if image.mode == "P":
        palette = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
        return _Held(np.asarray(image), _WHITE_8, palette=palette)
    return _Held(np.asarray(image if image.mode == "L" else image.convert("RGB")), _WHITE_8, lossy=lossy)


def _deep_grey(values: Raw, key: int | None) -> _Held:
    if values.min() < 0 or values.max() > _WHITE_16:
        raise ValueError(f"values from {values.min()} to {values.max()}; expected 0 to {_WHITE_16}")
    return _Held(values, _WHITE_16, (values != key) * _WHITE_16 if key else None)


def _with_alpha(image: Image.Image, lossy: bool) -> _Held:
    """Transparent black, as a colour that stands for "nothing", says no more than that it is black."""
    key = image.info.get("transparency")
    if key in (0, (0, 0, 0)) and image.mode in ("L", "RGB"):
        return _Held(np.asarray(image), _WHITE_8)
    pixels = np.asarray(image.convert("RGBA"))
    alpha = _seen(pixels[..., 3])
    if image.mode in ("P", "PA"):
        plain = _of_image(_without_alpha(image), lossy)
        if alpha is None or _same(_by_palette(plain).values > 0, alpha):  # its indices tell more
            return plain
    return _Held(pixels[..., :3], _WHITE_8, alpha, lossy=lossy)


def _same(shape: Raw, alpha: Raw) -> bool:
    return bool(np.array_equal(shape, alpha > _WHITE_8 // 2))


def _without_alpha(image: Image.Image) -> Image.Image:
    plain = Image.fromarray(np.asarray(image.getchannel("P") if image.mode == "PA" else image), "P")
    plain.putpalette(image.getpalette("RGB") or [])
    return plain


def _seen(alpha: Raw) -> Raw | None:
    """An alpha channel that tells something: not one that is the same everywhere, unless nothing can be seen."""
    return None if (alpha == alpha.flat[0]).all() and alpha.flat[0] else alpha


def _by_alpha(held: _Held) -> Plane:
    """The shape in the alpha channel, unless colours draw another one.

    Raises ValueError for what tells two shapes: nobody can say which one is meant.
    """
    assert held.alpha is not None
    shape = held.alpha > held.alpha.max() // 2
    colours = held.values.reshape(*shape.shape, -1)
    seen = colours[shape] if shape.any() else colours.reshape(-1, colours.shape[-1])
    shades = bool((seen == seen[:, :1]).all()) and len(np.unique(seen)) > 1
    if shades or _drawn(seen):
        drawn = colours.any(2)
        if np.array_equal(drawn, shape):  # the colours tell more
            return _by_colours(_Held(colours, held.white, lossy=held.lossy))
        if not np.array_equal(drawn & (colours.max(2) > held.white // 2), shape):
            raise ValueError("draws one shape in its colours and another in its alpha channel; save the mask alone")
    return Plane(held.alpha, held.white, lossy=held.lossy, relative=True, notes=("the shape is in the alpha channel",))


def _drawn(colours: Raw) -> bool:
    """Whether (N, channels) colours draw a shape themselves: black, and few others."""
    distinct = np.unique(colours, axis=0)
    return 1 < len(distinct) <= _SEVERAL_COLOURS and not distinct[0].any()


def _by_palette(held: _Held) -> Plane:
    """Indices as labels, the background 0; shades where that is what the palette holds."""
    present = np.flatnonzero(np.bincount(held.values.ravel(), minlength=1))
    palette = np.zeros((_WHITE_8 + 1, 3), np.uint8)
    palette[: len(held.palette)] = held.palette[: _WHITE_8 + 1]
    if len(present) > 2 and _is_grey(palette[present]):
        return _by_colours(_Held(palette[held.values], _WHITE_8))
    black = np.flatnonzero(~held.palette.any(axis=1)).tolist()
    unset = _unset(len(held.palette), black)
    if not np.isin(unset, present).any():  # nobody chose these entries, and nobody uses them
        black = [entry for entry in black if entry not in unset]
    if not black and _is_grey(held.palette[: unset.start] if unset else held.palette):
        return Plane(palette[:, 0][held.values] > _WHITE_8 // 2, 1)
    background, note = _background(len(held.palette), black, present.tolist())
    if background == [0]:
        return Plane(held.values, _WHITE_8, labels=True, notes=note)
    names = np.arange(_WHITE_8 + 1, dtype=np.uint16)
    names[0] = _WHITE_8 + 1  # an object, by a number that no other has
    names[background] = 0
    return Plane(names[held.values], _WHITE_16, labels=True, notes=note)


def _is_grey(colours: Raw) -> bool:
    """Whether (N, 3) colours are shades, no two the same."""
    return bool((colours == colours[:, :1]).all()) and len(np.unique(colours[:, 0])) == len(colours)


def _background(size: int, black: list[int], present: list[int]) -> tuple[list[int], tuple[str, ...]]:
    """The entries of a palette of `size` that are background, by those that are black and those that the picture uses,
    and what to say of that."""
    if not black:
        return [0], ("no entry of the palette is black; entry 0 was taken as background",)
    if black[0] == 0:
        unset = _unset(size, black)
        own = [entry for entry in black if entry in present and entry not in unset]
        if 0 in present or len(own) != 1:
            return [0], ()
        black = own
    return black, (f"entry {black[0]} of the palette is black: background",)


def _unset(size: int, black: list[int]) -> range:
    """The entries at the end of a palette that nobody set: they are black too, and only their numbers tell."""
    first = size
    while first - 1 in black:
        first -= 1
    return range(first, size) if size - first > 1 else range(0)


def _by_colours(held: _Held) -> Plane:
    """Grey levels, or the largest channel of colours. Raises ValueError for a photograph."""
    values = held.values
    if values.ndim == 2:
        return Plane(values, held.white, lossy=held.lossy)
    if (values == values[..., :1]).all():
        return Plane(np.ascontiguousarray(values[..., 0]), held.white, lossy=held.lossy)
    largest = values.max(2)
    top, codes = int(largest.max()), _codes(values)
    if len(codes) > MOST_LABELS and ((largest > top // 8) & (largest < top - top // 8)).mean() > _PHOTOGRAPH:
        raise ValueError("holds a picture in colours, expected a mask")
    notes = ("no colour is black, the background; all was taken as object",) if 1 < len(codes) <= MOST_LABELS else ()
    said = notes if codes[0] else ()
    return Plane(largest, held.white, lossy=held.lossy, relative=True, coloured=True, notes=said)


def _codes(colours: Raw) -> Raw:
    """The distinct colours of (H, W, 3), as numbers."""
    return np.unique(colours.reshape(-1, 3).astype(np.int64) @ np.array([1 << 32, 1 << 16, 1]))
