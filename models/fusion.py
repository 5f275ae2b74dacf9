"""Fusion of the two streams' scores, by name.

All take appearance and motion scores (N, 2, H, W), logits of background and object at the frame's size, and give
(N, 2, H, W) logits. One whose `reads_frame` is true takes the frame too, (N, 3, H, W) uint8 RGB (`fuse`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusionseg.models.guided import GuidedFusion
from fusionseg.models.outside.plugins import fusions
from fusionseg.models.stream import CLASSES


class AverageFusion(nn.Module):
    """Mean of the logits; nothing to train."""

    def forward(self, appearance: Tensor, motion: Tensor) -> Tensor:
        return (appearance + motion) / 2


class PaperFusion(nn.Module):
    """Element-wise maximum of appearance, motion and their product, each after 1x1 convolution + ReLU (paper, 3.3).

    The product is taken of two already rectified maps: of raw logits it would be positive where both streams
    reject. Either stream alone is confident, or both together are.
    """

    def __init__(self) -> None:
        super().__init__()
        self.appearance = nn.Conv2d(CLASSES, CLASSES, 1)
        self.motion = nn.Conv2d(CLASSES, CLASSES, 1)
        self.product_appearance = nn.Conv2d(CLASSES, CLASSES, 1)
        self.product_motion = nn.Conv2d(CLASSES, CLASSES, 1)
        for conv in (self.appearance, self.motion, self.product_appearance, self.product_motion):
            # Near the identity, so that no branch starts dead behind its ReLU.
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.constant_(conv.bias, 0.1)  # type: ignore[arg-type]
            with torch.no_grad():
                conv.weight += 0.5 * torch.eye(CLASSES).view(CLASSES, CLASSES, 1, 1)

    def forward(self, appearance: Tensor, motion: Tensor) -> Tensor:
        both = _mix(self.product_appearance, appearance).relu() * _mix(self.product_motion, motion).relu()
        either = torch.maximum(_mix(self.appearance, appearance).relu(), _mix(self.motion, motion).relu())
        return torch.maximum(either, both)


def _mix(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """The 1x1 convolution as a matrix product, which takes 0.2 ms of a 480p frame: of so few channels oneDNN makes 17
    with two threads."""
    assert conv.bias is not None
    weights = conv.weight.flatten(1).expand(x.shape[0], -1, -1)
    return torch.baddbmm(conv.bias.view(1, -1, 1), weights, x.flatten(2)).unflatten(2, x.shape[2:])


class ReleaseFusion(nn.Module):
    """The released head: 3x3 convolutions to 4 channels + ReLU on both, on appearance, on motion; summed; 3x3
    convolution to 2. 374 parameters."""

    WIDTH = 4

    def __init__(self) -> None:
        super().__init__()
        self.both = nn.Conv2d(2 * CLASSES, self.WIDTH, 3, padding=1)
        self.appearance = nn.Conv2d(CLASSES, self.WIDTH, 3, padding=1)
        self.motion = nn.Conv2d(CLASSES, self.WIDTH, 3, padding=1)
        self.classify = nn.Conv2d(self.WIDTH, CLASSES, 3, padding=1)
        for conv in (self.both, self.appearance, self.motion, self.classify):
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, appearance: Tensor, motion: Tensor) -> Tensor:
        hidden = (
            self.both(torch.cat([appearance, motion], 1)).relu()
            + self.appearance(appearance).relu()
            + self.motion(motion).relu()
        )
        logits: Tensor = self.classify(hidden)
        return logits


class GatedFusion(nn.Module):
    """A weighted mean of both streams' logits, whose weight a small network sets for every place from how sure the
    streams are around it and whether they agree; beyond the paper.

    It begins as the plain mean (weight 1/2) and learns where to depart from it, so that few sequences to learn from can
    do little harm. Evidence is gathered at 1/8 of the frame's size over some 200 px; 970 parameters.
    """

    CELL = 8  # px of the frame a side of one place
    WIDTH = 8
    SURE = 4.0  # logits beyond this say no more: streams differ in how far theirs go

    def __init__(self) -> None:
        super().__init__()
        self.near = nn.Conv2d(5, self.WIDTH, 3, padding=1)
        self.far = nn.Conv2d(self.WIDTH, self.WIDTH, 3, padding=4, dilation=4)
        self.judge = nn.Conv2d(self.WIDTH, 2, 1)  # for appearance against motion, and for object against background
        nn.init.zeros_(self.judge.weight)
        nn.init.zeros_(self.judge.bias)  # type: ignore[arg-type]

    def forward(self, appearance: Tensor, motion: Tensor) -> Tensor:
        a, m = (self._evidence(scores) for scores in (appearance, motion))
        hidden = self.near(torch.cat([a, m, a * m, a.abs(), m.abs()], 1)).relu()
        hidden = hidden + self.far(hidden).relu()
        verdict = F.interpolate(self.judge(hidden), size=appearance.shape[-2:], mode="bilinear", align_corners=False)
        weight, lean = verdict[:, :1].sigmoid(), verdict[:, 1:]
        return weight * appearance + (1 - weight) * motion + torch.cat([-lean, lean], 1) / 2

    def _evidence(self, scores: Tensor) -> Tensor:
        """(N, 2, H, W) logits -> (N, 1, ~H/8, ~W/8), -1 surely background to 1 surely object."""
        sure = torch.tanh((scores[:, 1:] - scores[:, :1]) / self.SURE)
        return F.avg_pool2d(sure, self.CELL, ceil_mode=True)


FUSIONS: dict[str, type[nn.Module]] = {
    "paper": PaperFusion,
    "release": ReleaseFusion,
    "gated": GatedFusion,
    "guided": GuidedFusion,
    "average": AverageFusion,
}


def create_fusion(name: str) -> nn.Module:
    """A fusion by name, maybe a plug-in's (docs/extending.md). Raises ValueError."""
    if name in FUSIONS:
        return FUSIONS[name]()
    made: nn.Module = fusions.get(name)()
    if reads_frame(made) and not fusions.reads_frame(name):
        raise fusions.get(name).refused(
            "reads frames, and only what it makes says so; give it reads_frame = True itself"
        )
    return made


def reads_frame(fusion: nn.Module) -> bool:
    """Whether a fusion takes the frame, beside the scores."""
    return bool(getattr(fusion, "reads_frame", False))


def fuse(fusion: nn.Module, appearance: Tensor, motion: Tensor, frame: Tensor | None) -> Tensor:
    """Logits (N, 2, H, W) of a fusion, whether it reads the `frame`, (N, 3, H, W) uint8 RGB, or not (None will do)."""
    logits: Tensor = fusion(appearance, motion, frame) if reads_frame(fusion) else fusion(appearance, motion)
    return logits


register_fusion = fusions.register
