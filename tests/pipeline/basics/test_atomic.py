"""Files are written whole or not at all."""

import json
from pathlib import Path

import pytest

from fusionseg.pipeline.basics.atomic import atomic_folder, atomic_path, write_atomically, write_json


def test_writes_below_folders_that_are_made(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a" / "b" / "file.bin", b"new")
    assert (tmp_path / "a" / "b" / "file.bin").read_bytes() == b"new"
    assert len(list((tmp_path / "a" / "b").iterdir())) == 1


def test_json(tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {"name": "bär", "values": [1, None, 2.5]})
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8")) == {"name": "bär", "values": [1, None, 2.5]}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_keeps_the_old_file_and_leaves_no_other(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    with pytest.raises(error), atomic_path(path) as temporary:
        temporary.write_bytes(b"half")
        assert path.read_bytes() == b"old"
        raise error
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_the_temporary_file_lies_beside_its_place_and_is_hidden(tmp_path: Path) -> None:
    path = tmp_path / "file.h5"
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent and temporary.name.startswith(".") and temporary.suffix != ".h5"
        temporary.write_bytes(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new" and not temporary.exists()


def test_what_cannot_be_json_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_json(tmp_path / "run.json", {"path": tmp_path})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "frames" / "key"
    with atomic_folder(path) as temporary:
        (temporary / "0.jpg").write_bytes(b"x")
        assert not path.exists() and temporary.parent == path.parent
    assert [file.name for file in path.iterdir()] == ["0.jpg"] and list(path.parent.iterdir()) == [path]


def test_a_folder_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "key") as temporary:
        (temporary / "0.jpg").write_bytes(b"x")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_of_two_that_write_one_folder_the_first_wins(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "key") as temporary:
        (temporary / "0.jpg").write_bytes(b"mine")
        (tmp_path / "key").mkdir()
        (tmp_path / "key" / "0.jpg").write_bytes(b"theirs")
    assert (tmp_path / "key" / "0.jpg").read_bytes() == b"theirs" and list(tmp_path.iterdir()) == [tmp_path / "key"]
