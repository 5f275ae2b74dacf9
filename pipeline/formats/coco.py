"""Masks of still images out of a COCO "instances" file: JSON with polygons and run lengths, merged to object."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from fusionseg.models.labels import VOID
from fusionseg.pipeline.basics.digests import Stamp, stamp

UInt8 = npt.NDArray[np.uint8]
_MIN_CORNERS = 3
_FILES = 2  # kept in memory: those of a training and a test set


@dataclass(frozen=True)
class Picture:
    """One image of the file: its size and its regions, each with whether it marks a crowd."""

    width: int
    height: int
    regions: list[tuple[Any, bool]]


@dataclass(frozen=True)
class Instances:
    """`pictures` by their number as text; `by_name`: file name without suffix -> number."""

    pictures: Mapping[str, Picture]
    by_name: Mapping[str, str]


def is_instances(path: str) -> bool:
    """Whether a path is that of a COCO file."""
    return path.lower().endswith(".json")


def read_instances(path: Path) -> Instances:
    """A COCO file, read and indexed once while it doesn't change. Raises OSError, ValueError."""
    return _read(path, stamp(path.stat()))


@lru_cache(_FILES)
def _read(path: Path, changed: Stamp) -> Instances:
    try:
        content = json.loads(path.read_bytes())
        images, annotations = content["images"], content["annotations"]
        pictures = {str(i["id"]): Picture(int(i["width"]), int(i["height"]), []) for i in images}
        names = {PurePosixPath(i["file_name"]).with_suffix("").as_posix(): str(i["id"]) for i in images}
        for one in annotations:
            crowd = bool(one.get("iscrowd", 0))
            pictures[str(one["image_id"])].regions.append((_packed(one["segmentation"]), crowd))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no such entry: {error}") from None
    return Instances(pictures, names)


def _packed(segmentation: Any) -> Any:
    """Polygons as arrays: a tenth of what lists of numbers take."""
    if isinstance(segmentation, list):
        return [np.array(corners, np.float64) for corners in segmentation]
    return segmentation


def instances_size(path: Path, entry: str) -> tuple[int, int]:
    """(width, height) of the mask of image number `entry`. Raises OSError, ValueError."""
    picture = _picture(path, entry)
    return picture.width, picture.height


def _picture(path: Path, entry: str) -> Picture:
    picture = read_instances(path).pictures.get(entry)
    if picture is None:
        raise ValueError(f"no image of number {entry}")
    return picture


def instances_mask(path: Path, entry: str) -> UInt8:
    """The mask of image number `entry`: (H, W) uint8, 0 background, 1 object, 255 (void) where a crowd is marked and
    no single object. Raises OSError, ValueError."""
    picture = _picture(path, entry)
    size = (picture.height, picture.width)
    mask = np.zeros(size, np.uint8)
    for value, wanted in ((VOID, True), (1, False)):  # an object stands before a crowd
        for region, crowd in picture.regions:
            if crowd == wanted:
                mask[_decode(region, size)] = value
    return mask


def _decode(region: Any, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Polygons, run lengths as numbers, or as COCO's compressed text -> (H, W) bool. Raises ValueError."""
    if isinstance(region, list):
        return _fill([_polygon(corners, size) for corners in region], size)
    if not isinstance(region, dict) or region.get("size") != list(size):
        raise ValueError(f"a region that is neither polygons nor run lengths of {size[1]}x{size[0]}")
    counts = region.get("counts")
    try:
        runs = np.array(expand_runs(counts) if isinstance(counts, str) else counts, np.int64)
    except (TypeError, OverflowError):
        raise ValueError("run lengths that aren't whole numbers") from None
    # Summed and compared: pycocotools' decoder leaves what short run lengths don't cover to chance.
    if runs.ndim != 1 or (runs < 0).any() or runs.sum() != size[0] * size[1]:
        raise ValueError(f"run lengths that don't cover {size[1]}x{size[0]}")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(size[1], size[0]).T  # they run down the columns


def expand_runs(text: str) -> list[int]:
    """COCO's compressed run lengths as numbers: 5 bits a character, the sixth says that more follow; from the fourth
    number on, each is the difference to the one but last. Raises ValueError."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError("run lengths that aren't COCO's compressed text")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs


def _fill(polygons: list[npt.NDArray[np.float64]], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    from pycocotools import mask as coco  # only polygons need it

    if not polygons:
        return np.zeros(size, bool)
    return np.asarray(coco.decode(coco.merge(coco.frPyObjects(polygons, *size))), bool)


def _polygon(corners: npt.NDArray[np.float64], size: tuple[int, int]) -> npt.NDArray[np.float64]:
    far = 2 * max(size)  # pycocotools' integers overflow on corners far outside
    if corners.ndim != 1 or corners.size % 2 or corners.size < 2 * _MIN_CORNERS or not (np.abs(corners) <= far).all():
        raise ValueError(f"a polygon that isn't x, y, x, y, ... of {_MIN_CORNERS} corners or more in the picture")
    return corners
