"""Digests of outside files: taken once, remembered, and never of broken pictures."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import (
    LONG_AGO,
    age,
    make_item,
    texture,
    write_bytes,
    write_coco,
    write_davis,
    write_fbms,
    write_fbms_definition,
    write_jpeg,
    write_png,
    write_sbd,
    write_vid,
    write_voc,
    write_voc_sbd,
    write_youtube_objects,
)

from fusionseg.pipeline.datasets import digests as module
from fusionseg.pipeline.datasets.digests import Ledger
from fusionseg.pipeline.datasets.finding import load_items
from fusionseg.pipeline.datasets.imported_flow import find_flow
from fusionseg.pipeline.datasets.items import Boxes, Item, MaskFiles
from fusionseg.pipeline.datasets.manifest import read_manifest
from fusionseg.pipeline.datasets.pairs import with_partners
from fusionseg.pipeline.errors import BadFile
from fusionseg.pipeline.formats.flow import write_flow
from fusionseg.pipeline.settings.sections import OpticalFlow


@pytest.fixture
def item(tmp_path: Path) -> Item:
    """Return a video of three frames with masks and boxes, on disk for long."""
    (found,) = load_items(write_davis(tmp_path / "data", {"bear": 3}), "train", tmp_path / "data")
    age(tmp_path / "data")
    return found


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of kinds whose files are read, growing."""
    seen: list[str] = []
    original = module._read

    def spy(item: Item, kind: str, owners: dict[Path, int]) -> dict[str, object]:
        seen.append(kind)
        return original(item, kind, owners)

    monkeypatch.setattr(module, "_read", spy)
    return seen


@pytest.fixture(autouse=True)
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files were written long ago: nobody can set when their entries changed."""
    monkeypatch.setattr(module.time, "time", lambda now=module.time.time: now() + 60)


def test_files_are_read_once_and_remembered_by_the_next_process(tmp_path: Path, item: Item, reads: list[str]) -> None:
    first = Ledger(tmp_path / "digests.json")
    digest = first.digest(item, "frames")
    assert first.digest(item, "frames") == digest and reads == ["frames"]
    first.save()
    assert Ledger(tmp_path / "digests.json").digest(item, "frames") == digest and reads == ["frames"]


def test_a_changed_file_is_read_again(tmp_path: Path, item: Item, reads: list[str]) -> None:
    ledger = Ledger(tmp_path / "digests.json")
    before = ledger.digest(item, "frames")
    write_jpeg(item.frames[1], texture((24, 40), 99))
    os.utime(item.frames[1], (LONG_AGO + 5, LONG_AGO + 5))
    assert ledger.digest(item, "frames") != before and len(reads) == 2


@pytest.mark.parametrize("replaced", [True, False])
def test_a_file_that_takes_anothers_place_is_read(tmp_path: Path, item: Item, reads: list[str], replaced: bool) -> None:
    """Of the same size and time of change, as copies and archives keep them."""
    ledger, path = Ledger(tmp_path / "digests.json"), item.frames[1]
    before, size = ledger.digest(item, "frames"), path.stat().st_size
    data = bytearray(path.read_bytes())
    data[size // 2] ^= 1
    if replaced:
        (tmp_path / "other").write_bytes(data)
        (tmp_path / "other").replace(path)
    else:
        path.write_bytes(data)
    os.utime(path, (LONG_AGO, LONG_AGO))
    assert path.stat().st_size == size
    assert ledger.digest(item, "frames") != before and len(reads) == 2


def test_a_touched_file_is_read_again_but_is_the_same(tmp_path: Path, item: Item, reads: list[str]) -> None:
    ledger = Ledger(tmp_path / "digests.json")
    before = ledger.digest(item, "frames")
    os.utime(item.frames[1], (LONG_AGO + 5, LONG_AGO + 5))
    assert ledger.digest(item, "frames") == before and len(reads) == 2


def test_files_written_just_now_are_not_remembered(
    tmp_path: Path, item: Item, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They could change once more within one tick of their time stamps, whatever time of change they were given."""
    monkeypatch.undo()
    monkeypatch.setattr(
        module, "_read", lambda *given: (reads.append(given[1]), {"digest": "", "sizes": [], "read": []})[1]
    )
    ledger = Ledger(tmp_path / "digests.json")
    for _ in range(2):
        ledger.digest(item, "frames")
    assert reads == ["frames", "frames"]
    ledger.save()
    assert not (tmp_path / "digests.json").exists()


