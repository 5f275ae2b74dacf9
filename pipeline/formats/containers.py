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
_DV, _DV_NTSC, _DV_PAL = b"\x1f\x07\x00", 120_000, 144_000  # how a frame begins, and its bytes
_MXF = bytes.fromhex("060e2b34020501010d0102")  # a partition
_MXF_FOOTER = 24  # bytes from a partition's own values to where it says that the footer is
_ASF, _ASF_FILE = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_SIZE, _ASF_SEARCHED = 40, 2**16  # bytes from that object's begin to the file's size; bytes searched for it
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
    if head[:10] == b"YUV4MPEG2 ":
        return _y4m_end
    if head[:11] == _MXF:
        return _mxf_end
    if head[:16] == _ASF:
        return _asf_end
    if head[:3] == _DV:
        return lambda _, size: _whole(size, _DV_PAL if head[3] & 0x80 else _DV_NTSC)
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


def _y4m_end(file: BinaryIO, size: int) -> int:
    """Where the last frame ends; frames are of one size, which the first line tells."""
    file.seek(0)
    line = file.readline(_TS_STAMPED * 2)
    values = {part[:1]: part[1:] for part in line.decode("latin-1").split()[1:]}
    try:
        width, height, colours = int(values["W"]), int(values["H"]), values.get("C", "420jpeg")
    except (KeyError, ValueError):
        return 0
    half = (width + 1) // 2
    chroma = {"420": half * ((height + 1) // 2), "422": half * height, "444": width * height, "mon": 0}.get(colours[:3])
    if chroma is None or "alpha" in colours:
        return 0
    depth = colours.rpartition("p")[2]
    samples = 2 if depth.isdecimal() or colours in ("mono9", "mono10", "mono12", "mono16") else 1
    frame = len(b"FRAME\n") + samples * (width * height + 2 * chroma)
    return len(line) + _whole(size - len(line), frame)


def _mxf_end(file: BinaryIO, size: int) -> int:
    """Where the footer begins, with which every finished file ends; 0 where the header doesn't know."""
    file.seek(16)
    (length,) = file.read(1)
    file.seek(17 + (length & 0x7F if length & 0x80 else 0) + _MXF_FOOTER)
    footer = int.from_bytes(file.read(8), "big")
    return footer + 1 if footer else 0


def _asf_end(file: BinaryIO, size: int) -> int:
    """The size that the file says it has; 0 where it doesn't, as live streams."""
    file.seek(0)
    head = file.read(_ASF_SEARCHED)
    at = head.find(_ASF_FILE)
    return int.from_bytes(head[at + _ASF_SIZE : at + _ASF_SIZE + 8], "little") if at >= 0 else 0
