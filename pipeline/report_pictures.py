"""The report's pictures: for each scored video its middle frame, beside its flow image and the masks drawn on it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from fusionseg.pipeline.artifact import Artifact, Record
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.flow_images import FlowPictures
from fusionseg.pipeline.images import read_frame, read_mask_sized
from fusionseg.pipeline.manifest import Item
from fusionseg.pipeline.profile import FlowImages
from fusionseg.pipeline.recorded import Unit, open_recorded, records_by_unit, scored_items, scored_names
from fusionseg.pipeline.samples import evenly, resize

UInt8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

SHOWN = ("appearance", "motion", "joint")
WIDTH = 220  # px
_JPEG_QUALITY = 80
_MAX_STRIPS = 60  # some 60 kB each
_OPACITY = 0.5
_PREDICTED, _TRUE = (50, 60, 255), (255, 200, 0)  # BGR: red and blue, told apart by everybody


@dataclass(frozen=True)
class Picture:
    """One cell of a strip; `source` is a data URI, None where there is nothing to show."""

    title: str
    alt: str
    source: str | None = None
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class Strip:
    """The pictures of one video."""

    title: str
    note: str
    pictures: tuple[Picture, ...]


def strips(root: Path, run: Mapping[str, Any], per_frame: pd.DataFrame) -> tuple[list[Strip], list[str]]:
    """A strip a scored video, and in words what can't be shown. `per_frame`: scores, for the titles."""
    items, problems = scored_items(root, run)
    names = scored_names(run)
    scores = {(row["sequence"], row["frame"], row["method"]): row["J"] for row in per_frame.to_dict("records")}
    found = []
    units = [unit for unit in names if unit in items]
    for unit in (units[index] for index in evenly(len(units), _MAX_STRIPS)):
        try:
            found.append(strip(root, run, items[unit], names[unit], scores))
        except UserError as error:
            problems.append(f"{names[unit]}: {error.args[0]}")
    if len(found) < len(units):
        problems.append(f"{len(found)} of {len(units)} videos are shown")
    return found, problems


def strip(
    root: Path, run: Mapping[str, Any], item: Item, name: str, scores: Mapping[tuple[str, int, str], float]
) -> Strip:
    """The strip of one video's middle frame, of those with a true mask if there are any. Raises UserError where an
    artifact or file can't be read."""
    shown = item.annotated or range(len(item.frames))
    index = shown[len(shown) // 2]
    unit: Unit = (item.dataset, item.name)
    with ExitStack() as stack:
        masks = stack.enter_context(open_recorded(root, recorded(run, unit, "prediction")))
        flow = stack.enter_context(open_recorded(root, recorded(run, unit, "flow-images", "optical-flow")))
        images = FlowPictures(flow, FlowImages.model_validate(run["profile"]["flow-images"]))
        frame = checked_frame(item, index, masks)
        where = f"{name}, frame {index}"
        small = to_width(frame)
        pictures = [picture("frame", where, small), flow_picture(images, index, where)]
        for method in SHOWN:
            score = scores.get((name, index, method))
            pictures.append(method_picture(masks, method, index, small, where, score))
        pictures.append(truth_picture(item, index, frame, small, where))
    return Strip(name, f"frame {index} of 0 to {len(item.frames) - 1}", tuple(pictures))


def recorded(run: Mapping[str, Any], unit: Unit, *stages: str) -> Record:
    """The record of the first of `stages` that the run has of a video. Raises UserError if it has none."""
    for stage in stages:
        if record := records_by_unit(run, stage).get(unit):
            return record
    raise UserError(f"the run has no {' or '.join(stages)} of it")


def checked_frame(item: Item, index: int, masks: Artifact) -> UInt8:
    """The frame, if the video is still the one that was segmented. Raises UserError."""
    frame = read_frame(item, index)
    shape = next(iter(masks.datasets().values())).shape
    if shape != (len(item.frames), *frame.shape[:2]):
        raise UserError(
            f"its frames have changed since the run: {len(item.frames)} of {frame.shape[1]}x{frame.shape[0]}, "
            f"its masks are {shape[0]} of {shape[2]}x{shape[1]}"
        )
    return frame


def flow_picture(images: FlowPictures, index: int, where: str) -> Picture:
    """The flow image; nothing for a video of one frame."""
    if images.count <= index:
        return Picture("flow image", f"{where}: no flow")
    small = to_width(images.image(index)[..., ::-1])
    return picture("flow image", f"{where}: optical flow as colours", small)


def method_picture(masks: Artifact, method: str, index: int, small: UInt8, where: str, score: float | None) -> Picture:
    """A model's mask on the frame; nothing where the model has none."""
    if method not in masks:
        return Picture(method, f"{where}: no {method} mask")
    mask = masks.frame(method, index) > 0
    title = method if score is None else f"{method} · J {100 * score:.1f}"
    alt = f"{where}: {method} mask, {100 * mask.mean():.1f} % of the frame"
    return mask_picture(title, alt, small, mask, _PREDICTED)


def truth_picture(item: Item, index: int, frame: UInt8, small: UInt8, where: str) -> Picture:
    """The true mask on the frame; nothing for a video without masks."""
    if not item.masks:
        return Picture("truth", f"{where}: no true mask")
    truth = read_mask_sized(item, index, (frame.shape[0], frame.shape[1])) == 1
    return mask_picture("truth", f"{where}: true mask", small, truth, _TRUE)


def mask_picture(title: str, alt: str, small: UInt8, mask: Mask, colour: Sequence[int]) -> Picture:
    """A mask of any size on the small frame."""
    return picture(title, alt, overlay(small, mask, colour))


def overlay(image: UInt8, mask: Mask, colour: Sequence[int]) -> UInt8:
    """(H, W, 3) uint8 BGR with `mask`, resized to it, as a translucent area with a contour."""
    size = (image.shape[0], image.shape[1])
    inside = resize(mask.astype(np.float32), size) >= 0.5
    shown = image.astype(np.float32)
    shown[inside] = (1 - _OPACITY) * shown[inside] + _OPACITY * np.array(colour, np.float32)
    result = np.ascontiguousarray(shown.round().astype(np.uint8))
    contours, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(result, contours, -1, tuple(colour), 1)
    return result


def to_width(image: UInt8) -> UInt8:
    """The picture at `WIDTH` pixels or less."""
    height, width = image.shape[:2]
    if width <= WIDTH:
        return np.ascontiguousarray(image)
    scaled = max(1, round(height * WIDTH / width))
    return resize(np.ascontiguousarray(image), (scaled, WIDTH))


def picture(title: str, alt: str, image: UInt8) -> Picture:
    """(H, W, 3) uint8 BGR -> a cell with the picture as JPEG."""
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        raise RuntimeError(f"{alt}: JPEG encoding failed")
    text = base64.b64encode(data.tobytes()).decode()
    return Picture(title, alt, f"data:image/jpeg;base64,{text}", image.shape[1], image.shape[0])