def test_the_place_does_not_matter(tmp_path: Path, item: Item) -> None:
    shutil.copytree(tmp_path / "data", tmp_path / "moved")
    move = lambda path: tmp_path / "moved" / path.relative_to(tmp_path / "data")  # noqa: E731
    moved = replace(item, frames=tuple(move(p) for p in item.frames))
    ledger = Ledger(tmp_path / "digests.json")
    assert ledger.digest(moved, "frames") == ledger.digest(item, "frames")


def test_digest_sees_content_name_order_number_and_kind(tmp_path: Path, item: Item) -> None:
    ledger = Ledger(tmp_path / "digests.json")
    digests = [
        ledger.digest(item, "frames"), ledger.digest(item, "masks"), ledger.digest(item, "boxes"),
        ledger.digest(replace(item, frames=item.frames[:2]), "frames"),
        ledger.digest(replace(item, frames=item.frames[::-1]), "frames"),
    ]  # fmt: skip
    renamed = item.frames[2].with_name("00003.jpg")
    shutil.copy(item.frames[2], renamed)
    digests.append(ledger.digest(replace(item, frames=(*item.frames[:2], renamed)), "frames"))
    assert len(set(digests)) == len(digests)


def test_how_masks_are_read_is_part_of_their_digest_and_not_of_the_frames(tmp_path: Path, item: Item) -> None:
    ledger = Ledger(tmp_path / "digests.json")
    variants = [item, replace(item, void=255), replace(item, allow_mask_resize=True)]
    assert len({ledger.digest(v, "masks") for v in variants}) == 3
    assert len({ledger.digest(v, "boxes") for v in variants}) == 3
    assert len({ledger.digest(v, "frames") for v in variants}) == 1


@pytest.mark.parametrize("text", ["", "{", "words"])
def test_a_damaged_ledger_is_begun_anew(tmp_path: Path, item: Item, text: str) -> None:
    (tmp_path / "digests.json").write_text(text)
    ledger = Ledger(tmp_path / "digests.json")
    digest = ledger.digest(item, "frames")
    ledger.save()
    assert Ledger(tmp_path / "digests.json").digest(item, "frames") == digest


def test_truncated_frame_is_named(tmp_path: Path, item: Item) -> None:
    item.frames[1].write_bytes(item.frames[1].read_bytes()[:-30])
    with pytest.raises(BadFile, match=r"00001\.jpg: truncated JPEG .*\[tiny-davis, bear\]") as caught:
        Ledger(tmp_path / "digests.json").digest(item, "frames")
    assert (caught.value.dataset, caught.value.name) == ("tiny-davis", "bear")


def test_a_link_to_nowhere_is_a_bad_file(tmp_path: Path, item: Item) -> None:
    item.frames[1].unlink()
    item.frames[1].symlink_to(tmp_path / "gone.jpg")
    with pytest.raises(BadFile, match=r"00001\.jpg: can't be read \(No such file or directory\)") as caught:
        Ledger(tmp_path / "digests.json").digest(item, "frames")
    assert caught.value.name == "bear"


def test_frame_of_another_size_than_the_first_is_named(tmp_path: Path, item: Item) -> None:
    write_jpeg(item.frames[2], texture((24, 41), 0))
    with pytest.raises(BadFile, match=r"00002\.jpg: frame is 41x24, the video's first 40x24"):
        Ledger(tmp_path / "digests.json").digest(item, "frames")


def test_mask_of_another_size_than_its_frame_is_named(tmp_path: Path, item: Item) -> None:
    write_png(item.files("masks")[2], np.zeros((24, 41), np.uint8))
    ledger = Ledger(tmp_path / "digests.json")
    with pytest.raises(BadFile, match=r"00002\.png: mask is 41x24, its frame 40x24; .*allow_mask_resize"):
        ledger.digest(item, "masks")
    assert ledger.digest(replace(item, allow_mask_resize=True), "masks")


