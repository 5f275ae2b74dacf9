"""Finding the flow of a video that was made elsewhere, and checking that it is what the settings say: its size, the
frames it goes to, and, where the files don't state those, whether the frames themselves agree."""

from __future__ import annotations

import glob
import re
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from fusionseg.pipeline.datasets.patterns import natural
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.formats.flow import SUFFIXES, VIDEO_SUFFIXES, Flow, Metadata, flow_header, open_flow, read_flow

UInt8 = npt.NDArray[np.uint8]
Place = tuple[Path, int | None]

# The content test: another step is refused where its warping error is less than this share of the declared one's. On
# DAVIS-2016's 30 training sequences with DIS medium it is 0.73 at most (median over a video) if the flow is reversed,
# or of gap 2 where 1 is declared, or the converse; where the declared step is right, every other's error is larger.
_CLEARLY = 0.8
# From gap 3 on, flow may fail to follow what moves and then resembles that to a nearer frame (0.68 with Farneback at
# gap 5), while flow of gap 1 declared as 5 stays below 0.44. Measured by benchmarks/flow_direction.py.
_FAR, _CLEARLY_FAR = 3, 0.6
_SAMPLES = 5  # frames, evenly spread; their median shrugs off cuts between scenes
_VOTES = 3  # fewer moving frames give no verdict
_MOVED = 1.0  # px; what moves less says nothing about direction
_MOVED_SHARE = 0.001  # of the frame's pixels; with fewer, a frame counts as still
NOISE = 0.5  # grey levels, of rounding; keeps ratios of errors sane where both vanish


@dataclass(frozen=True)
class FlowSource:
    """Where the flow of a video's frames lies.

    `places`: for each frame its file and the number within it (None: the file is one pair's), or None for a frame
    without flow; `size`: (height, width); `metadata`: of a video's file.
    """

    places: tuple[Place | None, ...]
    size: tuple[int, int]
    metadata: Metadata = field(default_factory=Metadata)

    @property
    def missing(self) -> tuple[int, ...]:
        """Frames without flow: the last ones where T - gap flows were found (the first ones if they go backward)."""
        return tuple(t for t, place in enumerate(self.places) if place is None)

    @property
    def files(self) -> tuple[Path, ...]:
        """All files, each once."""
        return tuple(dict.fromkeys(place[0] for place in self.places if place))

    def read(self, frames: Iterable[int]) -> Iterator[Flow | None]:
        """The flow (H, W, 2) float32 px of some frames, NaN where unknown; None for those without.

        Frames in rising order read a compressed .npz once. Raises UserError.
        """
        with ExitStack() as stack:
            get = None
            for place in (self.places[t] for t in frames):
                if place is None:
                    yield None
                elif place[1] is None:
                    yield read_flow(place[0])
                else:
                    get = get or stack.enter_context(open_flow(place[0]))[1]
                    yield get(place[1])


def find_flow(
    folder: Path, video: str, frame_names: Sequence[str], gap: int = 1, direction: str = "forward"
) -> FlowSource:
    """The flow of `video`: FOLDER/VIDEO/FRAME.flo (.png, .npz, .h5, .hdf5) or FOLDER/VIDEO.npz (.h5, .hdf5).

    `frame_names`: of all of the video's frames, two at least, in order, without suffix. Files have the frames' names,
    or are numbered. The last `gap` frames (the first, if `direction` is "backward") may have none. Only headers are
    read. Raises UserError.
    """
    home = folder / video
    pairs = sorted(_with_suffix(home, SUFFIXES), key=lambda path: natural(path.name)) if home.is_dir() else []
    beside = _with_suffix(home.parent, VIDEO_SUFFIXES, f"{glob.escape(home.name)}.*") if home.parent.is_dir() else []
    videos = [path for path in beside if path.stem == home.name]
    kinds = sorted({path.suffix.lower() for path in pairs})
    if len(videos) + len(kinds) > 1:
        found = [str(path) for path in videos] + [f"{home}/*{kind}" for kind in kinds]
        raise UserError(f"{folder}: flow of {video!r} in several forms, {', '.join(found)}; keep one of them")
    lacking = range(max(0, len(frame_names) - gap), len(frame_names)) if direction == "forward" else range(gap)
    if videos:
        return _of_video(videos[0], len(frame_names), lacking)
    if pairs:
        return _of_pairs(home, _matched(home, pairs, frame_names, lacking))
    raise UserError(
        f"{folder}: no flow of {video!r}; looked for {home}/FRAME with {', '.join(SUFFIXES)}, and for {home} with "
        f"{', '.join(VIDEO_SUFFIXES)}"
    )


