"""`data check`, a run and `score` agree on what a folder holds, however its masks are arranged; what fits no rule is
refused by all three, never passed over."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from builders import moving_square, write_bytes, write_jpeg, write_png
from videos import write_video

from fusionseg.cli import main
from fusionseg.pipeline.datasets.check import Found, check
from fusionseg.pipeline.datasets.digests import Ledger
from fusionseg.pipeline.datasets.finding import left_out, load_items
from fusionseg.pipeline.datasets.manifest import read_manifest
from fusionseg.pipeline.datasets.reading import read_mask
from fusionseg.pipeline.datasets.videos import extractor
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.scoring.benchmark import score
from fusionseg.pipeline.scoring.outputs import Scored
from fusionseg.pipeline.scoring.request import ScoreRequest

FRAMES = 5
MANIFEST = read_manifest("folder")
Mask = npt.NDArray[np.bool_]


def truth() -> list[Mask]:
    return [mask for _, mask in moving_square(FRAMES)]


def halves(mask: Mask) -> tuple[Mask, Mask]:
    """Two objects that are the mask together."""
    middle = np.arange(mask.shape[1]) < np.flatnonzero(mask.any(0)).mean()
    return mask & middle, mask & ~middle


def frames(folder: Path) -> Path:
    for index, (frame, _) in enumerate(moving_square(FRAMES)):
        write_jpeg(folder / f"{index:05}.jpg", frame)
    return folder


def masks(folder: Path, which: Sequence[Mask] | None = None, suffix: str = ".png") -> Path:
    for index, mask in enumerate(which or truth()):
        write_png(folder / f"{index:05}{suffix}", mask.astype(np.uint8) * np.uint8(255))
    return folder


def objects(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        masks(folder / name, [halves(mask)[number] for mask in truth()])


def mask_video(path: Path) -> Path:
    shown = [np.repeat(np.where(mask, 255, 0).astype(np.uint8)[..., None], 3, axis=2) for mask in truth()]
    return write_video(path, shown, codec="ffv1" if path.suffix == ".avi" else None)


def usual(root: Path) -> None:
    frames(root / "frames/v1")
    masks(root / "masks/v1")


def davis(root: Path) -> None:
    frames(root / "JPEGImages/480p/v1")
    masks(root / "Annotations/480p/v1")
    write_bytes(root / "ImageSets/480p/train.txt", b"v1\n")


def in_capitals(root: Path) -> None:
    frames(root / "FRAMES/v1")
    masks(root / "Masks/v1")


def by_other_words(root: Path) -> None:
    frames(root / "images/v1")
    masks(root / "gt/v1")


def deeper(root: Path) -> None:
    frames(root / "frames/day 2/v1")
    masks(root / "masks/day 2/v1")


def a_folder_an_object(root: Path) -> None:
    frames(root / "frames/v1")
    objects(root / "masks/v1", "obj1", "obj2")


def one_video(root: Path) -> None:
    frames(root / "frames")
    masks(root / "masks")


def one_video_and_a_subfolder(root: Path) -> None:
    frames(root / "frames")
    masks(root / "masks/clip")


def one_video_and_objects(root: Path) -> None:
    frames(root / "frames")
    objects(root / "masks", "cat", "dog")


def one_named_video_and_loose_masks(root: Path) -> None:
    frames(root / "frames/v1")
    masks(root / "masks")


def a_video_of_masks(root: Path) -> None:
    frames(root / "frames/v1")
    mask_video(root / "masks/v1.mp4")


def a_gif_of_masks(root: Path) -> None:
    frames(root / "frames/v1")
    mask_video(root / "masks/v1.gif")


def a_loose_video_of_masks(root: Path) -> None:
    frames(root / "frames")
    mask_video(root / "masks/whatever.avi")


def of_other_kinds(root: Path) -> None:
    frames(root / "frames/v1")
    masks(root / "masks/v1", suffix=".TIFF")


def decomposed(root: Path) -> None:
    """One letter as two: how some systems write é."""
    frames(root / "frames/cafe\u0301")
    masks(root / "masks/caf\u00e9")


def linked(root: Path) -> None:
    usual(root)
    (root / "masks/latest").symlink_to(".")
    (root / "frames/latest").symlink_to(".")
    (root / "frames/v1/again").symlink_to("..")


ARRANGEMENTS = (
    usual, davis, in_capitals, by_other_words, deeper, a_folder_an_object, one_video, one_video_and_a_subfolder,
    one_video_and_objects, one_named_video_and_loose_masks, a_video_of_masks, a_gif_of_masks, a_loose_video_of_masks,
    of_other_kinds, decomposed, linked,
)  # fmt: skip


def checked(root: Path, store: Path) -> Found:
    (found,) = check(MANIFEST, root, deep=True, extract=extractor(Ledger(store / "digests.json")))
    return found


def scored(root: Path, predicted: Path) -> Scored:
    return score(ScoreRequest("davis2016", root, {"ours": predicted}))


@pytest.mark.parametrize("arrange", ARRANGEMENTS)
def test_all_see_the_same_masks(arrange: Callable[[Path], None], tmp_path: Path) -> None:
    root, extract = tmp_path / "own", extractor(Ledger(tmp_path / "store/digests.json"))
    arrange(root)
    found = checked(root, tmp_path / "store")
    assert (found.problems, len(found.items), found.frames, found.masks) == ([], 1, FRAMES, FRAMES)
    (item,) = load_items(MANIFEST, "all", root, extract=extract)
    assert item.protocol == "davis2016" and item.annotated == list(range(FRAMES))
    for index, mask in enumerate(truth()):
        assert np.array_equal(read_mask(item, index) == 1, mask)
    name = item.name if item.name != root.name else "v1"
    ours = masks(tmp_path / "ours" / name).parents[name.count("/")]
    assert scored(root, ours).overall.loc[0, "J"] == 1
    assert scored(ours, root).overall.loc[0, "J"] == 1
    if arrange not in OF_ONE_VIDEO:  # whose masks have any name, or none
        method = next(path for path in root.iterdir() if path.name.lower() in ("masks", "annotations", "gt"))
        assert scored(ours, method).overall.loc[0, "J"] == 1


OF_ONE_VIDEO = (one_video_and_a_subfolder, one_video_and_objects, a_loose_video_of_masks)


def two_ways(root: Path) -> None:
    usual(root)
    objects(root / "masks/v1", "obj1")


def pictures_and_a_video(root: Path) -> None:
    usual(root)
    mask_video(root / "masks/v1.mp4")


def arrays(root: Path) -> None:
    frames(root / "frames/v1")
    write_bytes(root / "masks/v1.npy", b"")


def no_masks(root: Path) -> None:
    frames(root / "frames/v1")
    write_bytes(root / "masks/read me.txt", b"words")


def of_no_video(root: Path) -> None:
    usual(root)
    masks(root / "masks/v2")


def too_deep(root: Path) -> None:
    frames(root / "frames/v1")
    masks(root / "masks/v1/obj1/again")


def masks_without_frames(root: Path) -> None:
    frames(root / "v1")
    masks(root / "masks/v1")


def several_names_of_one_thing(root: Path) -> None:
    usual(root)
    masks(root / "Annotations/v1")


REFUSED = {
    two_ways: "holds masks of v1 in several ways: v1, v1/obj1; expected one of them",
    pictures_and_a_video: "holds masks of v1 in several ways: v1, v1.mp4",
    arrays: "v1.npy: masks in files of this kind aren't read; save them as",
    no_masks: "no masks",
    of_no_video: "no video for the masks in v2; the videos are: v1",
    too_deep: "no video for the masks in v1/obj1/again",
    masks_without_frames: "has masks but no frames",
    several_names_of_one_thing: "holds Annotations, masks, which mean the same",
}


@pytest.mark.parametrize("arrange", REFUSED)
def test_what_fits_no_rule_is_refused(arrange: Callable[[Path], None], tmp_path: Path) -> None:
    root = tmp_path / "own"
    arrange(root)
    (problem,) = checked(root, tmp_path / "store").problems
    assert REFUSED[arrange] in problem.problem
    with pytest.raises(UserError) as caught:
        load_items(MANIFEST, "all", root, extract=extractor(Ledger(tmp_path / "store/digests.json")))
    assert REFUSED[arrange] in str(caught.value)
    with pytest.raises(UserError) as caught:
        scored(root, masks(tmp_path / "ours/v1").parent)
    assert REFUSED[arrange] in str(caught.value)


def test_a_video_of_masks_must_have_as_many_frames(tmp_path: Path) -> None:
    root = tmp_path / "own"
    a_video_of_masks(root)
    (root / "frames/v1/00004.jpg").unlink()
    (problem,) = checked(root, tmp_path / "store").problems
    assert problem.kind == "unclear" and "v1.mp4: 5 masks, v1 has 4 frames; expected as many" in problem.problem
    ours = masks(tmp_path / "ours/v1", truth()[:4]).parent
    with pytest.raises(UserError, match=r"v1\.mp4: 5 masks, the truth has 4; expected as many"):
        scored(ours, root / "masks")


def test_what_is_left_out_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "own"
    usual(root)
    for name in ("frames/v1/notes.txt", "masks/list.csv", "Thumbs.db", "extra/anything.bin"):
        write_bytes(root / name, b"words")
    expected = ["Thumbs.db", "extra/", "frames/v1/notes.txt", "masks/list.csv"]
    assert left_out(MANIFEST, root) == expected
    assert main(["data", "check", "folder", "--data", str(root), "--out", str(tmp_path / "store")]) == 0
    assert "left out, neither frames nor masks (4): " in capsys.readouterr().out
    assert scored(root, masks(tmp_path / "ours/v1").parent).notes() == ["truth: left out, no masks (1): masks/list.csv"]


@pytest.mark.parametrize("name", ["00005.heic", "00005.PSD", "00005.exr", "00005.dng"])
def test_pictures_that_cannot_be_read_are_not_passed_over(tmp_path: Path, name: str) -> None:
    """The flow would go over the gap, as if the object had jumped."""
    root = tmp_path / "own"
    usual(root)
    write_bytes(root / "frames/v1" / name, b"anything")
    (problem,) = checked(root, tmp_path / "store").problems
    assert problem.kind == "unreadable" and problem.name == "v1"
    assert f"{name}: pictures of this kind can't be read here; convert them" in problem.problem
    shutil.move(root / "frames/v1" / name, root / "masks/v1" / name)
    (problem,) = checked(root, tmp_path / "store").problems
    assert f"masks/v1/{name}: " in problem.problem and problem.name == "v1"
    with pytest.raises(UserError, match="pictures of this kind can't be read here"):
        scored(root, masks(tmp_path / "ours/v1").parent)


@pytest.mark.parametrize("name", ["frames/v1/00005.jpg", "frames/v2", "masks/v1/00005.png", "masks/v2"])
def test_links_that_lead_nowhere_are_told(tmp_path: Path, name: str) -> None:
    root = tmp_path / "own"
    usual(root)
    (root / name).symlink_to("gone")
    found = [problem.problem for problem in checked(root, tmp_path / "store").problems]
    assert any(f"{name}: a link that leads nowhere" in line for line in found)


def test_a_link_to_itself_is_no_loop(tmp_path: Path) -> None:
    root = tmp_path / "own"
    usual(root)
    (root / "masks/me").symlink_to("me")
    found = [problem.problem for problem in checked(root, tmp_path / "store").problems]
    assert len(found) == 1 and "masks/me: a link that leads nowhere" in found[0]


def test_stills_of_kinds_that_may_move_are_frames_among_frames(tmp_path: Path) -> None:
    from PIL import Image

    root = tmp_path / "own/v1"
    frames(root)
    with Image.open(root / "00002.jpg") as image:
        image.save(root / "00002.gif")
    (root / "00002.jpg").unlink()
    (item,) = load_items(MANIFEST, "all", tmp_path / "own")
    assert [path.name for path in item.frames][1:4] == ["00001.jpg", "00002.gif", "00003.jpg"]
    with Image.open(root / "00001.jpg") as image:
        image.save(root / "00002.gif", save_all=True, append_images=[image.rotate(90)])
    (problem,) = checked(tmp_path / "own", tmp_path / "store").problems
    assert "00002.gif: holds 2 pictures, expected one" in problem.problem


def test_names_that_are_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "own"
    usual(root)
    (root / "frames" / "caf\udce9").mkdir()
    assert main(["data", "check", "folder", "--data", str(root), "--out", str(tmp_path / "store")]) in (1, 2)
    said = "".join(capsys.readouterr())
    assert r"caf\udce9" in said and "a name that isn't UTF-8; rename it" in said
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "caf\udce9").mkdir()
    with pytest.raises(UserError, match="isn't UTF-8; rename it"):
        scored(root, tmp_path / "ours")


def test_two_names_that_are_one(tmp_path: Path) -> None:
    root = tmp_path / "own"
    frames(root / "caf\u00e9")
    frames(root / "cafe\u0301")
    with pytest.raises(UserError, match="two of this name, in two forms of Unicode; rename one"):
        load_items(MANIFEST, "all", root)


@pytest.mark.parametrize(
    ("frames_at", "masks_at"),
    [
        ("v1/frames", "v1/masks"),
        ("set/frames/v1", "set/masks/v1"),
        ("v1", "v1_mask"),
        ("frames/a/v1", "frames/a/v1-GT"),
    ],
)
def test_masks_are_not_taken_as_videos(tmp_path: Path, frames_at: str, masks_at: str) -> None:
    frames(tmp_path / "own" / frames_at)
    masks(tmp_path / "own" / masks_at)
    with pytest.raises(UserError, match="seems to hold masks; put all videos into frames/"):
        load_items(MANIFEST, "all", tmp_path / "own")


@pytest.mark.parametrize("form", ["{}_mask", "{}-gt", "{}.labels", "{}_GT"])
def test_masks_are_not_taken_as_frames(tmp_path: Path, form: str) -> None:
    root = tmp_path / "own/v1"
    frames(root)
    write_png(root / f"{form.format('00001')}.png", truth()[1])
    with pytest.raises(UserError, match="v1 holds masks among the frames, 00001"):
        load_items(MANIFEST, "all", tmp_path / "own")
    frames(tmp_path / "other/my_mask")  # no video's name with something behind it
    assert [item.name for item in load_items(MANIFEST, "all", tmp_path / "other")] == ["my_mask"]


def test_what_this_program_wrote_beside_the_videos_is_no_video(tmp_path: Path) -> None:
    write_video(tmp_path / "own/clip.mp4", 4)
    (out := tmp_path / "own/out").mkdir()
    extract = extractor(ledger := Ledger(out / "digests.json"))
    for _ in range(2):
        assert [item.name for item in load_items(MANIFEST, "all", tmp_path / "own", extract=extract)] == ["clip"]
        (out / "digests.json").write_text("{}")
    assert ledger.path.is_file() and list((out / "frames").iterdir())


def test_what_a_picture_was_made_from_is_no_frame(tmp_path: Path) -> None:
    frames(tmp_path / "own/v1")
    write_bytes(tmp_path / "own/v1/00002.CR2", b"what 00002.jpg was made from")
    (item,) = load_items(MANIFEST, "all", tmp_path / "own")
    assert len(item.frames) == FRAMES


def test_arrays_in_place_of_frames_are_refused(tmp_path: Path) -> None:
    frames(tmp_path / "own/v1")
    write_bytes(tmp_path / "own/v2/0.npy", b"numbers")
    with pytest.raises(UserError, match=r"v2/0\.npy: an array; give the frames as pictures or as a video file"):
        load_items(MANIFEST, "all", tmp_path / "own")


def test_videos_are_trees_whatever_the_others_call_their_frames(tmp_path: Path) -> None:
    mask_video(tmp_path / "videos/v1.avi")
    mask_video(tmp_path / "videos/v2.avi")
    for name in ("v1", "v2"):
        for index, mask in enumerate(truth(), 1):
            write_png(tmp_path / "pictures" / name / f"f{index}.png", mask)
    for one, other in (("videos", "pictures"), ("pictures", "videos"), ("videos", "videos")):
        found = scored(tmp_path / one, tmp_path / other)
        assert found.overall.loc[0, "J"] == 1 and found.per_frame["sequence"].nunique() == 2
    assert scored(tmp_path / "videos/v1.avi", tmp_path / "videos/v2.avi").overall.loc[0, "J"] == 1


def test_masks_in_a_video_of_any_brightness(tmp_path: Path) -> None:
    frames(tmp_path / "own/frames/v1")
    shown = [np.repeat(np.where(mask, 128, 0).astype(np.uint8)[..., None], 3, axis=2) for mask in truth()]
    write_video(tmp_path / "own/masks/v1.mp4", shown)
    (item,) = load_items(MANIFEST, "all", tmp_path / "own", extract=extractor(Ledger(tmp_path / "store/digests.json")))
    for index, mask in enumerate(truth()):
        assert (read_mask(item, index) == 1)[mask].mean() > 0.9 and (read_mask(item, index) == 1)[~mask].mean() < 0.02


def test_frames_counted_from_another_number_are_told(tmp_path: Path) -> None:
    """Else every mask would be scored on its neighbour."""
    root = tmp_path / "own"
    usual(root)
    for index, mask in enumerate(truth(), 1):
        write_png(tmp_path / f"ours/v1/{index:05}.png", mask)
    with pytest.raises(UserError, match="v1: its frames go from 1 to 5, the truth's from 0 to 4"):
        scored(root, tmp_path / "ours")


def test_merged_objects_are_told(tmp_path: Path) -> None:
    root = tmp_path / "own"
    usual(root)
    objects(tmp_path / "ours/v1", "cat", "dog")
    assert scored(root, tmp_path / "ours").notes() == ["ours: folders of objects merged: v1"]


def test_files_beside_whole_masks_are_left_out(tmp_path: Path) -> None:
    root = tmp_path / "own"
    usual(root)
    write_bytes(masks(tmp_path / "ours/v1") / "scores.npy", b"numbers")
    found = scored(root, tmp_path / "ours")
    assert found.overall.loc[0, "J"] == 1 and found.notes() == ["ours: left out, no masks (1): v1/scores.npy"]


def test_pipes_and_devices_are_refused(tmp_path: Path) -> None:
    """Who reads one waits for ever."""
    usual(root := tmp_path / "own")
    os.mkfifo(root / "frames/v1/00009.png")
    with pytest.raises(UserError, match="neither a file nor a folder, but a pipe or device"):
        load_items(MANIFEST, "all", root)


def test_names_with_control_characters_are_refused(tmp_path: Path) -> None:
    """They would drive the terminal that shows them."""
    frames(tmp_path / "own" / "red\x1b[31m")
    with pytest.raises(UserError, match=r"red\\x1b\[31m': a name with control characters; rename it"):
        load_items(MANIFEST, "all", tmp_path / "own")
