"""Training of a fusion on hand-made scores, with and without frames."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import SIZE, make_context, make_item, make_work, moving_square, write_input, write_jpeg, write_png

from fusionseg.models.fusion import FUSIONS
from fusionseg.models.weights import read_weights
from fusionseg.pipeline.datasets.items import Item, MaskFiles
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.networks.trained import read_fusion
from fusionseg.pipeline.run.session import run_job
from fusionseg.pipeline.stages.fusion_training import compute, load_pair
from fusionseg.pipeline.store.job import Work

FRAMES = 4
FACTS = {"stride": 4, "network_size": list(SIZE), "frame_size": list(SIZE)}


def video(root: Path, name: str) -> Item:
    """Frames and masks of the moving square, on disk."""
    frames, masks = [], []
    for index, (frame, mask) in enumerate(moving_square(FRAMES)):
        frames.append(write_jpeg(root / name / f"{index:05}.jpg", frame))
        masks.append(MaskFiles((write_png(root / name / f"{index:05}.png", mask.astype(np.uint8) * 255),)))
    return make_item(name, frames, masks=tuple(masks))


def scores(seed: int, right: float) -> np.ndarray:
    """Scores at stride 4 of the moving square, (T, 2, 6 + 1, 10 + 1), more or less right."""
    noise = np.random.default_rng(seed).normal(0, 1, (FRAMES, 7, 11))
    for index, (_, mask) in enumerate(moving_square(FRAMES)):
        coarse = np.pad(mask, ((0, 4), (0, 4)))[::4, ::4][:7, :11]
        noise[index] += right * (2.0 * coarse - 1)
    return np.stack([-noise, noise], 1).astype(np.float16)


def training(root: Path, motion_frames: int = FRAMES, **settings: Any) -> Work:
    """A job on one video to learn from and one to validate on; appearance is right, motion is noise."""
    context = make_context(root)
    items = {"fusion": (video(root, "one"),), "validation": (video(root, "two"),)}
    inputs = []
    for seed, name in enumerate(("one", "two")):
        inputs.append(write_input(context, "appearance-scores", {"scores": scores(seed, 3)}, FACTS, video=name))
        motion = scores(seed + 5, 0)[:motion_frames]
        inputs.append(write_input(context, "motion-scores", {"scores": motion}, FACTS, video=name))
    values = {"steps": 40, "batch": 4, "crop": SIZE, "validate_every": 20, "lr_head": 3e-3, **settings}
    return make_work(
        context, "fusion-training", suffix=".safetensors", items=items, inputs=inputs,
        settings={"fusion-training": values},
    )  # fmt: skip


@pytest.mark.parametrize("fusion", [name for name in FUSIONS if name != "average"])
def test_a_fusion_learns_to_trust_the_better_stream(fusion: str, tmp_path: Path) -> None:
    work = training(tmp_path, fusion=fusion, drop=0.2, colour=0.2)
    record = run_job(work, compute)
    made, header = read_fusion(work.path, False)
    assert header["fusion"] == fusion and record.counts["best_validation_j"] > 0.3
    fresh = FUSIONS[fusion]().state_dict()
    assert made.state_dict().keys() == fresh.keys()
    (item,) = work.items["validation"]
    pair = load_pair(work, item, 1, framed=True)
    assert pair.frame is not None and pair.frame.shape == (*SIZE, 3)
    with torch.inference_mode():
        logits = pair.fused(made, torch.device("cpu"))
    appearance, motion = ((s[0, 1] > s[0, 0]) for s in pair.upsampled())
    found, truth = logits[0, 1] > logits[0, 0], torch.from_numpy(pair.label == 1)
    assert (found != truth).float().mean() < (motion != truth).float().mean()
    assert (found != truth).sum() <= (appearance != truth).sum() + 20


def test_frames_are_read_as_rgb_and_only_where_wanted(tmp_path: Path) -> None:
    work = training(tmp_path)
    (item,) = work.items["fusion"]
    assert load_pair(work, item, 2, framed=False).frame is None
    frame = load_pair(work, item, 2, framed=True).frame
    assert frame is not None
    true = moving_square(3)[2][0].astype(int)  # BGR, and JPEG loses some
    assert np.abs(frame[..., ::-1] - true).mean() < np.abs(frame - true).mean() / 3
    for path in item.frames:
        path.unlink()
    run_job(training_again(work), compute)  # a fusion of scores alone needs none


def training_again(work: Work) -> Work:
    """The same job, as short as can be."""
    root = work.context.root
    settings = {"fusion": "gated", "steps": 1, "batch": 1, "crop": SIZE}
    return make_work(
        make_context(root), "fusion-training", suffix=".safetensors", items=work.items, inputs=work.job.inputs,
        settings={"fusion-training": settings},
    )  # fmt: skip


def test_the_same_job_gives_the_same_weights(tmp_path: Path) -> None:
    states = []
    for name in ("a", "b"):
        work = training(tmp_path / name, fusion="guided", steps=3, batch=2, drop=0.5, colour=0.3)
        run_job(work, compute)
        states.append(read_weights(work.path)[0])
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_a_fusion_without_parameters_is_written_untrained(tmp_path: Path) -> None:
    assert run_job(training(tmp_path, fusion="average"), compute).counts["steps"] == 0


def test_videos_without_flow_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no frame of data\.fusion has optical flow; give videos of two frames"):
        run_job(training(tmp_path, motion_frames=0), compute)
