"""Tiny data sets on disk, and the jobs and artifacts that stages need, for tests of any room."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy.io import savemat

from fusionseg.pipeline.artifact import Record, create_artifact, json_digest
from fusionseg.pipeline.job import Context, Job
from fusionseg.pipeline.manifest import Boxes, DataManifest, Item
from fusionseg.pipeline.profile import Run

UInt8 = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]
SIZE = (24, 40)  # height and width of the frames below
LONG_AGO = 1_500_000_000  # s since 1970


def write_png(path: Path, array: npt.NDArray[Any]) -> Path:
    """Write (H, W) or (H, W, 3) RGB uint8, or (H, W) bool as a 1-bit file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def write_jpeg(path: Path, array: UInt8) -> Path:
    """Write (H, W, 3) uint8 BGR."""
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(".jpg", array)
    assert done
    path.write_bytes(data.tobytes())
    return path


def write_bytes(path: Path, data: bytes = b"") -> Path:
    """Write a file as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def write_sbd(path: Path, classes: UInt8) -> Path:
    """Write classes (H, W) as the Semantic Boundaries Dataset does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"GTcls": {"Boundaries": np.zeros((20, 1), object), "Segmentation": classes, "CategoriesPresent": [1]}}
    savemat(path, content, do_compression=True)
    return path


def write_sticks(path: Path, boxes: Sequence[Sequence[float]]) -> Path:
    """Write boxes x0, y0, x1, y1 as YouTube-Objects v1.0 does."""
    cells = np.empty((1, len(boxes)), object)
    for number, box in enumerate(boxes):
        cells[0, number] = np.array([box], float)
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"coor": cells})
    return path


def write_fbms_definition(path: Path, regions: Sequence[int]) -> Path:
    """Write the values of a video's regions as FBMS does."""
    scales = "".join(f"Scale of region {number}:\n{value}\n" for number, value in enumerate(regions))
    penalties = "\n".join(" ".join("0" if i == j else "1" for i in regions) for j in regions)
    text = (
        f"Definition file\n\nTotal number of regions:\n{len(regions)}\n{scales}\nConfusion penalty matrix:\n"
        f"{penalties}\n\nTotal number of frames in this shot:\n4\nTotal number of labeled frames for this shot:\n0\n"
    )
    return write_bytes(path, text.encode())


