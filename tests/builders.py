"""Tiny data sets on disk, and the jobs and artifacts that stages need, for tests of any room."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.io import savemat

from fusionseg.pipeline.basics.digests import json_digest
from fusionseg.pipeline.datasets.items import Boxes, Item
from fusionseg.pipeline.datasets.manifest import DataManifest
from fusionseg.pipeline.settings.base import Settings
from fusionseg.pipeline.settings.profile import Profile
from fusionseg.pipeline.settings.sections import Run
from fusionseg.pipeline.store.artifact import Record, create_artifact
from fusionseg.pipeline.store.job import Context, Job, Work

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
    return Item("tiny", name, False, tuple(frames), **{"all_frames": tuple(frames), **more})


def write_xml_item(
    folder: Path,
    boxes: Sequence[Sequence[Box]],
    occluded: Sequence[Sequence[int]] | None = None,
    generated: Sequence[Sequence[int]] | None = None,
) -> Item:
    """A video whose frames have these boxes, marked so; its frames aren't written."""
    unmarked = [[0] * len(some) for some in boxes]
    paths = []
    for index, (some, hidden, made) in enumerate(zip(boxes, occluded or unmarked, generated or unmarked, strict=True)):
        paths.append(write_bytes(folder / f"{index:06}.xml", vid_xml(some, SIZE, hidden, made).encode()))
    frames = [folder / f"{index:06}.JPEG" for index in range(len(boxes))]
    return make_item(frames=frames, boxes=Boxes(tuple(paths)))


def make_context(root: Path, device: str = "cpu", **run: Any) -> Context:
    """A context on the CPU that keeps its words to itself."""
    return Context(root, device, Run(**run), lambda text: None)


def make_job(
    stage: str, item: Item | None = None, settings: Mapping[str, Mapping[str, Any]] | None = None,
    inputs: Sequence[Record] = (), suffix: str = ".h5", **more: Any,
) -> Job:  # fmt: skip
    """A job of one video, or of a model where no `item` is given; `settings`: what differs from the defaults."""
    values: dict[str, Any] = {
        "stage": stage, "stage_version": 1, "dataset": "tiny", "video": item.name if item else "model",
        "suffix": suffix, "sections": {name: section(name, own) for name, own in (settings or {}).items()},
        "items": {"video": (item,)} if item else {}, "sources": (), "inputs": tuple(inputs),
    }  # fmt: skip
    return Job(**(values | more))


def section(name: str, values: Mapping[str, Any]) -> Settings:
    """A section of a profile by its name in files."""
    kind = Profile.model_fields[name.replace("-", "_")].annotation
    assert isinstance(kind, type) and issubclass(kind, Settings)
    return kind.model_validate(values)


def make_work(context: Context, stage: str, *args: Any, **more: Any) -> Work:
    """`make_job`, with how to do it."""
    return Work(make_job(stage, *args, **more), context)


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


# Small trees of exactly the layouts that the owners of data sets publish. The object is `moving_square`'s.


def write_lines(path: Path, lines: Sequence[str]) -> Path:
    """Write a list."""
    return write_bytes(path, "".join(f"{line}\n" for line in lines).encode())


def write_davis_lists(root: Path, videos: Mapping[str, int]) -> None:
    """Write DAVIS 2016's own list: frame and mask on a line, each path with a slash before it."""
    lines = [
        f"/JPEGImages/480p/{name}/{index:05}.jpg /Annotations/480p/{name}/{index:05}.png "
        for name, frames in videos.items()
        for index in range(frames)
    ]
    write_lines(root / "ImageSets/480p/trainval.txt", lines)


def write_davis2017(root: Path, videos: Mapping[str, int]) -> None:
    """Write DAVIS 2017's unsupervised validation videos: objects 1 and 2 as palette indices, a row of 255."""
    for name, frames in videos.items():
        for index, (frame, mask) in enumerate(moving_square(frames)):
            label = mask.astype(np.uint8)
            label[18:22, 30:36], label[23] = 2, 255
            write_jpeg(root / f"JPEGImages/480p/{name}/{index:05}.jpg", frame)
            write_indexed(root / f"Annotations_unsupervised/480p/{name}/{index:05}.png", label)
    write_lines(root / "ImageSets/2017/val.txt", list(videos))


