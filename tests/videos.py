"""Small video files, made with PyAV, for tests of any room."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

UInt8 = npt.NDArray[np.uint8]
SIZE = (48, 64)  # height and width
RATE = 25
# What writes each container, and its pixels.
CODECS = {
    ".mp4": ("mpeg4", "yuv420p"), ".m4v": ("mpeg4", "yuv420p"), ".mov": ("mjpeg", "yuvj420p"),
    ".avi": ("mpeg4", "yuv420p"), ".mkv": ("mpeg4", "yuv420p"), ".webm": ("libvpx", "yuv420p"),
    ".mpg": ("mpeg2video", "yuv420p"), ".ts": ("mpeg2video", "yuv420p"), ".gif": ("gif", "rgb8"),
}  # fmt: skip


def marked_frame(index: int, size: tuple[int, int] = SIZE) -> UInt8:
    """(H, W, 3) uint8 RGB: grey that grows by 10 a frame, the upper left quarter red, so that its position shows."""
    frame = np.full((*size, 3), (10 * index) % 250, np.uint8)
    frame[: size[0] // 2, : size[1] // 2] = (250, 0, 0)
    return frame


def grey_of(frame: UInt8) -> int:
    """What `marked_frame` made of its index, from a frame that went through a codec, turned or not."""
    rows, columns = frame.shape[0] // 4, frame.shape[1] // 4
    corners = [frame[y, x].astype(int) for y in (rows, -rows) for x in (columns, -columns)]
    return round(float(np.median([c.mean() for c in corners if np.ptp(c) < 60])) / 10)


def write_video(
    path: Path,
    frames: int | Sequence[UInt8] = 6,
    *,
    times: Sequence[int] | None = None,
    turned: int | Sequence[int] | None = None,
    options: Mapping[str, str] | None = None,
    codec: str | None = None,
    pixels: str | None = None,
) -> Path:
    """Write a video of RGB frames: `times` in 1/25 s where its rate varies; `turned`: degrees, or a display matrix;
    `codec` and `pixels`: others than `CODECS` has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = [marked_frame(n) for n in range(frames)] if isinstance(frames, int) else frames
    name, usual = CODECS[path.suffix.lower()]
    with av.open(f"file:{path}", "w", options=dict(options or {})) as out:
        stream = out.add_stream(codec or name, rate=RATE)
        stream.height, stream.width, stream.pix_fmt = *(pictures[0].shape[:2] if pictures else SIZE), pixels or usual
        if isinstance(turned, int):
            stream.set_display_rotation(turned)
        elif turned is not None:
            stream.set_display_matrix(list(turned))
        out.start_encoding()
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times is not None:
                frame.pts = times[index]
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def write_changing_size(path: Path) -> Path:
    """A video whose third frame is smaller than the others."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mjpeg", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuvj420p"
        for index, size in enumerate((SIZE, SIZE, (40, 56))):
            coder = av.CodecContext.create("mjpeg", "w")
            coder.height, coder.width, coder.pix_fmt, coder.time_base = *size, "yuvj420p", Fraction(1, RATE)
            frame = av.VideoFrame.from_ndarray(marked_frame(index, size), format="rgb24")
            for packet in [*coder.encode(frame), *coder.encode()]:
                packet.stream, packet.pts, packet.dts = stream, index, index
                out.mux(packet)
    return path


def write_sound(path: Path) -> Path:
    """A second of sound, without pictures."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        sound.rate = 8000
        out.mux(stream.encode(sound))
        out.mux(stream.encode())
    return path
