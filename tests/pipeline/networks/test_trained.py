"""Given weights: those that fit are taken, for all others one line says what differs and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fusionseg.models.fusion import create_fusion
from fusionseg.models.preprocessing import CAFFE, TORCHVISION
from fusionseg.models.stream import Architecture, Stream
from fusionseg.models.weights import pack_weights, read_header
from fusionseg.pipeline.errors import DamagedArtifact, UserError
from fusionseg.pipeline.networks import trained as weights
from fusionseg.pipeline.networks.trained import given_record
from fusionseg.pipeline.settings.profile import read_profile

ARCHITECTURE = Architecture("resnet18", "parallel-dilated", 16)
PROFILE = read_profile(
    "davis",
    ["network.backbone=resnet18", "network.decoder=parallel-dilated", "network.long_side=321",
     "fusion-training.fusion=release"],
)  # fmt: skip
HEADER = {"kind": "stream", "reads": "frames", "architecture": ARCHITECTURE.as_dict(), "long_side": 321}


def write(folder: Path, header: dict[str, Any], state: dict[str, torch.Tensor] | None = None) -> Path:
    path = folder / "given.safetensors"
    path.write_bytes(pack_weights(state or {"x": torch.zeros(1)}, header)[0])
    return path


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in HEADER.items() if key != name}


@pytest.mark.parametrize(
    "header",
    [
        HEADER,
        without("long_side"),  # imported ones, which were made at several sizes
        HEADER | {"architecture": {k: v for k, v in ARCHITECTURE.as_dict().items() if k != "combine"}},  # version 0.1
    ],
)
def test_weights_that_fit_are_taken(tmp_path: Path, header: dict[str, Any]) -> None:
    path = write(tmp_path, header)
    record = given_record("appearance-training", path, PROFILE)
    assert (record.stage, record.video, record.path, record.key) == ("appearance-training", "given", str(path), "")


def test_the_same_tensors_behind_other_preprocessing_are_other_weights(tmp_path: Path) -> None:
    contents = [
        given_record("appearance-training", write(tmp_path, HEADER | extra), PROFILE).content
        for extra in ({}, {"preprocessing": TORCHVISION.as_dict()}, {"preprocessing": CAFFE.as_dict()})
    ]
    assert contents[0] == contents[1] == read_header(write(tmp_path, HEADER))["content"]  # resnet18's own
    assert contents[2] != contents[0]


@pytest.mark.parametrize(
    ("stage", "header", "words"),
    [
        (
            "motion-training",
            HEADER,
            "trained on frames, motion-training needs one trained on flow-images; it belongs into "
            "appearance-training.weights, or give other weights",
        ),
        ("fusion-training", HEADER, "it holds a stream, fusion-training makes a fusion"),
        (
            "appearance-training",
            {"kind": "fusion", "fusion": "release"},
            "it holds a fusion, appearance-training makes",
        ),
        (
            "fusion-training",
            {"kind": "fusion", "fusion": "paper"},
            "fusion-training.fusion is paper in it and release in the profile; add --set fusion-training.fusion=paper",
        ),
        (
            "appearance-training",
            HEADER | {"architecture": Architecture("resnet50", "parallel-dilated", 8).as_dict()},
            "network.backbone is resnet50 in it and resnet18 in the profile, network.output_stride is 8 in it and 16 "
            "in the profile; add --set network.backbone=resnet50 --set network.output_stride=8, or give other weights",
        ),
        ("appearance-training", HEADER | {"long_side": 513}, "network.long_side is 513 in it and 321 in the profile"),
        (
            "appearance-training",
            HEADER | {"architecture": {"depth": 3}},
            "doesn't know, {'depth': 3}; update fusionseg",
        ),
        ("appearance-training", without("architecture"), "an architecture that this version doesn't know, None"),
        ("appearance-training", HEADER | {"preprocessing": {"channels": "cmyk"}}, "channels 'cmyk'; expected rgb"),
    ],
)
def test_weights_that_do_not_fit_say_what_to_do(tmp_path: Path, stage: str, header: dict[str, Any], words: str) -> None:
    path = write(tmp_path, header)
    with pytest.raises(UserError) as caught:
        given_record(stage, path, PROFILE)
    assert words in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_stream_has_its_weights_preprocessing(tmp_path: Path) -> None:
    stream = Stream(ARCHITECTURE)
    for name, expected in (("own", CAFFE), ("none", stream.preprocessing)):
        folder = tmp_path / name
        folder.mkdir()
        header = HEADER | ({"preprocessing": CAFFE.as_dict()} if name == "own" else {})
        path = write(folder, header, stream.state_dict())
        loaded, found = weights.read_stream(path, True)
        assert found["content"] == read_header(path)["content"]
        assert loaded.preprocessing == expected and not loaded.training
        assert tuple(loaded.get_buffer("mean").flatten().tolist()) == pytest.approx(expected.mean)


def test_tensors_of_another_network_than_the_header_says(tmp_path: Path) -> None:
    state = Stream(ARCHITECTURE).state_dict()
    first = next(iter(state))
    short = {name: value for name, value in state.items() if name != first}
    for wrong, words in [(short, "1 tensors missing, 0 unknown"), (state | {first: torch.zeros(2)}, "other shapes")]:
        path = write(tmp_path, HEADER, wrong)
        with pytest.raises(UserError, match=words) as caught:
            weights.read_stream(path, True)
        assert "give other weights" in str(caught.value) and "\n" not in str(caught.value)
        with pytest.raises(DamagedArtifact, match=words):  # the chain's own: it makes them again
            weights.read_stream(path, False)
    with pytest.raises(UserError, match="8 tensors missing, 1 unknown"):
        weights._fill(create_fusion("release"), {"x": torch.zeros(1)}, tmp_path, True)
