"""`data convert`: the boxes of masks come back as boxes, from a tree that nothing is copied into."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from builders import (
    moving_square,
    write_davis,
    write_davis2017,
    write_fbms,
    write_jpeg,
    write_png,
    write_segtrack,
    write_vid,
    write_voc,
    write_youtube_objects,
)
from videos import write_video

from fusionseg.pipeline.datasets.check import check
from fusionseg.pipeline.datasets.convert import convert, run_convert
from fusionseg.pipeline.datasets.finding import load_items
from fusionseg.pipeline.datasets.items import Item
from fusionseg.pipeline.datasets.manifest import DataManifest, read_manifest
from fusionseg.pipeline.datasets.reading import read_boxes, read_frame, read_mask_sized
from fusionseg.pipeline.errors import BadFile, UserError
from fusionseg.pipeline.formats.boxes import tight_box


def converted(manifest: DataManifest, root: Path, out: Path, split: str = "train") -> DataManifest:
    return convert(manifest, {split: load_items(manifest, split, root)}, out, "own-boxes")


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def load(out: Path, split: str = "train") -> list[Item]:
    return load_items(read_manifest(str(out / "manifest.yaml")), split, out)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return the root of a data set whose third frame shows nothing."""
    write_davis(tmp_path / "data", {"bear": 4, "my bus": 3})
    write_png(tmp_path / "data/Annotations/480p/bear/00002.png", np.zeros((24, 40), np.uint8))
    return tmp_path / "data"


def manifest(**changes: object) -> DataManifest:
    values = {
        "name": "own", "title": "Own", "kind": "videos", "licence": "mine", "home": "https://example.org",
        "citation": "Me, 2026", "frames": "JPEGImages/480p/{video}/{frame}.jpg",
        "masks": "Annotations/480p/{video}/{frame}.png", "splits": {"train": ["bear", "my bus"]},
    }  # fmt: skip
    return DataManifest.model_validate(values | changes)


def test_boxes_come_back(tmp_path: Path, data: Path) -> None:
    before = content(data)
    converted(manifest(), data, tmp_path / "new")
    bear, bus = load(tmp_path / "new")
    assert (bear.dataset, bear.name, bus.name) == ("own-boxes", "bear", "my bus")
    expected = [[4 + 2 * n, 6, 12 + 2 * n, 14] for n in range(4)]
    assert [read_boxes(bear, n).boxes.tolist() for n in range(4)] == [[expected[0]], [expected[1]], [], [expected[3]]]
    assert [read_boxes(bus, n).boxes.tolist() for n in range(3)] == [[box] for box in expected[:3]]
    assert read_boxes(bear, 0).generated.tolist() == [True] and read_boxes(bear, 0).occluded.tolist() == [False]
    assert content(data) == before


def test_the_tree_is_that_of_imagenet_vid_and_its_frames_are_links(tmp_path: Path, data: Path) -> None:
    converted(manifest(), data, tmp_path / "new")
    files = sorted(str(path.relative_to(tmp_path / "new")) for path in (tmp_path / "new").rglob("*.*"))
    assert files[:2] == ["Annotations/VID/train/bear/00000.xml", "Annotations/VID/train/bear/00001.xml"]
    assert files[7:9] == ["Data/VID/train/bear/00000.jpg", "Data/VID/train/bear/00001.jpg"]
    assert files[14:] == ["ImageSets/VID/train.txt", "manifest.yaml"]
    link = tmp_path / "new/Data/VID/train/my bus/00001.jpg"
    assert link.is_symlink() and link.resolve() == data / "JPEGImages/480p/my bus/00001.jpg"
    assert (tmp_path / "new/ImageSets/VID/train.txt").read_text() == "bear\nmy bus\n"
    text = (tmp_path / "new/Annotations/VID/train/bear/00000.xml").read_text()
    for part in ("<folder>bear<", "<filename>00000<", "<width>40<", "<height>24<", "<trackid>1<"):
        assert part in text


