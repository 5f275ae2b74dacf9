"""Caffe's networks become ours: the same outputs, and one line for every file that isn't what it should be."""

from __future__ import annotations

import re
from pathlib import Path

import caffe_files as caffe
import numpy as np
import pytest
import torch
from scipy.ndimage import correlate
from tiny import request, run

from fusionseg.cli import main
from fusionseg.models.fusion import create_fusion
from fusionseg.models.preprocessing import CAFFE
from fusionseg.models.stream import Stream, upsample
from fusionseg.models.weights import read_weights
from fusionseg.pipeline.datasets.reading import read_frame
from fusionseg.pipeline.formats.caffe import read_caffemodel
from fusionseg.pipeline.networks.caffe import RELEASE, convert
from fusionseg.pipeline.run.session import Session
from fusionseg.pipeline.store.artifact import Artifact

JOINT = {"conv1": (4, 4), "conva": (4, 2), "convm": (4, 2), "conv2": (2, 4)}


@pytest.fixture(scope="module")
def blobs() -> caffe.Blobs:
    return caffe.stream_blobs(0)


@pytest.fixture(scope="module")
def imported(blobs: caffe.Blobs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with appearance.safetensors, imported at the command line from a file of 170 MB."""
    folder = tmp_path_factory.mktemp("caffe")
    source = folder / "appearance.caffemodel"
    source.write_bytes(caffe.stream_file(blobs))
    target = folder / "appearance.safetensors"
    assert main(["import-caffe", str(source), "--as", "appearance", "-o", str(target)]) == 0
    source.unlink()
    return folder


def joint_blobs(seed: int = 0) -> caffe.Blobs:
    generator = np.random.default_rng(seed)

    def normal(*shape: int) -> caffe.Float32:
        return generator.standard_normal(shape).astype(np.float32)

    return {name: (normal(*channels, 3, 3), normal(channels[0])) for name, channels in JOINT.items()}


def joint_file(blobs: caffe.Blobs, layout: str = "shape", parameters: bytes = b"") -> bytes:
    layers = [caffe.layer(name, "Convolution", values, parameters, layout) for name, values in blobs.items()]
    return caffe.net(caffe.layer("data", "Concat"), *layers, name="")


def test_a_stream_s_scores_are_those_that_caffe_computes(blobs: caffe.Blobs, imported: Path) -> None:
    state, header = read_weights(imported / "appearance.safetensors")
    assert (header["kind"], header["reads"]) == ("stream", "frames")
    assert header["architecture"] == RELEASE.as_dict() and header["net"] == "resnet"
    assert header["inputs"][0]["item"] == "caffe/appearance.caffemodel"
    assert (RELEASE.backbone, RELEASE.decoder, RELEASE.output_stride, RELEASE.stride_on, RELEASE.combine) == (
        "resnet101", "parallel-dilated", 8, "1x1", "sum",
    )  # fmt: skip
    stream = Stream(RELEASE, preprocessing=CAFFE).eval()
    stream.load_state_dict(state)
    image = np.random.default_rng(1).integers(0, 256, (38, 29, 3), dtype=np.uint8)
    expected = caffe.caffe_scores(blobs, image)
    with torch.inference_mode():
        found = stream(stream.prepare(torch.from_numpy(image.transpose(2, 0, 1).copy())[None]))
    assert found.shape == expected.shape == (1, 2, 6, 5) and expected.std() > 0.1
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-4 * float(expected.abs().max()))
    enlarged = upsample(found, 8, (38, 29))[0].numpy()
    np.testing.assert_allclose(enlarged, caffe.upsampled(found)[:, :38, :29], atol=1e-4 * float(found.abs().max()))


@pytest.mark.parametrize("head_suffix", [True, False])
def test_the_motion_network_is_the_same_under_other_names(
    blobs: caffe.Blobs, imported: Path, head_suffix: bool
) -> None:
    net = read_caffemodel(caffe.stream_file(blobs, motion=True, head_suffix=head_suffix), Path("motion.caffemodel"))
    state, header = convert(net, "motion")
    assert (net.name, header["reads"]) == ("resnet_motion", "flow-images")
    expected, _ = read_weights(imported / "appearance.safetensors")
    assert state.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in state.items())


@pytest.mark.system
def test_imported_weights_run_in_the_chain(blobs: caffe.Blobs, imported: Path, tmp_path: Path) -> None:
    for kind, data in (("motion", caffe.stream_file(blobs, motion=True)), ("joint", joint_file(joint_blobs()))):
        (tmp_path / f"{kind}.caffemodel").write_bytes(data)
        arguments = ["import-caffe", str(tmp_path / f"{kind}.caffemodel"), "--as", kind]
        assert main([*arguments, "-o", str(tmp_path / f"{kind}.safetensors")]) == 0
    network = {"backbone": "resnet101", "decoder": "parallel-dilated", "output_stride": 8, "stride_on": "1x1"}
    settings = [f"network.{name}={value}" for name, value in network.items()] + ["network.bf16=false"]
    settings += [f"appearance-training.weights={imported / 'appearance.safetensors'}"]
    settings += [f"motion-training.weights={tmp_path / 'motion.safetensors'}"]
    settings += [f"fusion-training.weights={tmp_path / 'joint.safetensors'}", "fusion-training.fusion=release"]
    asked = request(tmp_path, *settings)
    run(asked, say=print)
    session = Session(asked, say=print)
    item = session.items["scored"][0]
    (path,) = (tmp_path / "out" / "artifacts" / "appearance-scores").rglob(f"{item.name}-*.h5")
    with Artifact(path) as artifact:
        found = artifact.frame("scores", 0).astype(np.float64)
    expected = caffe.caffe_scores(blobs, read_frame(item, 0)[..., ::-1])[0].numpy()
    np.testing.assert_allclose(found, expected, atol=2e-3 * float(np.abs(expected).max()))


def independent_fusion(blobs: caffe.Blobs, appearance: np.ndarray, motion: np.ndarray) -> np.ndarray:
    def conv(name: str, x: np.ndarray) -> np.ndarray:
        weight, bias = blobs[name]
        sums = [sum(correlate(c, k, mode="constant") for c, k in zip(x, kernels, strict=True)) for kernels in weight]
        return np.stack(sums) + bias.reshape(-1, 1, 1)

    both = np.concatenate([appearance, motion])
    hidden = sum(np.maximum(conv(n, x), 0) for n, x in (("conv1", both), ("conva", appearance), ("convm", motion)))
    return conv("conv2", hidden)


def check_joint(data: bytes, path: Path) -> caffe.Blobs:
    """Convert a fusion network and compare it with a computation of its own; its blobs."""
    net = read_caffemodel(data, path)
    state, header = convert(net, "joint")
    assert header == {"kind": "fusion", "fusion": "release"}
    fusion = create_fusion("release")
    fusion.load_state_dict(state)
    assert sum(value.numel() for value in state.values()) == 374
    blobs = {layer.name: layer.blobs for layer in net.layers if layer.blobs}
    scores = np.random.default_rng(2).normal(scale=5, size=(2, 2, 13, 17))
    with torch.inference_mode():
        found = fusion(*(torch.from_numpy(s).float()[None] for s in scores))[0].numpy()
    expected = independent_fusion(blobs, *scores)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    return blobs


@pytest.mark.parametrize("layout", ["shape", "legacy", "double"])
def test_a_fusion_is_read_from_all_layouts_of_numbers(layout: str) -> None:
    blobs = joint_blobs()
    found = check_joint(joint_file(blobs, layout), Path("joint.caffemodel"))
    assert all(np.array_equal(a.ravel(), b.ravel()) for n in JOINT for a, b in zip(found[n], blobs[n], strict=True))


@pytest.mark.real
@pytest.mark.parametrize("name", ["joint_davis_train", "joint_davis_val"])
def test_the_published_fusions_compute_what_their_numbers_say(real_data: Path, name: str) -> None:
    path = real_data / "fusionseg_release_sample" / "joint_head" / f"{name}.caffemodel"
    blobs = check_joint(path.read_bytes(), path)
    assert blobs.keys() == JOINT.keys() and all(blobs[name][0].std() > 0 for name in JOINT)


def with_layer(name: str, *values: np.ndarray) -> bytes:
    return joint_file({**joint_blobs(), name: tuple(values)})


KERNEL, BIAS = np.ones((4, 2, 3, 3), np.float32), np.zeros(4, np.float32)
ONLY_HEAD = caffe.net(caffe.layer("fc1_binary_seg_c0", "Convolution", [np.ones((2, 2048, 3, 3), np.float32)]))
FLOW_HEAD = caffe.net(caffe.layer("fc1_binary_seg_flow_c0_motion", "Convolution", [BIAS]))
BAD = {
    "empty": (b"", "joint", "0 layers, none of them with weights"),
    "truncated": (joint_file(joint_blobs())[:-200], "joint", r"no whole \.caffemodel"),
    "other file": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "joint", r"no whole \.caffemodel"),
    "prototxt": (b'name: "resnet"\nlayer {\n  name: "data"\n}\n', "joint", "this is text; a .prototxt only describes"),
    "no weights": (caffe.net(caffe.layer("data", "Concat")), "joint", "1 layers, none of them with weights"),
    "old": (caffe.field(2, caffe.field(4, b"conv1")), "joint", r"before 2015 \(V1\).*upgrade_net_proto_binary"),
    "missing": (joint_file({"conva": (KERNEL, BIAS), "convm": (KERNEL, BIAS)}), "joint",
                r"not FusionSeg's joint network: of its 4 layers with weights 2 missing \(conv1, conv2\)"),
    "surplus": (with_layer("fc9", BIAS), "joint", r"1 unknown \(fc9\)"),
    "shape": (with_layer("conva", KERNEL[:, :1], BIAS), "joint",
              r"layer conva has 2 blobs \[\[4, 1, 3, 3\], \[4\]\], expected \[\[4, 2, 3, 3\], \[4\]\]"),
    "blobs": (with_layer("conva", KERNEL), "joint", r"layer conva has 1 blobs"),
    "not finite": (with_layer("conva", KERNEL * np.nan, BIAS), "joint", "layer conva holds numbers that aren't finite"),
    "geometry": (joint_file(joint_blobs(), parameters=caffe.convolution(1, dilation=2)), "joint",
                 r"layer conv1 has .*'dilation': 2.*another network"),
    "joint as motion": (joint_file(joint_blobs()), "motion", "FusionSeg's joint network.*give --as joint"),
    "appearance as motion": (ONLY_HEAD, "motion", "FusionSeg's appearance network.*give --as appearance"),
    "motion as appearance": (FLOW_HEAD, "appearance", "FusionSeg's motion network.*give --as motion"),
    "head alone": (ONLY_HEAD, "appearance", r"of its 316 layers with weights 315 missing \(bn2a_branch1, .*\.\.\.\)"),
    "motion head alone": (FLOW_HEAD, "motion", r"of its 316 layers with weights 315 missing"),
    "count": (caffe.net(caffe.field(100, caffe.field(1, b"conva") + caffe.field(
        7, caffe.field(7, caffe.field(1, b"\x05")) + caffe.field(5, bytes(16))))), "joint",
        r"layer conva: 4 numbers for the shape \[5\]"),
    "cut numbers": (caffe.net(caffe.field(100, caffe.field(1, b"conva") + caffe.field(
        7, caffe.field(5, bytes(15))))), "joint", "layer conva: numbers cut off"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_with_a_file_is_one_line(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, kind, words = BAD[case]
    source, target = tmp_path / "net.caffemodel", tmp_path / "net.safetensors"
    source.write_bytes(data)
    assert main(["import-caffe", str(source), "--as", kind, "-o", str(target)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"fusionseg: error: {source}: "), line
    assert re.search(words, line), line
    assert [path.name for path in tmp_path.iterdir()] == ["net.caffemodel"]


def test_names_that_cannot_be_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.caffemodel").write_bytes(joint_file(joint_blobs()))
    arguments = ["import-caffe", str(tmp_path / "net.caffemodel"), "--as", "joint", "-o"]
    assert main([*arguments, str(tmp_path / "net.h5")]) == 2
    assert "weights are .safetensors files" in capsys.readouterr().err
    assert main(["import-caffe", str(tmp_path / "gone"), *arguments[2:], str(tmp_path / "n.safetensors")]) == 2
    assert "gone: no such file" in capsys.readouterr().err


def test_the_command_says_how_to_use_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.caffemodel").write_bytes(joint_file(joint_blobs()))
    target = tmp_path / "new" / "net.safetensors"
    assert main(["import-caffe", str(tmp_path / "net.caffemodel"), "--as", "joint", "-o", str(target)]) == 0
    said = capsys.readouterr().out
    assert f"{target}: 8 tensors, 374 numbers" in said
    assert f"--set fusion-training.weights={target} --set fusion-training.fusion=release" in said
    before = target.read_bytes()
    assert main(["import-caffe", str(tmp_path / "net.caffemodel"), "--as", "joint", "-o", str(target)]) == 0
    assert target.read_bytes() == before
