"""The chain beyond the paper: pre-trained streams, frames of videos for the appearance stream, all masks for motion, a
fusion that also learns from pairs of a still and rendered flow."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import Said, request, run

import fusionseg.data_manifests
from fusionseg.models.weights import read_weights
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.graph import PRETRAINING
from fusionseg.pipeline.run.session import Session
from fusionseg.pipeline.stages import appearance_training, motion_pretraining
from fusionseg.pipeline.store.artifacts import read_any_header, read_inputs
from fusionseg.pipeline.store.job import Work
from fusionseg.pipeline.store.runs import read_run
from fusionseg.pipeline.training.samples import sample_generator

STEPS = ("appearance-pretraining.steps=2", "motion-pretraining.steps=2")
SMALL = tuple(f"{s.name}.{name}" for s in PRETRAINING for name in ("batch=2", "crop=[64, 96]", "validate_every=1"))
OVER = {"lr_head=1e-9", "lr_backbone=1e-9", "weight_decay=0"}  # a training that leaves the weights as they are
STILL = tuple(f"{kind}-training.{one}" for kind in ("appearance", "motion") for one in OVER)
VIDEOS = '{manifest="demo-davis", split="fusion"}'
GENERAL = (
    *STEPS, *SMALL, f"data.annotated={VIDEOS}", 'data.boxed={manifest="boxed.yaml", split="fusion"}',
    "motion-training.labels=masks", "motion-training.frames=all", "fusion-training.fusion=guided",
    'data.pairs={manifest="pairs.yaml", split="train"}', "fusion-training.long_side=128",
)  # fmt: skip


@pytest.fixture
def chain(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished run, and manifests of the same data in other roles."""
    folder = tmp_path / "chain"
    shutil.copytree(finished, folder)
    shipped = Path(fusionseg.data_manifests.__file__ or "").parent
    stills = (shipped / "demo-stills.yaml").read_text()
    (folder / "pairs.yaml").write_text(stills.replace("name: demo-stills", "name: other-stills"))
    videos = (shipped / "demo-davis.yaml").read_text()
    (folder / "boxed.yaml").write_text(videos + "boxes: from-masks\n")
    monkeypatch.chdir(folder)
    return folder


def test_a_chain_with_pretraining_starts_from_it_and_is_found_again(chain: Path) -> None:
    asked = request(chain, *STEPS, *SMALL, *STILL)
    said = run(asked)
    states = said.states()
    assert [states[stage.name] for stage in PRETRAINING] == ["computed", "computed"]
    found = read_run(chain / "out", "tiny")
    for kind in ("appearance", "motion"):
        before, after = (
            read_weights(chain / "out" / found.records(f"{kind}-{what}")[0].path)[0]
            for what in ("pretraining", "training")
        )
        assert before.keys() == after.keys()
        assert all(torch.allclose(before[name], after[name], atol=1e-4) for name in before)
    assert set(run(asked).states().values()) == {"cached"}


def test_given_pretrained_weights_take_its_place(chain: Path) -> None:
    weights = chain / "out" / read_run(chain / "out", "tiny").records("appearance-training")[0].path
    states = run(request(chain, f"appearance-pretraining.weights={weights}", *STILL)).states()
    assert states["appearance-pretraining"] == "given" and "motion-pretraining" not in states
    with pytest.raises(UserError, match=r"trained on frames, motion-pretraining needs one trained on flow-images"):
        Session(request(chain, f"motion-pretraining.weights={weights}"))


def test_the_whole_of_it(chain: Path) -> None:
    said = Said()
    run(request(chain, *GENERAL, name="general"), say=said)
    states = said.states()
    assert not {"box-pruning", "box-motion", "flow-filter"} & states.keys()
    assert states["fusion-training"] == states["prediction"] == states["scoring"] == "computed"
    roles = {s["role"] for s in sources(chain, "appearance-training")}
    assert roles == {"stills", "annotated", "validation"}
    assert "pairs" in {s["role"] for s in sources(chain, "fusion-training")}
    report = (chain / "out/reports/general.html").read_text()
    assert "appearance-pretraining" in report and "other-stills" in report


def sources(chain: Path, stage: str) -> list[dict[str, str]]:
    path = chain / "out" / read_run(chain / "out", "general").records(stage)[0].path
    return [one for one in read_inputs(path, read_any_header(path)) if "role" in one]


def work_of(chain: Path, stage: str, *more: str) -> Work:
    session = Session(request(chain, *GENERAL, *more))
    (work,) = session.works(replace(session.by_name[stage], needs=()))
    return work


def test_frames_of_videos_make_their_share_of_the_appearance_stream_s_samples(chain: Path) -> None:
    work = work_of(chain, "appearance-training", "appearance-training.annotated_share=0.25")
    stills = appearance_training.stills_with_masks(work)
    assert len(stills) == 12 and {item.dataset for item, _ in stills} == {"demo-stills"}
    both = 'data.stills=[{manifest="demo-stills", split="train"}, {manifest="pairs.yaml", split="train"}]'
    several = appearance_training.stills_with_masks(work_of(chain, "appearance-training", both, "data.pairs=[]"))
    assert {item.dataset for item, _ in several} == {"demo-stills", "other-stills"} and len(several) == 24


def test_rendered_flow_of_a_still_is_another_in_each_epoch_and_the_same_for_the_same_sample(chain: Path) -> None:
    work = work_of(chain, "motion-pretraining")
    settings = work.settings(motion_pretraining.MotionPretraining)
    make = motion_pretraining.sampler(work, settings, appearance_training.stills_with_masks(work))
    (image, label), (again, _), (other, _) = (make(0, sample_generator(0, step, 0)) for step in (1, 1, 2))
    assert image.shape == (64, 96, 3) and image.dtype == label.dtype == "uint8" and set(label.flat) <= {0, 1, 255}
    assert (image == again).all() and (image != other).any()


def test_pairs_of_what_trains_a_stream_are_refused(chain: Path) -> None:
    with pytest.raises(UserError, match=r"demo-stills/train is of `stills` and can't be of `pairs`"):
        Session(request(chain, 'data.pairs={manifest="demo-stills", split="train"}'))


def test_frames_that_train_the_appearance_stream_may_not_be_scored(chain: Path) -> None:
    with pytest.raises(UserError, match="demo-davis/test is scored and can't be `annotated`"):
        Session(request(chain, 'data.annotated={manifest="demo-davis", split="test"}'))


def test_the_size_that_is_fused_at_is_part_of_what_a_prediction_depends_on(chain: Path) -> None:
    """A fusion without parameters has the same content at any size."""
    average = ("fusion-training.fusion=average",)
    run(request(chain, *average))
    states = run(request(chain, *average, "fusion-training.long_side=64")).states()
    assert states["prediction"] == "computed" and states["motion-scores"] == "cached"
    weights = chain / "out" / read_run(chain / "out", "tiny").records("fusion-training")[0].path
    with pytest.raises(
        UserError, match=r"long_side is 64 in it and 0 in the profile; add --set fusion-training.long_s"
    ):
        Session(request(chain, *average, f"fusion-training.weights={weights}"))
