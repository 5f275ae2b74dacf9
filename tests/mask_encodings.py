"""One shape, stored in the ways in which people store masks; shared by tests of all readers of masks."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

Mask = npt.NDArray[np.bool_]
Encoder = Callable[[Mask], bytes]
WHITE = 255


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def grey(value: int, kind: str = "PNG") -> Encoder:
    return lambda mask: saved(Image.fromarray(mask.astype(np.uint8) * np.uint8(value)), kind)


def deep(value: int, kind: str = "PNG") -> Encoder:
    return lambda mask: saved(Image.fromarray(mask.astype(np.uint16) * np.uint16(value)), kind)


def bits(kind: str = "PNG") -> Encoder:
    return lambda mask: saved(Image.fromarray(mask), kind)


def low_bits(depth: int, value: int) -> Encoder:
    """Grey levels of 1, 2 or 4 bits, which Pillow doesn't write."""

    def encode(mask: Mask) -> bytes:
        height, width = mask.shape
        planes = np.unpackbits((mask.astype(np.uint8) * np.uint8(value))[..., None], axis=2)[..., 8 - depth :]
        rows = np.packbits(planes.reshape(height, width * depth), axis=1)
        return png(width, height, depth, 0, b"".join(b"\0" + row.tobytes() for row in rows))

    return encode


