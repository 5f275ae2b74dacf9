"""The study of weak labels as a whole, on tiny videos: what it runs, what it must not see, what it writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml
from builders import flip, write_davis, write_voc
from tiny import Said

from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.run.request import Request
from fusionseg.pipeline.settings.profile import read_profile
from fusionseg.pipeline.store.artifact import Artifact
from fusionseg.pipeline.store.artifacts import read_any_header, read_inputs
from fusionseg.pipeline.store.runs import read_run
from fusionseg.pipeline.study.study import PARTS, check_profile, parse_seeds, run_study, study_request

pytestmark = pytest.mark.system  # whole chains, several times

SPLITS = {"thresholds": ["a"], "proof": ["b"], "train24": ["a", "b"], "test": ["c"]}
PROFILE = """
name = "tiny"

[data]
stills = {{manifest = "{stills}", split = "train"}}
boxed = {{manifest = "{videos}", split = "train24"}}
fusion = {{manifest = "{videos}", split = "train24"}}
validation = {{manifest = "{videos}", split = "train24"}}
scored = [{{manifest = "{videos}", split = "test"}}]

[network]
long_side = 0

[appearance-training]
steps = 20
batch = 2
crop = [24, 40]
lr_head = 1e-2
loss = "cross-entropy"
balance = true

[flow-filter]
min_overlap = 0.0
min_contrast = 0.0
min_own_motion = 0.0

[motion-training]
steps = 20
batch = 2
crop = [24, 40]
lr_head = 1e-2
loss = "cross-entropy"
balance = true
"""


def written(folder: Path) -> Request:
    """The data sets, a profile and the request to study it, all below `folder`."""
    manifests = {}
    for kind, manifest in (
        ("videos", write_davis(folder / "data", dict.fromkeys("abc", 4))),
        ("stills", write_voc(folder / "data", ["s1", "s2"])),
    ):
        values = manifest.model_dump(exclude_defaults=True, mode="json")
        if kind == "videos":
            values["splits"] = SPLITS
        manifests[kind] = folder / f"{kind}.yaml"
        manifests[kind].write_text(yaml.safe_dump(values))
    profile = folder / "tiny.toml"
    profile.write_text(PROFILE.format(**manifests))
    return Request(str(profile), (str(folder / "data"),), str(folder / "out"), None, (), "cpu")


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Request, Said]:
    """A study of all parts with one seed, and what it said."""
    said = Said()
    request = written(tmp_path_factory.mktemp("study"))
    run_study(request, PARTS, [0], said)
    return request, said


def test_all_parts_are_told_written_and_shown(studied: tuple[Request, Said]) -> None:
    request, said = studied
    folder = Path(request.out) / "study"
    purity, training = pd.read_parquet(folder / "purity.parquet"), pd.read_parquet(folder / "training.parquet")
    assert purity.loc[purity["settings"] == "paper", "step"].iloc[0] == "all frames"
    assert (purity.loc[purity["step"] == "after pruning", "kept"] == 4).all()
    assert purity["purity"].between(0, 1).sum() + purity["purity"].isna().sum() == len(purity)
    assert list(zip(training["labels"], training["seed"], strict=True)) == [
        (labels, 0) for labels in ("weak", "masks", "random")
    ]
    assert (training["frames"] > 0).all() and training["J"].between(0, 1).all()
    second = pd.read_parquet(folder / "second-round-summary.parquet")
    assert list(second["labels"]) == ["weak", "second"] and second["purity"].between(0, 1).all()
    page = (Path(request.out) / "reports" / "weak-labels-study.html").read_text()
    assert "GrabCut" in page and "true masks, identical frames" in page and "has seen masks of stills alone" in page
    assert any("paper: yield" in line for line in said)
    assert "| labels |" in (folder / "study.md").read_text()


def test_the_appearance_stream_sees_no_mask_but_the_stills(studied: tuple[Request, Said]) -> None:
    root = Path(studied[0].out)
    weights = list((root / "artifacts" / "appearance-training").rglob("*.safetensors"))
    assert len(weights) == 1, "one for all runs of the study"
    sources = read_inputs(weights[0], read_any_header(weights[0]))
    assert {source["role"] for source in sources} == {"stills"}


def test_weak_labels_come_from_no_mask(studied: tuple[Request, Said]) -> None:
    root = Path(studied[0].out)
    for stage in ("box-pruning", "box-motion", "flow-filter"):
        paths = list((root / "artifacts" / stage).rglob("*.h5"))
        assert len(paths) == 2
        for path in paths:
            with Artifact(path) as artifact:
                kinds = {source.get("kind") for source in read_inputs(path, artifact.header)}
            assert kinds <= {None, "boxes", "frames"}


def test_a_second_study_computes_nothing(studied: tuple[Request, Said]) -> None:
    said = Said()
    run_study(studied[0], ["purity"], [], said)
    assert set(said.states().values()) == {"cached"}
    for stage in ("grabcut", "label-quality"):
        assert all("cached" in line for line in said if line.split()[:1] == [stage])


def test_what_is_damaged_is_made_again(studied: tuple[Request, Said]) -> None:
    root = Path(studied[0].out)
    path = next((root / "artifacts" / "grabcut").rglob("*.h5"))
    flip(path, 100)
    said = Said()
    run_study(studied[0], ["purity"], [], said)
    assert any("damaged" in line and "grabcut" in line for line in said)


def test_runs_of_the_study_have_one_setting_of_their_own_each(studied: tuple[Request, Said]) -> None:
    root = Path(studied[0].out)
    profiles = {name: read_run(root, f"study-{name}-0").profile.as_dict() for name in ("weak", "masks", "random")}
    trainings = {name: profile.pop("motion-training") for name, profile in profiles.items()}
    assert profiles["weak"] == profiles["masks"] == profiles["random"]
    assert profiles["weak"]["data"]["validation"] is None
    own = {name: (values.pop("labels"), values.pop("frames")) for name, values in trainings.items()}
    assert own == {"weak": ("weak", "accepted"), "masks": ("masks", "accepted"), "random": ("masks", "random")}
    assert trainings["weak"] == trainings["masks"] == trainings["random"]


def test_what_can_not_be_studied_is_told_before_anything_runs(tmp_path: Path) -> None:
    request = written(tmp_path)
    with pytest.raises(UserError, match="has no split thresholds, proof, train24"):
        check_profile(read_profile("demo"))
    given = read_profile(request.profile, (f"motion-training.weights={tmp_path / 'own.safetensors'}",))
    with pytest.raises(UserError, match="trains the motion stream itself"):
        check_profile(given)
    with pytest.raises(UserError, match="--seeds 0;1: expected whole numbers"):
        parse_seeds("0;1")
    asked = study_request(request, read_profile(request.profile), "name", "thresholds", "proof")
    assert read_profile(asked.profile, asked.overrides).data.validation is None
    assert replace(asked, name=None, overrides=()) == request
