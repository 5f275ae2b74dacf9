"""The objects of a frame one by one, where its masks tell them apart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from fusionseg.pipeline.datasets.items import Item, MaskFiles
from fusionseg.pipeline.datasets.patterns import natural
from fusionseg.pipeline.datasets.reading import bad_file, read_mask, size_text
from fusionseg.pipeline.errors import WRONG_SIZE
from fusionseg.pipeline.formats.masks import decode_numbers, read_regions, region_codes

Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]


def object_folders(item: Item) -> dict[Path, int]:
    """The number of the object whose masks lie in each folder: the folder's name where all are numbers, else its place
    in natural order, from 1. {} where all masks of the video lie in one folder, which then says nothing."""
    folders = sorted({path.parent for mask in item.masks for path in mask.paths}, key=lambda path: natural(str(path)))
    if len(folders) < 2:
        return {}
    names = [int(path.name) if path.name.isdecimal() else 0 for path in folders]
    if 0 in names or len(set(names)) < len(names):
        names = list(range(1, len(folders) + 1))
    return dict(zip(folders, names, strict=True))


def frame_objects(item: Item, index: int, size: tuple[int, int], folders: Mapping[Path, int]) -> dict[int, Mask]:
    """The objects of frame `index` that are in view: number -> (H, W) bool at `size` (height, width); void belongs to
    none.

    Objects are told apart by the folder of their masks (`folders`: of `object_folders`), by the regions of FBMS, or by
    palette index; any other mask is that of one object, number 1. Raises BadFile.
    """
    objects: dict[int, Mask] = {}
    files = item.masks[index]
    for path in files.paths:
        numbers = _sized(item, index, path, _numbers(item, index, path, files, folders), size)
        for number in np.unique(numbers[numbers > 0]).tolist():
            mask = numbers == number
            objects[number] = objects[number] | mask if number in objects else mask
    return objects


def _numbers(item: Item, index: int, path: Path, files: MaskFiles, folders: Mapping[Path, int]) -> Numbers:
    """(H, W): the number of the object of each pixel, 0 where there is none."""
    try:
        if not folders and files.regions:
            _, *values = read_regions(files.regions)
            codes = region_codes(path)
            numbers = np.zeros(codes.shape, np.int64)
            for number, value in enumerate(values, 1):
                numbers[codes == value] = number
            return numbers
        if not folders and not files.entry and (raw := decode_numbers(path)) is not None:
            return np.where(raw == (item.void or 0), 0, raw).astype(np.int64)
    except (OSError, ValueError, SyntaxError) as error:
        raise bad_file(item, index, path, f"mask can't be decoded ({error})") from None
    one = read_mask(item, index, MaskFiles((path,), files.entry, files.regions)) == 1
    return one.astype(np.int64) * folders.get(path.parent, 1)


def _sized(item: Item, index: int, path: Path, numbers: Numbers, size: tuple[int, int]) -> Numbers:
    """At `size`: resized where the manifest allows it. Raises BadFile."""
    if numbers.shape == size:
        return numbers
    if not item.allow_mask_resize:
        raise bad_file(item, index, path, size_text(numbers.shape[::-1], size[::-1]), WRONG_SIZE)
    # As floats, which hold such numbers exactly: OpenCV doesn't resize integers of this size.
    resized = cv2.resize(numbers.astype(np.float64), size[::-1], interpolation=cv2.INTER_NEAREST)
    return resized.astype(np.int64)
