"""Every data set that comes as a manifest, read from a small tree of exactly the layout its owners publish."""

from pathlib import Path

import numpy as np
import pytest
from builders import (
    SIZE,
    moving_square,
    write_coco,
    write_davis,
    write_davis2017,
    write_davis_lists,
    write_duts,
    write_ecssd,
    write_fbms,
    write_imagenet_vid,
    write_segtrack,
    write_visal,
    write_voc_sbd,
    write_youtube_objects,
)

import fusionseg.data_manifests
from fusionseg.models.labels import VOID
from fusionseg.pipeline.datasets.digests import Ledger
from fusionseg.pipeline.datasets.finding import load_items
from fusionseg.pipeline.datasets.items import Item, MaskFiles
from fusionseg.pipeline.datasets.manifest import read_manifest
from fusionseg.pipeline.datasets.reading import read_boxes, read_frame, read_mask, read_mask_sized

PROTOCOLS = {
    "davis2016": "davis2016", "davis2017-unsupervised": "davis2017-unsupervised", "segtrack-v2": "segtrack-v2",
    "fbms59": "fbms", "visal": "fbms", "youtube-objects": "youtube-objects", "youtube-objects-boxes": None,
    "imagenet-vid": None,
}  # fmt: skip


@pytest.mark.parametrize("name", PROTOCOLS)
def test_protocols(name: str) -> None:
    assert read_manifest(name).protocol == PROTOCOLS[name]


SECOND = (slice(18, 22), slice(30, 36))  # where trees of several objects have their second


def load(name: str, split: str, root: Path, **more: int) -> list[Item]:
    items = load_items(read_manifest(name), split, root, **more)
    ledger = Ledger(root.parent / "digests.json")
    for item in items:
        assert all(len(ledger.digest(item, kind)) == 40 for kind in ("frames", "masks", "boxes"))
        assert read_frame(item, 0).shape == (*SIZE, 3)
    return items


def square(index: int, second: bool = False) -> np.ndarray:
    """The object of `moving_square`'s frame, with the second object or without."""
    mask = moving_square(index + 1)[index][1]
    if second:
        mask[SECOND] = True
    return mask


def tight(index: int) -> list[list[int]]:
    return [[4 + 2 * index, 6, 12 + 2 * index, 14]]