def png(width: int, height: int, depth: int, colours: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def palette(colours: list[tuple[int, int, int]], background: int, obj: int, kind: str = "PNG") -> Encoder:
    def encode(mask: Mask) -> bytes:
        image = Image.fromarray(np.where(mask, obj, background).astype(np.uint8), "P")
        image.putpalette([value for colour in colours for value in colour])
        return saved(image, kind)

    return encode


def colours(colour: tuple[int, int, int], kind: str = "PNG") -> Encoder:
    return lambda mask: saved(Image.fromarray(mask[..., None] * np.array(colour, np.uint8)), kind)


def photograph(mask: Mask) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(1, 256, (*mask.shape, 3), np.uint8)


def with_alpha(colour: Callable[[Mask], npt.NDArray[np.uint8]], kind: str = "PNG", **options: object) -> Encoder:
    """The shape in the alpha channel of colours (H, W, 3) or grey levels (H, W)."""

    def encode(mask: Mask) -> bytes:
        found = colour(mask)
        alpha = np.where(mask, WHITE, 0).astype(np.uint8)
        mode = "LA" if found.ndim == 2 else "RGBA"
        return saved(Image.fromarray(np.dstack([found, alpha]), mode), kind, **options)

    return encode


def constant(value: int) -> Callable[[Mask], npt.NDArray[np.uint8]]:
    return lambda mask: np.full(mask.shape, value, np.uint8)


def flat(*colour: int) -> Callable[[Mask], npt.NDArray[np.uint8]]:
    return lambda mask: np.full((*mask.shape, 3), colour, np.uint8)


def transparent_gif(mask: Mask) -> bytes:
    image = Image.fromarray(np.where(mask, 1, 0).astype(np.uint8), "P")
    image.putpalette([255, 255, 255, 0, 0, 0])
    return saved(image, "GIF", transparency=0)


def deep_colours(alpha: bool) -> Encoder:
    def encode(mask: Mask) -> bytes:
        values = np.zeros((*mask.shape, 4 if alpha else 3), np.uint16)
        values[mask] = 65535 if alpha else 1
        done, data = cv2.imencode(".png", values)
        assert done
        return data.tobytes()

    return encode


def deep_grey_alpha(mask: Mask) -> bytes:
    values = np.zeros((*mask.shape, 2), ">u2")
    values[..., 1] = mask * 65535
    return png(mask.shape[1], mask.shape[0], 16, 4, b"".join(b"\0" + row.tobytes() for row in values))


def soft(levels: int = 256, white: int = WHITE, kind: str = "PNG", sigma: float = 1.0) -> Encoder:
    """Smooth edges, so made that the cut at half gives the shape again."""

    def encode(mask: Mask) -> bytes:
        values = shades(mask, sigma)
        values = np.round(np.round(values * (levels - 1)) / (levels - 1) * white)
        return saved(Image.fromarray(values.astype(np.uint8 if white == WHITE else np.uint16)), kind)

    return encode


def shades(mask: Mask, sigma: float) -> npt.NDArray[np.float64]:
    """(H, W) in 0..1, above a half where the mask is."""
    smooth = cv2.GaussianBlur(mask.astype(np.float64), (0, 0), sigma)
    return np.where(mask, np.maximum(smooth, 0.6), np.minimum(smooth, 0.4))


def smooth_palette(mask: Mask) -> bytes:
    """Shades of grey in a palette of any order."""
    values = np.round(shades(mask, 1.0) * 15).astype(np.uint8)
    order = np.random.default_rng(1).permutation(16).astype(np.uint8)
    entries = np.zeros(16, np.uint8)
    entries[order] = np.arange(16) * 17
    image = Image.fromarray(order[values], "P")
    image.putpalette(np.repeat(entries, 3).tolist())
    return saved(image)


def smooth_alpha(mask: Mask) -> bytes:
    alpha = np.round(shades(mask, 1.0) * WHITE).astype(np.uint8)
    return saved(Image.fromarray(np.dstack([photograph(mask), alpha]), "RGBA"))


def jpeg(mask: Mask) -> bytes:
    return saved(Image.fromarray(np.where(mask, WHITE, 0).astype(np.uint8)), "JPEG", quality=85)


BLACK, WHITES, RED = (0, 0, 0), (255, 255, 255), (200, 0, 0)
WEB = [BLACK] * 10 + [(r, g, b) for b in range(0, 256, 51) for g in range(0, 256, 51) for r in range(0, 256, 51)]
ENCODINGS: dict[str, Encoder] = {
    "1 bit": bits(), "1 bit, tiff": bits("TIFF"), "1 bit, bmp": bits("BMP"), "1 bit, pbm": bits("PPM"),
    "2 bits, label": low_bits(2, 1), "2 bits, white": low_bits(2, 3), "4 bits, label": low_bits(4, 1),
    "8 bits, label": grey(1), "8 bits, another label": grey(38), "8 bits, white": grey(255),
    "8 bits, tiff": grey(255, "TIFF"),
    "8 bits, webp": lambda mask: saved(Image.fromarray(mask).convert("RGB"), "WEBP", lossless=True),
    "8 bits, jpeg 2000": grey(255, "JPEG2000"), "8 bits, tga": grey(255, "TGA"), "8 bits, label, bmp": grey(1, "BMP"),
    "16 bits, label": deep(1), "16 bits, white": deep(65535), "16 bits, 8 used": deep(255),
    "16 bits, 12 used": deep(4095),
    "16 bits, tiff": deep(65535, "TIFF"), "16 bits, colours, label": deep_colours(False),
    "palette, DAVIS": palette([BLACK, (128, 0, 0)], 0, 1), "palette, white first": palette([WHITES, BLACK], 1, 0),
    "palette, red first": palette([RED, BLACK, WHITES], 1, 0),
    "palette, far entries": palette([RED] * 7 + [BLACK, RED], 7, 3),
    "palette, unset entries": palette([BLACK, RED] + [BLACK] * 254, 0, 2), "palette, web": palette(WEB, 0, 225),
    "palette, web, later black": palette(WEB, 10, 225),
    "palette, white first, unset": palette([WHITES] + [BLACK] * 255, 1, 0),
    "palette, white first, bmp": palette([WHITES, BLACK], 1, 0, "BMP"),
    "palette, gif": palette([WHITES, BLACK], 1, 0, "GIF"),
    "palette, gif, no black": palette([(0, 37, 74), (111, 148, 185)], 0, 1, "GIF"),
    "palette, dark and light": palette([(220,) * 3, (30,) * 3], 1, 0), "palette, transparent": transparent_gif,
    "rgb, white": colours(WHITES), "rgb, colour": colours((200, 0, 60)), "rgb, dark": colours((0, 0, 64)),
    "rgb, label": colours((1, 1, 1)), "rgb, bmp": colours(WHITES, "BMP"), "rgb, ppm": colours(RED, "PPM"),
    "rgba, white": with_alpha(flat(255, 255, 255)), "rgba, black": with_alpha(flat(0, 0, 0)),
    "rgba, cut": with_alpha(photograph),
    "rgba, cut, webp": with_alpha(photograph, "WEBP", lossless=True, exact=True),
    "rgba, tiff": with_alpha(flat(9, 9, 9), "TIFF"),
    "rgba, 16 bits": deep_colours(True), "la, white": with_alpha(constant(255)), "la, black": with_alpha(constant(0)),
    "la, 16 bits": deep_grey_alpha, "jpeg": jpeg,
}  # fmt: skip
SOFT: dict[str, Encoder] = {
    "soft": soft(), "soft, 101 levels": soft(101), "soft, 32 levels": soft(32), "soft, 16 levels": soft(16),
    "soft, 6 levels": soft(6), "soft, wide": soft(256, sigma=4), "soft, wide, 16 levels": soft(16, sigma=4),
    "soft, 16 bits": soft(65536, 65535), "soft, 12 of 16 bits": soft(4096, 4095), "soft, tiff": soft(256, 65535,
    "TIFF"),
    "soft, palette": smooth_palette, "soft, alpha": smooth_alpha,
}  # fmt: skip