def write_indexed(path: Path, values: UInt8) -> Path:
    """Write (H, W) as palette indices."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    image.putpalette([(37 * n) % 256 for n in range(768)])
    image.save(path)
    return path


def write_segtrack(root: Path) -> None:
    """Write SegTrack v2: `girl` with one object, `cheetah` with two in folders and formats of their own."""
    for index, (frame, mask) in enumerate(moving_square(3)):
        colour, other = mask[..., None] * np.full(3, 255, np.uint8), np.zeros((*SIZE, 3), np.uint8)
        other[18:22, 30:36] = 255
        write_png(root / f"JPEGImages/girl/girl_{index:04}.bmp", frame[..., ::-1])
        write_png(root / f"GroundTruth/girl/girl_{index:04}.png", colour)
        write_png(root / f"JPEGImages/cheetah/chasedeer_{index:05}.png", frame[..., ::-1])
        write_png(root / f"GroundTruth/cheetah/1/chasedeer_{index:05}.bmp", colour)
        write_png(root / f"GroundTruth/cheetah/2/chasedeer_{index:05}.png", other)
    write_lines(root / "ImageSets/all.txt", ["*girl", "*cheetah"])
    for name, stem in (("girl", "girl_{:04}"), ("cheetah", "chasedeer_{:05}")):
        write_lines(root / f"ImageSets/{name}.txt", [f"{name}/", *(stem.format(index) for index in range(3))])


def write_fbms(root: Path) -> None:
    """Write FBMS-59: `cars1` of Berkeley's, grey, and `bear01` of Freiburg's, in colours, both with truth of every
    other frame."""
    white, red, blue = (255, 255, 255), (255, 0, 0), (0, 0, 255)
    for index, (frame, mask) in enumerate(moving_square(4), 1):
        write_jpeg(root / f"Testset/cars1/cars1_{index:02}.jpg", frame)
        write_jpeg(root / f"Trainingset/bear01/bear01_{index:04}.jpg", frame)
        if index % 2:
            regions = np.where(mask, 128, 0).astype(np.uint8)
            regions[18:22, 30:36] = 255
            write_png(root / f"Testset/cars1/GroundTruth/cars1_{index:02}.pgm", regions)
            colours = np.full((*SIZE, 3), white, np.uint8)
            colours[mask], colours[18:22, 30:36] = red, blue
            truth = root / "Trainingset/bear01/GroundTruth"
            write_png(truth / f"bear01_{index:04}_gt.ppm", colours)
            write_png(truth / f"bear01_{index:04}_gt.pgm", np.full(SIZE, 255, np.uint8))
            write_png(truth / f"bear01_{index:04}_PROB_gt.ppm", np.full((*SIZE, 3), 255, np.uint8))
    write_fbms_definition(root / "Testset/cars1/GroundTruth/cars1Def.dat", [0, 128, 255])
    codes = [r * 65536 + g * 256 + b for r, g, b in (white, red, blue)]
    write_fbms_definition(root / "Trainingset/bear01/GroundTruth/bear01Def.dat", codes)
    for video in ("Testset/cars1", "Trainingset/bear01"):
        write_lines(root / f"{video}/{Path(video).name}.bmf", ["4 1"])


def write_youtube_objects(root: Path) -> None:
    """Write YouTube-Objects v1.0 and the masks by Jain and Grauman: of `cat`'s shot frames 1 and 11, at half size; of
    `dog`'s none; frame 1 of each has boxes."""
    for shot in ("cat/data/0002/shots/001", "dog/data/0011/shots/007"):
        for index, (frame, mask) in enumerate(moving_square(11), 1):
            write_jpeg(root / f"{shot}/frame{index:04}.jpg", frame)
            if shot.startswith("cat") and index % 10 == 1:
                half = cv2.resize(mask.astype(np.uint8) * 255, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
                small = cv2.resize(frame, None, fx=0.5, fy=0.5)
                write_jpeg(root / f"youtube_masks/{shot}/labels/{index:05}.jpg", np.dstack([half] * 3))
                write_png(root / f"youtube_masks/{shot}/images/{index:05}.png", small[..., ::-1])
        write_sticks(root / f"{shot}/frame0001.jpg_sticks.mat", [(4, 6, 11, 13), (30, 18, 35, 21)])
    for name in ("cat", "dog"):
        write_lines(root / name / "sets/train.txt", ["0002", "0011"])
        write_jpeg(root / name / "data/0001/shots/001/frame0001.jpg", texture(SIZE, 5))


def soft(mask: npt.NDArray[np.bool_]) -> UInt8:
    """A mask (H, W) as saliency data sets have it: a dark grey rim around the object, which half is above."""
    rim = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) * 100
    return np.where(mask, 255, rim).astype(np.uint8)


def write_duts(root: Path) -> None:
    """Write DUTS: two stills to train on, one to test on."""
    frame, mask = moving_square(1)[0]
    for split, numbers in {"TR": (4, 18), "TE": (3,)}.items():
        for number in numbers:
            name = f"ILSVRC2012_test_{number:08}"
            write_jpeg(root / f"DUTS-{split}/DUTS-{split}-Image/{name}.jpg", frame)
            write_png(root / f"DUTS-{split}/DUTS-{split}-Mask/{name}.png", soft(mask))


