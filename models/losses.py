"""Losses on logits of background and object; label 255 is void and never counts.

A batch may be worked off in parts, or shared out to processes: each function takes the `counts` of the whole batch, and
what it gives for the parts adds up to what it gives for the whole.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fusionseg.models.labels import VOID

_OUTLINE_WIDTH = 4  # px to either side: half of what contour accuracy F forgives at 480p
_OUTLINE_WEIGHT = 4.0  # beyond the weight that all pixels have


def count(labels: Tensor) -> Tensor:
    """Pixels of background, pixels of object, images: (3,) int64. Counts of parts add up.

    `labels` (N, H, W) in {0, 1, 255}.
    """
    images = torch.tensor(labels.shape[0], device=labels.device)
    return torch.stack([(labels == 0).sum(), (labels == 1).sum(), images])


def cross_entropy(logits: Tensor, labels: Tensor, counts: Tensor | None = None) -> Tensor:
    """Mean cross-entropy over valid pixels. `logits` (N, 2, H, W) float, `labels` (N, H, W) int64 in {0, 1, 255};
    `counts`: of the whole batch that these are a part of (None: they are all of it).

    0 (with a gradient of 0) where every pixel is void.
    """
    valid = (count(labels) if counts is None else counts)[:2].sum()
    return F.cross_entropy(logits, labels, ignore_index=VOID, reduction="sum") / valid.clamp(min=1)


def balanced_cross_entropy(logits: Tensor, labels: Tensor, counts: Tensor | None = None) -> Tensor:
    """Mean of the cross-entropies over background and over object, so that both weigh alike, whatever their areas; of
    one alone where the batch has no other. Arguments as in `cross_entropy`.
    """
    pixels = (count(labels) if counts is None else counts)[:2]
    classes = (pixels > 0).sum().clamp(min=1)
    weights = 1 / (pixels.clamp(min=1) * classes)
    return F.cross_entropy(logits, labels, weights.to(logits.dtype), ignore_index=VOID, reduction="sum")


def dice(logits: Tensor, labels: Tensor, counts: Tensor | None = None) -> Tensor:
    """Soft Dice loss of the object, mean over the batch's images, in [0, 1] (Milletari et al., V-Net, 2016).

    Arguments as in `cross_entropy`. Smoothed by one pixel, so that an empty image that is rightly called empty costs
    nothing.
    """
    images = (count(labels) if counts is None else counts)[2]
    valid = (labels != VOID).float()
    truth = (labels == 1).float()
    object_probability = torch.softmax(logits, 1)[:, 1] * valid
    shared = (object_probability * truth).sum((1, 2))
    total = object_probability.sum((1, 2)) + truth.sum((1, 2))
    return (1 - (2 * shared + 1) / (total + 1)).sum() / images.clamp(min=1)


def boundary(logits: Tensor, labels: Tensor, counts: Tensor | None = None) -> Tensor:
    """Four times what pixels near an outline add to the `cross_entropy`: beside that, they weigh five times. Arguments
    as there. Near: within 4 px of both object and background."""
    valid = (count(labels) if counts is None else counts)[:2].sum()
    near = torch.where(_wide(labels == 0) & _wide(labels == 1), labels, VOID)
    total = F.cross_entropy(logits, near, ignore_index=VOID, reduction="sum")
    return _OUTLINE_WEIGHT * total / valid.clamp(min=1)


def _wide(where: Tensor) -> Tensor:
    """(N, H, W) bool, and all within `_OUTLINE_WIDTH` px of it, along rows and columns."""
    size, margin = 2 * _OUTLINE_WIDTH + 1, _OUTLINE_WIDTH
    rows = F.max_pool2d(where.float(), (size, 1), 1, (margin, 0))
    return F.max_pool2d(rows, (1, size), 1, (0, margin)) > 0


LOSSES = ("cross-entropy", "dice", "cross-entropy+dice", "cross-entropy+dice+boundary")


def loss(name: str, balance: bool, logits: Tensor, labels: Tensor, counts: Tensor | None = None) -> Tensor:
    """A loss of `LOSSES` by name; `balance`: its cross-entropy is the balanced one. ValueError for an unknown name."""
    if name not in LOSSES:
        raise ValueError(f"unknown loss {name!r}; known: {', '.join(LOSSES)}")
    entropy = balanced_cross_entropy if balance else cross_entropy
    parts = {"cross-entropy": entropy, "dice": dice, "boundary": boundary}
    values = [parts[part](logits, labels, counts) for part in name.split("+")]
    return torch.stack(values).sum()