def texture(size: tuple[int, int], seed: int, cells: int = 8) -> UInt8:
    """A smooth random picture (H, W, 3) that optical flow can follow."""
    height, width = size
    coarse = np.random.default_rng(seed).integers(0, 256, (height // cells + 2, width // cells + 2, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def moving_square(
    frames: int, size: tuple[int, int] = SIZE, side: int = 8
) -> list[tuple[UInt8, npt.NDArray[np.bool_]]]:
    """Frames (H, W, 3) BGR and masks of a square that moves 2 px to the right a frame over a still background."""
    background, patch = texture(size, 1), texture((side, side), 2, 2)
    pictures = []
    for index in range(frames):
        left = 4 + 2 * index
        frame, mask = background.copy(), np.zeros(size, bool)
        frame[6 : 6 + side, left : left + side] = patch
        mask[6 : 6 + side, left : left + side] = True
        pictures.append((frame, mask))
    return pictures


def write_davis(root: Path, videos: Mapping[str, int], split: str = "train") -> DataManifest:
    """Write videos (name -> number of frames) in DAVIS's layout; gives their manifest."""
    for name, frames in videos.items():
        for index, (frame, mask) in enumerate(moving_square(frames)):
            write_jpeg(root / f"JPEGImages/480p/{name}/{index:05}.jpg", frame)
            write_png(root / f"Annotations/480p/{name}/{index:05}.png", mask.astype(np.uint8) * 255)
    lists = root / f"ImageSets/480p/{split}.txt"
    lists.parent.mkdir(parents=True, exist_ok=True)
    lists.write_text("".join(f"{name}\n" for name in videos), encoding="utf-8")
    return DataManifest.model_validate(
        {
            "name": "tiny-davis", "title": "Tiny DAVIS", "kind": "videos", "licence": "none", "protocol": "davis2016",
            "frames": "JPEGImages/480p/{video}/{frame}.jpg", "masks": "Annotations/480p/{video}/{frame}.png",
            "boxes": "from-masks", "splits": {split: {"file": f"ImageSets/480p/{split}.txt"}},
        }
    )  # fmt: skip


def write_voc(root: Path, names: Sequence[str]) -> DataManifest:
    """Write stills in PASCAL VOC's layout: classes 1 and 5 as palette indices, a void outline of 255."""
    for name in names:
        frame, mask = moving_square(1)[0]
        label = mask.astype(np.uint8) * 5
        label[18:22, 30:36] = 1
        label[5, 4:12] = 255
        write_jpeg(root / f"JPEGImages/{name}.jpg", frame)
        path = root / f"SegmentationClass/{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(label).convert("P")
        image.putpalette([(37 * n) % 256 for n in range(768)])
        image.putdata(label.reshape(-1).tolist())
        image.save(path)
    lists = root / "ImageSets/Segmentation/train.txt"
    lists.parent.mkdir(parents=True, exist_ok=True)
    lists.write_text("\n".join(names) + "\n", encoding="utf-8")
    return DataManifest.model_validate(
        {
            "name": "tiny-voc", "title": "Tiny VOC", "kind": "stills", "licence": "none", "void": 255,
            "frames": "JPEGImages/{frame}.jpg", "masks": "SegmentationClass/{frame}.png",
            "splits": {"train": {"file": "ImageSets/Segmentation/train.txt"}},
        }
    )  # fmt: skip


def vid_xml(
    boxes: Sequence[Box], size: tuple[int, int] = SIZE, occluded: Sequence[int] = (), generated: Sequence[int] = ()
) -> str:
    """An ImageNet-VID annotation of boxes x0, y0, x1, y1 with exclusive ends (the file's are inclusive)."""
    marks = zip(occluded or [0] * len(boxes), generated or [0] * len(boxes), strict=True)
    objects = "".join(
        f"<object><trackid>{number}</trackid><name>n02084071</name><bndbox><xmax>{x1 - 1}</xmax><xmin>{x0}</xmin>"
        f"<ymax>{y1 - 1}</ymax><ymin>{y0}</ymin></bndbox><occluded>{hidden}</occluded>"
        f"<generated>{made}</generated></object>"
        for number, ((x0, y0, x1, y1), (hidden, made)) in enumerate(zip(boxes, marks, strict=True))
    )
    return f"<annotation><size><width>{size[1]}</width><height>{size[0]}</height></size>{objects}</annotation>"


def write_vid(root: Path, videos: Mapping[str, int]) -> DataManifest:
    """Write videos in ImageNet-VID's layout, the second frame of each without a box."""
    for name, frames in videos.items():
        for index, (frame, _) in enumerate(moving_square(frames)):
            write_jpeg(root / f"Data/VID/train/{name}/{index:06}.JPEG", frame)
            box = (4 + 2 * index, 6, 12 + 2 * index, 14)
            path = root / f"Annotations/VID/train/{name}/{index:06}.xml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(vid_xml([] if index == 1 else [box]), encoding="utf-8")
    lists = root / "ImageSets/VID/train.txt"
    lists.parent.mkdir(parents=True, exist_ok=True)
    # As in the real list, a number follows each name.
    lists.write_text("".join(f"{name} {n + 1}\n" for n, name in enumerate(videos)), encoding="utf-8")
    return DataManifest.model_validate(
        {
            "name": "tiny-vid", "title": "Tiny VID", "kind": "videos", "licence": "none",
            "frames": "Data/VID/train/{video}/{frame}.JPEG", "boxes": "Annotations/VID/train/{video}/{frame}.xml",
            "splits": {"train": {"file": "ImageSets/VID/train.txt"}},
        }
    )  # fmt: skip


def age(root: Path) -> None:
    """Set the time stamps of all files to long ago, as if they had been there before."""
    for path in root.rglob("*"):
        if path.is_file():
            os.utime(path, (LONG_AGO, LONG_AGO))


def make_item(name: str = "clip", frames: Sequence[Path] = (), **more: Any) -> Item:
    """A video."""
    return Item("tiny", name, False, tuple(frames), **more)


def write_xml_item(folder: Path, boxes: Sequence[Sequence[Box]]) -> Item:
    """A video whose frames have these boxes; its frames aren't written."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, some in enumerate(boxes):
        paths.append(folder / f"{index:06}.xml")
        paths[-1].write_text(vid_xml(some), encoding="utf-8")
    frames = [folder / f"{index:06}.JPEG" for index in range(len(boxes))]
    return make_item(frames=frames, boxes=Boxes(tuple(paths)))


def make_context(root: Path, **run: Any) -> Context:
    """A context on the CPU that keeps its words to itself."""
    return Context(root, torch.device("cpu"), Run(**run), lambda text: None)


def make_job(
    stage: str, item: Item | None = None, settings: Mapping[str, Mapping[str, Any]] | None = None,
    inputs: Sequence[Record] = (), suffix: str = ".h5", **more: Any,
) -> Job:  # fmt: skip
    """A job of one video, or of a model where no `item` is given."""
    values: dict[str, Any] = {
        "stage": stage, "stage_version": 1, "dataset": "tiny", "video": item.name if item else "model",
        "suffix": suffix, "settings": settings or {}, "items": {"video": (item,)} if item else {}, "sources": (),
        "inputs": tuple(inputs),
    }  # fmt: skip
    return Job(**(values | more))


def write_input(
    context: Context, stage: str, frames: Mapping[str, npt.NDArray[Any]], facts: Mapping[str, Any] | None = None,
    tables: Mapping[str, Any] | None = None, video: str = "clip",
) -> Record:  # fmt: skip
    """Write an artifact of an earlier stage from whole arrays (T, ...); gives its record."""
    relative = Path("artifacts") / stage / "tiny" / f"{video}.h5"
    identity = {
        "stage": stage, "stage_version": 1, "dataset": "tiny", "video": video, "key": json_digest([stage, video]),
        "settings": {}, "inputs": [],
    }  # fmt: skip
    with create_artifact(context.root / relative, identity) as writer:
        for name, array in frames.items():
            data = writer.frames(name, len(array), array.shape[1:], array.dtype)
            for frame in array:
                data.append(frame)
        for name, table in (tables or {}).items():
            writer.table(name, table)
        writer.facts |= facts or {}
        content = writer.content()
    return Record(stage, "tiny", video, identity["key"], relative.as_posix(), content)


def flip(path: Path, position: int, bit: int = 0) -> None:
    """Change one bit of a file, keeping its size."""
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(bytes(data))
