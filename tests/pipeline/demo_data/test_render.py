"""The rendered demo data: its files, its truth, and that each kind of video is as hard as its name says."""

from __future__ import annotations

import hashlib
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from fusionseg.pipeline.demo_data import render as rendering
from fusionseg.pipeline.demo_data.render import render, scene_of_still, scene_of_video
from fusionseg.pipeline.demo_data.scenes import (
    Actor,
    Scene,
    actor_matrix,
    camera_matrix,
    draw_actors,
    frames_moved,
    owner_of_pixels,
    render_frame,
)
from fusionseg.pipeline.settings.sections import Render

SMALL = Render(
    stills=3,
    boxed_videos=8,
    fusion_videos=4,
    validation_videos=1,
    test_videos=4,
    frames=4,
    width=96,
    height=64,
)
KINDS = ["distractor", "camouflage", "stops", "plain"]


def inclusive_box(mask: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    """As ImageNet-VID has them: the last pixels belong to the box."""
    rows, columns = np.nonzero(mask)
    return int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("rendered") / "demo"
    render(root, SMALL, workers=2)
    return root


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def names_in(path: Path) -> list[str]:
    return path.read_text().splitlines()


def first_scene(kind: str, settings: Render = SMALL) -> Scene:
    return scene_of_video(settings, "test", KINDS.index(kind))


def test_same_settings_give_the_same_bytes_whatever_the_workers(demo: Path, tmp_path: Path) -> None:
    render(tmp_path / "again", SMALL, workers=1)
    assert digests(tmp_path / "again") == digests(demo)


def test_another_seed_gives_other_images() -> None:
    other = Render(seed=8, width=96, height=64)
    ours = Render(width=96, height=64)
    images = [render_frame(scene_of_still(settings, 0), 0).image for settings in (ours, other)]
    assert not np.array_equal(images[0], images[1])


def test_stills_are_pascal_voc(demo: Path) -> None:
    names = names_in(demo / "stills/ImageSets/Segmentation/train.txt")
    assert len(names) == len(set(names)) == SMALL.stills
    for name in names:
        image = cv2.imread(str(demo / "stills/JPEGImages" / f"{name}.jpg"))
        labels = cv2.imread(str(demo / "stills/SegmentationClass" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        assert image is not None and image.shape == (64, 96, 3)
        assert labels is not None and labels.shape == (64, 96) and labels.dtype == np.uint8
        assert set(np.unique(labels)) == {0, 1, 255}
        grown = cv2.dilate((labels == 1).astype(np.uint8), np.ones((5, 5), np.uint8))
        assert not np.any((labels == 255) & (grown == 0)), "void lies no farther than two pixels from the object"


@pytest.mark.parametrize("split", ["fusion", "validation", "test"])
def test_masked_videos_are_davis(demo: Path, split: str) -> None:
    names = names_in(demo / f"davis/ImageSets/480p/{split}.txt")
    assert len(names) == getattr(SMALL, f"{split}_videos")
    for name in names:
        frames = sorted((demo / "davis/JPEGImages/480p" / name).iterdir())
        masks = sorted((demo / "davis/Annotations/480p" / name).iterdir())
        assert [path.name for path in frames] == [f"{n:05d}.jpg" for n in range(4)]
        assert [path.name for path in masks] == [f"{n:05d}.png" for n in range(4)]
        for frame, mask in zip(frames, masks, strict=True):
            assert cv2.imread(str(frame)).shape == (64, 96, 3)
            labels = cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)
            assert labels.shape == (64, 96) and set(np.unique(labels)) == {0, 255}


def test_names_state_every_kind(demo: Path) -> None:
    for path in (
        "davis/ImageSets/480p/fusion.txt",
        "davis/ImageSets/480p/test.txt",
        "vid/ImageSets/VID/train.txt",
    ):
        assert {name.split("-")[1] for name in names_in(demo / path)} == set(KINDS)


@pytest.mark.parametrize("count", [1, 4, 8, 12, 24, 25])
def test_kinds_come_in_their_shares(count: int) -> None:
    kinds = rendering.video_kinds(count)
    assert len(kinds) == count
    for kind, share in rendering.KIND_SHARES.items():
        assert abs(kinds.count(kind) - share * count) < 1


def test_boxes_are_tight_around_the_visible_truth(demo: Path) -> None:
    boxes, empty = 0, 0
    for index, name in enumerate(names_in(demo / "vid/ImageSets/VID/train.txt")):
        scene = scene_of_video(SMALL, "boxed", index)
        for number in range(SMALL.frames):
            assert (demo / f"vid/Data/VID/train/{name}/{number:06d}.JPEG").is_file()
            root = ET.parse(demo / f"vid/Annotations/VID/train/{name}/{number:06d}.xml").getroot()
            assert (root.findtext("folder"), root.findtext("filename")) == (name, f"{number:06d}")
            assert (root.findtext("size/width"), root.findtext("size/height")) == ("96", "64")
            masks = render_frame(scene, number).masks
            expected = {str(track): inclusive_box(mask) for track, mask in enumerate(masks) if mask.any()}
            sides = ("xmin", "ymin", "xmax", "ymax")
            found = {
                entry.findtext("trackid"): tuple(int(entry.findtext(f"bndbox/{side}") or -1) for side in sides)
                for entry in root.iter("object")
            }
            assert found == expected
            assert all(entry.findtext("occluded") in ("0", "1") for entry in root.iter("object"))
            boxes, empty = boxes + len(found), empty + (not found)
    assert boxes > 0
    assert empty > 0, "an object that leaves is missing from some frames"
    assert not (demo / "vid/SegmentationClass").exists()


def test_stops_really_stop() -> None:
    settings = Render(frames=12, width=96, height=64)
    scene = first_scene("stops", settings)
    mover = next(actor for actor in scene.actors if actor.role == "mover")
    steps = [frames_moved(mover.track, n + 1.0) - frames_moved(mover.track, float(n)) for n in range(11)]
    rests = [step == 0 for step in steps]
    assert 3 <= sum(rests) <= 6 and not rests[0], "it moves first and rests for a third to a half"
    first = rests.index(True)
    assert np.allclose(pose_in_world(scene, mover, first), pose_in_world(scene, mover, first + 1))
    assert not np.allclose(pose_in_world(scene, mover, 0), pose_in_world(scene, mover, first))


def test_a_resting_object_covers_the_same_pixels() -> None:
    scene = first_scene("stops", Render(frames=12, width=96, height=64))
    still = replace(scene.camera, pan_x=0.0, pan_y=0.0, zoom_rate=0.0, turn_rate=0.0, shake=0.0)
    scene = replace(scene, camera=still)
    track = next(actor for actor in scene.actors if actor.role == "mover").track
    first, last = round(track.stop + 0.5), round(track.go - 0.5)
    masks = [render_frame(scene, number).truth for number in range(first, last + 1)]
    assert len(masks) >= 4 and all(np.array_equal(mask, masks[0]) for mask in masks)


def pose_in_world(scene: Scene, actor: Actor, number: int) -> np.ndarray:
    """The actor's pose with the camera's own motion undone."""
    last_row = [[0, 0, 1]]
    camera = np.vstack([camera_matrix(scene.camera, scene.size, float(number)), last_row])
    return np.linalg.inv(camera) @ np.vstack([actor_matrix(scene, actor, float(number)), last_row])


def test_static_distractors_are_not_truth() -> None:
    scene = first_scene("distractor")
    standing = [actor for actor in scene.actors if actor.role == "distractor"]
    movers = [actor for actor in scene.actors if actor.role == "mover"]
    assert standing and movers
    rendered = render_frame(scene, 1)
    assert len(rendered.masks) == len(movers)
    owner, _ = owner_of_pixels(scene.size, draw_actors(scene, 1.0))
    for number, actor in enumerate(scene.actors):
        if actor.role == "mover":
            assert rendered.truth[owner == number].all()
        if actor.role == "distractor":
            assert (owner == number).sum() > 20 and not rendered.truth[owner == number].any()
            assert frames_moved(actor.track, 3.0) * actor.track.speed == 0


def test_camouflage_wears_the_background() -> None:
    scene = first_scene("camouflage")
    mover = next(actor for actor in scene.actors if actor.role == "mover")
    assert mover.skin.whole and mover.skin.outline == 0
    worn = {tuple(pixel) for pixel in mover.skin.texture.reshape(-1, 3).tolist()}
    assert worn <= {tuple(pixel) for pixel in scene.canvas.reshape(-1, 3).tolist()}


def test_movers_show_in_the_flow() -> None:
    settings = Render(frames=8)
    scene = first_scene("camouflage", settings)
    frames = [render_frame(scene, number) for number in (2, 3)]
    grey = [cv2.cvtColor(frame.image, cv2.COLOR_BGR2GRAY) for frame in frames]
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(grey[0], grey[1], None)
    truth = frames[0].truth
    apart = np.median(flow[truth], axis=0) - np.median(flow[~truth], axis=0)
    assert np.linalg.norm(apart) > 1.5


def test_an_interrupted_rendering_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        assert 0 < done <= total
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render(tmp_path / "demo", SMALL, interrupt, workers=2)
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_every_image(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    settings = Render(
        stills=2,
        boxed_videos=1,
        fusion_videos=1,
        validation_videos=1,
        test_videos=1,
        frames=3,
        width=64,
        height=48,
    )
    render(tmp_path / "demo", settings, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (14, 14) and seen == sorted(seen)


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError):
        render(tmp_path, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("change", [{"stills": 0}, {"frames": 2}, {"width": 16}, {"seed": -1}])
def test_settings_that_cannot_be_rendered_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        Render(**change)


def limit(field: str, kind: str) -> int:
    """The smallest ("ge") or largest ("le") value that the settings allow."""
    found = [getattr(rule, kind) for rule in Render.model_fields[field].metadata if hasattr(rule, kind)]
    assert found, f"render.{field} has no limit {kind}"
    return int(found[0])


SMALLEST = {field: limit(field, "ge") for field in Render.model_fields}
LARGEST = {field: limit(field, "le") for field in Render.model_fields if field != "seed"}


def test_the_smallest_settings_are_rendered(tmp_path: Path) -> None:
    render(tmp_path / "data", Render.model_validate(SMALLEST))
    assert len(list((tmp_path / "data").rglob("*.jpg"))) == 1 + 3 * SMALLEST["frames"]


@pytest.mark.parametrize("field", Render.model_fields)
def test_smaller_ones_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        Render.model_validate({field: SMALLEST[field] - 1})


def small_with(**values: int) -> Render:
    return Render.model_validate(SMALL.model_dump() | values)


# Each side at its limits beside the other's smallest, sides that no power of two divides, and few frames.
SIDES = [
    (SMALLEST["width"], SMALLEST["height"]), (LARGEST["width"], SMALLEST["height"]),
    (SMALLEST["width"], LARGEST["height"]), (49, 51), (257, 161), (48, 331),
]  # fmt: skip


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_any_size_is_rendered(sides: tuple[int, int], seed: int) -> None:
    width, height = sides
    large = max(sides) > 1000
    settings = small_with(seed=seed, frames=SMALLEST["frames"], width=width, height=height)
    for index in range(1 if large else 4):
        for scene in (scene_of_video(settings, "test", index), scene_of_still(settings, index)):
            frame = render_frame(scene, scene.size.frames - 1)
            assert frame.image.shape == (height, width, 3) and frame.truth.shape == (height, width)


def test_names_of_the_largest_counts_stay_in_order() -> None:
    for field in ("stills", "frames"):
        assert len(f"{LARGEST[field]:06d}") == 6
    assert len(f"{LARGEST['frames']:05d}") == 5, "a mask's name"
