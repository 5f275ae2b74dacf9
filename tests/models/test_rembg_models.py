"""rembg's models without rembg: found where it keeps them, given pictures as it gives them, told about in one line."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from rembg_files import write_model

from fusionseg.models.outside import rembg_models
from fusionseg.models.outside.plugins import frame_models
from fusionseg.models.outside.rembg_models import PUBLISHED, RembgModel, prepare

_PLACES = ("U2NET_HOME", "REMBG_HOME", "XDG_DATA_HOME")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without models."""
    for name in _PLACES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def redness(size: tuple[int, int]) -> np.ndarray:
    """A picture whose red grows from left to right, (H, W, 3) uint8 RGB."""
    picture = np.full((*size, 3), 40, np.uint8)
    picture[..., 0] = np.linspace(0, 200, size[1]).astype(np.uint8)
    return picture


def test_pictures_are_prepared_as_rembg_does() -> None:
    picture = np.zeros((30, 60, 3), np.uint8)
    picture[:] = 100, 50, 25  # of these the largest is 1
    found = prepare(picture, PUBLISHED["u2net"])
    assert found.shape == (3, 320, 320) and found.dtype == np.float32
    expected = [(1 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0.25 - 0.406) / 0.225]
    np.testing.assert_allclose(found, np.broadcast_to(np.reshape(expected, (3, 1, 1)), found.shape), rtol=1e-5)
    np.testing.assert_allclose(prepare(picture, PUBLISHED["isnet-general-use"])[:, 5, 7], [0.5, 0, -0.25], atol=1e-6)
    assert np.isfinite(prepare(np.zeros((9, 9, 3), np.uint8), PUBLISHED["u2net"])).all()


def test_the_first_answer_is_the_soft_mask_as_it_is(home: Path) -> None:
    write_model(home / ".u2net", gain=0.5)
    soft = RembgModel.of("u2net")("cpu")(redness((30, 60)))
    assert soft.shape == (320, 320) and soft.dtype == np.float32
    assert soft.max() == pytest.approx(0.5, abs=1e-3), "not stretched over 0..1"
    assert (np.diff(soft, axis=1) >= -1e-3).all() and np.ptp(soft, axis=0).max() < 1e-3


def test_logits_become_shares(home: Path) -> None:
    write_model(home / ".u2net", "birefnet-general", gain=8)
    soft = RembgModel.of("birefnet-general")("cpu")(redness((20, 20)))
    assert soft.shape == (1024, 1024)
    assert soft.min() == pytest.approx(0.5, abs=1e-3) and soft.max() == pytest.approx(1 / (1 + np.exp(-8)), abs=1e-3)


@pytest.mark.parametrize(
    ("setting", "folder"),
    [
        (None, ".u2net"),
        (None, ".rembg/models/u2net"),
        (("U2NET_HOME", "own"), "own"),
        (("U2NET_HOME", "own"), "own/models/u2net"),
        (("REMBG_HOME", "own"), "own/models/u2net"),
        (("XDG_DATA_HOME", "share"), "share/rembg/models/u2net"),
        (("XDG_DATA_HOME", "share"), "share/.u2net"),
    ],
)
def test_files_are_found_where_rembg_keeps_them(
    home: Path, monkeypatch: pytest.MonkeyPatch, setting: tuple[str, str] | None, folder: str
) -> None:
    if setting:
        monkeypatch.setenv(setting[0], str(home / setting[1]))
    path = write_model(home / folder)
    found = RembgModel.of("u2net")
    assert found.path == path
    assert found.version == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def test_another_file_under_the_same_name_is_another_version(home: Path) -> None:
    write_model(home / ".u2net")
    before = frame_models.get("rembg:u2net").version
    write_model(home / ".u2net", gain=0.5)
    assert frame_models.get("rembg:u2net").version != before == before


def test_names_are_checked_without_files(home: Path) -> None:
    assert frame_models.check("rembg:birefnet-general-lite") == "rembg:birefnet-general-lite"
    assert frame_models.check("stream") == "stream"
    with pytest.raises(ValueError, match=r"no model 'sam' of rembg's that marks an object; known: u2net, u2netp"):
        frame_models.check("rembg:sam")
    with pytest.raises(ValueError, match="expected one of stream, rembg:NAME"):
        frame_models.check("u2net")
    with pytest.raises(ValueError, match="comes with FusionSeg"):
        frame_models.register("rembg:mine", "1")


@pytest.mark.parametrize(("name", "file"), [("u2net", "u2net"), ("birefnet-dis", "BiRefNet-DIS-epoch_590")])
def test_a_file_that_is_not_here_says_where_to_get_it(home: Path, name: str, file: str) -> None:
    with pytest.raises(ValueError) as caught:
        RembgModel.of(name)
    text = str(caught.value)
    assert f"/{file}.onnx as {home}/.rembg/models/{name}/{name}.onnx" in text and f"`rembg d {name}`" in text
    assert "U2NET_HOME" in text and "\n" not in text


def test_without_the_runtime_it_says_what_to_install(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(home / ".u2net")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs onnxruntime; install it with: pip install 'fusionseg\[rembg\]'"):
        RembgModel.of("u2net")


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>"])
def test_a_file_that_is_no_network_is_told(home: Path, content: bytes) -> None:
    path = write_model(home / ".u2net")
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"u2net\.onnx: no ONNX file that onnxruntime can run") as caught:
        RembgModel.of("u2net")("cpu")
    assert "\n" not in str(caught.value)


def test_a_network_of_another_size_is_told(home: Path) -> None:
    write_model(home / ".u2net", side=64)
    with pytest.raises(ValueError, match=r"takes \[1, 3, 64, 64\] tensor\(float\), expected \[1, 3, 320, 320\]"):
        RembgModel.of("u2net")("cpu")


def test_it_loads_nothing_before_it_is_asked() -> None:
    assert not {"onnxruntime", "torch"} & vars(rembg_models).keys()
