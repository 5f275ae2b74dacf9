"""Samples that a fusion learns from: both streams' scores of a frame, wherever they come from, augmented alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fusionseg.models.fusion import fuse
from fusionseg.pipeline.basics.resizing import fit, resize
from fusionseg.pipeline.networks.scores import as_tensor, upsampled
from fusionseg.pipeline.settings.trainings import FusionTraining
from fusionseg.pipeline.training.photometric import vary_look
from fusionseg.pipeline.training.samples import Augmentation, crop_pair, draw, sample_generator

UInt8 = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.float16]


class StoredPair(NamedTuple):
    """Scores of both streams as they are stored, (2, h, w) float16 each, with the facts of their artifacts; the label
    (H, W) uint8; and, for a fusion that reads it, the frame (H, W, 3) uint8 RGB."""

    appearance: Scores
    appearance_facts: Mapping[str, Any]
    motion: Scores
    motion_facts: Mapping[str, Any]
    label: UInt8
    frame: UInt8 | None = None

    def upsampled(self) -> tuple[Tensor, Tensor]:
        """Scores of both streams at the frame's size, (1, 2, H, W) float32 each."""
        return upsampled(self.appearance, self.appearance_facts), upsampled(self.motion, self.motion_facts)

    def resized(self, long_side: int) -> StoredPair:
        """The pair of a frame whose longer side has so many px (0: as it is). Scores are as they were: they are
        enlarged to the frame's size later."""
        size = fit((self.label.shape[0], self.label.shape[1]), long_side)
        if size == self.label.shape:
            return self
        facts = [{**found, "frame_size": list(size)} for found in (self.appearance_facts, self.motion_facts)]
        frame = None if self.frame is None else resize(self.frame, size)
        label = resize(self.label, size, nearest=True)
        return self._replace(appearance_facts=facts[0], motion_facts=facts[1], label=label, frame=frame)

    def fused(self, fusion: nn.Module, device: torch.device) -> Tensor:
        """What a fusion on `device` makes of them: logits (1, 2, H, W)."""
        appearance, motion = (scores.to(device) for scores in self.upsampled())
        return fuse(fusion, appearance, motion, None if self.frame is None else as_tensor(self.frame).to(device))


class Cut(NamedTuple):
    """A training sample: `scores` (h, w, 4) float32, of appearance and motion; `label` (h, w) uint8; `frame` (h, w, 3)
    uint8 RGB, or None."""

    scores: npt.NDArray[np.float32]
    label: UInt8
    frame: UInt8 | None


# `make(number, generator)` gives one pair to learn from; whatever is random in it, it takes from the generator.
MakePair = Callable[[int, np.random.Generator], StoredPair]


def batch_of(make: MakePair, count: int, settings: FusionTraining) -> Callable[[int, range], dict[str, Tensor]]:
    """The function that gives the tensors of some positions of a step's batch, of `count` pairs to draw from: `scores`
    (N, 4, h, w) float32, `labels` (N, h, w) uint8 and, if pairs have frames, `frames` (N, 3, h, w) uint8 RGB."""

    def cut(number: int, rng: np.random.Generator) -> Cut:
        return augmented(make(number, rng), settings, rng)

    def batch(step: int, positions: range) -> dict[str, Tensor]:
        chosen = draw(count, settings.batch, step, settings.seed)
        return stacked([cut(chosen[i], sample_generator(settings.seed, step, i)) for i in positions])

    return batch


def augmented(pair: StoredPair, settings: FusionTraining, rng: np.random.Generator) -> Cut:
    """A crop of a pair, as `settings` have it: scaled, mirrored, the frame in other colours, a stream silenced."""
    augmentation = Augmentation(settings.crop, settings.scales, settings.mirror)
    planes = torch.cat(pair.upsampled(), 1)[0].permute(1, 2, 0).numpy()
    if pair.frame is not None:
        planes = np.concatenate([planes, pair.frame.astype(np.float32)], 2)
    planes, label, _ = crop_pair(planes, pair.label, augmentation, rng)
    frame = None
    if pair.frame is not None:
        frame = vary_look(np.rint(planes[..., 4:]).astype(np.uint8), settings.colour, 0.0, rng)
    return Cut(silenced(planes[..., :4], settings.drop, rng), label, frame)


def silenced(scores: npt.NDArray[np.float32], share: float, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Scores (h, w, 4) of which one stream, either, says nothing: logits of 0, in this share of draws. So a fusion
    learns to do with one ("motion as an option", arXiv 2309.14786)."""
    if not share or rng.random() >= share:
        return scores
    kept = np.repeat(rng.permutation([1, 0]), 2).astype(np.float32)
    return scores * kept


def stacked(cuts: list[Cut]) -> dict[str, Tensor]:
    """Samples of one size as a batch, see `batch_of`."""
    found = {
        "scores": torch.from_numpy(np.stack([cut.scores.transpose(2, 0, 1) for cut in cuts])),
        "labels": torch.from_numpy(np.stack([cut.label for cut in cuts])),
    }
    frames = [cut.frame.transpose(2, 0, 1) for cut in cuts if cut.frame is not None]
    return found | ({"frames": torch.from_numpy(np.stack(frames))} if frames else {})


def fuse_batch(model: nn.Module, tensors: Mapping[str, Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    """Logits and labels of a batch."""
    appearance, motion = tensors["scores"].to(device).split(2, 1)
    frames = tensors["frames"].to(device) if "frames" in tensors else None
    return fuse(model, appearance, motion, frames), tensors["labels"].to(device).long()
