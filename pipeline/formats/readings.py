"""Labels or shades: the one rule by which a mask's values are read, whether it is the truth, a prediction, or trains.

- Palette indices are labels, what a JPEG holds are shades. Else a manifest may say it (`masks_are`), and one that names
  a void value has said "labels".
- Black and white alone are both.
- More than 64 values are shades: a soft mask, which is cut at half.
- Of fewer, those that fill areas are labels, and those that only lie between others, along edges, are shades.
- Files that can't tell (0 and 1; a soft mask on which the object is hardly there) are read as the others of their
  sequence are, of which a few are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from fusionseg.pipeline.basics.spread import spread
from fusionseg.pipeline.formats.planes import Plane, Raw, read_plane
from fusionseg.pipeline.names import MasksAre

SOFT_NOTE = "many grey levels: a soft mask, cut at half"
_MOST_LABELS = 64  # of one picture; see planes
_SMALL = 64  # labels are counted from 1; values that stay below this are no shades
_FILLED = 0.1  # share of the pixels of in-between values that lie amid their equals, from which on they are labels
_NESTED, _TOUCHING = 4, 0.25  # levels in between, and the share of the brightest one's border that is with black
LOOKED_AT = 7  # masks of a sequence
_DEPTHS = (8, 10, 12, 14, 16)  # bits that 16-bit files are filled with
_LOST = 32  # of 255; a JPEG that holds nothing brighter was made of labels


@dataclass(frozen=True)
class Evidence:
    """What masks of a sequence tell: how many are surely soft or surely labels, and their largest value."""

    soft: int = 0
    labels: int = 0
    largest: int = 0

    @property
    def masks_are(self) -> MasksAre:
        """How files that can't tell are read."""
        return "soft" if self.soft and self.soft >= self.labels else "labels"


def read_mask_values(
    plane: Plane, masks_are: MasksAre | None = None, siblings: Callable[[], Sequence[Path]] = tuple
) -> tuple[Raw, tuple[str, ...]]:
    """(H, W) labels, 0 background, or bool where there are no more than object and background; and what to say of how
    they were read. `siblings` gives the masks of the same sequence. Raises ValueError for labels in a JPEG.
    """
    if plane.values.dtype == np.bool_ or plane.labels or is_plain(plane):
        return plane.values, plane.notes
    if masks_are == "labels" and not plane.lossy:
        return plane.values, plane.notes
    evidence = _joined(plane, siblings())
    if plane.lossy and 0 < evidence.largest < _LOST:
        raise ValueError(f"a JPEG with values up to {evidence.largest}: labels don't survive in one; save it as a PNG")
    if (masks_are or evidence.masks_are) == "labels" and not plane.lossy:
        return plane.values, plane.notes
    white = depth(evidence.largest, plane.white)
    notes = (SOFT_NOTE,) if not plane.lossy else ()
    return plane.values > white // 2, (*plane.notes, *notes)


def is_plain(plane: Plane) -> bool:
    """Whether nothing lies between black and white, so that labels and shades are the same."""
    values, white = plane.values, plane.white
    return not plane.lossy and int(np.count_nonzero(values == 0) + np.count_nonzero(values == white)) == values.size


def depth(largest: int, white: int) -> int:
    """The value of white, of files of 16 bits that may be filled with fewer, by the largest value found.

    >>> depth(4000, 65535), depth(40000, 65535), depth(200, 255)
    (4095, 65535, 255)
    """
    if white < 2**16 - 1:
        return white
    return next(2**bits - 1 for bits in _DEPTHS if largest < 2**bits)


def _joined(plane: Plane, siblings: Sequence[Path]) -> Evidence:
    """The evidence of a plane and of its sequence."""
    looked = tuple(spread(siblings, LOOKED_AT))
    own, others = evidence_of(plane), _of_files(looked) if looked else Evidence()
    return Evidence(own.soft + others.soft, own.labels + others.labels, max(own.largest, others.largest))


@lru_cache(256)
def _of_files(paths: tuple[Path, ...]) -> Evidence:
    found = [evidence_of(plane) for plane in map(_plane_or_none, paths) if plane is not None]
    return Evidence(
        sum(one.soft for one in found), sum(one.labels for one in found), max((one.largest for one in found), default=0)
    )


def _plane_or_none(path: Path) -> Plane | None:
    """A mask's plane; None where it can't be read, which is told when it is its turn."""
    try:
        return read_plane(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None


def evidence_of(plane: Plane) -> Evidence:
    """What one plane tells."""
    if plane.values.dtype == np.bool_ or plane.labels:
        return Evidence(labels=int(plane.labels))
    counts = np.bincount(plane.values.ravel())
    values = np.flatnonzero(counts)
    largest = int(values[-1])
    if plane.lossy or len(values) > _MOST_LABELS:
        return Evidence(soft=1, largest=largest)
    if values[0] != 0:  # no background: then small numbers are labels
        return Evidence(soft=int(largest >= _SMALL and len(values) > 1), largest=largest)
    if len(values) < 3:
        return Evidence(largest=largest)
    if largest < _SMALL and plane.white >= 2 * _SMALL:
        return Evidence(labels=1 if len(values) * 2 > largest else 0, largest=largest)
    ranks = np.cumsum(counts > 0, dtype=np.uint8) - np.uint8(1)
    soft = _is_shaded(ranks[plane.values])
    return Evidence(int(soft), int(not soft), largest)


def _is_shaded(ranks: Raw) -> bool:
    """Whether the values between the least and the largest lie along edges only, or one around the other; (H, W)."""
    top = int(ranks.max())
    middle = ranks[1:-1, 1:-1]
    between = (middle > 0) & (middle < top)
    around = [ranks[:-2, 1:-1], ranks[2:, 1:-1], ranks[1:-1, :-2], ranks[1:-1, 2:]]
    filled = between & np.logical_and.reduce([other == middle for other in around])
    if filled.sum() < _FILLED * between.sum() or not between.any():
        return True
    border = sum(int(((middle == top) & (other < top)).sum()) for other in around)
    touching = sum(int(((middle == top) & (other == 0)).sum()) for other in around)
    return top - 1 >= _NESTED and touching < _TOUCHING * border
