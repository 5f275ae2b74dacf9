"""Losses on logits of background and object; label 255 is void and never counts."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fusionseg.models.labels import VOID


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over valid pixels. `logits` (N, 2, H, W) float, `labels` (N, H, W) int64 in {0, 1, 255}.

    0 (with a gradient of 0) where every pixel is void.
    """
    total = F.cross_entropy(logits, labels, ignore_index=VOID, reduction="sum")
    return total / (labels != VOID).sum().clamp(min=1)


def dice(logits: Tensor, labels: Tensor) -> Tensor:
    """Soft Dice loss of the object, mean over the batch, in [0, 1] (Milletari et al., V-Net, 2016).

    Shapes as in `cross_entropy`. Smoothed by one pixel, so that an empty image that is rightly called empty costs
    nothing.
    """
    valid = (labels != VOID).float()
    truth = (labels == 1).float()
    object_probability = torch.softmax(logits, 1)[:, 1] * valid
    shared = (object_probability * truth).sum((1, 2))
    total = object_probability.sum((1, 2)) + truth.sum((1, 2))
    return (1 - (2 * shared + 1) / (total + 1)).mean()


LOSSES = {
    "cross-entropy": cross_entropy,
    "cross-entropy+dice": lambda logits, labels: cross_entropy(logits, labels) + dice(logits, labels),
}
