"""Frames of a user's own video file: taken out once, into a folder of the store, and from there on an ordinary folder
of pictures. Masks that come as a video are taken out in the same way, but without loss.

Once, and not decoded anew by every stage: a run needs each frame several times and out of order, which in a compressed
video means to decode from the last key frame; a JPEG is read alone. It costs little, since the artifacts of a frame
(flow, flow image, scores) take about ten times its bytes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np
import numpy.typing as npt

from fusionseg.pipeline.basics.atomic import atomic_folder
from fusionseg.pipeline.basics.digests import json_digest
from fusionseg.pipeline.errors import NotMadeYet, UserError
from fusionseg.pipeline.formats.containers import cut_off

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.buffer import Buffer
    from av.container import InputContainer
    from av.video.stream import VideoStream

    from fusionseg.pipeline.datasets.digests import Ledger
    from fusionseg.pipeline.datasets.finding import Extract

UInt8 = npt.NDArray[np.uint8]
_Encoder = Callable[[UInt8], tuple[bool, UInt8]]  # whether it could, and the file
Progress = Callable[[int, int], None]  # frames done, frames expected (0: unknown)

# Settings of the extraction; they are part of the folder's name. Raise the version when the same file would give other
# pictures. Quality 95 without colour subsampling: no visible loss on top of the video's own.
_QUALITY = 95
_JPEG = [
    cv2.IMWRITE_JPEG_QUALITY, _QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
]  # fmt: skip
_EXTRACTION = {"version": 1, "jpeg_quality": _QUALITY, "jpeg_sampling": "4:4:4"}
_MASK_EXTRACTION = {"version": 1, "masks": "png"}
_HALF = 0.5  # of the brightest value of a video of masks that was coded with loss: above it is object
_DARKEST_OBJECT = 32  # its brightest value, of 255; what is darker is noise, or numbers that such coding doesn't keep
_BYTE = 8  # bits a channel
_OPAQUE = 255
_COLOURS, _COLOURS_AND_ALPHA = "bgr24", "bgra"
_FOLDER = "frames"  # of the store
SOURCE = "source.json"  # written beside the frames: where they come from, and how many they are
_LOST_SECONDS = 0.5  # a video that ends this much before its announced end has lost frames; less is rounding
_MEND = "copy it again from where it came, or give its frames as a folder of pictures"


def extractor(ledger: Ledger, progress: Progress | None = None, make: bool = True) -> Extract:
    """`extract_frames` into the store that `ledger` belongs to."""
    store = ledger.path.parent / _FOLDER

    def extract(path: Path, masks: bool = False) -> tuple[Path, ...]:
        return extract_frames(path, store, ledger.file_digest, progress, masks=masks, make=make)

    return extract


def extract_frames(
    path: Path,
    store: Path,
    digest: Callable[[Path], str],
    progress: Progress | None = None,
    *,
    masks: bool = False,
    make: bool = True,
) -> tuple[Path, ...]:
    """The frames of a video file as JPEG files, in order of presentation, turned as players show them.

    They lie in `store`/KEY/00000.jpg and so on; KEY is a digest of the file's bytes (taken by `digest`) and of how
    frames are extracted, and a second call finds them there. `progress` is told only while frames are extracted. Raises
    UserError for a file that can't be read, is no video, is cut off or damaged, or has frames of several sizes.

    `masks`: the frames are masks, and come as PNG files without loss; of a video that was itself coded with loss, as
    nothing but 0 and 255, cut at half of its brightest value. Raises UserError as well where that shows no object, or
    the video holds more than 8 bits a channel; without `make` NotMadeYet for frames that aren't there.
    """
    _check_readable(path)
    how, suffix = (_MASK_EXTRACTION, ".png") if masks else (_EXTRACTION, ".jpg")
    folder = store / json_digest([how, digest(path)])
    if (found := _extracted(folder, suffix)) is None:
        if not make:
            raise NotMadeYet(f"the frames of {path.name} are extracted")
        shutil.rmtree(folder, ignore_errors=True)
        with atomic_folder(folder) as temporary:
            pixels, encode = _mask_encoder(path) if masks else (_COLOURS, _jpeg)
            count = _write_frames(path, temporary, suffix, pixels, encode, progress or (lambda done, total: None))
            (temporary / SOURCE).write_text(json.dumps({"file": path.name, "frames": count, **how}))
        found = _names(folder, count, suffix)
    return found


def _names(folder: Path, count: int, suffix: str) -> tuple[Path, ...]:
    return tuple(folder / f"{index:05}{suffix}" for index in range(count))


def _extracted(folder: Path, suffix: str) -> tuple[Path, ...] | None:
    """What was extracted before; None where nothing was, or somebody has removed frames since (then all go)."""
    try:
        found = _names(folder, json.loads((folder / SOURCE).read_text())["frames"], suffix)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    there = {path.name for path in folder.iterdir()}
    return found if all(path.name in there for path in found) else None


def _jpeg(image: UInt8) -> tuple[bool, UInt8]:
    done, data = cv2.imencode(".jpg", image, _JPEG)
    return done, np.asarray(data)


def _mask_encoder(path: Path) -> tuple[str, _Encoder]:
    """The pixels to ask of a video of masks, and what makes a PNG of a frame. Raises UserError."""
    if _is_exact(path):
        return _COLOURS_AND_ALPHA, lambda image: _png(_plainest(image))
    cut = _cut(path)
    return _COLOURS_AND_ALPHA, lambda image: _png(np.where(_brightness(image) > cut, np.uint8(255), np.uint8(0)))


def _brightness(image: UInt8) -> UInt8:
    """(H, W, 4) -> (H, W): the largest colour, 0 where nothing is painted."""
    return np.where(image[..., 3] > _OPAQUE // 2, image[..., :3].max(2), np.uint8(0))


def _plainest(image: UInt8) -> UInt8:
    """(H, W, 4) without the channels that say nothing: alpha that is full, colours that are grey."""
    values = image[..., :3] if (image[..., 3] == _OPAQUE).all() else image
    return values[..., 0] if values.shape[2] == 3 and (values == values[..., :1]).all() else values


def _png(image: UInt8) -> tuple[bool, UInt8]:
    done, data = cv2.imencode(".png", image)
    return done, np.asarray(data)


def _cut(path: Path) -> float:
    """Half of the brightest value in a video. As of a JPEG's, little can be told of what a lossy coding has left of a
    mask's values, but which are dark and which bright; of the whole video, since its empty masks hold noise."""
    brightest = max(int(_brightness(image).max()) for image, _ in read_video(path, _COLOURS_AND_ALPHA))
    if brightest < _DARKEST_OBJECT:
        raise UserError(
            f"{path}: a video of masks whose brightest value is {brightest} of 255, so it shows no object; expected "
            "white objects on black, or masks as PNGs"
        )
    return _HALF * brightest


