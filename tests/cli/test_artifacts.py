"""The commands that show artifacts."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest
from commands import fails


def test_hdf5_of_another_schema(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        file["x"] = [1]
    assert "another schema" in fails(capsys, tmp_path, "show", path)