def test_the_manifest_carries_licence_and_counts(tmp_path: Path, data: Path) -> None:
    made = converted(manifest(), data, tmp_path / "new")
    assert read_manifest(str(tmp_path / "new/manifest.yaml")) == made
    assert (made.licence, made.home, made.citation) == ("mine", "https://example.org", "Me, 2026")
    assert made.expected["train"].model_dump(exclude_none=True) == {"videos": 2, "frames": 7, "boxes": 6}
    (found,) = check(made, tmp_path / "new", deep=True)
    assert (found.problems, found.boxes, found.frames) == ([], 6, 7)


def test_frames_without_truth_get_no_annotation(tmp_path: Path, data: Path) -> None:
    (data / "Annotations/480p/bear/00001.png").unlink()
    made = converted(manifest(sparse_masks=True), data, tmp_path / "new")
    assert (
        made.sparse_boxes and not converted(manifest(splits={"train": ["my bus"]}), data, tmp_path / "b").sparse_boxes
    )
    bear = load(tmp_path / "new")[0]
    assert bear.boxes is not None and bear.boxes.paths[1] is None and bear.boxes.paths[2] is not None
    assert len(read_boxes(bear, 1)) == len(read_boxes(bear, 2)) == 0


def test_several_objects_get_a_box_and_a_number_each(tmp_path: Path) -> None:
    for index in range(2):
        write_jpeg(tmp_path / f"data/f/clip/{index}.jpg", moving_square(1)[0][0])
        for number, left in ((1, 2), (4, 20)):
            mask = np.zeros((24, 40), np.uint8)
            mask[5:9, left + index : left + index + 6] = 255
            write_png(tmp_path / f"data/m/clip/{number}/{index}.png", mask)
    own = manifest(frames="f/{video}/{frame}.jpg", masks="m/{video}/{object}/{frame}.png", splits={"train": ["clip"]})
    converted(own, tmp_path / "data", tmp_path / "new")
    (clip,) = load(tmp_path / "new")
    assert read_boxes(clip, 1).boxes.tolist() == [[3, 5, 9, 9], [21, 5, 27, 9]]
    text = (tmp_path / "new/Annotations/VID/train/clip/1.xml").read_text()
    assert "<trackid>1<" in text and "<trackid>4<" in text


@pytest.mark.parametrize(
    ("name", "split", "write"),
    [
        ("davis2017-unsupervised", "val", lambda root: write_davis2017(root, {"judo": 3})),
        ("segtrack-v2", "all", write_segtrack), ("fbms59", "Testset", write_fbms),
        ("youtube-objects", "all", write_youtube_objects),
    ],
)  # fmt: skip
def test_layouts_of_the_owners(tmp_path: Path, name: str, split: str, write: Callable[[Path], object]) -> None:
    write(tmp_path / "data")
    items = load_items(read_manifest(name), split, tmp_path / "data")
    made = convert(read_manifest(name), {split: items}, tmp_path / "new", f"{name}-boxes")
    for masked, boxed in zip(items, load(tmp_path / "new", split), strict=True):
        assert boxed.boxes is not None and boxed.name == masked.name
        assert [n for n, path in enumerate(boxed.boxes.paths) if path] == masked.annotated
        for index in masked.annotated:
            height, width = read_frame(masked, index).shape[:2]
            whole = tight_box(read_mask_sized(masked, index, (height, width)) == 1)
            boxes = read_boxes(boxed, index).boxes
            assert whole is not None and (*boxes[:, :2].min(0), *boxes[:, 2:].max(0)) == whole
    (found,) = check(made, tmp_path / "new", deep=True)
    assert found.problems == []


def test_again_is_the_same_and_anything_else_is_refused(tmp_path: Path, data: Path) -> None:
    converted(manifest(), data, tmp_path / "new")
    before = content(tmp_path / "new")
    converted(manifest(), data, tmp_path / "new")
    with pytest.raises(UserError, match=r"new: there already, with other content; give another --out"):
        converted(manifest(splits={"train": ["bear"]}), data, tmp_path / "new")
    assert content(tmp_path / "new") == before and names(tmp_path) == ["data", "new"]
    (tmp_path / "empty").mkdir()
    converted(manifest(), data, tmp_path / "empty")
    assert (tmp_path / "empty/manifest.yaml").is_file()


