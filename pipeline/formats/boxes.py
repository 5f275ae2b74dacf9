"""The boxes of one frame, and the annotation files they come from: ImageNet-VID's XML, YouTube-Objects' .mat."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class FrameBoxes:
    """`boxes` (N, 4) int32 x0, y0, x1, y1 in pixels, x1 and y1 exclusive; `occluded` and `generated` (N,) bool, as
    ImageNet-VID marks boxes: partly hidden, and interpolated between frames instead of drawn by hand."""

    boxes: npt.NDArray[np.int32]
    occluded: npt.NDArray[np.bool_]
    generated: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.boxes)


def frame_boxes(
    boxes: Sequence[Sequence[int]], occluded: Sequence[bool] | None = None, generated: Sequence[bool] | None = None
) -> FrameBoxes:
    """Boxes as plain numbers -> arrays; unmarked where nothing is said. Raises OverflowError."""
    flags = [np.array([False] * len(boxes) if marks is None else marks, bool) for marks in (occluded, generated)]
    return FrameBoxes(np.array(boxes, np.int32).reshape(-1, 4), *flags)


def parse_vid_xml(text: str | bytes) -> FrameBoxes:
    """Boxes of an ImageNet-VID annotation, whose corners are inclusive pixel coordinates; bytes say their encoding.

    Raises ValueError, OverflowError, ElementTree.ParseError.
    """
    root = ElementTree.fromstring(text)
    if root.tag != "annotation":
        raise ValueError(f"<{root.tag}> at the top, expected <annotation>")
    objects = root.findall("object")
    return frame_boxes(
        [_corners(one) for one in objects],
        [_flag(one, "occluded") for one in objects],
        [_flag(one, "generated") for one in objects],
    )


def _corners(one: ElementTree.Element) -> tuple[int, int, int, int]:
    box = one.find("bndbox")
    texts = {name: None if box is None else box.findtext(name) for name in CORNERS}
    if missing := sorted(name for name, text in texts.items() if text is None):
        raise ValueError(f"object without {', '.join(missing)}")
    x0, y0, x1, y1 = (int(float(texts[name] or "")) for name in CORNERS)
    return x0, y0, x1 + 1, y1 + 1


def _flag(one: ElementTree.Element, name: str) -> bool:
    return int(one.findtext(name) or 0) != 0


@dataclass(frozen=True)
class VidObject:
    """One object of an ImageNet-VID annotation: its number in the video, what it is, its box x0, y0, x1, y1 in pixels
    (x1 and y1 exclusive), and the marks of `FrameBoxes`."""

    track: int
    name: str
    box: tuple[int, int, int, int]
    occluded: bool = False
    generated: bool = False


def vid_xml(video: str, frame: str, size: tuple[int, int], objects: Iterable[VidObject], source: str) -> bytes:
    """The ImageNet-VID annotation of a frame of `size` (width, height); `source`: which database it is of."""
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "folder").text = video
    ElementTree.SubElement(root, "filename").text = frame
    ElementTree.SubElement(ElementTree.SubElement(root, "source"), "database").text = source
    _add_numbers(ElementTree.SubElement(root, "size"), {"width": size[0], "height": size[1]})
    for one in objects:
        x0, y0, x1, y1 = one.box
        entry = ElementTree.SubElement(root, "object")
        _add_numbers(entry, {"trackid": one.track})
        ElementTree.SubElement(entry, "name").text = one.name
        corners = {"xmax": x1 - 1, "xmin": x0, "ymax": y1 - 1, "ymin": y0}
        _add_numbers(ElementTree.SubElement(entry, "bndbox"), corners)
        _add_numbers(entry, {"occluded": int(one.occluded), "generated": int(one.generated)})
    ElementTree.indent(root, "\t")
    return ElementTree.tostring(root) + b"\n"


def _add_numbers(parent: ElementTree.Element, numbers: Mapping[str, int]) -> None:
    for name, value in numbers.items():
        ElementTree.SubElement(parent, name).text = str(value)


def parse_youtube_objects(data: bytes) -> FrameBoxes:
    """Boxes of a YouTube-Objects v1.0 annotation: MATLAB's `coor`, a cell a box of x0, y0, x1, y1 (some files have the
    corners swapped). Raises ValueError."""
    cells = np.atleast_1d(read_mat(data, "coor").squeeze())
    boxes = [np.asarray(cell, np.float64).ravel() for cell in (cells if cells.dtype == object else [cells])]
    if any(box.size != 4 or not np.isfinite(box).all() for box in boxes):
        raise ValueError("'coor' holds no x0, y0, x1, y1")
    whole = [np.rint(box).astype(int) for box in boxes]
    return frame_boxes([(min(x0, x1), min(y0, y1), max(x0, x1) + 1, max(y0, y1) + 1) for x0, y0, x1, y1 in whole])


def read_mat(data: bytes, name: str) -> npt.NDArray[Any]:
    """A variable of a MATLAB file. Raises ValueError for what isn't one."""
    from scipy.io import loadmat  # only few data sets need it

    try:
        return np.asarray(loadmat(io.BytesIO(data))[name])
    except KeyError:
        raise ValueError(f"no variable {name!r} in it") from None
    except Exception as error:  # the reader has no errors of its own: a damaged file raises whatever comes
        raise ValueError(f"not a whole MATLAB file ({type(error).__name__})") from None


def tight_box(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """Smallest x0, y0, x1, y1 (exclusive ends) around the true pixels of (H, W); None if there are none.

    >>> tight_box(np.array([[0, 0, 0], [0, 1, 1]], bool))
    (1, 1, 3, 2)
    """
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if not columns.size:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
