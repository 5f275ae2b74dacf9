"""The built-in demo data: rendered from a seed, written in the real data sets' own layouts.

Stills with masks (PASCAL VOC's layout), videos with boxes only (ImageNet-VID's) and videos with a mask per
frame (DAVIS-2016's) whose sequences are named after what is hard about them:

- `plain`: coated objects move;
- `distractor`: objects of the same look stand still beside the mover, so that looks alone must fail;
- `camouflage`: the mover wears the background, so that only its motion gives it away;
- `stops`: the mover rests for a third to a half of the frames, so that motion alone must fail.

The truth is the movers, also while they rest; what stands or hides is background.
"""

from __future__ import annotations

import math
import os
import shutil
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from fusionseg.models.labels import VOID
from fusionseg.pipeline.demo_data.scenes import FrameSize, Mask, RenderedFrame, Scene, render_frame
from fusionseg.pipeline.demo_data.staging import KIND_SHARES, VideoKind, still_scene, video_scene
from fusionseg.pipeline.formats.boxes import VidObject, tight_box, vid_xml
from fusionseg.pipeline.settings.sections import Render

# Raise this whenever the same settings would give other files: what was rendered before is then not reused.
RENDER_VERSION: int = 1

Split = Literal["boxed", "fusion", "validation", "test"]
# What each kind of item mixes into its seed; a number, once given, stays.
SEED_OF: dict[str, int] = {"still": 0, "boxed": 1, "fusion": 2, "validation": 3, "test": 4}
# Of the boxed plain videos, every other one from the second on loses its object from view.
LEAVES_EVERY, LEAVES_FROM = 2, 1
JPEG_QUALITY = 92  # of 100: what cameras and the real data sets use, give or take
VOC_OBJECT = 1
DAVIS_OBJECT = 255


def video_kinds(count: int) -> list[VideoKind]:
    """Return the kinds of `count` videos: by `KIND_SHARES`, largest remainders first, interleaved."""
    exact = {kind: share * count for kind, share in KIND_SHARES.items()}
    left = {kind: math.floor(amount + 1e-9) for kind, amount in exact.items()}
    by_remainder = sorted(exact, key=lambda kind: left[kind] - exact[kind])
    for kind in by_remainder[: count - sum(left.values())]:
        left[kind] += 1
    kinds: list[VideoKind] = []
    while len(kinds) < count:
        for kind in KIND_SHARES:
            if left[kind] > 0:
                left[kind] -= 1
                kinds.append(kind)
    return kinds


def split_count(settings: Render, split: Split) -> int:
    """Return how many videos a split has."""
    return int(getattr(settings, f"{split}_videos"))


def video_names(settings: Render, split: Split) -> list[str]:
    """Return a split's video names in order, for example "test-camouflage-01"."""
    kinds = video_kinds(split_count(settings, split))
    return [f"{split}-{kind}-{index:02d}" for index, kind in enumerate(kinds)]


def scene_of_video(settings: Render, split: Split, index: int) -> Scene:
    """Return the scene of a split's video; the same settings always give the same one."""
    kinds = video_kinds(split_count(settings, split))
    kind, earlier = kinds[index], kinds[:index].count(kinds[index])
    size = FrameSize(settings.frames, settings.width, settings.height)
    leaves = split == "boxed" and kind == "plain" and earlier % LEAVES_EVERY == LEAVES_FROM
    return video_scene(kind, size, (settings.seed, SEED_OF[split], index), leaves)


def scene_of_still(settings: Render, index: int) -> Scene:
    """Return the scene of a still, whose only frame is number 0."""
    return still_scene(settings.width, settings.height, (settings.seed, SEED_OF["still"], index))


def voc_labels(truth: Mask) -> NDArray[np.uint8]:
    """Return VOC's labels (height, width): 0 background, 1 object, 255 a rim one pixel wide around it."""
    solid = truth.astype(np.uint8)
    labels = np.zeros(truth.shape, np.uint8)
    labels[cv2.dilate(solid, np.ones((3, 3), np.uint8)) > 0] = VOID
    labels[truth] = VOC_OBJECT
    return labels


def davis_labels(truth: Mask) -> NDArray[np.uint8]:
    """Return DAVIS-2016's labels (height, width): 0 background, 255 object."""
    return np.where(truth, np.uint8(DAVIS_OBJECT), np.uint8(0))


def vid_annotation(video: str, frame: str, rendered: RenderedFrame) -> bytes:
    """Return ImageNet-VID's XML for a frame: one `object` per mover in view, trackid its number."""
    height, width = rendered.image.shape[:2]
    objects = []
    movers = zip(rendered.masks, rendered.families, rendered.occluded, strict=True)
    for track, (mask, family, occluded) in enumerate(movers):
        box = tight_box(mask)
        if box is not None:
            objects.append(VidObject(track, family, box, bool(occluded)))
    return vid_xml(video, frame, (width, height), objects, "FusionSeg_rendered")