def test_an_error_leaves_nothing(tmp_path: Path, data: Path) -> None:
    (data / "Annotations/480p/my bus/00002.png").write_bytes(b"no mask")
    with pytest.raises(BadFile, match=r"my bus/00002\.png: mask can't be decoded"):
        converted(manifest(), data, tmp_path / "new")
    assert names(tmp_path) == ["data"]


def run(folder: Path, name: str, root: Path, **more: object) -> list[str]:
    said: list[str] = []
    run_convert(name, root, folder / "new", store=folder / "out", say=said.append, **more)  # type: ignore[arg-type]
    return said


def written(folder: Path, own: DataManifest) -> str:
    (folder / "own.yaml").write_text(own.model_dump_json(exclude_defaults=True))  # JSON is YAML
    return str(folder / "own.yaml")


def test_a_run_tells_what_it_made_and_how_to_use_it(tmp_path: Path, data: Path) -> None:
    said = run(tmp_path, written(tmp_path, manifest()), data, called="mine")
    new = tmp_path / "new"
    assert said == [
        "train: 6 boxes in 7 frames of 2 videos",
        f'{new}: use as boxed = {{manifest = "{new}/manifest.yaml", split = "train"}} with --data mine={new}',
    ]
    assert load(new)[0].dataset == "mine"


def test_a_video_file_with_masks(tmp_path: Path) -> None:
    own = tmp_path / "own"
    write_video(own / "frames" / "clip.mp4", 3)
    write_video(own / "frames" / "other.mp4", 3)
    for index in range(3):
        mask = np.zeros((48, 64), np.uint8)
        mask[5:20, 10 + index : 30] = 1
        write_png(own / "masks" / "clip" / f"{index:05}.png", mask)
    said = run(tmp_path, "folder", own)
    assert said[0] == "other (all): has no masks; left out" and said[1] == "all: 3 boxes in 3 frames of 1 videos"
    (clip,) = load(tmp_path / "new", "all")
    assert read_boxes(clip, 2).boxes.tolist() == [[12, 5, 30, 20]]
    assert clip.frames[0].resolve().is_relative_to(tmp_path / "out" / "frames")


def test_what_cannot_be_converted_is_refused(tmp_path: Path, data: Path) -> None:
    stills, boxed = write_voc(tmp_path / "voc", ["a"]), write_vid(tmp_path / "vid", {"clip": 2})
    with pytest.raises(UserError, match="tiny-voc: stills; expected videos"):
        run(tmp_path, written(tmp_path, stills), tmp_path / "voc")
    with pytest.raises(UserError, match="tiny-vid: has no masks; boxes are made from masks"):
        run(tmp_path, written(tmp_path, boxed), tmp_path / "vid")
    with pytest.raises(UserError, match="folder, split 'all': has no masks"):
        run(tmp_path, "folder", write_video(tmp_path / "clip.mp4", 2))
    with pytest.raises(UserError, match=r"the split '\.\./x' can't be a folder's name"):
        run(tmp_path, written(tmp_path, manifest(splits={"../x": ["bear"]})), data)
    with pytest.raises(UserError, match=r"--name 'a b': name: .*found 'a b'"):
        run(tmp_path, written(tmp_path, manifest()), data, called="a b")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="new: there already, with other content"):
        run(tmp_path, written(tmp_path, manifest()), data)
    assert names(tmp_path / "new") == ["thesis.txt"]


@pytest.mark.real
def test_real_davis(tmp_path: Path, real_data: Path) -> None:
    small = read_manifest("davis2016-small")
    masked = {item.name: item for item in load_items(small, "motion", real_data)}
    made = convert(small, {"motion": list(masked.values())}, tmp_path / "new", "davis-boxes")
    (found,) = check(made, tmp_path / "new")
    assert found.problems == [] and (len(found.items), found.frames, found.boxes) == (15, 996, 981)
    for item in load(tmp_path / "new", "motion"):
        for index in (0, len(item.frames) // 2):
            assert read_boxes(item, index).boxes.tolist() == read_boxes(masked[item.name], index).boxes.tolist()