def relative(paths: tuple[Path, ...], root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


def test_davis2016(tmp_path: Path) -> None:
    videos = {"blackswan": 3, "bear": 2}
    write_davis(tmp_path, videos)
    write_davis_lists(tmp_path, videos)
    items = load("davis2016", "trainval", tmp_path)
    assert [item.name for item in items] == ["blackswan", "bear"] and items[0].protocol == "davis2016"
    assert relative(items[1].frames, tmp_path) == [f"JPEGImages/480p/bear/{n:05}.jpg" for n in range(2)]
    assert relative(items[1].files("masks"), tmp_path) == [f"Annotations/480p/bear/{n:05}.png" for n in range(2)]
    assert np.array_equal(read_mask(items[0], 2), square(2))
    assert read_boxes(items[0], 2).boxes.tolist() == tight(2)


def test_davis2017_unsupervised(tmp_path: Path) -> None:
    write_davis2017(tmp_path, {"bike-packing": 2, "judo": 1})
    items = load("davis2017-unsupervised", "val", tmp_path)
    assert [item.name for item in items] == ["bike-packing", "judo"]
    mask = read_mask(items[0], 1)
    assert np.array_equal(mask == 1, square(1, second=True)) and (mask[23] == VOID).all() and (mask == VOID).sum() == 40


def test_segtrack_v2(tmp_path: Path) -> None:
    write_segtrack(tmp_path)
    girl, cheetah = load("segtrack-v2", "all", tmp_path)
    assert (girl.name, cheetah.name) == ("girl", "cheetah")
    assert relative(girl.frames, tmp_path)[2] == "JPEGImages/girl/girl_0002.bmp"
    assert relative(girl.masks[2].paths, tmp_path) == ["GroundTruth/girl/girl_0002.png"]
    assert relative(cheetah.masks[2].paths, tmp_path) == [
        "GroundTruth/cheetah/1/chasedeer_00002.bmp", "GroundTruth/cheetah/2/chasedeer_00002.png"
    ]  # fmt: skip
    for index in range(3):
        assert np.array_equal(read_mask(girl, index), square(index))
        assert np.array_equal(read_mask(cheetah, index), square(index, second=True))
    assert read_boxes(cheetah, 0).boxes.tolist() == [[4, 6, 36, 22]]  # around both


@pytest.mark.parametrize(
    ("split", "name", "truth"),
    [("Trainingset", "bear01", "bear01_0003_gt.ppm"), ("Testset", "cars1", "cars1_03.pgm")],
)
def test_fbms59(tmp_path: Path, split: str, name: str, truth: str) -> None:
    write_fbms(tmp_path)
    (item,) = load("fbms59", split, tmp_path)
    assert item.name == name and len(item.frames) == 4 and item.annotated == [0, 2]
    assert item.masks[2].paths == (tmp_path / split / name / "GroundTruth" / truth,) and item.masks[1] == MaskFiles(())
    for index in item.annotated:
        assert np.array_equal(read_mask(item, index), square(index, second=True))
    assert [len(read_boxes(item, index)) for index in range(4)] == [1, 0, 1, 0]


def test_youtube_objects(tmp_path: Path) -> None:
    write_youtube_objects(tmp_path)
    (item,) = load("youtube-objects", "all", tmp_path)
    assert item.name == "cat/data/0002/shots/001" and len(item.frames) == 11 and item.annotated == [0, 10]
    assert item.masks[10].paths == (tmp_path / "youtube_masks" / item.name / "labels/00011.jpg",)
    for index in item.annotated:
        assert np.array_equal(read_mask_sized(item, index, SIZE), square(index))
        assert read_boxes(item, index).boxes.tolist() == tight(index)
    assert len(read_boxes(item, 5)) == 0


def test_youtube_objects_boxes(tmp_path: Path) -> None:
    write_youtube_objects(tmp_path)
    items = load("youtube-objects-boxes", "annotated", tmp_path)
    assert [item.name for item in items] == ["cat/data/0002/shots/001", "dog/data/0011/shots/007"]
    assert read_boxes(items[1], 0).boxes.tolist() == [[4, 6, 12, 14], [30, 18, 36, 22]]
    assert [len(read_boxes(items[1], index)) for index in range(11)] == [2] + [0] * 10


def test_voc2012_sbd(tmp_path: Path) -> None:
    write_voc_sbd(tmp_path)
    (train,) = load("voc2012-sbd", "train", tmp_path)
    assert train.names == ("2007_000032", "2007_000039", "2008_000002", "2008_000003")
    assert [path.suffix for path in train.files("masks")] == [".png", ".png", ".mat", ".mat"]
    for index, rim in enumerate((8, 8, 0, 0)):
        mask = read_mask(train, index)
        assert np.array_equal(mask == 1, square(0)) and (mask == VOID).sum() == rim
    (validation,) = load("voc2012-sbd", "val", tmp_path)
    assert validation.names == ("2007_000033",)


def test_imagenet_vid(tmp_path: Path) -> None:
    write_imagenet_vid(tmp_path)
    train = load("imagenet-vid", "train", tmp_path)
    assert [item.name for item in train] == [
        "ILSVRC2015_VID_train_0000/ILSVRC2015_train_00000000", "ILSVRC2015_VID_train_0001/ILSVRC2015_train_00139005"
    ]  # fmt: skip
    (item,) = load("imagenet-vid", "val", tmp_path)
    assert item.name == "ILSVRC2015_val_00000000" and item.masks == () and item.annotated == []
    assert relative(item.frames, tmp_path)[2] == "Data/VID/val/ILSVRC2015_val_00000000/000002.JPEG"
    assert relative(item.files("boxes"), tmp_path)[2] == "Annotations/VID/val/ILSVRC2015_val_00000000/000002.xml"
    first, none, third = (read_boxes(item, index) for index in range(3))
    assert first.boxes.tolist() == [[4, 6, 12, 14], [30, 18, 36, 22]]
    assert first.occluded.tolist() == [False, True] and first.generated.tolist() == [True, False]
    assert len(none) == 0 and third.boxes.tolist() == tight(2)


def test_imagenet_vid_by_stride(tmp_path: Path) -> None:
    write_imagenet_vid(tmp_path)
    (item,) = load("imagenet-vid", "val", tmp_path, stride=2)
    assert [path.stem for path in item.frames] == ["000000", "000002"] and len(item.all_frames) == 3
    assert [path.stem for path in item.files("boxes")] == ["000000", "000002"] and item.numbers == (0, 2)


def test_coco_instances(tmp_path: Path) -> None:
    write_coco(tmp_path)
    (item,) = load("coco-instances", "val2017", tmp_path)
    assert item.names == ("000000000139", "000000000285", "000000000632") and item.annotated == [0, 1, 2]
    assert item.files("masks") == (tmp_path / "annotations/instances_val2017.json",)
    assert [mask.entry for mask in item.masks] == ["139", "285", "632"]
    assert np.array_equal(read_mask(item, 0), square(0))
    crowd = read_mask(item, 1)
    assert (crowd[:, :3] == VOID).all() and not crowd[:, 3:].any() and not read_mask(item, 2).any()


@pytest.mark.parametrize(("split", "numbers"), [("TR", (4, 18)), ("TE", (3,))])
def test_duts(tmp_path: Path, split: str, numbers: tuple[int, ...]) -> None:
    write_duts(tmp_path)
    (item,) = load("duts", split, tmp_path)
    names = [f"ILSVRC2012_test_{number:08}" for number in numbers]
    assert relative(item.frames, tmp_path) == [f"DUTS-{split}/DUTS-{split}-Image/{name}.jpg" for name in names]
    assert relative(item.files("masks"), tmp_path) == [f"DUTS-{split}/DUTS-{split}-Mask/{name}.png" for name in names]
    assert np.array_equal(read_mask(item, 0), square(0))


def test_ecssd(tmp_path: Path) -> None:
    write_ecssd(tmp_path)
    (item,) = load("ecssd", "all", tmp_path)
    assert item.names == ("0001", "0002") and relative(item.frames, tmp_path)[1] == "images/0002.jpg"
    assert np.array_equal(read_mask(item, 1), square(1))


def test_visal(tmp_path: Path) -> None:
    write_visal(tmp_path)
    bird, rider = load("visal", "all", tmp_path)
    assert (bird.name, rider.name) == ("bird", "rider") and bird.annotated == rider.annotated == [0, 5]
    assert relative(bird.files("masks"), tmp_path)[1] == "GroundTruth/bird_frame0006.bmp"
    assert relative(rider.files("masks"), tmp_path)[1] == "GroundTruth/rider_image0006.png"
    for item in (bird, rider):
        assert np.array_equal(read_mask(item, 5), square(5)) and read_boxes(item, 5).boxes.tolist() == tight(5)
        assert len(read_boxes(item, 4)) == 0


SHIPPED = sorted(path.stem for path in Path(fusionseg.data_manifests.__file__ or "").parent.glob("*.yaml"))


@pytest.mark.parametrize("name", [n for n in SHIPPED if not n.startswith("demo-") and n != "folder"])
def test_manifests_of_real_data_name_licence_home_and_citation(name: str) -> None:
    found = read_manifest(name)
    assert found.licence and found.home.startswith("http") and found.citation
