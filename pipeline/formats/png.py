"""PNGs of masks, decoded without a picture library where they are of the plainest kind.

Masks of one bit a pixel, as DAVIS 2016's, are written without filters: what they hold, once inflated, is the rows
themselves. Decoding these takes a twentieth of what general decoders need (benchmarks/scoring.py).
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

try:
    from isal import isal_zlib as inflate  # a third of zlib's time on masks
    from isal.igzip_lib import IsalError as InflateError
except ImportError:  # a machine that has only the essentials
    import zlib as inflate  # type: ignore[no-redef]
    from zlib import error as InflateError  # type: ignore[assignment]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">IIBBBBB")  # width, height, bits a sample, colour type, compression, filter, interlacing
_GREY, _INDEXED = 0, 3
_MOST_PIXELS = 2**28  # no mask is larger; a damaged header may claim to be
_PLAIN = {(1, _GREY), (1, _INDEXED), (8, _GREY), (8, _INDEXED)}
_MORE = (b"tRNS", b"acTL")  # transparency, an animation: for general decoders


class PlainPNG(NamedTuple):
    """`values` (H, W): bool of 1-bit grey, uint8 grey levels, or indices into the `palette`, (N, 3) uint8 (without rows
    where there is none)."""

    values: npt.NDArray[Any]
    palette: npt.NDArray[np.uint8]


def decode_plain_png(data: bytes) -> PlainPNG | None:
    """An unfiltered, non-interlaced, opaque grey or indexed PNG of 1 or 8 bits a pixel. None for any other file, which
    needs a general decoder.

    Raises ValueError where the pixels don't match their checksum.
    """
    chunks = _chunks(data)
    if chunks is None:
        return None
    (width, height, bits, colour, *rest), palette, packed = chunks
    if (bits, colour) not in _PLAIN or any(rest) or width * height > _MOST_PIXELS:
        return None
    length = (width * bits + 7) // 8 + 1  # bytes a row; the first names the row's filter
    try:
        rows = inflate.decompress(packed, bufsize=height * length)
    except InflateError:  # type: ignore[misc]
        return None
    if len(rows) != height * length:
        return None
    table = np.frombuffer(rows, np.uint8).reshape(height, length)
    if table[:, 0].any():
        return None
    colours = np.frombuffer(palette if colour == _INDEXED else b"", np.uint8).reshape(-1, 3)
    if colour == _INDEXED and not len(colours):
        return None
    if bits == 8:
        return PlainPNG(table[:, 1:].copy(), colours)
    values = np.unpackbits(table[:, 1:], axis=1, count=width)
    return PlainPNG(values.view(np.bool_) if colour == _GREY else values, colours)


def _chunks(data: bytes) -> tuple[tuple[int, ...], bytes, bytes] | None:
    """The header's fields, the palette and the packed pixels; None where a chunk is missing, or there are chunks that
    change what the pixels mean. Raises ValueError."""
    if not data.startswith(_SIGNATURE):
        return None
    header, palette, packed, position = None, b"", [], len(_SIGNATURE)
    while position + 12 <= len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        if end > len(data):
            return None
        kind, body = data[position + 4 : position + 8], data[position + 8 : end - 4]
        if inflate.crc32(kind + body) != int.from_bytes(data[end - 4 : end], "big"):
            if kind in (b"IDAT", b"IEND"):  # general decoders don't look
                raise ValueError("damaged: its pixels don't match their checksum")
            return None
        if kind == b"IHDR" and len(body) == _HEADER.size:
            header = _HEADER.unpack(body)
        elif kind in _MORE:
            return None
        elif kind == b"PLTE" and not len(body) % 3:
            palette = body
        elif kind == b"IDAT":
            packed.append(body)
        elif kind == b"IEND":
            return (header, palette, b"".join(packed)) if header else None
        position = end
    return None
