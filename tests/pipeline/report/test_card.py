"""What a set of weights must have to be handed on: the shipped ones, and a made one that lacks this or that."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

from fusionseg.models.weights import digest_tensors, pack_weights, read_header
from fusionseg.pipeline.networks.trained import given_record
from fusionseg.pipeline.report import card
from fusionseg.pipeline.settings import shipped
from fusionseg.pipeline.settings.profile import read_profile, shipped_profiles
from fusionseg.pipeline.settings.shipped import FILES, shipped_sets, weights_file

CHECKOUT = Path(__file__).resolve().parents[3]
STATE = {"x": torch.zeros(2)}
HEADER = {
    "settings": {"network": {}},
    "software": {"torch": "2"},
    "made": "now",
    "original": "d",
    "half_precision": "1",
}


def write(folder: Path, of: str, **changes: Any) -> None:
    """The file of a stage."""
    header = HEADER | {"stage": of, "origin": {"command": "fusionseg run general"}} | changes
    (folder / FILES[of]).write_bytes(pack_weights(STATE, header)[0])


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A set with all it must have."""
    folder = tmp_path / "general"
    folder.mkdir()
    for stage in FILES:
        write(folder, stage)
    sections = "\n\n".join(f"## {section}\n\nWords." for section in card.SECTIONS)
    (folder / "card.md").write_text(f"# Weights\n\n{digest_tensors(STATE)}\n\n{sections}\n")
    (folder / "LICENSE").write_text(card.licence("general"))
    return folder


def edit(folder: Path, before: str, after: str) -> None:
    path = folder / "card.md"
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after))


def flip(folder: Path) -> None:
    path = folder / "motion.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def enlarge(folder: Path) -> None:
    with (folder / "extra").open("wb") as file:
        file.truncate(card.MOST_BYTES)


@pytest.mark.parametrize("name", shipped_sets())
def test_every_shipped_set_is_complete(name: str) -> None:
    assert card.problems(shipped_sets()[name]) == []


def test_shipped_sets_are_small_together_and_their_licence_is_the_package_s_too() -> None:
    sets = shipped_sets()
    assert sum(map(card.size_of, sets.values())) <= card.MOST_BYTES
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    assert bool(sets) == ("weights/*/LICENSE" in project["project"]["license-files"])
    assert bool(sets) == ("CC-BY-NC-4.0" in project["project"]["license"])
    packed = project["tool"]["setuptools"]["package-data"]["fusionseg.weights"]
    every = {path for pattern in packed for path in shipped.shipped_folder().glob(pattern)}
    assert every == {path for folder in sets.values() for path in folder.iterdir()}


USING = [name for name, path in shipped_profiles().items() if shipped.PREFIX in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("name", USING)
def test_profiles_that_use_a_shipped_set_compute_as_it_was_trained(name: str) -> None:
    profile = read_profile(name)
    for stage in FILES:
        path = weights_file(stage, profile.section(stage).weights)  # type: ignore[attr-defined]
        given_record(stage, path, profile)
        trained = read_header(path)["origin"]["profile"]
        for section in ("network", "optical-flow", "flow-images"):
            found, expected = profile.as_dict()[section], trained[section]
            assert {**found, "store": "", "bf16": ""} == {**expected, "store": "", "bf16": ""}, section


def test_a_complete_set_has_no_problem(made: Path) -> None:
    assert card.problems(made) == []


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: (f / "LICENSE").unlink(), "LICENSE is missing"),
        (lambda f: (f / "fusion.safetensors").unlink(), "fusion.safetensors is missing"),
        (lambda f: (f / "card.md").unlink(), "card.md: lacks the sections Intended use, Data and terms"),
        (lambda f: edit(f, "## Limits", "## limits"), "card.md: lacks the sections Limits"),
        (lambda f: edit(f, "Words.", "TO FILL: figures."), "card.md: 5 places say TO FILL"),
        (lambda f: edit(f, digest_tensors(STATE), ""), "card.md: doesn't name the digest"),
        (enlarge, "25.0 MB, at most 25 MB expected"),
        (flip, "the tensors don't match the digest"),
        (lambda f: write(f, "motion-training", software={}), "motion.safetensors: its header lacks software"),
        (lambda f: write(f, "motion-training", origin={"a": 1}), "its header lacks the command that made it"),
        (lambda f: write(f, "motion-training", stage="appearance-training"), "made by appearance-training, expected"),
        (lambda f: (f / "motion.safetensors").write_bytes(b"words"), "not a whole safetensors file"),
    ],
)
def test_what_a_set_lacks_is_told(made: Path, spoil: Any, words: str) -> None:
    spoil(made)
    assert [line for line in card.problems(made) if words in line]


def test_a_motion_stream_of_the_second_round_is_one(made: Path) -> None:
    write(made, "motion-training", stage="motion-training-2")
    assert card.problems(made) == []


def test_the_list_tells_sets_and_how_to_use_them(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "shipped_folder", lambda: made.parent)
    lines = card.listed()
    assert lines[0] == "general: 0.0 MB" and lines[2:] == [f"  {made / 'card.md'}", f"  {made / 'LICENSE'}"]
    assert "--set motion-training.weights=shipped:general" in lines[1]
    monkeypatch.setattr(shipped, "shipped_folder", lambda: made)
    assert card.listed()[0].startswith("no weights come with this version")
