"""A run's networks as a set of weights: what the files say of themselves, and what they compute."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import moving_square, write_jpeg
from tiny import PROFILE, Said, request, run

from fusionseg.models.stream import Architecture, Stream
from fusionseg.models.weights import halved, read_header, read_weights
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.networks.trained import read_fusion, read_stream
from fusionseg.pipeline.report import packing
from fusionseg.pipeline.report.card import OPEN, problems
from fusionseg.pipeline.report.packing import pack
from fusionseg.pipeline.run.request import Request
from fusionseg.pipeline.settings import shipped
from fusionseg.pipeline.settings.shipped import FILES
from fusionseg.pipeline.store.artifact import Artifact
from fusionseg.pipeline.store.runs import read_run

STAGE_OF = {Path(file).stem: stage for stage, file in FILES.items()}
NETWORKS = tuple(STAGE_OF)


@pytest.fixture(scope="module")
def packed(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run's set, `general`, in a folder of sets."""
    folder = tmp_path_factory.mktemp("sets") / "general"
    said = Said()
    pack(finished / "out", "tiny", folder, said)
    assert [line.partition(": ")[0].rpartition("/")[2] for line in said] == [*FILES.values(), "to do"]
    assert said[-1] == f"to do: card.md: 4 places say {OPEN}"
    return folder


