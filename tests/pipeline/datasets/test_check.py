"""`data check`: all that is there is counted, all that is wrong is found, nothing else is called wrong."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from builders import (
    texture,
    write_coco,
    write_davis,
    write_davis2017,
    write_duts,
    write_ecssd,
    write_fbms,
    write_imagenet_vid,
    write_jpeg,
    write_png,
    write_segtrack,
    write_vid,
    write_visal,
    write_voc,
    write_voc_sbd,
    write_youtube_objects,
)
from videos import write_video

from fusionseg.pipeline.datasets import check as module
from fusionseg.pipeline.datasets.check import (
    KINDS,
    Found,
    Problem,
    check,
    problem_lines,
    problem_table,
    run_check,
    summary_line,
    table_lines,
)
from fusionseg.pipeline.datasets.manifest import DataManifest, Expected, read_manifest
from fusionseg.pipeline.errors import UserError

FRAMES, MASKS = "JPEGImages/480p", "Annotations/480p"


@pytest.fixture
def davis(tmp_path: Path) -> DataManifest:
    """Return the manifest of two videos on disk, of 4 and 3 frames."""
    return write_davis(tmp_path, {"bear": 4, "bus": 3})


def one(manifest: DataManifest, root: Path, **options: Any) -> Found:
    (found,) = check(manifest, root, **options)
    return found


def kinds(found: Found) -> dict[str, int]:
    return dict(Counter(problem.kind for problem in found.problems))


@pytest.mark.parametrize("deep", [False, True])
def test_all_well(tmp_path: Path, davis: DataManifest, deep: bool) -> None:
    told: list[tuple[int, int]] = []
    found = one(davis, tmp_path, deep=deep, progress=lambda done, total: told.append((done, total)))
    assert (len(found.items), found.frames, found.masks, found.problems) == (2, 7, 7, [])
    assert (found.boxes, found.empty) == ((7, []) if deep else (None, None))  # boxes come from masks
    assert told == [(4, 7), (7, 7)]


def test_every_problem_is_found(tmp_path: Path, davis: DataManifest) -> None:
    (tmp_path / MASKS / "bear/00000.png").unlink()
    (tmp_path / MASKS / "bear/00001.png").write_bytes(b"no picture")
    write_png(tmp_path / MASKS / "bear/00002.png", np.zeros((12, 20), np.uint8))
    frame = tmp_path / FRAMES / "bear/00003.jpg"
    frame.write_bytes(frame.read_bytes()[:-30])
    write_jpeg(tmp_path / FRAMES / "bus/00001.jpg", texture((24, 41), 0))
    (tmp_path / FRAMES / "bus/00002.jpg").write_bytes(b"")
    (tmp_path / FRAMES / "bus/00000.JPG").write_bytes((tmp_path / FRAMES / "bus/00000.jpg").read_bytes())
    for path in (tmp_path / MASKS / "bus").iterdir():
        path.unlink()
    found = one(davis, tmp_path)
    texts = {(p.kind, p.name, Path(p.problem.split(": ")[0]).name) for p in found.problems}
    assert texts >= {
        ("missing", "bear", "00000.png"), ("unreadable", "bear", "00001.png"), ("wrong size", "bear", "00002.png"),
        ("unreadable", "bear", "00003.jpg"), ("wrong size", "bus", "00001.jpg"), ("unreadable", "bus", "00002.jpg"),
        ("missing", "bus", "00000.png"), ("missing", "bus", "00001.png"), ("missing", "bus", "00002.png"),
    }  # fmt: skip
    assert kinds(found) == {"missing": 4, "unclear": 1, "unreadable": 3, "wrong size": 2}
    assert all("\n" not in p.problem and str(tmp_path) in p.problem for p in found.problems)


def test_damage_inside_a_file_is_found_by_decoding_it(tmp_path: Path, davis: DataManifest) -> None:
    mask = tmp_path / MASKS / "bear/00001.png"
    data = bytearray(mask.read_bytes())
    data[data.index(b"IDAT") + 6] ^= 0xFF
    mask.write_bytes(data)
    frame = tmp_path / FRAMES / "bus/00001.jpg"
    data = bytearray(frame.read_bytes())
    start = data.index(b"\xff\xda")
    data[start : start + 2] = b"\xff\xd9"  # ends before its pixels
    frame.write_bytes(data)
    # Of masks, a few are decoded anyway, to say how they are read.
    assert {(p.kind, p.name) for p in one(davis, tmp_path).problems} == {("unreadable", "bear")}
    found = one(davis, tmp_path, deep=True)
    assert {(p.kind, p.name) for p in found.problems} == {("unreadable", "bear"), ("unreadable", "bus")}
    assert found.boxes == 6  # of the masks that can be read


def test_masks_without_object_are_counted_and_are_no_problem(tmp_path: Path, davis: DataManifest) -> None:
    write_png(tmp_path / MASKS / "bus/00001.png", np.zeros((24, 40), np.uint8))
    write_png(tmp_path / MASKS / "bus/00002.png", np.full((24, 40), 7, np.uint8))
    found = one(davis.model_copy(update={"void": 7}), tmp_path, deep=True)
    assert found.problems == [] and found.empty is not None and found.boxes == 5
    assert [(p.name, Path(p.problem.split(": ")[0]).name) for p in found.empty] == [
        ("bus", "00001.png"),
        ("bus", "00002.png"),
    ]


def test_sparse_masks_are_counted_where_they_are(tmp_path: Path, davis: DataManifest) -> None:
    for name in ("bear/00000.png", "bear/00003.png", "bus/00001.png"):
        (tmp_path / MASKS / name).unlink()
    found = one(davis.model_copy(update={"sparse_masks": True}), tmp_path, deep=True)
    assert (found.frames, found.masks, found.boxes, found.problems) == (7, 4, 4, [])


def test_masks_may_be_of_another_size_where_the_manifest_says_so(tmp_path: Path, davis: DataManifest) -> None:
    write_png(tmp_path / MASKS / "bear/00002.png", np.ones((12, 20), np.uint8))
    assert one(davis.model_copy(update={"allow_mask_resize": True}), tmp_path, deep=True).problems == []


def test_result_masks_of_others_are_looked_at(tmp_path: Path, davis: DataManifest) -> None:
    manifest = davis.model_copy(update={"others": {"A": "a/{video}/{frame}.png"}})
    for index in range(4):
        write_png(tmp_path / f"a/bear/{index:05}.png", np.zeros((24, 40 + (index == 2)), bool))
    found = one(manifest, tmp_path, deep=True)
    assert [(p.kind, p.name) for p in found.problems] == [("wrong size", "bear")]
    assert found.empty == []  # theirs may be


def test_boxes_of_xml_files_are_counted_and_must_be_readable(tmp_path: Path) -> None:
    manifest = write_vid(tmp_path, {"clip": 4})
    found = one(manifest, tmp_path)
    assert (found.boxes, found.masks, found.problems) == (3, 0, [])
    (tmp_path / "Annotations/VID/train/clip/000002.xml").write_text("<annotation><object>")
    found = one(manifest, tmp_path)
    assert found.boxes == 2 and kinds(found) == {"unreadable": 1}


def test_stills_may_differ_in_size_and_are_named_one_by_one(tmp_path: Path) -> None:
    voc = write_voc(tmp_path, ["a", "b", "c"])
    write_jpeg(tmp_path / "JPEGImages/b.jpg", texture((30, 30), 0))
    (tmp_path / "SegmentationClass/c.png").unlink()
    found = one(voc, tmp_path, deep=True)
    assert [(p.kind, p.name) for p in found.problems] == [("missing", "c"), ("wrong size", "b")]
    assert (found.frames, found.masks) == (3, 2)
    assert table_lines(voc, [found])[1].split()[:4] == ["train", "3", "3", "2"]


def test_counts_that_the_owners_publish(tmp_path: Path, davis: DataManifest) -> None:
    right = {"train": Expected(videos=2, frames=7, masks=7, boxes=7)}
    assert one(davis.model_copy(update={"expected": right}), tmp_path, deep=True).problems == []
    wrong = {"train": Expected(videos=3, frames=7, boxes=8)}
    found = one(davis.model_copy(update={"expected": wrong}), tmp_path)
    assert [(p.kind, p.problem) for p in found.problems] == [("wrong count", "train: 2 videos found, 3 expected")]


LAYOUTS: list[tuple[str, str, Callable[[Path], object], tuple[int, int, int | None]]] = [
    ("davis2017-unsupervised", "val", lambda root: write_davis2017(root, {"judo": 2}), (2, 2, None)),
    ("segtrack-v2", "all", write_segtrack, (6, 6, None)),
    ("fbms59", "Testset", write_fbms, (4, 2, None)),
    ("youtube-objects-boxes", "annotated", write_youtube_objects, (22, 0, 4)),
    ("voc2012-sbd", "train", write_voc_sbd, (4, 4, None)),
    ("imagenet-vid", "val", write_imagenet_vid, (3, 0, 3)),
    ("coco-instances", "val2017", write_coco, (3, 3, None)),
    ("duts", "TR", write_duts, (2, 2, None)),
    ("ecssd", "all", write_ecssd, (2, 2, None)),
    ("visal", "all", write_visal, (12, 4, 4)),
]


@pytest.mark.parametrize(("name", "split", "write", "counts"), LAYOUTS, ids=[layout[0] for layout in LAYOUTS])
def test_layouts_of_the_owners_are_all_well(
    tmp_path: Path, name: str, split: str, write: Callable[[Path], object], counts: tuple[int, int, int | None]
) -> None:
    write(tmp_path)
    (found,) = check(read_manifest(name), tmp_path, [split], deep=True)
    assert [problem for problem in found.problems if problem.kind != "wrong count"] == []  # the trees are small
    assert (found.frames, found.masks, None if counts[2] is None else found.boxes) == counts


def test_splits_one_by_one_and_one_that_is_not_there(tmp_path: Path, davis: DataManifest) -> None:
    splits = {"train": davis.splits["train"], "some": ["bus", "gone"], "test": {"file": "gone.txt"}}
    manifest = DataManifest.model_validate(davis.model_dump() | {"splits": splits, "expected": {"test": {"videos": 9}}})
    train, some, test = check(manifest, tmp_path)
    assert (train.problems, len(some.items), kinds(some), kinds(test)) == ([], 1, {"missing": 1}, {"missing": 1})
    assert "gone.txt" in test.problems[0].problem and "gone" in some.problems[0].problem
    assert [found.split for found in check(manifest, tmp_path, ["some"])] == ["some"]
    with pytest.raises(UserError, match="has no split 'val'; it has: train, some, test"):
        check(manifest, tmp_path, ["val"])
    with pytest.raises(UserError, match=r"no folder .*nowhere; give it with --data ROOT"):
        check(manifest, tmp_path / "nowhere")


def test_the_order_of_problems_does_not_depend_on_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FRAMES_A_TASK", 2)
    davis = write_davis(tmp_path, {"bear": 9})
    for path in (tmp_path / MASKS / "bear").iterdir():
        path.write_bytes(b"")
    found = one(davis, tmp_path, workers=4)
    assert [Path(p.problem.split(": ")[0]).stem for p in found.problems] == [f"{n:05}" for n in range(9)]


def many(count: int) -> Found:
    return Found("train", problems=[Problem("train", "missing", "a", f"{n}.png: missing") for n in range(count)])


def test_at_most_twenty_problems_of_a_kind_are_shown() -> None:
    found = many(23)
    found.problems.append(Problem("train", "wrong size", "a", "b.png: mask is 1x1"))
    lines = problem_lines([found])
    assert lines[:2] == ["missing: 0.png: missing", "missing: 1.png: missing"]
    assert lines[20:] == ["missing: and 3 more; --csv FILE writes all", "wrong size: b.png: mask is 1x1"]
    assert len(problem_lines([many(20)])) == 20 and len(problem_table([found])) == 24


def test_the_table_has_a_column_a_kind(davis: DataManifest) -> None:
    head, row = table_lines(davis, [many(2)])
    assert head.split("  ")[0] == "split" and all(kind in head for kind in KINDS)
    assert row.split() == ["train", "0", "0", "0", "-", "2", "0", "0", "0", "0", "-"]


def test_licence_home_and_citation_are_told() -> None:
    line = summary_line(read_manifest("davis2016"))
    assert "licence: CC BY-NC 4.0" in line and "https://davischallenge.org" in line and "Perazzi" in line


def test_a_video_file_is_extracted_once_and_checked(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.mp4", 5)
    said: list[str] = []
    assert run_check("folder", clip, out=tmp_path / "out", say=said.append) == 0
    assert said[1].split()[:4] == ["all", "1", "5", "0"] and said[2] == "folder: all well"
    assert len(list((tmp_path / "out" / "frames").rglob("*.jpg"))) == 5
    clip.write_bytes(clip.read_bytes()[:-100])
    csv = tmp_path / "problems.csv"
    assert run_check("folder", clip, out=tmp_path / "out", csv=csv, say=said.append) == 1
    assert "unreadable: " in said[-3] and "clip.mp4: cut off" in said[-3] and said[-2] == "folder: 1 problem"
    assert pd.read_csv(csv)[["split", "kind", "name"]].to_numpy().tolist() == [["all", "unreadable", "clip"]]


def test_what_cannot_be_told_apart_in_a_folder_is_a_problem(tmp_path: Path) -> None:
    for suffix in (".mp4", ".avi"):
        write_video(tmp_path / f"clip{suffix}", 2)
    found = one(read_manifest("folder"), tmp_path)
    assert [(p.kind, "several videos of the name clip" in p.problem) for p in found.problems] == [("unclear", True)]


@pytest.mark.real
def test_real_davis_is_all_well(real_data: Path) -> None:
    found = check(read_manifest("davis2016-small"), real_data, ("thresholds", "proof"), deep=True)
    assert [p for one in found for p in one.problems] == []
    assert sum(one.frames for one in found) == sum(one.masks for one in found) == 2079
    assert sum(len(one.empty or ()) for one in found) == 15 and sum(one.boxes or 0 for one in found) == 2064


@pytest.mark.real
@pytest.mark.parametrize(("name", "frames", "masks"), [("duts-small", 1500, 1500), ("visal-small", 562, 193)])
def test_real_saliency_data_is_all_well(real_data: Path, name: str, frames: int, masks: int) -> None:
    found = one(read_manifest(name), real_data)
    assert (found.problems, found.frames, found.masks) == ([], frames, masks)


def test_looking_at_data_loads_no_torch() -> None:
    """It takes longer to load than a thousand frames take to check."""
    modules = "fusionseg.pipeline.datasets.check, fusionseg.pipeline.datasets.convert"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
