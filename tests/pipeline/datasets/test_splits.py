"""Splits: names in the manifest, in lists, in folders, and lists put together."""

from pathlib import Path

import pytest
from builders import write_bytes, write_lines

from fusionseg.pipeline.datasets.patterns import Folders
from fusionseg.pipeline.datasets.splits import Split, SplitFile, SplitFolders, SplitStills, SplitUnion, names_of

FRAMES = "JPEGImages/{video}/{frame}.jpg"


def names(split: Split, root: Path, frames: str = FRAMES, name: str = "train") -> list[str]:
    return names_of(split, frames, name, Folders(root))


@pytest.mark.parametrize(
    ("line", "lines", "expected"),
    [
        ("{video}", ["a 1", "", "  b", "a 2"], ["a", "b"]),
        ("{video}", ["batch/clip_0 1", "batch/clip_1 1"], ["batch/clip_0", "batch/clip_1"]),
        ("*{video}", ["*girl", "*monkey dog"], ["girl", "monkey"]),
        ("{video}/{frame}", ["x/y/000000 1", "x/y/000001 2", "x/z/000000 3"], ["x/y", "x/z"]),
        ("/J/{video}/{frame}.jpg", ["/J/b/0.jpg /A/b/0.png", "/J/b/1.jpg", "/J/a/0.jpg"], ["b", "a"]),
    ],
)
def test_lists_give_each_name_once_in_order(tmp_path: Path, line: str, lines: list[str], expected: list[str]) -> None:
    write_lines(tmp_path / "list.txt", lines)
    assert names(SplitFile(file="list.txt", line=line), tmp_path) == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_lists_of_other_systems(tmp_path: Path, encoding: str) -> None:
    write_bytes(tmp_path / "list.txt", "# both\r\na\r\n'b'\r\n".encode(encoding))
    assert names(SplitFile(file="list.txt"), tmp_path) == ["a", "b"]


def test_a_line_is_a_whole_name_where_there_is_one(tmp_path: Path) -> None:
    for video in ("red ball", "red", "my car"):
        write_bytes(tmp_path / f"JPEGImages/{video}/0.jpg")
    write_lines(tmp_path / "list.txt", ["red ball", "red 1", "my car 2", "no such 3"])
    assert names(SplitFile(file="list.txt"), tmp_path) == ["red ball", "red", "my car", "no"]
    assert names(SplitUnion(union=["list.txt"]), tmp_path) == ["red ball", "red", "my car", "no"]
    write_lines(tmp_path / "frames.txt", ["/J/my car/0.jpg /A/my car/0.png", "/J/red/0.jpg"])
    assert names(SplitFile(file="frames.txt", line="/J/{video}/{frame}.jpg"), tmp_path) == ["my car", "red"]
    write_bytes(tmp_path / "JPEGImages/a photo.jpg")
    write_lines(tmp_path / "stills.txt", ["a photo", "a 1", "x" * 300 + " 1"])
    stills = names(SplitFile(file="stills.txt"), tmp_path, frames="JPEGImages/{frame}.jpg")
    assert stills == ["a photo", "a", "x" * 300]


def test_names_have_one_unicode_form(tmp_path: Path) -> None:
    write_lines(tmp_path / "list.txt", ["cafe\u0301"])
    assert names(SplitFile(file="list.txt"), tmp_path) == ["caf\u00e9"] == names(["cafe\u0301"], tmp_path)


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (b"../other\n", "{video}", r"list\.txt: '\.\./other' must be a path below the data root"),
        (b"/etc\n", "{video}", r"'/etc' must be a path below"),
        (b"a\n.\n", "{video}", r"'\.' names no video"),
        (b"*a\n\nb\n", "*{video}", r"list\.txt, line 3: found 'b', expected '\*\{video\}'"),
        ("Größe\n".encode("latin-1"), "{video}", r"list\.txt, line 1: not UTF-8 text \(byte 0xf6\)"),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, content: bytes, line: str, words: str) -> None:
    write_bytes(tmp_path / "list.txt", content)
    with pytest.raises(ValueError, match=words):
        names(SplitFile(file="list.txt", line=line), tmp_path)


def test_names_in_the_manifest_stay_inside_too(tmp_path: Path) -> None:
    assert names(["a", "b/c", "my clip"], tmp_path) == ["a", "b/c", "my clip"]
    for name in ("../a", "/a", "a/../../b", "", "."):
        with pytest.raises(ValueError, match=r"below the data root|names no video"):
            names([name], tmp_path)