@pytest.fixture
def sets(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The set is among the shipped ones."""
    monkeypatch.setattr(shipped, "shipped_folder", lambda: packed.parent)


def test_only_the_card_is_left_to_be_filled(packed: Path) -> None:
    assert problems(packed) == [f"card.md: 4 places say {OPEN}"]
    assert sorted(path.name for path in packed.iterdir()) == sorted([*FILES.values(), "card.md", "LICENSE"])


@pytest.mark.parametrize("network", NETWORKS)
def test_files_say_what_they_are_and_where_they_come_from(packed: Path, finished: Path, network: str) -> None:
    record = read_run(finished / "out", "tiny").networks[network]
    exact, before = read_weights(finished / "out" / record.path)
    state, header = read_weights(packed / f"{network}.safetensors")
    assert {name: header.get(name) for name in before if name not in ("content", "history")}.items() >= {
        name: before[name]
        for name in ("kind", "stage", "settings", "counts", "made", "software", "schema")
    }.items()  # fmt: skip
    halves = network != "fusion"  # whose tensors are small
    assert header["original"] == before["content"] and (header["content"] != before["content"]) == halves
    assert "inputs" not in header and len(header["history"]) <= len(before["history"])
    assert state.keys() == exact.keys()
    kinds = {value.dtype for value in state.values()}
    assert torch.float32 in kinds and (torch.float16 in kinds) == halves
    origin = header["origin"]
    assert origin["command"] == "fusionseg run tiny.toml --name tiny"
    assert [(row["role"], row["dataset"]) for row in origin["manifests"]] == [
        ("stills", "demo-stills"), ("boxed", "demo-vid"), ("fusion", "demo-davis"), ("validation", "demo-davis"),
    ]  # fmt: skip
    items = {(row["dataset"], row["kind"]): row["items"] for row in origin["data"]}
    assert items["demo-stills", "masks"] == 1 and items["demo-vid", "boxes"] == 4
    assert items["demo-davis", "masks"] == 3, "two of the fusion, one of validation, none that is scored"
    assert origin["profile"]["network"]["backbone"] == "efficientnet-lite0"
    assert [row["method"] for row in origin["figures"]][:4] == ["appearance", "motion", "average", "joint"]


def test_no_folder_of_this_machine_is_in_it(packed: Path, finished: Path) -> None:
    for path in packed.iterdir():
        data = path.read_bytes()
        assert str(finished).encode() not in data and str(packed.parent).encode() not in data, path.name


@pytest.mark.parametrize("network", NETWORKS)
def test_networks_are_float32_again_and_compute_nearly_the_same(packed: Path, finished: Path, network: str) -> None:
    read: Any = read_fusion if network == "fusion" else read_stream
    record = read_run(finished / "out", "tiny").networks[network]
    exact, small = (read(path, True)[0] for path in (finished / "out" / record.path, packed / f"{network}.safetensors"))
    assert {value.dtype for value in small.state_dict().values()} <= {torch.float32, torch.int64}
    changed = packing.difference(exact, small.state_dict())
    assert (changed == 0 if network == "fusion" else changed > 0) and changed < 0.01  # the fusion's tensors are small


def test_a_folder_of_videos_is_all_that_segmenting_needs(
    packed: Path, sets: None, finished: Path, tmp_path: Path
) -> None:
    """No data that trains, no training; and the same keys wherever the set lies."""
    for index, (frame, _) in enumerate(moving_square(4, (64, 96))):
        write_jpeg(tmp_path / "videos" / "one" / f"{index}.jpg", frame)
    network = PROFILE[PROFILE.index("[network]") : PROFILE.index("[appearance-training]")]
    given = "".join(f'[{stage}]\nweights = "shipped:general"\n' for stage in FILES)
    profile = tmp_path / "segment.toml"
    profile.write_text(f'{network}\n{given}\n[data]\nscored = [{{manifest = "folder", split = "all"}}]\n')
    asked = Request(str(profile), (str(tmp_path / "videos"),), str(tmp_path / "out"), device="cpu")
    assert set(run(asked, say=(said := Said())).states().values()) == {"given", "computed"}
    assert any("no scores" in line for line in said)
    elsewhere = [f"{stage}.weights={shutil.copy(packed / name, tmp_path)}" for stage, name in FILES.items()]
    again = Request(str(profile), asked.data, asked.out, overrides=elsewhere, device="cpu")
    assert set(run(again).states().values()) == {"given", "cached"}
    exact = [
        f"{STAGE_OF[n]}.weights={finished / 'out' / r.path}"
        for n, r in read_run(finished / "out", "tiny").networks.items()
    ]
    run(Request(str(profile), asked.data, asked.out, "exact", exact, "cpu"))
    half, full = (masks(tmp_path / "out", name) for name in ("segment", "exact"))
    assert (half != full).mean() < 0.01


def masks(root: Path, name: str) -> Any:
    """All masks of a run's only video, of all models."""
    (record,) = read_run(root, name).records("prediction")
    with Artifact(root / record.path) as artifact:
        return np.stack([artifact.datasets()[method][:] for method in ("appearance", "motion", "average", "joint")])


def test_what_is_there_is_not_replaced(packed: Path, finished: Path) -> None:
    with pytest.raises(UserError, match=r"general: is there already; remove it, or choose another folder"):
        pack(finished / "out", "tiny", packed, Said())


def test_weights_that_were_given_to_the_run_keep_what_they_say(
    packed: Path, sets: None, finished: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(finished / "out", tmp_path / "out")
    motion = shutil.copy(out / read_run(out, "tiny").networks["motion"].path, tmp_path / "mine.safetensors")
    overrides = ["appearance-training.weights=shipped:general", f"motion-training.weights={motion}"]
    shutil.copy(finished / "tiny.toml", tmp_path)
    run(request(tmp_path, *overrides, name="again"))
    pack(out, "again", tmp_path / "again", Said())
    headers = {name: read_header(tmp_path / "again" / f"{name}.safetensors") for name in NETWORKS}
    first = read_header(packed / "appearance.safetensors")
    assert headers["appearance"]["origin"] == first["origin"] and headers["appearance"]["content"] == first["content"]
    assert headers["appearance"]["original"] == first["original"]
    assert (
        headers["motion"]["origin"]["command"]
        == "mine.safetensors was given to the run, whose command doesn't train it"
    )
    assert {row["dataset"] for row in headers["motion"]["origin"]["data"]} == {"demo-davis"}
    command = headers["fusion"]["origin"]["command"]
    assert "--set motion-training.weights=mine.safetensors" in command and str(tmp_path) not in command
    card = (tmp_path / "again" / "card.md").read_text()
    assert "mine.safetensors was given" in card


def test_a_network_that_half_precision_would_change_is_refused(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "TOLERANCE", 1e-9)
    with pytest.raises(UserError, match=r"half precision changes its logits by 0\.\d% of the largest"):
        pack(finished / "out", "tiny", tmp_path / "set", Said())
    assert not (tmp_path / "set").exists()


def test_channels_that_are_nearly_dead_do_no_harm() -> None:
    """ImageNet's weights of EfficientNet-Lite0 have rows down to 1e-9, of which half precision leaves nothing."""
    stream = Stream(Architecture("efficientnet-lite0"), pretrained=True).eval()
    state = stream.state_dict()
    rows = [value.flatten(1).norm(dim=1).min() for value in state.values() if value.ndim == 4]
    assert min(map(float, rows)) < 1e-8
    assert packing.difference(stream, halved(state)) < 0.01


def test_a_history_keeps_its_ends_and_what_was_kept() -> None:
    history = [{"step": 10 * n, "loss": 1.0, "J": 0.1} for n in range(1, 101)]
    short = packing.shortened({"history": history, "kept_step": 420})
    steps = [row["step"] for row in short]
    assert steps == sorted(set(steps)) and {10, 420, 1000} <= set(steps) and len(steps) <= 13
    assert packing.shortened({}) == [] == packing.shortened({"history": []})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/me/duts", "duts"),
        ("duts=~/data/DUTS/", "duts=DUTS"),
        ("../../data", "data"),
        (
            'data.stills={manifest = "/m/duts.yaml", split = "train"}',
            'data.stills={manifest = "duts.yaml", split = "train"}',
        ),
        ("motion-training.weights=shipped:general", "motion-training.weights=shipped:general"),
        ("out/logs/last.safetensors", "out/logs/last.safetensors"),
        ("J/F, 1/8, https://example.org/a/b", "J/F, 1/8, https://example.org/a/b"),
    ],
)
def test_of_paths_only_the_name_is_told(text: str, expected: str) -> None:
    assert packing.without_folders(text) == expected
    assert packing.without_folders(json.dumps([text])) == json.dumps([expected])
