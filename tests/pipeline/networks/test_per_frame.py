"""A per-frame model in the appearance stream's place: two numbers are fitted, its soft masks become scores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import make_context, make_item, make_work, moving_square, write_png
from hypothesis import given
from hypothesis import strategies as st
from rembg_files import write_model

from fusionseg.models.outside.plugins import frame_models
from fusionseg.models.weights import pack_weights, read_header, read_weights
from fusionseg.pipeline.datasets.items import Item, MaskFiles
from fusionseg.pipeline.datasets.reading import read_frame
from fusionseg.pipeline.errors import DamagedArtifact, UserError
from fusionseg.pipeline.networks import per_frame
from fusionseg.pipeline.networks.per_frame import Calibration, SoftMasks, calibrated, facts_of, histogram, stored_size
from fusionseg.pipeline.networks.scores import full_scores, object_mask, upsampled
from fusionseg.pipeline.networks.trained import given_record
from fusionseg.pipeline.run.session import run_job
from fusionseg.pipeline.settings.profile import read_profile
from fusionseg.pipeline.stages import appearance_scores, appearance_training
from fusionseg.pipeline.store.artifact import Artifact, Record

SIZE = (48, 80)


def squares(frame: np.ndarray) -> np.ndarray:
    """What a model that is sure of itself and always a bit off says of the frames of `item_of`."""
    mask = frame[..., 0] > 128
    return np.where(mask, 0.999, 0.02).astype(np.float32)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(frame_models, "_registered", {})
    frame_models.register("squares", "1")(lambda device: squares)
    per_frame._loaded.cache_clear()
    yield
    per_frame._loaded.cache_clear()


def item_of(folder: Path, frames: int = 3, masked: int = 99) -> Item:
    """Red squares on green; the first `masked` frames have a mask."""
    pictures, masks = [], []
    for index, (_, mask) in enumerate(moving_square(frames, SIZE, 20)):
        frame = np.where(mask[..., None], [30, 30, 220], [30, 160, 20]).astype(np.uint8)  # BGR
        pictures.append(write_png(folder / f"{index}.png", frame[..., ::-1].copy()))
        path = write_png(folder / f"masks/{index}.png", mask.astype(np.uint8))
        masks.append(MaskFiles((path,) if index < masked else ()))
    return make_item(frames=pictures, masks=tuple(masks))


def fitted(folder: Path, item: Item, **settings: Any) -> Record:
    """The record of weights that the stage made."""
    sections = {"network": {"long_side": 0}, "appearance-training": {"model": "squares", **settings}}
    items = {"stills": (item,), "validation": (item,)}
    work = make_work(make_context(folder), "appearance-training", None, sections, suffix=".safetensors", items=items)
    return run_job(work, appearance_training.compute)


@given(st.floats(0.3, 5), st.floats(-2, 2))
def test_the_fit_finds_what_made_the_labels(temperature: float, bias: float) -> None:
    x = (np.arange(per_frame._BINS) + 0.5) * (2 * per_frame._LIMIT / per_frame._BINS) - per_frame._LIMIT
    share = 1 / (1 + np.exp(-(x - bias) / temperature))
    found = calibrated(1e6 * np.stack([1 - share, share]), "squares")
    assert found == pytest.approx((temperature, bias), rel=0.02, abs=0.02)


def test_masks_without_a_fault_have_a_fit() -> None:
    soft = np.zeros((20, 20), np.float32)
    soft[5:9, 5:9] = 1
    counts = histogram(soft, (soft > 0.5).astype(np.uint8), (20, 20))
    assert counts.sum(1).tolist() == [384, 16] and counts[0, 0] == 384 and counts[1, -1] == 16
    found = calibrated(counts, "squares")
    assert 0 < found.temperature < 5 and abs(found.bias) < 5


def test_void_pixels_do_not_count() -> None:
    label = np.full((20, 20), 255, np.uint8)
    label[0, :5] = 1
    assert histogram(np.full((20, 20), 0.7, np.float32), label, (20, 20)).sum(1).tolist() == [0, 5]


def test_masks_the_other_way_round_are_told() -> None:
    soft = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)
    with pytest.raises(UserError, match=r"squares: its soft masks don't go with the stills' masks"):
        calibrated(histogram(soft, (soft < 0.5).astype(np.uint8), (20, 20)), "squares")


@pytest.mark.parametrize("frame_size", [(48, 80), (101, 37), (400, 60)])
@pytest.mark.parametrize("long_side", [0, 60])
def test_scores_lie_where_the_soft_mask_does(frame_size: tuple[int, int], long_side: int) -> None:
    """A ramp over the whole frame, seen by a model of 40x40, is the same ramp when scores are enlarged again."""
    centres = (np.arange(40) + 0.5) / 40
    logits = np.broadcast_to(4 * centres - 2, (40, 40))
    soft = (1 / (1 + np.exp(-logits))).astype(np.float32)
    size = stored_size(soft, frame_size, long_side)
    assert size[0] <= min(40, frame_size[0]) and size[1] <= min(40, frame_size[1])
    found = upsampled(Calibration(1.0, 0.0).scores(soft, size), facts_of(size, frame_size))
    assert found.shape == (1, 2, *frame_size)
    margin = (found[0, 1] - found[0, 0]).numpy()
    expected = 4 * (np.arange(frame_size[1]) + 0.5) / frame_size[1] - 2
    cell = -(-frame_size[1] // size[1]) + 2
    inner = slice(cell, -cell)  # at the margins interpolation has no neighbour
    np.testing.assert_allclose(margin[:, inner], np.broadcast_to(expected, margin.shape)[:, inner], atol=0.02)


def test_a_calibration_moves_the_threshold_and_keeps_the_rest() -> None:
    soft = np.array([[0.5, 0.7, 0.9, 0.0, 1.0]], np.float32)
    scores = Calibration(2.0, float(np.log(0.7 / 0.3))).scores(soft, (1, 5))
    assert scores.dtype == np.float16 and scores.shape == (2, 1, 5) and not scores[0].any()
    assert scores[1, 0, :3] == pytest.approx([-0.4236, 0.0, 0.6749], abs=1e-3)
    assert np.isfinite(scores).all() and scores[1, 0, 3] < -4 and scores[1, 0, 4] > 4


@pytest.mark.usefixtures("registered")
def test_the_stages_fit_it_and_run_it_on_every_frame(tmp_path: Path) -> None:
    item = item_of(tmp_path / "data")
    record = fitted(tmp_path, item)
    state, header = read_weights(tmp_path / record.path)
    assert (header["kind"], header["model"], header["reads"]) == ("per-frame", "squares", "frames")
    assert header["plug_ins"] == {"appearance-training.model": "squares 1"}
    assert {name: float(value) for name, value in state.items()} == {n: header[n] for n in ("temperature", "bias")}
    assert record.counts["stills"] == 3 and record.counts["best_validation_j"] == 1.0
    settings = {"network": {"long_side": 0}, "scores": {}}
    made = run_job(
        make_work(make_context(tmp_path), "appearance-scores", item, settings, [record]), appearance_scores.compute
    )
    with Artifact(tmp_path / made.path) as artifact:
        artifact.verify()
        assert artifact.length("scores") == 3 and made.counts == {"frames": 3}
        for index, (_, mask) in enumerate(moving_square(3, SIZE, 20)):
            assert np.array_equal(object_mask(full_scores(artifact, index)), mask)
            soft = squares(read_frame(item, index)[..., ::-1])
            expected = Calibration(header["temperature"], header["bias"]).scores(soft, SIZE)
            assert np.array_equal(artifact.frame("scores", index), expected)


@pytest.mark.usefixtures("registered")
def test_so_many_stills_are_used_and_those_without_a_mask_are_not(tmp_path: Path) -> None:
    item = item_of(tmp_path / "data", 6, masked=5)
    assert fitted(tmp_path, item).counts["stills"] == 5
    assert fitted(tmp_path, item, fit_stills=2).counts["stills"] == 2


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (np.zeros((4, 4, 1), np.float32), r"gave float32 of shape \(4, 4, 1\), expected floats of \(height, width\)"),
        (np.zeros((4, 4), np.uint8), r"gave uint8 of shape \(4, 4\)"),
        (np.full((4, 4), -3.0), "gave values from -3 to -3, expected 0 to 1"),
        (np.full((4, 4), np.nan), "gave values from nan to nan"),
        (None, "gave object of shape"),
    ],
)
@pytest.mark.usefixtures("registered")
def test_what_is_no_soft_mask_is_told(answer: Any, words: str) -> None:
    frame_models.register("wrong", "1")(lambda device: lambda frame: answer)
    with pytest.raises(UserError, match=f"appearance-training.model = wrong: {words}"):
        SoftMasks.of("wrong", "cpu")(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.usefixtures("registered")
def test_it_sees_rgb() -> None:
    seen: list[np.ndarray] = []
    frame_models.register("looks", "1")(lambda device: lambda frame: seen.append(frame) or squares(frame))
    frame = np.zeros((4, 4, 3), np.uint8)
    frame[:] = 1, 2, 3
    SoftMasks.of("looks", "cpu")(frame)
    assert seen[0][0, 0].tolist() == [3, 2, 1]


@pytest.mark.usefixtures("registered")
def test_a_model_that_fails_is_told_in_one_line() -> None:
    frame_models.register("fails", "2")(lambda device: 1 // 0)
    with pytest.raises(UserError, match=r"model = fails: the per-frame model 'fails' \(2\) failed with ZeroDivision"):
        SoftMasks.of("fails", "cpu")


def write_given(folder: Path, version: str, **changes: Any) -> Path:
    header = {
        "kind": "per-frame", "reads": "frames", "model": "rembg:u2net",
        "plug_ins": {"appearance-training.model": f"rembg:u2net {version}"}, **changes,
    }  # fmt: skip
    path = folder / "given.safetensors"
    path.write_bytes(pack_weights({"temperature": torch.tensor(2.0), "bias": torch.tensor(0.5)}, header)[0])
    return path


def test_given_weights_want_the_file_that_they_were_fitted_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("U2NET_HOME", str(tmp_path))
    write_model(tmp_path)
    profile = read_profile("davis", ["appearance-training.model=rembg:u2net"])
    path = write_given(tmp_path, frame_models.get("rembg:u2net").version)
    record = given_record("appearance-training", path, profile)
    assert record.content == read_header(path)["content"] and record.key == ""
    with pytest.raises(UserError, match=r"model is rembg:u2net in it and stream in the profile; add --set appearance-"):
        given_record("appearance-training", path, read_profile("davis"))
    with pytest.raises(UserError, match=r"motion-training.weights = .*: it holds a per-frame, motion-training makes a"):
        given_record("motion-training", path, profile)
    with pytest.raises(UserError, match=r"fitted to rembg:u2net sha256:0000, and here is rembg:u2net sha256:\w{64};"):
        given_record("appearance-training", write_given(tmp_path, "sha256:0000"), profile)


@pytest.mark.parametrize(("given_by_user", "error"), [(True, UserError), (False, DamagedArtifact)])
@pytest.mark.usefixtures("registered")
def test_weights_without_the_two_numbers_are_refused(
    tmp_path: Path, given_by_user: bool, error: type[Exception]
) -> None:
    header = {"kind": "per-frame", "model": "squares", "plug_ins": {"appearance-training.model": "squares 1"}}
    path = tmp_path / "w.safetensors"
    path.write_bytes(pack_weights({"x": torch.zeros(1)}, header)[0])
    with pytest.raises(error, match=r"its tensors are \['x'\], not temperature and bias"):
        per_frame._loaded(path, "", "cpu", given_by_user)