def test_a_name_that_the_manifest_repeats_is_one_video(tmp_path: Path) -> None:
    assert names(["b", "a", "b"], tmp_path) == ["b", "a"]


def test_folders_are_named_from_where_the_frames_say_or_the_split(tmp_path: Path) -> None:
    for video in ("a10/s", "a9/s", "b/s"):
        write_bytes(tmp_path / f"JPEGImages/{video}/0.jpg")
        write_bytes(tmp_path / f"gt/train/{video}/0.png")
    assert names(SplitFolders(folders="JPEGImages/*/*"), tmp_path) == ["a9/s", "a10/s", "b/s"]
    assert names(SplitFolders(folders="JPEGImages/a*"), tmp_path) == ["a9", "a10"]
    assert names(SplitFolders(folders="gt/train/*"), tmp_path, frames="gt/{split}/{video}/{frame}.png") == [
        "a9",
        "a10",
        "b",
    ]
    assert names(SplitFolders(folders="gt/train/*/*", below="gt/train"), tmp_path) == ["a9/s", "a10/s", "b/s"]
    with pytest.raises(ValueError, match=r"'gt/train' doesn't lie below 'JPEGImages/'"):
        names(SplitFolders(folders="gt/*"), tmp_path)


def test_folders_having_a_file(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a/0.jpg")
    write_bytes(tmp_path / "b/0.jpg_sticks.mat")
    assert names(SplitFolders(folders="*", having="*_sticks.mat"), tmp_path, frames="{video}/{frame}.jpg") == ["b"]


def test_union_keeps_order_and_leaves_out(tmp_path: Path) -> None:
    write_lines(tmp_path / "voc/train.txt", ["c", "a"])
    write_lines(tmp_path / "sbd/train.txt", ["b", "a", "x"])
    write_lines(tmp_path / "voc/val.txt", ["x", "y"])
    split = SplitUnion(union=["voc/train.txt", "sbd/train.txt"], without=["voc/val.txt"])
    assert names(split, tmp_path) == ["c", "a", "b"]
    assert names(SplitUnion(union=["voc/val.txt"]), tmp_path) == ["x", "y"]


def test_all_stills_there_are_by_what_the_frames_are_called(tmp_path: Path) -> None:
    for name in ("n10.jpg", "n9.JPG", "m [1].jpg", ".n1.jpg", "n1.png", "n2.jpg/n3.jpg"):
        write_bytes(tmp_path / f"train-images/{name}")
    frames = "{split}-images/{frame}.jpg"
    assert names(SplitStills(stills="*"), tmp_path, frames) == ["m [1]", "n9", "n10"]
    assert names(SplitStills(stills="n*"), tmp_path, frames) == ["n9", "n10"]
    assert names(SplitStills(stills="m [*"), tmp_path, frames) == ["m [1]"]
    with pytest.raises(ValueError, match=r"there is no .*/val-images/n\*\.jpg; is --data the right folder\?"):
        names(SplitStills(stills="n*"), tmp_path, frames, "val")


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (SplitFile, {"file": "../list.txt"}), (SplitFile, {"file": "/list.txt"}),
        (SplitFile, {"file": "a.txt", "line": "{name}"}), (SplitFile, {"file": "a.txt", "line": "{frame}"}),
        (SplitFolders, {"folders": "../*"}), (SplitFolders, {"folders": "*", "below": ".."}),
        (SplitUnion, {"union": ["../a.txt"]}), (SplitUnion, {"union": ["a.txt"], "without": ["/b.txt"]}),
        (SplitUnion, {"union": []}), (SplitStills, {"stills": ""}), (SplitStills, {"stills": "*", "below": "a"}),
    ],
)  # fmt: skip
def test_wrong_splits_are_refused(model: type[SplitFile], values: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        model.model_validate(values)


def test_names_of_a_coco_file(tmp_path: Path) -> None:
    write_bytes(
        tmp_path / "i.json",
        b'{"images": [{"id": 3, "file_name": "../x.jpg", "width": 1, "height": 1}], "annotations": []}',
    )
    with pytest.raises(ValueError, match=r"i\.json: '\.\./x' must be a path below"):
        names(SplitFile(file="i.json"), tmp_path)
    write_bytes(tmp_path / "i.json", b"[]")
    with pytest.raises(ValueError, match=r"i\.json: not COCO's instances"):
        names(SplitFile(file="i.json"), tmp_path)