def _with_suffix(folder: Path, suffixes: Sequence[str], pattern: str = "*") -> list[Path]:
    """Files of these suffixes, in any case; hidden ones don't count."""
    return [
        path
        for path in folder.glob(pattern)
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
    ]


def _allowed(count: int, lacking: range) -> str:
    """The numbers of flows that a video may have, in words."""
    end = "last" if lacking.start else "first"
    return f"{count}, or {count - len(lacking)} (none for the {end} {len(lacking)})"


def _spread(places: Sequence[Place], count: int, lacking: range, where: Path) -> tuple[Place | None, ...]:
    """One place for each of `count` frames, None for those in `lacking` if there are as many fewer."""
    if len(places) == count:
        return tuple(places)
    if len(places) != count - len(lacking):
        raise UserError(f"{where}: flow of {len(places)} frames, expected {_allowed(count, lacking)}")
    rest = iter(places)
    return tuple(None if t in lacking else next(rest) for t in range(count))


def _of_video(path: Path, count: int, lacking: range) -> FlowSource:
    header = flow_header(path)
    if header.frames is None:
        raise UserError(f"{path}: holds one pair's flow (H, W, 2), expected a video's (T, H, W, 2)")
    places = [(path, index) for index in range(header.frames)]
    return FlowSource(_spread(places, count, lacking, path), header.size, header.metadata)


def _matched(home: Path, files: Sequence[Path], frame_names: Sequence[str], lacking: range) -> tuple[Place | None, ...]:
    """A place for each frame: by name where the files have the frames' names, by number otherwise."""
    by_name = {path.stem: path for path in files}
    if not by_name.keys() <= set(frame_names):
        _check_numbered(home, files)
        return _spread([(path, None) for path in files], len(frame_names), lacking, home)
    absent = [t for t, name in enumerate(frame_names) if name not in by_name]
    if absent and absent != list(lacking):
        raise UserError(
            f"{home}: no flow of frame {frame_names[absent[0]]} ({len(absent)} missing), expected "
            f"{_allowed(len(frame_names), lacking)}; are gap and direction those of the files?"
        )
    return tuple((by_name[name], None) if name in by_name else None for name in frame_names)


def _check_numbered(home: Path, files: Sequence[Path]) -> None:
    """Refuse files whose names' last numbers don't rise evenly: one may be missing, or belong elsewhere."""
    numbers = [int(found[-1]) if (found := re.findall(r"\d+", path.stem)) else -1 for path in files]
    step = max(1, numbers[1] - numbers[0]) if len(numbers) > 1 else 1
    for n, path in enumerate(files):
        if numbers[n] < 0 or numbers[n] != numbers[0] + n * step:
            raise UserError(
                f"{path}: expected the name of a frame, or files numbered without a gap in {home}; is one missing?"
            )


def _of_pairs(home: Path, places: tuple[Place | None, ...]) -> FlowSource:
    sizes: dict[tuple[int, int], Path] = {}
    for path in (place[0] for place in places if place):
        header = flow_header(path)
        if header.frames is not None:
            raise UserError(f"{path}: holds a video's flow, expected one pair's in {home}")
        sizes.setdefault(header.size, path)
    (size, first), *others = sizes.items()
    if others:
        odd = f"{others[0][1]}: flow of {_words(others[0][0])}, {first.name} of {_words(size)}"
        raise UserError(f"{odd}; expected one size in a video")
    return FlowSource(places, size)


