"""Labels or shades: the one rule by which a mask's values are read, whether it is the truth, a prediction, or trains.

- Palette indices are labels, what was stored with loss are shades. Else a manifest may say it (`masks_are`), and one
  that names a void value has said "labels".
- Black and white alone are both.
- More than 64 values are shades: a soft mask, which is cut at half.
- Of fewer, those that fill areas are labels, and those that only lie between others, along edges, are shades.
- Files that can't tell (0 and 1; a soft mask on which the object is hardly there) are read as the others of their
  sequence are, of which up to 200 are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from fusionseg.pipeline.basics.digests import Stamped, stamped
from fusionseg.pipeline.basics.spread import spread
from fusionseg.pipeline.formats.planes import MOST_LABELS, Plane, Raw, read_plane
from fusionseg.pipeline.names import MasksAre

SOFT_NOTE = "shades: a soft mask, cut at half"
_SMALL = 64  # labels are counted from 1; values that stay below this are no shades
_EDGES = 0.7  # share of the pixels of in-between values with a darker and a brighter neighbour: more make shades
_NESTED, _CONTOURS = 4, 0.9  # levels in between, and the share of all steps that lead to the next: contour lines
EVIDENCE = 200  # masks of a sequence that are looked at where one can't tell what it is
LOOKED_AT = 7  # to say how they are read
_DEPTHS = (8, 10, 12, 14, 16)  # bits that 16-bit files are filled with
_LOST = 32  # of 255; a JPEG that holds nothing brighter was made of labels


@dataclass(frozen=True)
class Evidence:
    """What masks of a sequence tell: how many are surely soft, look soft, or look like labels; their largest value."""

    sure: int = 0
    soft: int = 0
    labels: int = 0
    largest: int = 0

    @property
    def masks_are(self) -> MasksAre:
        """How they are read."""
        return "soft" if self.sure or (self.soft and self.soft >= self.labels) else "labels"


def read_mask_values(
    plane: Plane, masks_are: MasksAre | None = None, siblings: Callable[[], Sequence[Path]] = tuple
) -> tuple[Raw, tuple[str, ...]]:
    """(H, W) labels, 0 background, or bool where there are no more than object and background; and what to say of how
    they were read. `siblings` gives the masks of the same sequence. Raises ValueError for what shows no object under
    either reading.
    """
    labels = plane.values > 0 if plane.relative else plane.values
    if plane.values.dtype == np.bool_ or plane.labels or is_plain(plane):
        return labels, plane.notes
    evidence = Evidence() if masks_are == "labels" and not plane.lossy else _joined(plane, siblings())
    if (masks_are or evidence.masks_are) == "labels" and not plane.lossy:
        return labels, plane.notes
    white = evidence.largest if plane.lossy or plane.relative else depth(evidence.largest, plane.white)
    _check_bright(plane, evidence.largest, white)
    notes = (SOFT_NOTE,) if not plane.lossy else ()
    return plane.values > white // 2, (*plane.notes, *notes)


def _check_bright(plane: Plane, largest: int, white: int) -> None:
    """Raises ValueError for a sequence in which nothing can be an object."""
    if plane.lossy and 0 < largest < _LOST:
        raise ValueError(f"values up to {largest} in a JPEG or such: labels don't survive there; save it as a PNG")
    if 0 < largest <= white // 2:
        raise ValueError(
            f"values up to {largest} of {white} in its sequence, of which none reaches half; if these are labels, say "
            "masks_are: labels in the manifest, or save them as indexed PNGs"
        )


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
    looked = tuple(spread(siblings, EVIDENCE))
    return _sum((evidence_of(plane), _of_files(stamped(looked)) if looked else Evidence()))


def _sum(found: Sequence[Evidence]) -> Evidence:
    sure, soft, labels = (sum(getattr(one, name) for one in found) for name in ("sure", "soft", "labels"))
    return Evidence(sure, soft, labels, max((one.largest for one in found), default=0))


@lru_cache(256)
def _of_files(files: Stamped) -> Evidence:
    """Once, while these files don't change."""
    return _sum([evidence_of(plane) for path, _ in files if (plane := _plane_or_none(path)) is not None])


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
    if plane.lossy or len(values) > MOST_LABELS:
        return Evidence(sure=1, largest=largest)
    if values[0] != 0:  # no background: then small numbers are labels
        return Evidence(soft=int(largest >= _SMALL and len(values) > 1), largest=largest)
    if len(values) < 3 or largest < _SMALL:
        return Evidence(largest=largest)
    ranks = np.cumsum(counts > 0, dtype=np.uint8) - np.uint8(1)
    soft = _is_shaded(ranks[plane.values])
    return Evidence(soft=int(soft), labels=int(not soft), largest=largest)


def _is_shaded(ranks: Raw) -> bool:
    """Whether the values between the least and the largest lie along edges, between a darker and a brighter neighbour,
    or one around the other like contour lines; (H, W)."""
    top, (height, width) = int(ranks.max()), ranks.shape
    middle = ranks[1:-1, 1:-1]
    between = (middle > 0) & (middle < top)
    if not between.any():
        return True
    places = [(y, x) for y in range(3) for x in range(3) if (y, x) != (1, 1)]
    around = [ranks[y : height - 2 + y, x : width - 2 + x] for y, x in places]
    darker = np.logical_or.reduce([other < middle for other in around])
    brighter = np.logical_or.reduce([other > middle for other in around])
    if (darker & brighter & between).sum() > _EDGES * between.sum():
        return True
    steps = np.concatenate([np.abs(np.diff(ranks.astype(np.int16), axis=axis)).ravel() for axis in (0, 1)])
    return top - 1 >= _NESTED and bool((steps[steps > 0] == 1).mean() > _CONTOURS)