def _is_exact(path: Path) -> bool:
    """Whether the values of a video's frames are those that somebody stored: no loss, no conversion of colours, and no
    GIF, whose few colours are mixed by dithering. Raises UserError for more than 8 bits a channel, of which 8 would be
    lost."""
    with _opened(path) as container:
        stream = _video_stream(path, container)
        codec, pixels = stream.codec_context.codec, stream.codec_context.format
    kept = codec.lossless and not codec.lossy and codec.name != "gif"
    if pixels is None or not kept or not (pixels.is_rgb or pixels.has_palette or pixels.name.startswith("gray")):
        return False
    if not pixels.has_palette and max(component.bits for component in pixels.components) > _BYTE:
        raise UserError(f"{path}: masks of more than 8 bits a channel in a video; give them as PNGs")
    return True


def _write_frames(path: Path, folder: Path, suffix: str, pixels: str, encode: _Encoder, progress: Progress) -> int:
    count, size = 0, (0, 0)
    for image, expected in read_video(path, pixels):
        height, width = image.shape[:2]
        if count and (width, height) != size:
            raise UserError(
                f"{path}: frame {count} is {width}x{height}, the first {size[0]}x{size[1]}; "
                "expected frames of one size: cut the video where it changes"
            )
        size = (width, height)
        done, data = encode(image)
        if not done:
            kind = "JPEG" if suffix == ".jpg" else "PNG"
            raise UserError(f"{path}: frames of {width}x{height} can't be written as {kind}; give the video smaller")
        (folder / f"{count:05}{suffix}").write_bytes(data.tobytes())
        count += 1
        progress(count, max(expected, count) if expected else 0)
    return count


def read_video(path: Path, pixels: str = _COLOURS) -> Iterator[tuple[UInt8, int]]:
    """Every frame of a video file once, in order of presentation: (H, W, 3) uint8 BGR, or as `pixels` says, turned as
    players show it, with the number of frames that the file seems to have (0: unknown). Pixels that aren't square stay
    as stored.

    Raises UserError as `extract_frames` does; what is cut off or damaged shows at the latest after the last frame.
    """
    import av

    with _opened(path) as container:
        try:
            yield from _decode(path, container, _video_stream(path, container), pixels)
        except av.FFmpegError:
            raise UserError(f"{path}: not a video, or damaged; {_MEND}") from None