def test_mask_that_only_gives_a_box_must_have_the_size_of_its_frame_too(tmp_path: Path, item: Item) -> None:
    """Its box would lie elsewhere in the frame."""
    write_png(item.files("masks")[2], np.zeros((48, 80), np.uint8))
    with pytest.raises(BadFile, match=r"00002\.png: mask is 80x48, its frame 40x24"):
        Ledger(tmp_path / "digests.json").digest(item, "boxes")


def test_all_masks_of_one_wrong_size_are_found(tmp_path: Path, item: Item) -> None:
    for path in item.files("masks"):
        write_png(path, np.zeros((12, 20), np.uint8))
    with pytest.raises(BadFile, match=r"00000\.png: mask is 20x12"):
        Ledger(tmp_path / "digests.json").digest(item, "masks")


def test_result_masks_of_others_are_compared_with_the_frames(tmp_path: Path, item: Item) -> None:
    paths = tuple(write_png(tmp_path / f"fseg/{n}.png", np.zeros((24, 40 if n < 2 else 39), bool)) for n in range(3))
    with_others = replace(item, others={"A": item.files("masks"), "FSEG": paths})
    with pytest.raises(BadFile, match=r"fseg/2\.png: mask is 39x24"):
        Ledger(tmp_path / "digests.json").digest(with_others, "others")


def test_stills_may_differ_in_size_but_not_from_their_masks(tmp_path: Path) -> None:
    voc = write_voc(tmp_path, ["a", "b"])
    write_jpeg(tmp_path / "JPEGImages/b.jpg", texture((30, 30), 0))
    (stills,) = load_items(voc, "train", tmp_path)
    ledger = Ledger(tmp_path / "digests.json")
    assert ledger.digest(stills, "frames")
    with pytest.raises(BadFile, match=r"b\.png: mask is 40x24, its frame 30x30") as caught:
        ledger.digest(stills, "masks")
    assert caught.value.name == "b"  # the picture, not the whole set


def test_which_files_make_a_mask_is_part_of_its_digest(tmp_path: Path, item: Item) -> None:
    """Files of one name in folders of several objects: their order and content say not which frame is whose."""
    ledger = Ledger(tmp_path / "digests.json")
    first, second, third = item.masks
    both = MaskFiles((*first.paths, *second.paths))
    variants = [
        item, replace(item, masks=(first, MaskFiles(()), third)), replace(item, masks=(both, MaskFiles(()), third)),
        replace(item, masks=(first, MaskFiles((*second.paths, *third.paths)), MaskFiles(()))),
    ]  # fmt: skip
    assert len({ledger.digest(variant, "masks") for variant in variants}) == 4


def test_size_of_each_object_s_mask_is_compared_with_its_frame(tmp_path: Path, item: Item) -> None:
    small = write_png(tmp_path / "2/00001.png", np.zeros((12, 20), np.uint8))
    first, second, third = item.masks
    several = replace(item, masks=(first, MaskFiles((*second.paths, small)), third))
    with pytest.raises(BadFile, match=r"2/00001\.png: mask is 20x12, its frame 40x24"):
        Ledger(tmp_path / "digests.json").digest(several, "masks")
    sparse = replace(several, masks=(MaskFiles(()), MaskFiles((small,)), third))
    with pytest.raises(BadFile, match=r"2/00001\.png: mask is 20x12"):
        Ledger(tmp_path / "digests.json").digest(sparse, "masks")


def test_masks_in_other_formats(tmp_path: Path) -> None:
    write_voc_sbd(tmp_path / "voc")
    (voc,) = load_items(read_manifest("voc2012-sbd"), "train", tmp_path / "voc")
    ledger = Ledger(tmp_path / "digests.json")
    before = ledger.digest(voc, "masks")
    mat = voc.files("masks")[3]
    write_sbd(mat, np.zeros((24, 41), np.uint8))
    with pytest.raises(BadFile, match=r"2008_000003\.mat: mask is 41x24, its frame 40x24") as caught:
        ledger.digest(voc, "masks")
    assert caught.value.name == "2008_000003"
    write_sbd(mat, np.zeros((24, 40), np.uint8))
    assert ledger.digest(voc, "masks") != before
    mat.write_bytes(mat.read_bytes()[:-9])
    with pytest.raises(BadFile, match=r"2008_000003\.mat: no GTcls"):
        ledger.digest(voc, "masks")


