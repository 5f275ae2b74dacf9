"""Patterns of paths, and folders that are listed once."""

import os
from pathlib import Path

import pytest
from builders import write_bytes
from hypothesis import given
from hypothesis import strategies as st

from fusionseg.pipeline.datasets.patterns import Folders, check_pattern, natural

KNOWN = ("video", "frame", "number", "object", "split")


def tree(root: Path, *names: str) -> Folders:
    for name in names:
        write_bytes(root / name)
    return Folders(root)


def names(folders: Folders, pattern: str, video: str = "", split: str = "") -> list[dict[str, tuple[str, ...]]]:
    return [dict(matches.names) for matches in folders.matches(pattern, video, split)]


def test_frames_go_by_what_their_placeholder_stands_for(tmp_path: Path) -> None:
    folders = tree(
        tmp_path, "a/clip/f_1_gt.png", "a/clip/f_22_gt.png", "a/clip/f_3.png", "a/clip/1_gt.png", "b/f_1_gt.png"
    )
    assert names(folders, "a/{video}/f_{frame}_gt.png", "clip") == [{"1": ("f_1_gt.png",), "22": ("f_22_gt.png",)}]


def test_case_of_suffixes_does_not_matter_that_of_names_does(tmp_path: Path) -> None:
    folders = tree(tmp_path, "1.JPG", "2.jpg", "3.Jpg", "4.JPEG", "5.png", "F6.jpg", "f7.jpg")
    assert set(names(folders, "{frame}.jpg")[0]) == {"1", "2", "3", "F6", "f7"}
    assert set(names(folders, "{frame}.JPEG")[0]) == {"4"}
    assert set(names(folders, "f{frame}.jpg")[0]) == {"7"}


def test_any_picture_suffix(tmp_path: Path) -> None:
    suffixes = ["jpg", "jpeg", "png", "bmp", "ppm", "pgm", "tif", "tiff", "webp", "PNG"]
    folders = tree(
        tmp_path, *(f"{n}.{suffix}" for n, suffix in enumerate(suffixes)), "x.mat", "x.txt", "x", "x.png.part"
    )
    assert sorted(names(folders, "{frame}.*")[0], key=int) == [str(n) for n in range(len(suffixes))]


def test_numbers_match_whatever_their_digits(tmp_path: Path) -> None:
    (matches,) = tree(tmp_path, "00001.png", "11.png", "0x1.png").matches("{number}.png")
    assert matches.of("0001") == ("00001.png",) and matches.of("000000011") == ("11.png",)
    assert matches.of("2") == () and matches.of("one") == ()
    assert set(tree(tmp_path, "1.png").matches("{number}.png")[0].of("01")) == {"00001.png", "1.png"}


def test_objects_are_all_folders_in_natural_order(tmp_path: Path) -> None:
    folders = tree(
        tmp_path, "gt/clip/10/0.png", "gt/clip/2/0.png", "gt/clip/1/0.png", "gt/clip/0.png", "gt/clip/.git/0.png"
    )
    found = folders.matches("gt/{video}/{object}/{frame}.png", "clip")
    assert [matches.folder.name for matches in found] == ["1", "2", "10"]
    assert folders.matches("gt/{video}/{object}/{frame}.png", "gone") == []


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    folders = tree(tmp_path, "a/.0.png", "a/._1.png", "a/2.png", ".b/0.png")
    assert names(folders, "a/{frame}.png") == [{"2": ("2.png",)}] and folders.below("*") == ["a"]


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    tree(tmp_path, "a/0.png/x")
    assert names(Folders(tmp_path), "a/{frame}.png") == [{}]
    assert names(Folders(tmp_path), "a/0.png/x/{frame}.png") == [{}]  # nor a file a folder


def test_links_are_followed(tmp_path: Path) -> None:
    write_bytes(tmp_path / "store/clip/0.png")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/film").symlink_to(tmp_path / "store/clip")
    (tmp_path / "data/film2").mkdir()
    (tmp_path / "data/film2/7.png").symlink_to(tmp_path / "store/clip/0.png")
    folders = Folders(tmp_path / "data")
    assert folders.below("*") == ["film", "film2"]
    assert names(folders, "{video}/{frame}.png", "film") == [{"0": ("0.png",)}]
    assert names(folders, "{video}/{frame}.png", "film2") == [{"7": ("7.png",)}]


def test_files_in_one_folder_for_all_videos(tmp_path: Path) -> None:
    folders = tree(tmp_path, "all/a_0.png", "all/a_1.png", "all/b_0.png")
    assert names(folders, "all/{video}_{frame}.png", "a") == [{"0": ("a_0.png",), "1": ("a_1.png",)}]
    assert names(folders, "all/{video}_{frame}.png", "b") == [{"0": ("b_0.png",)}]


def test_a_folder_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = tree(tmp_path, "a/0.png", "a/1.jpg", "b/0.png")
    listed: list[str] = []
    original = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(Path(path).name) or original(path))
    for _ in range(3):
        for pattern in ("a/{frame}.png", "a/{frame}.jpg", "b/{frame}.png"):
            folders.matches(pattern)
    assert listed == ["a", "b"]


def test_folders_below(tmp_path: Path) -> None:
    folders = tree(tmp_path, "x/b10/s/0", "x/b9/s/0", "x/c/t/0", "x/file", "y/b1/s/0")
    assert folders.below("x/*") == ["x/b9", "x/b10", "x/c"]
    assert folders.below("x/b*/*") == ["x/b9/s", "x/b10/s"]
    assert folders.below("*/b*/s") == ["x/b9/s", "x/b10/s", "y/b1/s"]
    assert folders.below("nowhere/*") == []


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("{vid}/{frame}.png", "the only placeholders are"), ("{video}/{frame:05d}.png", "the only placeholders are"),
        ("{video}/{frame.png", "the only placeholders are"), ("{}/{frame}.png", "the only placeholders are"),
        ("/data/{frame}.png", "below the data root"), ("a/../../{frame}.png", "below the data root"),
        ("{frame}/0.png", "last part, once"), ("{frame}_{frame}.png", "last part, once"),
        ("{frame}_{number}.png", "last part, once"), ("{object}/{object}.png", "whole folder"),
        ("x{object}/{frame}.png", "whole folder"),
    ],
)  # fmt: skip
def test_wrong_patterns_are_refused(pattern: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_pattern(pattern, KNOWN)


STEMS = st.text(alphabet="a0[]*?. é", min_size=1, max_size=6).filter(lambda text: not text.startswith("."))


@given(st.lists(STEMS, min_size=1, unique=True))
def test_any_names_are_found(tmp_path_factory: pytest.TempPathFactory, stems: list[str]) -> None:
    root = tmp_path_factory.mktemp("names")
    folders = tree(root, *(f"f/{stem}.png" for stem in stems))
    assert names(folders, "f/{frame}.png") == [{stem: (f"{stem}.png",) for stem in stems}]


@given(st.lists(st.integers(0, 10**9), min_size=1, unique=True))
def test_natural_order_is_that_of_numbers(numbers: list[int]) -> None:
    assert sorted([f"frame{n}.png" for n in numbers], key=natural) == [f"frame{n}.png" for n in sorted(numbers)]


@given(st.lists(st.text(min_size=1)))
def test_any_names_can_be_sorted(names: list[str]) -> None:
    assert sorted(sorted(names, key=natural, reverse=True), key=natural) == sorted(names, key=natural)
