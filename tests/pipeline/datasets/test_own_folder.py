"""The layout `folder`: what is a video, which masks belong to it, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from builders import moving_square, write_jpeg, write_png
from videos import write_video

from fusionseg.pipeline.datasets.digests import Ledger
from fusionseg.pipeline.datasets.finding import load_items, split_names
from fusionseg.pipeline.datasets.items import Item
from fusionseg.pipeline.datasets.manifest import read_manifest
from fusionseg.pipeline.datasets.videos import extractor
from fusionseg.pipeline.errors import BadFile, UserError


def write_pictures(folder: Path, count: int = 3, suffix: str = ".jpg") -> list[Path]:
    return [write_jpeg(folder / f"{n:03}{suffix}", frame) for n, (frame, _) in enumerate(moving_square(count))]


def write_masks(folder: Path, numbers: list[int], width: int = 3) -> list[Path]:
    masks = [mask for _, mask in moving_square(max(numbers) + 1)]
    return [write_png(folder / f"{n:0{width}}.png", masks[n].astype(np.uint8)) for n in numbers]


def load(root: Path, problems: list[BadFile] | None = None, **more: object) -> list[Item]:
    extract = extractor(Ledger(root.parent / "store" / "digests.json"))
    return load_items(read_manifest("folder"), "all", root, problems=problems, extract=extract, **more)  # type: ignore[arg-type]


def test_a_video_file(tmp_path: Path) -> None:
    (item,) = load(write_video(tmp_path / "my clip.MP4", 4))
    assert (item.dataset, item.name, item.stills, item.masks, item.protocol) == ("folder", "my clip", False, (), None)
    assert [path.name for path in item.frames] == ["00000.jpg", "00001.jpg", "00002.jpg", "00003.jpg"]
    assert tmp_path / "store" / "frames" in item.frames[0].parents


def test_a_folder_of_pictures_is_one_video_named_after_it(tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "Größe [1]", suffix=".JPG")
    (tmp_path / "Größe [1]" / "notes.txt").write_text("no picture")
    (tmp_path / "Größe [1]" / ".hidden.jpg").write_text("passed over")
    (item,) = load(tmp_path / "Größe [1]")
    assert item.name == "Größe [1]" and list(item.frames) == pictures


def test_every_subfolder_with_pictures_and_every_video_file_is_a_video(tmp_path: Path) -> None:
    write_pictures(tmp_path / "own" / "take 10", 2)
    write_pictures(tmp_path / "own" / "take 9", 3)
    write_video(tmp_path / "own" / "take 1.mp4", 4)
    (tmp_path / "own" / "empty").mkdir()
    (tmp_path / "own" / "notes.txt").write_text("words")
    assert [(i.name, len(i.frames)) for i in load(tmp_path / "own")] == [("take 1", 4), ("take 9", 3), ("take 10", 2)]
    assert [i.name for i in load(tmp_path / "own", leave_out=["take 9"])] == ["take 1", "take 10"]
    assert split_names(read_manifest("folder"), "all", tmp_path / "own") == ["take 1", "take 9", "take 10"]


@pytest.mark.parametrize(("frames", "masks"), [("frames", "masks"), ("JPEGImages", "Annotations")])
def test_masks_lie_beside_the_frames(tmp_path: Path, frames: str, masks: str) -> None:
    root = tmp_path / "own"
    write_pictures(root / frames / "whole", 3)
    write_pictures(root / frames / "sparse", 3)
    write_pictures(root / frames / "without", 3)
    write_video(root / frames / "file.avi", 3)
    whole = write_masks(root / masks / "whole", [0, 1, 2])
    (only,) = write_masks(root / masks / "sparse", [1])
    write_masks(root / masks / "file", [0, 1, 2], width=5)
    found = {item.name: item for item in load(root)}
    assert {name: (item.annotated, item.protocol) for name, item in found.items()} == {
        "whole": ([0, 1, 2], "davis2016"), "file": ([0, 1, 2], "davis2016"), "sparse": ([1], "fbms"),
        "without": ([], None),
    }  # fmt: skip
    assert list(found["whole"].files("masks")) == whole and found["sparse"].files("masks") == (only,)
    assert found["without"].masks == ()


def test_masks_of_one_video_lie_directly_in_their_folder(tmp_path: Path) -> None:
    write_pictures(tmp_path / "own" / "frames", 3)
    masks = write_masks(tmp_path / "own" / "masks", [0, 2])
    (item,) = load(tmp_path / "own")
    assert item.name == "own" and item.annotated == [0, 2] and list(item.files("masks")) == masks


def test_frames_without_masks_may_lie_in_a_folder_of_that_name(tmp_path: Path) -> None:
    write_pictures(tmp_path / "own" / "frames", 2)
    (item,) = load(tmp_path / "own")
    assert item.name == "own" and item.masks == ()


def test_a_stride_takes_masks_along(tmp_path: Path) -> None:
    write_pictures(tmp_path / "own" / "frames", 5)
    write_masks(tmp_path / "own" / "masks", [0, 1, 2, 3, 4])
    (item,) = load(tmp_path / "own", stride=2)
    assert [path.stem for path in item.frames] == [path.stem for path in item.files("masks")] == ["000", "002", "004"]
    assert len(item.all_frames) == 5


def refused(root: Path) -> str:
    with pytest.raises(UserError) as caught:
        load(root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_nothing_usable(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    assert f"{tmp_path / 'own'}: holds no pictures and no videos" in refused(tmp_path / "own")
    (tmp_path / "own" / "frames").mkdir()
    assert "no videos in frames" in refused(tmp_path / "own")
    assert "no folder" in refused(tmp_path / "gone")
    (tmp_path / "words.txt").write_text("words")
    assert "words.txt: not a video file by its name" in refused(tmp_path / "words.txt")


def test_pictures_beside_videos_are_ambiguous(tmp_path: Path) -> None:
    write_pictures(tmp_path / "own", 1)
    write_video(tmp_path / "own" / "clip.mp4", 2)
    assert "holds pictures and also clip.mp4" in refused(tmp_path / "own")
    (tmp_path / "own" / "clip.mp4").unlink()
    write_pictures(tmp_path / "own" / "more", 1)
    assert "holds pictures and also more/" in refused(tmp_path / "own")


def test_two_videos_of_one_name(tmp_path: Path) -> None:
    write_video(tmp_path / "own" / "clip.mp4", 2)
    write_pictures(tmp_path / "own" / "clip", 1)
    assert "several videos of the name clip" in refused(tmp_path / "own")


def test_masks_without_frames_folder(tmp_path: Path) -> None:
    write_pictures(tmp_path / "own" / "clip", 1)
    write_masks(tmp_path / "own" / "masks" / "clip", [0])
    assert "has masks but no frames; put the videos into a folder frames/" in refused(tmp_path / "own")


def test_masks_of_no_video(tmp_path: Path) -> None:
    write_pictures(tmp_path / "own" / "frames" / "clip", 1)
    write_masks(tmp_path / "own" / "masks" / "klip", [0])
    assert "masks: no video for the masks in klip; the videos are: clip" in refused(tmp_path / "own")
    (tmp_path / "own" / "masks" / "klip").rename(tmp_path / "own" / "masks" / "clip")
    write_masks(tmp_path / "own" / "masks", [0])
    assert "masks: holds masks of clip in several ways: clip, pictures; expected one" in refused(tmp_path / "own")
    write_pictures(tmp_path / "own" / "frames" / "other", 1)
    assert "masks: holds pictures; expected a folder for each video, clip/" in refused(tmp_path / "own")


def test_a_mask_of_no_frame(tmp_path: Path) -> None:
    """As where a tool counts from 1: every mask would stand on the wrong frame."""
    write_pictures(tmp_path / "own" / "frames", 3)
    write_masks(tmp_path / "own" / "masks", [1, 2, 3])
    line = refused(tmp_path / "own")
    assert "masks/003.png: no frame of own has its name; they are called 000 and so on" in line
    problems: list[BadFile] = []
    (item,) = load(tmp_path / "own", problems)
    assert [error.name for error in problems] == ["own"] and item.annotated == [1, 2]


def test_both_names_of_one_thing(tmp_path: Path) -> None:
    for name in ("frames", "JPEGImages"):
        write_pictures(tmp_path / "own" / name, 1)
    assert "holds JPEGImages, frames, which mean the same" in refused(tmp_path / "own")


def test_a_bad_video_file_can_be_left_out(tmp_path: Path) -> None:
    write_video(tmp_path / "own" / "good.mp4", 2)
    bad = write_video(tmp_path / "own" / "bad.mp4", 2)
    bad.write_bytes(bad.read_bytes()[:500])
    with pytest.raises(BadFile, match=r"bad\.mp4: cut off: 500 bytes found") as caught:
        load(tmp_path / "own")
    assert (caught.value.dataset, caught.value.name) == ("folder", "bad")
    problems: list[BadFile] = []
    assert [item.name for item in load(tmp_path / "own", problems)] == ["good"] and len(problems) == 1
    assert [item.name for item in load(tmp_path / "own", leave_out=["bad"])] == ["good"]


def test_two_pictures_of_one_frame(tmp_path: Path) -> None:
    write_pictures(tmp_path / "own", 2)
    write_png(tmp_path / "own" / "001.png", np.zeros((4, 4), np.uint8))
    assert "001.jpg and 001.png: two files for one frame" in refused(tmp_path / "own")


def test_a_manifest_of_ones_own_may_have_this_layout(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    text = "name: own\ntitle: Own\nkind: videos\nlicence: mine\nlayout: folder\nsplits: {all: []}\n"
    path.write_text(text)
    write_pictures(tmp_path / "own", 2)
    (item,) = load_items(read_manifest(str(path)), "all", tmp_path / "own")
    assert item.dataset == "own"
    path.write_text(text + "frames: '{frame}.jpg'\n")
    with pytest.raises(UserError, match="layout: folder finds videos and masks itself"):
        read_manifest(str(path))
    path.write_text(text.replace("layout: folder\n", ""))
    with pytest.raises(UserError, match="frames is missing"):
        read_manifest(str(path))
    with pytest.raises(UserError, match="has no split 'test'; it has: all"):
        load_items(read_manifest("folder"), "test", tmp_path / "own")
