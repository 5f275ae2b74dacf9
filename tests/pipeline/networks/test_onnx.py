"""ONNX files: equal to PyTorch at any size, described, written whole or not at all."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from builders import make_context, make_work
from torch import nn

from fusionseg.models.backbone import BACKBONES
from fusionseg.models.fusion import FUSIONS, create_fusion, reads_frame
from fusionseg.models.stream import Architecture, Stream, upsample
from fusionseg.models.weights import pack_weights
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.networks import onnx as onnx_export
from fusionseg.pipeline.networks.onnx import TOLERANCE, Exported, export_onnx
from fusionseg.pipeline.settings import shipped
from fusionseg.pipeline.settings.profile import read_profile
from fusionseg.pipeline.store.artifact import Record
from fusionseg.pipeline.store.artifacts import WeightsWriter, record_of
from fusionseg.pipeline.store.job import Context
from fusionseg.pipeline.store.runs import RunRecord, StageRun, write_run


def write_stream(path: Path, architecture: Architecture) -> Stream:
    """Write weights of a fresh stream; gives it."""
    torch.manual_seed(0)
    stream = Stream(architecture).eval()
    header = {"kind": "stream", "reads": "frames", "architecture": architecture.as_dict(), "long_side": 425}
    path.write_bytes(pack_weights(stream.state_dict(), header)[0])
    return stream


def write_fusion(path: Path, name: str) -> nn.Module:
    torch.manual_seed(0)
    fusion = create_fusion(name).eval()
    for parameter in fusion.parameters():  # a fresh `gated` is the plain mean, whatever its layers say
        nn.init.normal_(parameter, std=0.3)
    path.write_bytes(pack_weights(fusion.state_dict(), {"kind": "fusion", "fusion": name})[0])
    return fusion


def run(path: Path, **values: torch.Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["logits"], {name: value.numpy() for name, value in values.items()})[0])


def check_stream(path: Path, stream: Stream, size: tuple[int, int]) -> None:
    images = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
    with torch.inference_mode():
        expected = upsample(stream(stream.prepare(images)), stream.score_stride, size).numpy()
    found = run(path, images=images)
    assert found.shape == expected.shape == (2, 2, *size) and found.dtype == np.float32
    assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()


def test_a_stream_takes_pictures_of_any_size(tmp_path: Path) -> None:
    weights = tmp_path / "mine.safetensors"
    stream = write_stream(weights, Architecture("resnet18", "parallel-dilated", 16))
    (done,) = export_onnx(str(weights), tmp_path, tmp_path / "onnx")
    assert done.path == tmp_path / "onnx/mine.onnx" and done.difference <= TOLERANCE
    for size in ((1, 1), (17, 33), (40, 31)):
        check_stream(done.path, stream, size)
    model = onnx.load(done.path)
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert (about["kind"], about["reads"], about["long_side"]) == ("stream", "frames", "425")
    assert Architecture(**json.loads(about["architecture"])) == stream.architecture
    assert about["content"] == pack_weights(stream.state_dict(), {})[1]
    (given,) = model.graph.input
    sizes = [axis.dim_param or axis.dim_value for axis in given.type.tensor_type.shape.dim]
    assert (given.name, sizes) == ("images", ["frames", 3, "height", "width"])
    assert [path.name for path in (tmp_path / "onnx").iterdir()] == ["mine.onnx"]


@pytest.mark.system
@pytest.mark.parametrize("decoder", ["skip", "parallel-dilated", "pyramid"])
@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone(name: str, decoder: str, tmp_path: Path) -> None:
    stream = write_stream(tmp_path / "s.safetensors", Architecture(name, decoder, 16))
    (done,) = export_onnx(str(tmp_path / "s.safetensors"), tmp_path, tmp_path)
    check_stream(done.path, stream, (35, 50))


# Exporting takes seconds: one of them with every test run, the others with the slow ones.
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.system] * (n != "release")) for n in FUSIONS])
def test_fusions(name: str, tmp_path: Path) -> None:
    fusion = write_fusion(tmp_path / "f.safetensors", name)
    (done,) = export_onnx(str(tmp_path / "f.safetensors"), tmp_path, tmp_path)
    appearance, motion = torch.randn(2, 1, 2, 23, 31)
    given = {"appearance": appearance, "motion": motion}
    if reads_frame(fusion):
        given["frame"] = torch.randint(0, 256, (1, 3, 23, 31), dtype=torch.uint8)
    with torch.inference_mode():
        expected = fusion(*given.values()).numpy()
    found = run(done.path, **given)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE * np.abs(expected).max())


def weights_of(context: Context, stage: str) -> Record:
    """Weights that a stage has made."""
    work = make_work(context, stage, suffix=".safetensors")
    WeightsWriter(work).write({}, {"kind": "fusion"}, {})
    return record_of(work)


def write_record(root: Path, name: str, *records: Record, rounds: int = 1) -> None:
    stages = {record.stage: StageRun("computed", records=(record,)) for record in records}
    write_run(root, RunRecord(name, "", stages, read_profile("demo", [f"weak-labels.rounds={rounds}"]), {}))


def test_a_run_gives_three_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [weights_of(make_context(tmp_path), f"{name}-training") for name in ("appearance", "motion", "fusion")]
    own = tmp_path / "own.safetensors"
    made[1] = replace(made[1], key="", path=str(own))  # given by the user
    write_record(tmp_path, "davis", *made)
    asked: dict[str, tuple[Path, bool]] = {}

    def export(weights: Path, given: bool, target: Path) -> Exported:
        asked[target.name] = weights, given
        return Exported(target, 0.0)

    monkeypatch.setattr(onnx_export, "_export", export)
    assert [d.path for d in export_onnx("davis", tmp_path, tmp_path / "o")] == [
        tmp_path / f"o/{name}.onnx" for name in ("appearance", "motion", "fusion")
    ]
    assert asked["motion.onnx"] == (own, True)
    weights, given = asked["appearance.onnx"]
    assert not given and weights.is_relative_to(tmp_path / "artifacts/appearance-training")


def test_a_shipped_set_gives_three_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "general").mkdir()
    (tmp_path / "general" / "card.md").touch()
    monkeypatch.setattr(shipped, "shipped_folder", lambda: tmp_path)
    monkeypatch.setattr(onnx_export, "_export", lambda weights, given, target: Exported(weights, float(given)))
    assert list(export_onnx("shipped:general", tmp_path, tmp_path / "o")) == [
        Exported(tmp_path / "general" / f"{name}.safetensors", 1.0) for name in ("appearance", "motion", "fusion")
    ]
    with pytest.raises(UserError, match="export-onnx shipped:other: no such set of shipped weights; there are: "):
        list(export_onnx("shipped:other", tmp_path, tmp_path / "o"))


def test_of_two_rounds_the_last_motion_stream_is_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = ("appearance-training", "motion-training", "motion-training-2", "fusion-training")
    made = [weights_of(make_context(tmp_path), stage) for stage in stages]
    write_record(tmp_path, "two", *made, rounds=2)
    monkeypatch.setattr(onnx_export, "_export", lambda weights, given, target: Exported(weights, 0.0))
    motion = [d.path for d in export_onnx("two", tmp_path, tmp_path / "o")][1]
    assert motion.is_relative_to(tmp_path / "artifacts/motion-training-2")
    write_record(tmp_path, "stopped", made[0], made[1], made[3], rounds=2)
    with pytest.raises(UserError, match=r"'stopped' has no network of motion: .*lacks .*motion-training-2; "):
        list(export_onnx("stopped", tmp_path, tmp_path / "o"))


@pytest.mark.parametrize(
    "header",
    [
        {"kind": "fusion", "fusion": "other"},
        {"kind": "fusion"},
        {"kind": "stream", "reads": "frames", "architecture": {"backbone": "vgg"}},
        {"kind": "stream", "reads": "frames", "architecture": {"output_stride": 7}},
    ],
)
def test_weights_of_a_network_that_is_not_known(tmp_path: Path, header: dict[str, object]) -> None:
    (tmp_path / "x.safetensors").write_bytes(pack_weights({"x": torch.zeros(1)}, header)[0])
    with pytest.raises(UserError, match=r"x\.safetensors: (unknown|output stride 7).*; update fusionseg, or"):
        list(export_onnx(str(tmp_path / "x.safetensors"), tmp_path, tmp_path / "o"))


def test_a_run_that_has_not_come_so_far(tmp_path: Path) -> None:
    write_record(tmp_path, "davis")
    with pytest.raises(
        UserError, match=r"run 'davis' has no network of appearance: .* lacks appearance-training; `fusionseg run"
    ):
        list(export_onnx("davis", tmp_path, tmp_path))
    with pytest.raises(UserError, match="no run 'other'"):
        list(export_onnx("other", tmp_path, tmp_path))


def test_a_file_that_differs_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_fusion(tmp_path / "f.safetensors", "average")
    monkeypatch.setattr(onnx_export, "_difference", lambda *_: 0.01)
    with pytest.raises(
        UserError, match=r"f\.onnx: not written; .* differ from PyTorch's by 1\.0e-02 .* 0\.0001 expected"
    ):
        list(export_onnx(str(tmp_path / "f.safetensors"), tmp_path, tmp_path / "o"))
    assert not list((tmp_path / "o").iterdir())


def test_weights_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"none")
    for name, words in (("x", "not a whole safetensors file"), ("y", "no such weights file")):
        with pytest.raises(UserError, match=f"{name}.safetensors: {words}.*give other weights"):
            list(export_onnx(str(tmp_path / f"{name}.safetensors"), tmp_path, tmp_path / "o"))
    (tmp_path / "z.safetensors").write_bytes(pack_weights({}, {"kind": "flow"})[0])
    with pytest.raises(UserError, match="kind 'flow'; expected a stream or a fusion"):
        list(export_onnx(str(tmp_path / "z.safetensors"), tmp_path, tmp_path / "o"))
    assert not (tmp_path / "o").exists()


def test_packages_that_are_not_installed_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name.startswith("onnx") else real(name))
    with pytest.raises(UserError, match=r"needs onnx, onnxscript, onnxruntime; install .*fusionseg\[onnx\]"):
        list(export_onnx("davis", tmp_path, tmp_path))
