"""Mask files of every format that data sets use, as raw values or as labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from fusionseg.models.labels import VOID
from fusionseg.pipeline.basics.digests import Stamp, stamp
from fusionseg.pipeline.basics.text import read_text
from fusionseg.pipeline.formats.boxes import read_mat
from fusionseg.pipeline.formats.planes import Raw, check_single, opened, read_plane
from fusionseg.pipeline.formats.readings import evidence_of, is_plain, read_mask_values
from fusionseg.pipeline.names import MasksAre

UInt8 = npt.NDArray[np.uint8]
_BYTE = 256
_GREY_MODES = ("1", "L", "P", "I", "I;16", "I;16B")


def decode_mask(
    path: Path, masks_are: MasksAre | None = None, siblings: Callable[[], Sequence[Path]] = tuple
) -> tuple[Raw, tuple[str, ...]]:
    """Mask file -> (H, W) labels, 0 background, or bool where it tells no more than object and background; and what to
    say of how it was read. See `readings` for the rule, and for the arguments.

    Raises OSError, ValueError, SyntaxError.
    """
    if path.suffix.lower() == ".mat":
        return decode_sbd(path.read_bytes()), ()
    return read_mask_values(read_plane(path.read_bytes()), masks_are, siblings)


def decode_map(path: Path) -> tuple[Raw, int]:
    """File of a map of probabilities -> (H, W) raw values, and the largest that its type holds.

    Raises OSError, SyntaxError, ValueError; the last also for indexed PNGs, whose indices are no shares of anything.
    """
    plane = read_plane(path.read_bytes())
    if plane.labels:
        raise ValueError("holds palette indices, which are no probabilities; score it without --threshold")
    return plane.values, plane.white


def decode_objects(path: Path) -> Raw:
    """Mask file -> (H, W) integers that number its objects, 0 background.

    Raises OSError, SyntaxError, ValueError; the last also for colours and shades, which give objects no numbers.
    """
    plane = read_plane(path.read_bytes())
    if plane.coloured:
        raise ValueError("holds colours, expected palette indices or grey levels that number the objects")
    if evidence_of(plane).masks_are == "soft" and not is_plain(plane):
        raise ValueError("holds shades, expected palette indices or grey levels that number the objects")
    return plane.values.astype(np.uint8) if plane.values.dtype == np.bool_ else plane.values


def decode_numbers(path: Path) -> Raw | None:
    """(H, W) integers where a file's values are names of objects, 0 background; None where they are shades.

    Raises OSError, SyntaxError, ValueError.
    """
    if path.suffix.lower() == ".mat":
        return None
    plane = read_plane(path.read_bytes())
    return plane.values if plane.labels else None


def decode_sbd(data: bytes) -> UInt8:
    """A file of the Semantic Boundaries Dataset -> (H, W) uint8 of classes. Raises ValueError."""
    try:
        classes = read_mat(data, "GTcls")["Segmentation"][0, 0]
    except (IndexError, ValueError) as error:
        raise ValueError(f"no GTcls.Segmentation: {error}") from None
    if classes.ndim != 2 or classes.dtype != np.uint8:
        raise ValueError(f"GTcls.Segmentation is {classes.dtype} {classes.shape}, expected uint8 (H, W)")
    return np.asarray(classes, np.uint8)


def mask_label(raw: Raw, void: int | None) -> UInt8:
    """Raw mask values (H, W) -> 0 background, 1 object, 255 where the value is `void`; bool has no void."""
    label = (raw > 0).astype(np.uint8)
    if void is not None and raw.dtype != np.bool_:
        label[raw == void] = VOID
    return label


def region_label(path: Path, regions: Path) -> UInt8:
    """A mask of numbered regions (FBMS) -> (H, W) uint8: 0 the first region of the definition, 1 the others, 255 what
    it doesn't list. Raises OSError, ValueError, SyntaxError."""
    background, *objects = read_regions(regions)
    codes = region_codes(path)
    label = np.full(codes.shape, VOID, np.uint8)
    label[codes == background] = 0
    label[np.isin(codes, objects)] = 1
    return label


def region_codes(path: Path) -> npt.NDArray[np.int64]:
    """The values of a mask of numbered regions, (H, W), as `read_regions` gives them. Raises OSError, ValueError,
    SyntaxError."""
    with opened(path.read_bytes()) as image:
        check_single(image)
        raw = np.asarray(image if image.mode in _GREY_MODES else image.convert("RGB")).astype(np.int64)
    return raw @ np.array([_BYTE**2, _BYTE, 1]) if raw.ndim == 3 else raw


def read_regions(path: Path) -> tuple[int, ...]:
    """The values that the regions of a video have in its masks, from the definition file that comes with them: grey
    levels, or red * 256^2 + green * 256 + blue. Raises OSError, ValueError.

    The format is read as FBMS's own evaluation code does (MoSegEval of Ochs, Malik and Brox, PAMI 2013): after
    "Total number of regions" that number, then after each "Scale of region" its value. Their first region is the
    background. The .pgm beside a .ppm of the same name is a weight of each pixel for their measure, no mask.
    """
    return _read_regions(path, stamp(path.stat()))


@lru_cache(64)
def _read_regions(path: Path, changed: Stamp) -> tuple[int, ...]:
    lines = [line.strip() for line in read_text(path, "latin-1").splitlines()]
    after = lambda title: [lines[n + 1 : n + 2] for n, line in enumerate(lines) if line.lower().startswith(title)]  # noqa: E731
    try:
        ((count,), *_) = after("total number of regions")
        values = tuple(int(value) for (value,) in after("scale of region"))
    except ValueError:
        raise ValueError(f"{path}: not a definition of regions") from None
    if not values or len(values) != int(count):
        raise ValueError(f"{path}: {len(values)} regions are defined, {count} announced")
    return values


# Black and red of the DAVIS palette: the value is the object's number, the colour only for eyes.
_PALETTE = [0, 0, 0, 128, 0, 0]


def write_mask(path: Path, mask: npt.NDArray[np.bool_]) -> None:
    """(H, W) bool -> an indexed PNG, 0 background and 1 object, as DAVIS 2017 writes masks."""
    image = Image.fromarray(mask.astype(np.uint8), mode="P")
    image.putpalette(_PALETTE)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