def _write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Encode an image by its path's ending and write it; cv2.imwrite would fail in silence on a full disk."""
    jpeg = path.suffix.lower() != ".png"
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if jpeg else []
    done, encoded = cv2.imencode(path.suffix.lower(), image, options)
    if not done:
        raise OSError(f"cannot encode {path.name}")
    path.write_bytes(encoded.tobytes())


def _write_still(root: Path, settings: Render, index: int) -> int:
    rendered = render_frame(scene_of_still(settings, index), 0)
    name = _still_name(index)
    _write_image(root / "stills/JPEGImages" / f"{name}.jpg", rendered.image)
    _write_image(root / "stills/SegmentationClass" / f"{name}.png", voc_labels(rendered.truth))
    return 1


def _still_name(index: int) -> str:
    return f"still_{index:06d}"


def _write_boxed_video(root: Path, settings: Render, name: str, index: int) -> int:
    scene = scene_of_video(settings, "boxed", index)
    images = root / "vid/Data/VID/train" / name
    annotations = root / "vid/Annotations/VID/train" / name
    images.mkdir(parents=True)
    annotations.mkdir(parents=True)
    for number in range(settings.frames):
        rendered = render_frame(scene, number)
        _write_image(images / f"{number:06d}.JPEG", rendered.image)
        (annotations / f"{number:06d}.xml").write_bytes(vid_annotation(name, f"{number:06d}", rendered))
    return settings.frames


def _write_masked_video(root: Path, settings: Render, split: Split, name: str, index: int) -> int:
    scene = scene_of_video(settings, split, index)
    images = root / "davis/JPEGImages/480p" / name
    annotations = root / "davis/Annotations/480p" / name
    images.mkdir(parents=True)
    annotations.mkdir(parents=True)
    for number in range(settings.frames):
        rendered = render_frame(scene, number)
        _write_image(images / f"{number:05d}.jpg", rendered.image)
        _write_image(annotations / f"{number:05d}.png", davis_labels(rendered.truth))
    return settings.frames


def _write_lists(root: Path, settings: Render) -> None:
    """Write the lists of names and make the folders that stills share."""
    for folder in ("stills/JPEGImages", "stills/SegmentationClass"):
        (root / folder).mkdir(parents=True)
    lists = {
        "stills/ImageSets/Segmentation/train.txt": [_still_name(index) for index in range(settings.stills)],
        "vid/ImageSets/VID/train.txt": video_names(settings, "boxed"),
    }
    masked: tuple[Split, ...] = ("fusion", "validation", "test")
    for split in masked:
        lists[f"davis/ImageSets/480p/{split}.txt"] = video_names(settings, split)
    for path, names in lists.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("".join(f"{name}\n" for name in names))


def _jobs(root: Path, settings: Render) -> list[Callable[[], int]]:
    """Return the calls that write everything; each returns how many images it wrote."""
    # Videos come first: they take longest, and a long job at the very end would leave workers idle.
    jobs: list[Callable[[], int]] = []
    for index, name in enumerate(video_names(settings, "boxed")):
        jobs.append(partial(_write_boxed_video, root, settings, name, index))
    masked: tuple[Split, ...] = ("fusion", "validation", "test")
    for split in masked:
        for index, name in enumerate(video_names(settings, split)):
            jobs.append(partial(_write_masked_video, root, settings, split, name, index))
    jobs.extend(partial(_write_still, root, settings, index) for index in range(settings.stills))
    return jobs


def _image_count(settings: Render) -> int:
    splits: tuple[Split, ...] = ("boxed", "fusion", "validation", "test")
    return settings.stills + settings.frames * sum(split_count(settings, split) for split in splits)


def _run(jobs: list[Callable[[], int]], workers: int, total: int, progress: Callable[[int, int], None] | None) -> None:
    """Run the jobs on threads; the first error, or one from `progress`, cancels what has not begun."""
    # Threads, not processes: nearly all the time is inside cv2 and numpy, which let go of the interpreter,
    # and nothing has to be importable again in a fresh process.
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="render") as pool:
        futures = [pool.submit(job) for job in jobs]
        done = 0
        try:
            for future in as_completed(futures):
                done += future.result()
                if progress is not None:
                    progress(done, total)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def render(
    root: Path,
    settings: Render,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 0,
) -> None:
    """Render the whole demo data set as `root`, which must not exist yet (an empty folder may).

    `progress(done, total)` counts images and is called in the caller's thread; what it raises stops the
    rendering. `workers` threads share the work, 0 meaning one per processor; the files do not depend on it.
    All is written beside `root` first and renamed at the end: an interrupted rendering leaves no `root`.
    """
    root = Path(root)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise FileExistsError(f"{root} exists and is not an empty folder")
    root.parent.mkdir(parents=True, exist_ok=True)
    partial_root = root.with_name(f".{root.name}.{uuid.uuid4().hex}.partial")
    partial_root.mkdir()
    try:
        _write_lists(partial_root, settings)
        _run(_jobs(partial_root, settings), workers or os.cpu_count() or 1, _image_count(settings), progress)
        partial_root.rename(root)
    except BaseException:
        shutil.rmtree(partial_root, ignore_errors=True)
        raise