@contextmanager
def _opened(path: Path) -> Iterator[InputContainer]:
    """A video file, if it is whole. Raises UserError."""
    import av

    _check_readable(path)
    if cut := cut_off(path):
        raise UserError(f"{path}: {cut}; {_MEND}")
    try:
        # As a plain local file, whatever its name looks like, and nothing that it may point to.
        container = av.open(f"file:{path}", options={"protocol_whitelist": "file"}, metadata_errors="replace")
    except av.FFmpegError:
        raise UserError(f"{path}: not a video, or damaged; {_MEND}") from None
    with container:
        yield container


def _check_readable(path: Path) -> None:
    """Raises UserError."""
    if path.is_dir():
        raise UserError(f"{path}: a folder; expected a video file")
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror})") from None


def _video_stream(path: Path, container: InputContainer) -> VideoStream:
    """The first stream of moving pictures; a cover picture is none."""
    from av.stream import Disposition

    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        raise UserError(f"{path}: no video stream in it; expected a video")
    if streams[0].codec_context is None:
        raise UserError(f"{path}: its coding is not known here; convert it to H.264 in mp4, or to a folder of pictures")
    return streams[0]


def _decode(path: Path, container: InputContainer, stream: VideoStream, pixels: str) -> Iterator[tuple[UInt8, int]]:
    stream.thread_type = "AUTO"
    packets, count, end, expected = 0, 0, 0.0, _expected(container, stream)
    for packet in container.demux(stream):
        packets += packet.size > 0
        for frame in _frames(path, packet, count, expected):
            end = max(end, float(((frame.pts or 0) + frame.duration) * (frame.time_base or 0)))
            yield upright(path, frame, pixels), expected
            count += 1
    announced = len(stream.index_entries) if "mp4" in container.format.name else 0
    if packets < announced:
        raise UserError(f"{path}: cut off: {packets} frames found, {announced} announced; {_MEND}")
    if count == 0:
        raise UserError(f"{path}: a video without frames; {_MEND}")
    if (promised := _matroska_seconds(stream)) - end > _LOST_SECONDS:
        raise UserError(f"{path}: cut off or damaged: ends at {end:.2f} s, {promised:.2f} s announced; {_MEND}")


def _frames(path: Path, packet: Packet[VideoStream], count: int, expected: int) -> Iterator[VideoFrame]:
    """The frames that a packet completes. What decoders fill in for lost data is no frame."""
    import av

    damaged = f"{path}: cut off or damaged after {count} of {expected or 'an unknown number of'} frames; {_MEND}"
    if packet.is_corrupt:
        raise UserError(damaged)
    try:
        frames = packet.decode()
    except av.FFmpegError:
        raise UserError(damaged) from None
    for frame in frames:
        if frame.is_corrupt:
            raise UserError(damaged)
        yield frame


def _expected(container: InputContainer, stream: VideoStream) -> int:
    """About how many frames there are, for showing progress."""
    seconds = (container.duration or 0) / 1e6
    return stream.frames or round(seconds * float(stream.average_rate or 0))


def _matroska_seconds(stream: VideoStream) -> float:
    """The length of the stream itself as Matroska's writers note it ("00:01:02.345"); 0 where it isn't noted.

    Matroska announces no number of frames, and after damage its reader goes on wherever it finds its way again.
    """
    text = next((value for name, value in stream.metadata.items() if name.startswith("DURATION")), "")
    try:
        hours, minutes, seconds = text.split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    except ValueError:
        return 0.0


def upright(path: Path, frame: VideoFrame, pixels: str = _COLOURS) -> UInt8:
    """(H, W, 3) uint8 BGR, or as `pixels` says, mirrored and turned by right angles as the frame's display matrix says
    (phones write videos lying on their side). Raises UserError for any other angle."""
    image = np.asarray(frame.to_ndarray(format=pixels), np.uint8)
    matrix = cast("Mapping[str, Buffer]", frame.side_data).get("DISPLAYMATRIX")
    if matrix is None:
        return image
    # x' = a x + c y, y' = b x + d y in 16.16 fixed point; stored as a b u, c d v, x y w.
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if (a or d) and (b or c):
        raise UserError(
            f"{path}: turned by {frame.rotation} degrees; expected a multiple of 90: turn it, then give it again"
        )
    if b or c:
        image, right, down = image.transpose(1, 0, 2), c, b
    else:
        right, down = a, d
    return np.ascontiguousarray(image[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1])