def test_sizes_of_images_in_a_coco_file_are_compared(tmp_path: Path) -> None:
    write_coco(tmp_path)
    (coco,) = load_items(read_manifest("coco-instances"), "val2017", tmp_path)
    assert Ledger(tmp_path / "digests.json").digest(coco, "masks")
    write_jpeg(coco.frames[1], texture((24, 41), 0))
    with pytest.raises(BadFile, match=r"instances_val2017\.json: mask is 40x24, its frame 41x24") as caught:
        Ledger(tmp_path / "digests.json").digest(coco, "masks")
    assert caught.value.name == "000000000285"


def test_definition_of_regions_is_part_of_the_masks(tmp_path: Path) -> None:
    write_fbms(tmp_path)
    (cars,) = load_items(read_manifest("fbms59"), "Testset", tmp_path)
    ledger = Ledger(tmp_path / "digests.json")
    before = ledger.digest(cars, "masks")
    write_fbms_definition(tmp_path / "Testset/cars1/GroundTruth/cars1Def.dat", [128, 0, 255])
    assert ledger.digest(cars, "masks") != before


def test_boxes_of_sparse_and_matlab_files(tmp_path: Path) -> None:
    write_youtube_objects(tmp_path)
    (cat, _) = load_items(read_manifest("youtube-objects-boxes"), "annotated", tmp_path)
    assert len(cat.files("boxes")) == 1 and Ledger(tmp_path / "digests.json").digest(cat, "boxes")


def test_boxes_of_xml_files(tmp_path: Path) -> None:
    (video,) = load_items(write_vid(tmp_path, {"clip": 3}), "train", tmp_path)
    ledger = Ledger(tmp_path / "digests.json")
    before = ledger.digest(video, "boxes")
    (first, *_) = video.files("boxes")
    first.write_text(first.read_text().replace("<xmin>4", "<xmin>5"))
    assert ledger.digest(video, "boxes") != before


def test_a_video_file_is_digested_once_and_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"first")
    age(tmp_path)
    ledger = Ledger(tmp_path / "digests.json")
    before = ledger.file_digest(path)
    ledger.save()
    assert Ledger(tmp_path / "digests.json").file_digest(path) == before
    path.write_bytes(b"other")  # same size
    assert Ledger(tmp_path / "digests.json").file_digest(path) != before


def test_a_known_video_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"bytes")
    age(tmp_path)
    ledger = Ledger(tmp_path / "digests.json")
    before = ledger.file_digest(path)
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("read again"))
    assert ledger.file_digest(path) == before


def test_flow_that_fills_a_gap_is_part_of_the_digest(tmp_path: Path) -> None:
    """The last frame has no flow and takes its partner's, whose file the stride passes over."""
    frames = tuple(tmp_path / f"{n}.png" for n in range(5))
    for n in range(4):
        write_flow(tmp_path / "flow/clip" / f"{n}.flo", np.zeros((4, 6, 2), np.float32))
    item = make_item(frames=frames[::2], all_frames=frames, numbers=tuple(range(0, len(frames), 2)))
    source = find_flow(tmp_path / "flow", "clip", [path.stem for path in frames])
    item = replace(with_partners(item, OpticalFlow()), flow=source)
    assert [path.name for path in item.files("flow")] == ["0.flo", "2.flo", "3.flo"]
    before = Ledger(tmp_path / "digests.json").digest(item, "flow")
    write_flow(tmp_path / "flow/clip/3.flo", np.ones((4, 6, 2), np.float32))
    assert Ledger(tmp_path / "digests.json").digest(item, "flow") != before


def test_which_frames_lack_boxes_is_part_of_the_digest(tmp_path: Path, item: Item) -> None:
    """Frames that are renamed leave their scores and the box files as they are."""
    path = write_bytes(tmp_path / "1.xml", b"<annotation/>")
    digests = {
        Ledger(tmp_path / "digests.json").digest(replace(item, boxes=Boxes(paths)), "boxes")
        for paths in ((path, None, None), (None, path, None), (None, None, path))
    }
    assert len(digests) == 3
