"""The files of data sets are found, and what is missing is named."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import vid_xml, write_bytes, write_coco, write_davis, write_fbms, write_png, write_vid, write_voc

from fusionseg.pipeline.datasets.finding import load_items, split_names
from fusionseg.pipeline.datasets.items import Boxes, MaskFiles
from fusionseg.pipeline.datasets.manifest import DataManifest, read_manifest
from fusionseg.pipeline.errors import BadFile, UserError

BASE: dict[str, Any] = {
    "name": "own", "title": "Own", "kind": "videos", "licence": "none", "frames": "{video}/{frame}.png",
    "splits": {"all": ["clip"]},
}  # fmt: skip


def manifest(**changes: Any) -> DataManifest:
    return DataManifest.model_validate(BASE | changes)


def write_frames(root: Path, video: str, names: list[str]) -> None:
    for name in names:
        write_png(root / video / f"{name}.png", np.zeros((2, 3, 3), np.uint8))


def test_davis_layout(tmp_path: Path) -> None:
    items = load_items(write_davis(tmp_path, {"bear": 3, "bus": 2}), "train", tmp_path)
    assert [(i.dataset, i.name, i.stills, i.protocol) for i in items] == [
        ("tiny-davis", "bear", False, "davis2016"), ("tiny-davis", "bus", False, "davis2016")
    ]  # fmt: skip
    bear = items[0]
    assert bear.frames == tuple(tmp_path / f"JPEGImages/480p/bear/{n:05}.jpg" for n in range(3))
    assert bear.masks == tuple(MaskFiles((tmp_path / f"Annotations/480p/bear/{n:05}.png",)) for n in range(3))
    assert bear.boxes == Boxes(masks=bear.masks) and bear.boxes.derived
    assert bear.all_frames == bear.frames and bear.annotated == [0, 1, 2]
    assert bear.void is None


def test_voc_layout_is_one_item_of_stills(tmp_path: Path) -> None:
    (item,) = load_items(write_voc(tmp_path, ["2007_000032", "2007_000039"]), "train", tmp_path)
    assert item.stills and item.name == "train" and item.void == 255 and item.boxes is None
    assert [p.name for p in item.frames] == ["2007_000032.jpg", "2007_000039.jpg"]
    assert [p.name for p in item.files("masks")] == ["2007_000032.png", "2007_000039.png"]


def test_vid_layout_with_nested_names_and_numbered_list(tmp_path: Path) -> None:
    name = "ILSVRC2015_VID_train_0000/ILSVRC2015_train_00010001"
    (item,) = load_items(write_vid(tmp_path, {name: 3}), "train", tmp_path)
    assert item.name == name and item.masks == ()
    assert item.boxes is not None and not item.boxes.derived
    assert item.boxes.paths[2] == tmp_path / f"Annotations/VID/train/{name}/000002.xml"


def test_frames_stand_in_natural_order(tmp_path: Path) -> None:
    write_frames(tmp_path, "clip", ["10", "9", "1", "100"])
    (item,) = load_items(manifest(), "all", tmp_path)
    assert [p.stem for p in item.frames] == ["1", "9", "10", "100"]


@pytest.mark.parametrize("name", ["clip", "my clip", "Größe", "clip [1]", "take*", "what?"])
def test_videos_may_have_any_name(tmp_path: Path, name: str) -> None:
    write_frames(tmp_path, name, ["0", "1"])
    write_frames(tmp_path, "takeover", ["7"])  # `take*` is no pattern
    (item,) = load_items(manifest(splits={"all": [name]}), "all", tmp_path)
    assert item.name == name and [p.stem for p in item.frames] == ["0", "1"]


def test_only_hides_what_a_stage_may_not_see(tmp_path: Path) -> None:
    (item,) = load_items(write_davis(tmp_path, {"bear": 2}), "train", tmp_path)
    assert item.only(()).files("masks") == item.only(()).files("boxes") == item.only(()).files("others") == ()
    assert item.only(("boxes",)).masks == () and item.only(("boxes",)).boxes == item.boxes
    assert item.only(("masks",)).boxes is None and item.only(("masks",)).masks == item.masks
    assert item.only(()).frames == item.frames  # their number and names are no secret


def test_missing_folder_tells_how_to_give_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"own: no folder .*nowhere; give it with --data ROOT or --data own=ROOT"):
        load_items(manifest(), "all", tmp_path / "nowhere")


def test_video_without_frames_is_bad(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"video 'clip' of own has no frames") as caught:
        load_items(manifest(), "all", tmp_path)
    assert (caught.value.dataset, caught.value.name) == ("own", "clip")


def test_missing_mask_is_named_with_its_frame(tmp_path: Path) -> None:
    davis = write_davis(tmp_path, {"bear": 3})
    (tmp_path / "Annotations/480p/bear/00001.png").unlink()
    with pytest.raises(BadFile, match=r"00001\.png: missing mask of 00001\.jpg \(tiny-davis, bear\)") as caught:
        load_items(davis, "train", tmp_path)
    assert caught.value.name == "bear"


def test_missing_files_of_stills_are_named_one_by_one(tmp_path: Path) -> None:
    voc = write_voc(tmp_path, ["a", "b", "c"])
    (tmp_path / "SegmentationClass/b.png").unlink()
    with pytest.raises(BadFile, match=r"b\.png: missing mask of b\.jpg") as caught:
        load_items(voc, "train", tmp_path)
    assert caught.value.name == "b"
    (item,) = load_items(voc, "train", tmp_path, leave_out=["b"])
    assert [p.stem for p in item.frames] == ["a", "c"]


def test_leaving_out_all_is_an_error(tmp_path: Path) -> None:
    davis = write_davis(tmp_path, {"bear": 1, "bus": 1})
    assert [i.name for i in load_items(davis, "train", tmp_path, ["bear"])] == ["bus"]
    with pytest.raises(UserError, match="nothing is left of the split 'train'"):
        load_items(davis, "train", tmp_path, ["bear", "bus"])


def test_others_are_optional_but_whole(tmp_path: Path) -> None:
    davis = write_davis(tmp_path, {"bear": 2, "bus": 2})
    davis = davis.model_copy(update={"others": {"FSEG": "fseg/{video}/{frame}.png"}})
    write_png(tmp_path / "fseg/bear/00000.png", np.zeros((24, 40), bool))
    with pytest.raises(BadFile, match=r"fseg/bear/00001\.png: missing result mask of 00001\.jpg"):
        load_items(davis, "train", tmp_path)
    write_png(tmp_path / "fseg/bear/00001.png", np.zeros((24, 40), bool))
    bear, bus = load_items(davis, "train", tmp_path)
    assert len(bear.others["FSEG"]) == 2 and bus.others == {}
    assert bear.files("others") == bear.others["FSEG"]


def test_several_objects_in_folders_of_their_own_or_else_one_file(tmp_path: Path) -> None:
    write_frames(tmp_path, "clip", ["0", "1", "2"])
    own = manifest(masks=["gt/{video}/{object}/{frame}.*", "gt/{video}/{frame}.*"])
    for name in ("1/0.png", "2/0.bmp", "2/1.png", "1.png", "2.png"):
        write_png(tmp_path / "gt/clip" / name, np.zeros((2, 3), np.uint8))
    (item,) = load_items(own, "all", tmp_path)
    found = [[path.relative_to(tmp_path / "gt/clip").as_posix() for path in mask.paths] for mask in item.masks]
    assert found == [["1/0.png", "2/0.bmp"], ["2/1.png"], ["2.png"]]
    assert len(item.files("masks")) == 4 and item.owners("masks")[tmp_path / "gt/clip/2.png"] == 2


def test_two_files_for_one_frame_are_both_named(tmp_path: Path) -> None:
    write_frames(tmp_path, "clip", ["0", "1"])
    write_bytes(tmp_path / "clip/1.jpg")
    with pytest.raises(BadFile, match=r"clip/1\.jpg and 1\.png: two files for one frame"):
        load_items(manifest(frames="{video}/{frame}.*"), "all", tmp_path)
    write_bytes(tmp_path / "masks/clip/0.PNG")
    write_bytes(tmp_path / "masks/clip/0.png")
    with pytest.raises(BadFile, match=r"0\.PNG and 0\.png: two files"):
        load_items(manifest(masks="masks/{video}/{frame}.png"), "all", tmp_path)


def sparse(root: Path, **changes: Any) -> DataManifest:
    """Return the manifest of ten frames, of which 0, 4 and 8 have a mask and a box file."""
    write_frames(root, "clip", [str(n) for n in range(10)])
    for n in (0, 4, 8):
        write_png(root / f"gt/clip/{n}.png", np.ones((2, 3), np.uint8))
        write_bytes(root / f"xml/clip/{n}.xml", vid_xml([(0, 0, 2, 2)]).encode())
    given = {"masks": "gt/{video}/{frame}.png", "boxes": "xml/{video}/{frame}.xml"}
    return manifest(**(given | {"sparse_masks": True, "sparse_boxes": True} | changes))


def test_sparse_truth(tmp_path: Path) -> None:
    (item,) = load_items(sparse(tmp_path), "all", tmp_path)
    assert len(item.masks) == 10 and item.annotated == [0, 4, 8] and len(item.files("masks")) == 3
    assert item.boxes is not None and [n for n, path in enumerate(item.boxes.paths) if path] == [0, 4, 8]
    assert item.only(("boxes",)).annotated == []
    (derived,) = load_items(sparse(tmp_path, boxes="from-masks"), "all", tmp_path)
    assert derived.boxes == Boxes(masks=item.masks) and derived.files("boxes") == item.files("masks")


@pytest.mark.parametrize(("kind", "what"), [("gt", "mask"), ("xml", "box file")])
def test_a_video_without_any_truth_is_bad_even_where_truth_is_sparse(tmp_path: Path, kind: str, what: str) -> None:
    own = sparse(tmp_path)
    shutil.rmtree(tmp_path / kind)
    with pytest.raises(BadFile, match=f"video 'clip' of own has no {what} at all") as caught:
        load_items(own, "all", tmp_path)
    assert caught.value.name == "clip"


def test_truth_that_is_not_sparse_must_be_whole(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"gt/clip/1\.png: missing mask of 1\.png"):
        load_items(sparse(tmp_path, sparse_masks=False), "all", tmp_path)
    with pytest.raises(BadFile, match=r"xml/clip/1\.xml: missing box file of 1\.png"):
        load_items(sparse(tmp_path, sparse_boxes=False), "all", tmp_path)


def test_stride_takes_truth_along(tmp_path: Path) -> None:
    (item,) = load_items(sparse(tmp_path), "all", tmp_path, stride=4)
    assert [path.stem for path in item.frames] == ["0", "4", "8"] and item.annotated == [0, 1, 2]
    assert [path.stem for path in item.all_frames] == [str(n) for n in range(10)] and item.numbers == (0, 4, 8)
    (other,) = load_items(sparse(tmp_path), "all", tmp_path, stride=3)
    assert [path.stem for path in other.frames] == ["0", "3", "6", "9"] and other.annotated == [0]
    (late,) = load_items(sparse(tmp_path), "all", tmp_path, stride=99)
    assert late.frames == late.all_frames[:1]


@pytest.mark.parametrize("boxes", ["xml/{video}/{frame}.xml", "from-masks"])
def test_a_cap_takes_frames_evenly_of_those_with_boxes(tmp_path: Path, boxes: str) -> None:
    own = sparse(tmp_path, boxes=boxes)
    (item,) = load_items(own, "all", tmp_path, most=2)
    assert [path.stem for path in item.frames] == ["0", "8"] and item.numbers == (0, 8) and item.annotated == [0, 1]
    assert len(item.all_frames) == 10 and len(item.masks) == 2
    assert item.boxes is not None and len(item.files("boxes")) == 2
    (whole,) = load_items(own, "all", tmp_path, most=10)
    assert whole == load_items(own, "all", tmp_path)[0]
    (thinner,) = load_items(own, "all", tmp_path, stride=4, most=2)  # of 0, 4 and 8
    assert thinner.numbers == (0, 8)
    (bare,) = load_items(sparse(tmp_path, boxes=None), "all", tmp_path, most=4)
    assert bare.numbers == (0, 3, 6, 9)


def test_frames_taken_out_of_a_video_take_everything_along(tmp_path: Path) -> None:
    (item,) = load_items(sparse(tmp_path), "all", tmp_path, stride=2)
    item = replace(item, partners=item.all_frames[1::2], others={"x": item.frames})
    found = item.at([0, 2])
    assert found.numbers == (0, 4) and found.annotated == [0, 1]
    assert [path.stem for path in found.partners] == ["1", "5"] and found.others == {"x": found.frames}
    assert found.boxes is not None and item.boxes is not None
    assert found.boxes.paths == (item.boxes.paths[0], item.boxes.paths[2]) and found.all_frames == item.all_frames


def test_only_frames_in_use_need_truth(tmp_path: Path) -> None:
    whole = sparse(tmp_path, sparse_masks=False, sparse_boxes=False)
    (item,) = load_items(whole, "all", tmp_path, stride=4)
    assert item.annotated == [0, 1, 2]


def test_problems_are_all_found_and_the_rest_is_kept(tmp_path: Path) -> None:
    davis = write_davis(tmp_path, {"bear": 3, "bus": 2, "gone": 1})
    shutil.rmtree(tmp_path / "JPEGImages/480p/gone")
    for name in ("bear/00000.png", "bear/00002.png", "bus/00001.png"):
        (tmp_path / "Annotations/480p" / name).unlink()
    problems: list[BadFile] = []
    bear, bus = load_items(davis, "train", tmp_path, problems=problems)
    assert [(problem.name, Path(str(problem).split(":")[0]).name) for problem in problems] == [
        ("bear", "00000.png"), ("bear", "00002.png"), ("bus", "00001.png"), ("gone", "*.jpg")
    ]  # fmt: skip
    assert (bear.annotated, bus.annotated) == ([1], [0]) and len(bear.frames) == 3


def test_problems_of_stills(tmp_path: Path) -> None:
    voc = write_voc(tmp_path, ["a", "b", "c", "d"])
    (tmp_path / "JPEGImages/a.jpg").unlink()
    (tmp_path / "SegmentationClass/c.png").unlink()
    problems: list[BadFile] = []
    (item,) = load_items(voc, "train", tmp_path, problems=problems)
    assert [problem.name for problem in problems] == ["a", "c"]
    assert item.names == ("b", "c", "d") and item.annotated == [0, 2] and item.name_of(1) == "c"


def test_stills_may_lie_in_folders_of_their_own(tmp_path: Path) -> None:
    voc = write_voc(tmp_path, ["2007/a", "2008/a"])
    (item,) = load_items(voc, "train", tmp_path)
    assert item.frames == tuple(tmp_path / f"JPEGImages/{year}/a.jpg" for year in (2007, 2008))
    assert item.files("masks") == tuple(tmp_path / f"SegmentationClass/{year}/a.png" for year in (2007, 2008))


def test_images_that_a_coco_file_lacks_are_named(tmp_path: Path) -> None:
    write_coco(tmp_path)
    coco = read_manifest("coco-instances").model_copy(update={"splits": {"val2017": ["000000000139", "7"]}})
    write_bytes(tmp_path / "val2017/7.jpg")
    with pytest.raises(BadFile, match=r"instances_val2017\.json: no image '7' in it") as caught:
        load_items(coco, "val2017", tmp_path)
    assert caught.value.name == "7"
    write_bytes(tmp_path / "annotations/instances_val2017.json", b"{}")
    with pytest.raises(UserError, match=r"instances_val2017\.json: not COCO's instances"):
        load_items(coco, "val2017", tmp_path)


def test_definition_of_regions_must_be_there(tmp_path: Path) -> None:
    write_fbms(tmp_path)
    (tmp_path / "Testset/cars1/GroundTruth/cars1Def.dat").unlink()
    with pytest.raises(BadFile, match=r"cars1Def\.dat: missing definition of the regions in the masks of 'cars1'"):
        load_items(read_manifest("fbms59"), "Testset", tmp_path)


def test_splits(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a 1\n\n  b\n", encoding="utf-8")
    (tmp_path / "empty.txt").write_text("\n")
    own = manifest(
        splits={
            "x": ["q"],
            "y": {"file": "list.txt"},
            "none": {"file": "gone.txt"},
            "empty": {"file": "empty.txt"},
            "void": [],
        }
    )
    assert split_names(own, "x", tmp_path) == ["q"]
    assert split_names(own, "y", tmp_path) == ["a", "b"]
    with pytest.raises(UserError, match=r"has no split 'z'; it has: x, y, none, empty, void"):
        split_names(own, "z", tmp_path)
    with pytest.raises(UserError, match=r"list of the split 'none', .*gone\.txt, is not there"):
        split_names(own, "none", tmp_path)
    for name in ("empty", "void"):
        with pytest.raises(UserError, match=f"split '{name}' is empty"):
            split_names(own, name, tmp_path)


@pytest.mark.real
def test_real_data_sets_load(real_data: Path) -> None:
    small = read_manifest("davis2016-small")
    items = [
        item for split in ("test", "validation", "fusion", "motion") for item in load_items(small, split, real_data)
    ]
    assert len(items) == 30 and sum(len(i.frames) for i in items) == 2079
    assert all(len(i.masks) == len(i.frames) == len(i.others["FSEG (published masks)"]) for i in items)
    (stills,) = load_items(read_manifest("coco-objects"), "train", real_data)
    assert len(stills.frames) == len(stills.masks) == 403