def _words(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"


def check_flow(
    source: FlowSource, size: tuple[int, int], partners: Sequence[int], read_frame: Callable[[int], UInt8]
) -> None:
    """Refuse flow that isn't what the settings say. Raises UserError.

    `size`: the frames' (height, width); `partners`: for each frame the number of the frame that its flow is to go to;
    `read_frame(number)` gives (H, W, 3) uint8 BGR and is called only if the files don't state partners, or gap and
    direction.
    """
    where = source.files[0] if len(source.files) == 1 else source.files[0].parent
    if source.size != size:
        raise UserError(f"{where}: flow of {_words(source.size)}, its frames are {_words(size)}; expected one size")
    step = statistics.mode(partners[t] - t for t, place in enumerate(source.places) if place)
    stated = source.metadata
    _check_metadata(source, partners, step, where)
    if stated.partners is None and (stated.gap is None or stated.direction is None):
        _check_content(source, partners, step, read_frame, where)


def _check_metadata(source: FlowSource, partners: Sequence[int], step: int, where: Path) -> None:
    stated = source.metadata
    advice = "set optical-flow.gap and optical-flow.direction to those of the file, or give other flow"
    for t, place in enumerate(source.places):
        if stated.partners and place and stated.partners[place[1] or 0] != partners[t]:
            goes = f"to frame {stated.partners[place[1] or 0]} (metadata partners), expected frame {partners[t]}"
            raise UserError(f"{where}: flow of frame {t} goes {goes}; {advice}")
    if stated.gap not in (None, abs(step)):
        raise UserError(f"{where}: its metadata gap is {stated.gap}, expected {abs(step)}; {advice}")
    direction = "forward" if step > 0 else "backward"
    if stated.direction not in (None, direction):
        raise UserError(f"{where}: its metadata direction is {stated.direction}, expected {direction}; {advice}")


def _check_content(
    source: FlowSource, partners: Sequence[int], step: int, read_frame: Callable[[int], UInt8], where: Path
) -> None:
    others = {-2, -1, 1, 2, step, -step}
    inside = lambda t: 0 <= t < len(partners)  # noqa: E731
    usual = [t for t, place in enumerate(source.places) if place and partners[t] - t == step]
    whole = [t for t in usual if all(inside(t + other) for other in others)]
    chosen = evenly(whole if len(whole) >= _VOTES else usual)
    errors = []
    for t, flow in zip(chosen, source.read(chosen), strict=True):
        assert flow is not None  # `usual` have flow
        errors.append(warping_errors(flow, read_frame(t), {n: read_frame(t + n) for n in others if inside(t + n)}))
    if found := better_step(errors, step):
        other, its_error, error = found
        raise UserError(
            f"{where}: the flow looks like that from frame t to t{other:+d}, not to t{step:+d}: warping error "
            f"{its_error:.1f} against {error:.1f} grey levels; set optical-flow.gap and optical-flow.direction to what "
            "the files hold, or state the pairs in their metadata"
        )


def evenly(frames: Sequence[int]) -> list[int]:
    """At most `_SAMPLES` of `frames`, evenly spread and away from both ends.

    >>> evenly(range(70)), evenly(range(4))
    ([12, 23, 34, 46, 58], [0, 1, 2, 3])
    """
    if len(frames) <= _SAMPLES:
        return list(frames)
    places = np.linspace(0, len(frames) - 1, _SAMPLES + 2).round().astype(int)[1:-1]
    return sorted({frames[place] for place in places})


def warping_errors(flow: Flow, first: UInt8, others: Mapping[int, UInt8]) -> dict[int, float]:
    """How badly `flow` (H, W, 2) px explains `first` by each of `others`, all (H, W, 3) uint8 BGR: mean absolute
    difference, in grey levels, over the pixels that it moves, known and inside the frame; {} if hardly any are."""
    height, width = flow.shape[:2]
    known = np.nan_to_num(flow, nan=0.0)  # no motion, and so left out
    x = known[..., 0] + np.arange(width, dtype=np.float32)
    y = known[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    moved = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1) & ((known**2).sum(-1) >= _MOVED**2)
    if moved.sum() < max(1, _MOVED_SHARE * height * width):
        return {}
    grey = lambda frame: cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)  # noqa: E731
    seen = {n: cv2.remap(grey(other), x, y, cv2.INTER_LINEAR) for n, other in others.items()}
    return {n: float(cv2.absdiff(grey(first), picture)[moved].mean()) for n, picture in seen.items()}


def better_step(errors: Sequence[Mapping[int, float]], declared: int) -> tuple[int, float, float] | None:
    """The step (frames from t to where its flow goes) that explains a video's flow clearly better than the `declared`
    one, its warping error and the declared one's; None if none does, or too few frames move to tell.

    `errors`: of some frames, by step, see `warping_errors`.
    """
    verdicts = []
    for step in {step for frame in errors for step in frame} - {declared}:
        both = [(frame[step], frame[declared]) for frame in errors if step in frame and declared in frame]
        if len(both) >= _VOTES:
            ratio = statistics.median((own + NOISE) / (other + NOISE) for own, other in both)
            own, other = (statistics.median(values) for values in zip(*both, strict=True))
            verdicts.append((ratio, step, own, other))
    best = min(verdicts, default=None)
    clearly = _CLEARLY if abs(declared) < _FAR else _CLEARLY_FAR
    return best[1:] if best and best[0] < clearly else None
