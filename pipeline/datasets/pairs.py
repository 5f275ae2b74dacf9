"""Pairs of frames for optical flow: which frame goes to which, and reading each of them once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fusionseg.pipeline.datasets.items import Item
from fusionseg.pipeline.datasets.reading import bad_file
from fusionseg.pipeline.formats.pictures import decode_frame
from fusionseg.pipeline.settings.sections import OpticalFlow

UInt8 = npt.NDArray[np.uint8]
Pair = tuple[UInt8, UInt8]


def partner(index: int, frames: int, gap: int = 1, direction: str = "forward") -> int:
    """The frame that the flow of frame `index` of `frames` goes to: `gap` ahead ("forward") or back, the other way
    where there is none, and the farther end of a video too short for either.

    >>> [partner(t, 3) for t in range(3)]
    [1, 2, 1]
    >>> [partner(t, 5, 2, "backward") for t in range(5)]
    [2, 3, 0, 1, 2]
    """
    step = gap if direction == "forward" else -gap
    for other in (index + step, index - step):
        if 0 <= other < frames:
            return other
    return 0 if index > frames - 1 - index else frames - 1


def directions(settings: OpticalFlow) -> tuple[str, ...]:
    """The directions that flow is estimated in: the one that all stages read, and perhaps the other."""
    return ("forward", "backward") if settings.direction == "both" else (settings.direction,)


def partner_numbers(item: Item, settings: OpticalFlow, direction: str | None = None) -> list[int]:
    """For each frame of `item`, the number (within the whole video) of the frame its flow goes to; [] for a video of
    one frame. `direction`: None is the first of `directions`."""
    direction = direction or directions(settings)[0]
    count = len(item.all_frames)
    if count < 2:
        return []
    return [partner(n, count, settings.gap, direction) for n in item.numbers]


def all_partners(item: Item, settings: OpticalFlow) -> list[int]:
    """`partner_numbers` of every frame of the video, whichever are in use."""
    return partner_numbers(replace(item, numbers=tuple(range(len(item.all_frames)))), settings)


def with_partners(item: Item, settings: OpticalFlow) -> Item:
    """The video with the files of the frames that its frames' flow goes to."""
    found = [
        tuple(item.all_frames[n] for n in partner_numbers(item, settings, direction))
        for direction in directions(settings)
    ]
    return replace(item, partners=found[0], partners_back=found[1] if len(found) > 1 else ())


class PairReader:
    """Pairs of a video's frames, for several threads: a frame that stands in two pairs is decoded once.

    Keeps as many frames as threads that work side by side can ask for again.
    """

    def __init__(self, item: Item, workers: int, gap: int) -> None:
        self._item, self._most = item, 4 * workers + gap * (2 if item.partners_back else 1)
        self._lock = threading.Lock()
        self._frames: OrderedDict[Path, Future[UInt8]] = OrderedDict()

    def pairs(self, index: int) -> list[Pair]:
        """Frame `index` and its partner, both (H, W, 3) uint8 BGR, in each direction that flow is wanted in. Raises
        BadFile, also for frames of two sizes."""
        item = self._item
        return [self._pair(index, partners[index]) for partners in (item.partners, item.partners_back) if partners]

    def _pair(self, index: int, partner: Path) -> Pair:
        first, second = self._frame(index, self._item.frames[index]), self._frame(index, partner)
        if first.shape != second.shape:
            sizes = [f"{frame.shape[1]}x{frame.shape[0]}" for frame in (second, first)]
            what = f"frame is {sizes[0]}, {self._item.frames[index].name} {sizes[1]}; expected one size in a video"
            raise bad_file(self._item, index, partner, what)
        return first, second

    def _frame(self, index: int, path: Path) -> UInt8:
        with self._lock:
            known = self._frames.get(path)
            mine = Future[UInt8]() if known is None else known
            self._frames[path] = mine
            self._frames.move_to_end(path)
            while len(self._frames) > self._most:
                self._frames.popitem(last=False)
        if known is None:
            try:
                mine.set_result(decode_frame(path.read_bytes(), lambda: self._item.all_frames))
            except (OSError, ValueError) as error:
                mine.set_exception(bad_file(self._item, index, path, str(error)))
        return mine.result()
