"""Fusion of the two streams' scores, by name.

All take appearance and motion scores (N, 2, H, W), logits of background and object at the frame's size, and give
(N, 2, H, W) logits.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

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
        both = self.product_appearance(appearance).relu() * self.product_motion(motion).relu()
        either = torch.maximum(self.appearance(appearance).relu(), self.motion(motion).relu())
        return torch.maximum(either, both)


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


FUSIONS: dict[str, type[nn.Module]] = {
    "paper": PaperFusion,
    "release": ReleaseFusion,
    "average": AverageFusion,
}


def create_fusion(name: str) -> nn.Module:
    """A fusion by name; ValueError for an unknown one."""
    if name not in FUSIONS:
        raise ValueError(f"unknown fusion {name!r}; known: {', '.join(FUSIONS)}")
    return FUSIONS[name]()
