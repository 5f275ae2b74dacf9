"""The report's pictures: frames, each beside its flow image and the masks drawn on it.

Which frames: those of best, median and worst joint J, and of every other video the middle one.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from fusionseg.pipeline.basics.resizing import resize
from fusionseg.pipeline.basics.spread import evenly
from fusionseg.pipeline.datasets.items import Item
from fusionseg.pipeline.datasets.reading import read_frame, read_mask_sized
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.flow.videos import FlowPictures
from fusionseg.pipeline.store.artifact import Artifact, Record, Unit
from fusionseg.pipeline.store.runs import RunRecord
from fusionseg.pipeline.store.sources import open_recorded, scored_items

UInt8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

SHOWN = ("appearance", "motion", "joint")
# Wide enough to see a mask, small enough for the page to stay a file that can be mailed: at this width and quality a
# strip of six pictures takes some 60 kB, so a report with the most strips about 2 MB.
WIDTH = 220  # px
_JPEG_QUALITY = 80
WORST = 10
_MAX_MIDDLES = 24
_OPACITY = 0.5
_GAP, _PAPER = 6, 255  # between the pictures of a contact sheet: px, grey level
_PREDICTED, _TRUE = (50, 60, 255), (255, 200, 0)  # BGR: red and blue, told apart by everybody


@dataclass(frozen=True)
class Picture:
    """One cell of a strip; `source` is a data URI, None where there is nothing to show; `note`: its figures."""

    title: str
    alt: str
    source: str | None = None
    width: int = 0
    height: int = 0
    note: str = ""


@dataclass(frozen=True)
class Strip:
    """The pictures of one frame; `role`: why it is shown."""

    role: str
    title: str
    note: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Chosen:
    """A frame to show, and why."""

    role: str
    sequence: str
    frame: int


Scored = Mapping[tuple[str, int, str], tuple[float, float]]  # J and F by sequence, frame, method


def telling_frames(per_frame: pd.DataFrame, method: str = "joint") -> list[Chosen]:
    """The frames of best and median J of `method`, and the ten worst, worst first; none twice. Of equal ones the
    earlier row."""
    rows = per_frame[per_frame["method"] == method].sort_values("J", kind="stable")
    found = [(str(row["sequence"]), int(row["frame"])) for row in rows.to_dict("records")]
    if not found:
        return []
    best, median = found[-1], found[len(found) // 2]
    worst = [frame for frame in found if frame not in (best, median)][:WORST]
    chosen = [Chosen("best", *best), *([Chosen("median", *median)] if median != best else [])]
    return chosen + [Chosen(f"worst {rank}", *frame) for rank, frame in enumerate(worst, 1)]


def strips(root: Path, run: RunRecord, per_frame: pd.DataFrame) -> tuple[list[Strip], list[str]]:
    """The strips to show, and in words what can't be shown. `per_frame`: scores, for the choice and the figures."""
    return strips_of(root, run, per_frame, telling_frames(per_frame), _MAX_MIDDLES)


def strips_of(
    root: Path, run: RunRecord, per_frame: pd.DataFrame, telling: Sequence[Chosen], middles: int = 0
) -> tuple[list[Strip], list[str]]:
    """Strips of the frames `telling`, and of the middle frame of up to `middles` videos that have none there."""
    items, problems = scored_items(root, run)
    units = {name: unit for unit, name in run.scored_names().items() if unit in items}
    scores = {(r["sequence"], r["frame"], r["method"]): (r["J"], r["F"]) for r in per_frame.to_dict("records")}
    others = [name for name in units if name not in {chosen.sequence for chosen in telling}]
    shown = [others[index] for index in evenly(len(others), middles)] if middles else []
    if 0 < len(shown) < len(others):
        problems.append(f"of {len(others)} other videos {len(shown)} are shown, evenly chosen")
    chosen = [one for one in telling if one.sequence in units]
    chosen += [Chosen("middle", name, middle_frame(items[units[name]])) for name in shown]
    found, failed = [], dict[str, str]()  # what is wrong with a video is said once
    for one in chosen:
        try:
            found.append(strip(root, run, items[units[one.sequence]], one, scores))
        except UserError as error:
            failed[one.sequence] = f"{one.sequence}: {error.args[0]}"
    return found, [*problems, *failed.values()]


def contact_sheet(root: Path, run: RunRecord, per_frame: pd.DataFrame) -> str | None:
    """The strips of best, median and worst joint J below each other as one picture, a data URI; None where none of
    them can be shown."""
    rows = strips_of(root, run, per_frame, telling_frames(per_frame)[:3])[0]
    cells = [[decoded(picture) for picture in row.pictures] for row in rows]
    present = [cell for row in cells for cell in row if cell is not None]
    if not present:
        return None
    height, width = (max(cell.shape[axis] for cell in present) for axis in (0, 1))
    sheet = np.full((len(cells) * (height + _GAP), len(cells[0]) * (width + _GAP), 3), _PAPER, np.uint8)
    for y, row in enumerate(cells):
        for x, cell in enumerate(row):
            if cell is not None:
                top, left = y * (height + _GAP), x * (width + _GAP)
                sheet[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
    return picture("", "contact sheet", sheet).source


def decoded(picture: Picture) -> UInt8 | None:
    """(H, W, 3) uint8 BGR of a cell; None where it shows nothing."""
    if picture.source is None:
        return None
    data = np.frombuffer(base64.b64decode(picture.source.partition(",")[2]), np.uint8)
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def middle_frame(item: Item) -> int:
    """The middle frame, of those with a true mask if there are any."""
    shown = item.annotated or range(len(item.frames))
    return shown[len(shown) // 2]


def strip(root: Path, run: RunRecord, item: Item, chosen: Chosen, scores: Scored) -> Strip:
    """The strip of one frame. Raises UserError where an artifact or file can't be read."""
    name, index = chosen.sequence, chosen.frame
    unit: Unit = (item.dataset, item.name)
    with ExitStack() as stack:
        masks = stack.enter_context(open_recorded(root, recorded(run, unit, "prediction")))
        flow = stack.enter_context(open_recorded(root, recorded(run, unit, "flow-images", "optical-flow")))
        images = FlowPictures(flow, run.profile.flow_images)
        frame = checked_frame(item, index, masks)
        where = f"{name}, frame {index}"
        small = to_width(frame)
        pictures = [picture("frame", where, small), flow_picture(images, index, where)]
        for method in SHOWN:
            score = scores.get((name, index, method))
            pictures.append(method_picture(masks, method, index, small, where, score))
        pictures.append(truth_picture(item, index, frame, small, where))
    return Strip(chosen.role, name, f"frame {index} of 0 to {len(item.frames) - 1}", tuple(pictures))


def recorded(run: RunRecord, unit: Unit, *stages: str) -> Record:
    """The record of the first of `stages` that the run has of a video. Raises UserError if it has none."""
    for stage in stages:
        if record := run.by_unit(stage).get(unit):
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


def method_picture(
    masks: Artifact,
    method: str,
    index: int,
    small: UInt8,
    where: str,
    score: tuple[float, float] | None,
    title: str | None = None,
) -> Picture:
    """A model's mask on the frame, with J and F; nothing where the model has none. `title`: instead of its name."""
    if method not in masks:
        return Picture(title or method, f"{where}: no {method} mask")
    mask = masks.frame(method, index) > 0
    alt = f"{where}: {method} mask, {100 * mask.mean():.1f} % of the frame"
    found = mask_picture(title or method, alt, small, mask, _PREDICTED)
    return found if score is None else replace(found, note=f"J {100 * score[0]:.1f} · F {100 * score[1]:.1f}")


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
