"""Stage `fusion-training`: the fusion alone, on stored scores of both streams, on few videos with true masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fusionseg.models.fusion import create_fusion
from fusionseg.pipeline.basics.spread import spread
from fusionseg.pipeline.datasets.items import Item
from fusionseg.pipeline.datasets.reading import read_mask_sized
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.networks.scores import object_mask, upsampled
from fusionseg.pipeline.networks.trained import plug_ins_header
from fusionseg.pipeline.scoring.measures import valid_j
from fusionseg.pipeline.settings.sections import FusionTraining
from fusionseg.pipeline.store.artifacts import WeightsWriter
from fusionseg.pipeline.store.job import Work
from fusionseg.pipeline.training.cache import SampleCache
from fusionseg.pipeline.training.loop import seed_of, train
from fusionseg.pipeline.training.samples import Augmentation, crop_pair, draw, sample_generator
from fusionseg.pipeline.training.step import Task


class StoredPair(NamedTuple):
    """Scores of both streams as they are stored, (2, h, w) float16 each, with the facts of their artifacts, and the
    label (H, W) uint8."""

    appearance: npt.NDArray[np.float16]
    appearance_facts: Mapping[str, Any]
    motion: npt.NDArray[np.float16]
    motion_facts: Mapping[str, Any]
    label: npt.NDArray[np.uint8]

    def upsampled(self) -> tuple[Tensor, Tensor]:
        """Scores of both streams at the frame's size, (1, 2, H, W) float32 each."""
        return upsampled(self.appearance, self.appearance_facts), upsampled(self.motion, self.motion_facts)


def compute(work: Work, writer: WeightsWriter) -> None:
    """Write the fusion's weights; a fusion without parameters is written untrained."""
    settings = work.settings(FusionTraining)
    torch.manual_seed(seed_of(work.stage, settings))
    header = {"kind": "fusion", "fusion": settings.fusion, **plug_ins_header({"fusion-training": settings})}
    fusion = _fresh(settings.fusion).to(work.device)
    if not list(fusion.parameters()):
        writer.write(fusion.state_dict(), header, {"steps": 0})
        return
    task = Task(
        fusion,
        make_batch(work, settings),
        lambda model, tensors: fuse_batch(model, tensors, work.device),
        make_validation(work, settings),
        [{"params": list(fusion.parameters()), "lr": settings.lr_head}],
    )
    train(task, settings, work, writer, header)


def _fresh(name: str) -> nn.Module:
    """A fusion, untrained. Raises UserError."""
    try:
        return create_fusion(name)
    except ValueError as error:
        raise UserError(f"fusion-training.fusion: {error}") from None


def frames_with_flow(work: Work, video: Item, wanted: int) -> list[tuple[Item, int]]:
    """Evenly spread frames of a video that have motion scores and a true mask."""
    with work.open("motion-scores", video) as motion:
        count = motion.length("scores")
    return [(video, index) for index in spread([i for i in video.annotated if i < count], wanted)]


def load_pair(work: Work, video: Item, index: int) -> StoredPair:
    """Scores and label of one frame."""
    with work.open("appearance-scores", video) as a, work.open("motion-scores", video) as m:
        height, width = a.facts["frame_size"]
        label = read_mask_sized(video, index, (height, width))
        return StoredPair(a.frame("scores", index), a.facts, m.frame("scores", index), m.facts, label)


def make_batch(work: Work, settings: FusionTraining) -> Callable[[int, range], dict[str, Tensor]]:
    """The function that gives the tensors of some positions of a step's batch: `scores` (N, 4, h, w) float32, `labels`
    (N, h, w) uint8."""
    augmentation = Augmentation(settings.crop, settings.scales, settings.mirror)
    frames = [f for video in work.items["fusion"] for f in frames_with_flow(work, video, settings.frames_a_video)]

    if not frames:
        raise UserError("fusion-training: no frame of data.fusion has optical flow; give videos of two frames or more")
    # Stored scores are kept, not upsampled ones: those take some 100 times the memory.
    loaded = SampleCache(lambda number: load_pair(work, *frames[number]), work.run.cache_mb)

    def sample(number: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        pair = loaded(number)
        scores = torch.cat(pair.upsampled(), 1)[0].permute(1, 2, 0).numpy()
        scores, label, _ = crop_pair(scores, pair.label, augmentation, rng)
        return scores, label

    def batch(step: int, positions: range) -> dict[str, Tensor]:
        chosen = draw(len(frames), settings.batch, step, settings.seed)
        pairs = [sample(chosen[i], sample_generator(settings.seed, step, i)) for i in positions]
        return {
            "scores": torch.from_numpy(np.stack([s.transpose(2, 0, 1) for s, _ in pairs])),
            "labels": torch.from_numpy(np.stack([label for _, label in pairs])),
        }

    return batch


def fuse_batch(model: nn.Module, tensors: Mapping[str, Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    """Logits and labels of a batch."""
    appearance, motion = tensors["scores"].to(device).split(2, 1)
    return model(appearance, motion), tensors["labels"].to(device).long()


def make_validation(work: Work, settings: FusionTraining) -> Callable[[nn.Module], float] | None:
    """The function that gives the mean J on the validation videos, or None without any."""
    frames = [f for v in work.items["validation"] for f in frames_with_flow(work, v, settings.validate_frames)]
    if not frames:
        return None
    pairs = [load_pair(work, *frame) for frame in frames]

    def validate(model: nn.Module) -> float:
        with torch.inference_mode():
            logits = [model(*(scores.to(work.device) for scores in pair.upsampled())) for pair in pairs]
        return float(np.mean([valid_j(p.label, object_mask(z)) for p, z in zip(pairs, logits, strict=True)]))

    return validate
