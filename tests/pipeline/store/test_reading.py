"""Tables and frames by the file's name: what isn't there is said, and a good file is never called damaged."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from builders import make_context, write_input

from fusionseg.pipeline.errors import DamagedArtifact, UserError
from fusionseg.pipeline.store.reading import read_frame, read_table

TABLE = pd.DataFrame({"frame": [0, 1], "reason": ["", "moves too little"]})


def artifact(tmp_path: Path, stage: str = "flow-filter", **more: Any) -> Path:
    frames = {"plain": np.arange(24, dtype=np.uint8).reshape(2, 3, 4)}
    record = write_input(make_context(tmp_path), stage, frames, tables={"verdicts": TABLE}, **more)
    return tmp_path / record.path


def refused(read: Any, *arguments: Any) -> str:
    """What is said of bad input; that nothing is called damaged."""
    with pytest.raises(UserError) as caught:
        read(*arguments)
    assert not isinstance(caught.value, DamagedArtifact)
    text = str(caught.value)
    assert "elete" not in text and "damage" not in text and "\n" not in text and str(arguments[0]) in text
    return text


def test_paths_may_be_text(tmp_path: Path) -> None:
    path = artifact(tmp_path)
    for given in (path, str(path)):
        pd.testing.assert_frame_equal(read_table(given, "verdicts"), TABLE)
        assert read_frame(given, "plain", 1).tolist() == [[12, 13, 14, 15], [16, 17, 18, 19], [20, 21, 22, 23]]


@pytest.mark.parametrize(
    ("stage", "name", "said"),
    [
        ("flow-filter", "verdict", "no table 'verdict'; it has: verdicts"),
        ("flow-filter", "", "no table ''; it has: verdicts"),
        ("flow-filter", "verdicts/frame", "no table 'verdicts/frame'; it has: verdicts"),
        ("flow-filter", "plain", "(plain is a dataset: read_frame gives it)"),
        ("optical-flow", "camera", '(camera is made with optical-flow.stabilise = "homography")'),
    ],
)
def test_tables_that_are_not_there(tmp_path: Path, stage: str, name: str, said: str) -> None:
    assert said in refused(read_table, artifact(tmp_path, stage), name)


@pytest.mark.parametrize(
    ("stage", "name", "index", "said"),
    [
        ("flow-filter", "labels", 0, "no dataset 'labels'; it has: plain"),
        ("flow-filter", "verdicts", 0, "(verdicts is a table: read_table gives it)"),
        ("prediction", "centre-box", 0, "(centre-box is made with prediction.baselines = true)"),
        ("flow-filter", "plain", 2, "plain has 2 frames, numbered from 0; none has number 2"),
        ("flow-filter", "plain", -1, "none has number -1"),
    ],
)
def test_frames_that_are_not_there(tmp_path: Path, stage: str, name: str, index: int, said: str) -> None:
    assert said in refused(read_frame, artifact(tmp_path, stage), name, index)


def write_matlab(path: Path) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        file["x"] = [1]
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file")


def write_foreign(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = [1]


@pytest.mark.parametrize(
    ("name", "write", "said"),
    [
        ("nowhere.h5", lambda path: None, "No such file or directory"),
        ("folder.h5", Path.mkdir, "Is a directory"),
        ("other.h5", write_foreign, "an HDF5 file of another schema; expected an artifact of fusionseg"),
        ("matlab.mat", write_matlab, "an HDF5 file of another schema"),
        ("notes.h5", lambda path: path.write_text("notes"), "no HDF5 file; expected an artifact of fusionseg"),
        ("empty.h5", Path.touch, "no HDF5 file"),
        ("a.json", lambda path: path.write_text('{"schema": "mine"}'), "no HDF5 file"),
        ("model.safetensors", Path.touch, "weights; expected an artifact"),
    ],
)
@pytest.mark.parametrize("read", [lambda path: read_table(path, "verdicts"), lambda path: read_frame(path, "plain", 0)])
def test_what_is_no_artifact(tmp_path: Path, name: str, write: Any, said: str, read: Any) -> None:
    write(tmp_path / name)
    assert said in refused(read, tmp_path / name)


def test_what_was_an_artifact_is_damaged(tmp_path: Path) -> None:
    path = artifact(tmp_path)
    elsewhere = Path(shutil.copy(path, tmp_path / "mine.h5"))
    for file in (path, elsewhere):
        file.write_bytes(file.read_bytes()[:-1])
        with pytest.raises(DamagedArtifact, match="bytes, expected"):
            read_table(file, "verdicts")
    path.write_bytes(b"")  # as a machine that lost power leaves it: in the store that is damage
    with pytest.raises(DamagedArtifact, match="no FusionSeg header"):
        read_table(path, "verdicts")


def test_a_table_that_cannot_be_read_is_damaged(tmp_path: Path) -> None:
    path = artifact(tmp_path)
    with h5py.File(path, "r") as file:
        offset = file["verdicts/frame"].id.get_chunk_info(0).byte_offset
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(DamagedArtifact, match="verdicts"):
        read_table(path, "verdicts")