def write_ecssd(root: Path) -> None:
    """Write two stills of ECSSD."""
    for index, (frame, mask) in enumerate(moving_square(2), 1):
        write_jpeg(root / f"images/{index:04}.jpg", frame)
        write_png(root / f"ground_truth_mask/{index:04}.png", mask.astype(np.uint8) * 255)


def write_visal(root: Path) -> None:
    """Write ViSal: `bird` and `rider`, each in a format of its own, with the masks of frames 1 and 6 of six."""
    for stem, suffix in (("ViSal/bird/bird_frame", ".bmp"), ("ViSal/rider/rider_image", ".png")):
        for index, (frame, mask) in enumerate(moving_square(6), 1):
            path = root / f"{stem}{index:04}{suffix}"
            write_png(path, frame[..., ::-1])
            if index % 5 == 1:
                write_png(root / "GroundTruth" / path.name, np.dstack([soft(mask)] * 3))


def write_voc_sbd(root: Path) -> None:
    """Write PASCAL VOC 2012 and SBD side by side, as both are unpacked."""
    voc, sbd = root / "VOCdevkit/VOC2012", root / "benchmark_RELEASE/dataset"
    frame, mask = moving_square(1)[0]
    label = mask.astype(np.uint8) * 5
    label[5, 4:12] = 255
    lists = {
        voc / "ImageSets/Segmentation/train.txt": ["2007_000032", "2007_000039"],
        voc / "ImageSets/Segmentation/val.txt": ["2007_000033"],
        sbd / "train.txt": ["2007_000039", "2008_000002"],
        sbd / "val.txt": ["2007_000033", "2008_000003"],
    }
    for path, names in lists.items():
        write_lines(path, names)
        for name in names:
            write_jpeg(voc / f"JPEGImages/{name}.jpg", frame)
            if path.is_relative_to(voc):
                write_indexed(voc / f"SegmentationClass/{name}.png", label)
            else:
                write_jpeg(sbd / f"img/{name}.jpg", frame)
                write_sbd(sbd / f"cls/{name}.mat", mask.astype(np.uint8) * 7)


def write_imagenet_vid(root: Path) -> None:
    """Write ImageNet-VID's training and validation snippets, and its lists."""
    snippets = {
        "train": [
            "ILSVRC2015_VID_train_0000/ILSVRC2015_train_00000000",
            "ILSVRC2015_VID_train_0001/ILSVRC2015_train_00139005",
        ],
        "val": ["ILSVRC2015_val_00000000"],
    }
    boxes: list[list[Box]] = [[(4, 6, 12, 14), (30, 18, 36, 22)], [], [(8, 6, 16, 14)]]
    for split, names in snippets.items():
        for name in names:
            for index, (frame, _) in enumerate(moving_square(3)):
                write_jpeg(root / f"Data/VID/{split}/{name}/{index:06}.JPEG", frame)
                marks = [0, 1][: len(boxes[index])]
                text = vid_xml(boxes[index], occluded=marks, generated=marks[::-1])
                write_bytes(root / f"Annotations/VID/{split}/{name}/{index:06}.xml", text.encode())
    for number in (1, 30):  # one list a class
        write_lines(root / f"ImageSets/VID/train_{number}.txt", [f"{name} 1" for name in snippets["train"]])
    frames = [f"{name}/{index:06}" for name in snippets["val"] for index in range(3)]
    write_lines(root / "ImageSets/VID/val.txt", [f"{frame} {number}" for number, frame in enumerate(frames, 1)])


def write_coco(root: Path) -> None:
    """Write three images of COCO's validation set: with a polygon, with a crowd, and with nothing in it."""
    height, width = SIZE
    numbers = [139, 285, 632]
    for number in numbers:
        write_jpeg(root / f"val2017/{number:012}.jpg", moving_square(1)[0][0])
    crowd = {"size": [height, width], "counts": [0, height * 3, height * (width - 3)]}  # the first three columns
    annotations = [
        {"id": 1, "image_id": 139, "iscrowd": 0, "category_id": 1, "bbox": [4, 6, 8, 8],
         "segmentation": [[4.0, 6.0, 12.0, 6.0, 12.0, 14.0, 4.0, 14.0]]},
        {"id": 2, "image_id": 285, "iscrowd": 1, "category_id": 1, "bbox": [0, 0, 3, height], "segmentation": crowd},
    ]  # fmt: skip
    images = [{"id": n, "file_name": f"{n:012}.jpg", "height": height, "width": width, "license": 1} for n in numbers]
    content = {"info": {}, "licenses": [], "categories": [], "images": images, "annotations": annotations}
    write_bytes(root / "annotations/instances_val2017.json", json.dumps(content).encode())
