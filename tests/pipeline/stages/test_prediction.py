"""Predictions: the trivial baselines, and the stage on hand-made scores."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import flip, make_context, make_item, make_job, make_work, write_input, write_png
from torch import nn

from fusionseg.models.fusion import create_fusion
from fusionseg.models.guided import GuidedFusion
from fusionseg.models.weights import pack_weights
from fusionseg.pipeline.errors import DamagedArtifact, UserError
from fusionseg.pipeline.run.session import run_job
from fusionseg.pipeline.stages.prediction import centre_box, compute, flow_otsu
from fusionseg.pipeline.store.artifact import Artifact, Record
from fusionseg.pipeline.store.job import Work

SIZE = (9, 13)
FACTS = {"stride": 4, "network_size": list(SIZE), "frame_size": list(SIZE)}


def test_centre_box_is_a_quarter_in_the_middle() -> None:
    mask = centre_box((480, 854))
    assert mask.shape == (480, 854) and mask.mean() == pytest.approx(0.25, abs=0.002)
    assert np.array_equal(mask, mask[::-1]) and np.abs(mask.any(0).argmax() - 213.5) <= 1
    rows, columns = np.nonzero(centre_box((8, 12)))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 5, 3, 8)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 9), (3, 5)])
def test_centre_box_of_tiny_frames_is_not_empty(size: tuple[int, int]) -> None:
    assert centre_box(size).any()


def test_otsu_parts_two_speeds() -> None:
    flow = np.zeros((20, 30, 2), np.float16)
    flow[..., 0] = 1.0
    flow[5:12, 8:20] = (-3, 4)
    expected = np.zeros((20, 30), bool)
    expected[5:12, 8:20] = True
    assert np.array_equal(flow_otsu(flow), expected)
    assert np.array_equal(flow_otsu(flow * np.float16(10)), expected)


def test_otsu_where_nothing_moves_is_empty() -> None:
    assert not flow_otsu(np.zeros((5, 6, 2), np.float16)).any()


def step(edge: int) -> np.ndarray:
    """Return scores (2, 3, 4) at stride 4 that call object the pixels right of `edge`."""
    line = (np.arange(4) * 4 - (edge - 0.5))[None].repeat(3, 0)
    return np.stack([-line, line])


def given_fusion(root: Path, name: str = "average", fusion: nn.Module | None = None) -> Record:
    torch.manual_seed(0)
    data, content = pack_weights((fusion or create_fusion(name)).state_dict(), {"fusion": name})
    (root / "fusion.safetensors").write_bytes(data)
    return Record("fusion-training", "given", "fusion", "", str(root / "fusion.safetensors"), content)


def run(
    root: Path, motion_frames: int = 2, baselines: bool = True, fusion: str = "average"
) -> tuple[Record, dict[str, np.ndarray]]:
    context = make_context(root)
    appearance = np.stack([step(4), step(8)]).astype(np.float16)
    motion = np.stack([step(10), 3 * step(4)]).astype(np.float16)[:motion_frames]
    flow = np.zeros((motion_frames, *SIZE, 2), np.float16)
    flow[:, 2:5, 6:9] = 5
    inputs = [
        write_input(context, "appearance-scores", {"scores": appearance}, FACTS),
        write_input(context, "motion-scores", {"scores": motion}, FACTS),
        write_input(context, "optical-flow", {"flow": flow}),
        given_fusion(root, fusion),
    ]
    record = run_job(
        make_work(context, "prediction", make_item(), {"prediction": {"baselines": baselines}}, inputs), compute
    )
    with Artifact(root / record.path) as artifact:
        artifact.verify()
        return record, {
            m: np.stack([artifact.frame(m, i) for i in range(artifact.length(m))]) for m in artifact.facts["methods"]
        }


def right_of(*edges: int) -> np.ndarray:
    return np.stack([np.broadcast_to(np.arange(SIZE[1]) >= edge, SIZE) for edge in edges]).astype(np.uint8)


def test_stage(tmp_path: Path) -> None:
    record, masks = run(tmp_path)
    assert list(masks) == ["appearance", "motion", "average", "joint", "centre-box", "flow-otsu"]
    assert record.counts == {"frames": 2}
    assert np.array_equal(masks["appearance"], right_of(4, 8))
    assert np.array_equal(masks["motion"], right_of(10, 4))
    # Half way between edges of one strength; at (1 * 8 + 3 * 4) / 4 where motion is three times as sure.
    assert np.array_equal(masks["average"], right_of(7, 5))
    assert np.array_equal(masks["joint"], masks["average"])  # the fusion is the average here
    assert np.array_equal(masks["centre-box"][1], centre_box(SIZE))
    assert masks["flow-otsu"][0].sum() == 9 and masks["flow-otsu"][0][2:5, 6:9].all()


def test_the_fusion_is_the_one_that_was_given(tmp_path: Path) -> None:
    _, masks = run(tmp_path, fusion="release")
    assert not np.array_equal(masks["joint"], masks["average"])


def follower() -> GuidedFusion:
    """A fusion that asks neither stream: object is where the frame is bright."""
    fusion = GuidedFusion()
    for parameter in fusion.parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        fusion.see.weight[0, 2:, 1, 1] = 1.0
        fusion.refine.weight[0, 0, 1, 1] = 1.0
        fusion.judge.weight[2, 0] = 10.0
        fusion.get_parameter("judge.bias").copy_(torch.tensor([-100.0, -100.0, -30.0]))
    return fusion


def test_a_fusion_that_reads_frames_is_given_each_mask_s_own(tmp_path: Path) -> None:
    context, frames = make_context(tmp_path), []
    for number, edge in enumerate((4, 8)):
        frame = np.zeros((*SIZE, 3), np.uint8)
        frame[:, edge:] = 255
        frames.append(write_png(tmp_path / f"{number}.png", frame))
    scores = np.stack([step(2), step(2)]).astype(np.float16)
    inputs = [
        *(write_input(context, f"{name}-scores", {"scores": scores}, FACTS) for name in ("appearance", "motion")),
        given_fusion(tmp_path, "guided", follower()),
    ]
    item = make_item(frames=frames)
    work = make_work(context, "prediction", item, {"prediction": {"baselines": False}}, inputs)
    with Artifact(tmp_path / run_job(work, compute).path) as artifact:
        masks = np.stack([artifact.frame("joint", index) for index in range(2)])
        streams = np.stack([artifact.frame("average", index) for index in range(2)])
    assert np.array_equal(masks, right_of(4, 8)) and np.array_equal(streams, right_of(2, 2))


def test_a_video_of_one_frame_needs_no_fusion_and_no_frame(tmp_path: Path) -> None:
    _, masks = run(tmp_path, motion_frames=0, fusion="guided")  # the item has no frames to read
    assert np.array_equal(masks["joint"], masks["appearance"])


def test_baselines_can_be_left_out(tmp_path: Path) -> None:
    assert list(run(tmp_path, baselines=False)[1]) == ["appearance", "motion", "average", "joint"]


def test_a_video_of_one_frame_is_segmented_by_appearance_alone(tmp_path: Path) -> None:
    record, masks = run(tmp_path, motion_frames=0)
    assert list(masks) == ["appearance", "average", "joint", "centre-box"]
    assert np.array_equal(masks["joint"], masks["appearance"]) and np.array_equal(masks["average"], masks["appearance"])
    assert record.counts["appearance_only"] == 1


def test_damaged_fusion_weights_are_named(tmp_path: Path) -> None:
    given = given_fusion(tmp_path, "release")
    flip(tmp_path / "fusion.safetensors", (tmp_path / "fusion.safetensors").stat().st_size - 3)
    context = make_context(tmp_path)
    scores = write_input(context, "appearance-scores", {"scores": step(4)[None].astype(np.float16)}, FACTS)
    job = make_job("prediction", make_item(), {"prediction": {"baselines": True}}, [scores, given])
    with pytest.raises(UserError, match=r"fusion\.safetensors.*give other weights") as caught:
        run_job(Work(job, context), compute)
    assert not isinstance(caught.value, DamagedArtifact)  # which would delete the user's file
    job = make_job("prediction", make_item(), {"prediction": {"baselines": True}}, [scores, replace(given, key="made")])
    with pytest.raises(DamagedArtifact, match=r"fusion\.safetensors"):
        run_job(Work(job, context), compute)
