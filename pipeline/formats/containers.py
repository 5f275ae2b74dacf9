"""Whether a video file is cut off, by what its container says of its own size.

FFmpeg's readers stop in silence where a file ends too early; most containers announce where they should end.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

_MP4_TYPES = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp"}
_MATROSKA = bytes.fromhex("1a45dfa3")
_SEGMENT, _SEGMENT_AMONG = 0x18538067, 8  # the element that holds all but the header; looked for among the first
_TS_PACKET, _TS_STAMPED, _TS_SYNC = 188, 192, b"G"  # bytes; 4 bytes of time stamp where cameras write it
_GIF_END, _GIF_SEARCHED = b";", 16  # bytes searched: some writers pad


def cut_off(path: Path) -> str | None:
    """What is wrong with a file that is cut off, in words; None where nothing is, or its container can't tell: a
    transport stream cut between two packets is only a shorter one."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(2 * _TS_STAMPED)
        end = _reader(head)
        promised = end(file, size) if end else 0
    return f"cut off: {size} bytes found, {promised} announced" if promised > size else None


def _reader(head: bytes) -> Callable[[BinaryIO, int], int] | None:
    """The function that finds the announced end (bytes) of a file that begins with `head`."""
    if head[4:8] in _MP4_TYPES:
        return _mp4_end
    if head[:4] == b"RIFF":
        return _riff_end
    if head[:4] == _MATROSKA:
        return _matroska_end
    if head[:4] == b"GIF8":
        return _gif_end
    if head[:1] == head[_TS_PACKET : _TS_PACKET + 1] == _TS_SYNC:
        return lambda _, size: _whole(size, _TS_PACKET)
    if head[4:5] == head[_TS_STAMPED + 4 : _TS_STAMPED + 5] == _TS_SYNC:
        return lambda _, size: _whole(size, _TS_STAMPED)
    return None


def _whole(size: int, packet: int) -> int:
    """Where the packet that reaches `size` ends."""
    return -(-size // packet) * packet


def _mp4_end(file: BinaryIO, size: int) -> int:
    """Where the last box at the top level ends. Its size has 32 bits, or 64 if they say 1; 0 is "to the end"."""
    end = 0
    while end < size:
        file.seek(end)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        if length < 8 or not head[4:8].isalnum():  # what follows the boxes is none
            break
        end += length
    return end


def _riff_end(file: BinaryIO, size: int) -> int:
    """Where the last of an AVI file's parts ends; large files have several."""
    end = 0
    while end < size:
        file.seek(end)
        head = file.read(8)
        if head[:4] != b"RIFF" or len(head) < 8:
            break
        end += 8 + int.from_bytes(head[4:], "little")
    return end


def _matroska_end(file: BinaryIO, size: int) -> int:
    """Where a Matroska file's segment ends; 0 where its writer didn't know."""
    file.seek(0)
    for _ in range(_SEGMENT_AMONG):
        element, length = _number(file, keep_marker=True), _number(file, keep_marker=False)
        if element is None or length is None:
            break
        if element == _SEGMENT:
            return file.tell() + length
        file.seek(length, os.SEEK_CUR)
    return 0


def _number(file: BinaryIO, keep_marker: bool) -> int | None:
    """A number of Matroska's: as many zero bits before the first one as bytes follow. None for "unknown" (all ones)."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    length = 9 - first[0].bit_length()
    value = int.from_bytes(first + file.read(length - 1), "big")
    if keep_marker:
        return value
    marker = 1 << 7 * length
    return None if value == 2 * marker - 1 else value - marker


def _gif_end(file: BinaryIO, size: int) -> int:
    """`size`, or one byte more where the end mark is missing."""
    file.seek(max(0, size - _GIF_SEARCHED))
    return size if _GIF_END in file.read() else size + 1
