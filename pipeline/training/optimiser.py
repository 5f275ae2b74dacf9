"""Optimisers and schedules of the learning rate, by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fusionseg.pipeline.settings.trainings import Training


def make_optimiser(groups: list[dict[str, Any]], settings: Training) -> torch.optim.Optimizer:
    """AdamW or SGD over parameter groups that carry their own `lr`."""
    if settings.optimiser == "adamw":
        return torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    return torch.optim.SGD(groups, momentum=settings.momentum, weight_decay=settings.weight_decay)


def make_schedule(optimiser: torch.optim.Optimizer, settings: Training) -> torch.optim.lr_scheduler.LRScheduler:
    """The schedule of all groups' learning rates, to be stepped after every step of the optimiser."""
    return torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: learning_rate_factor(step, settings))


def learning_rate_factor(step: int, settings: Training) -> float:
    """Share of the full learning rate at `step`: "poly" falls as (1 - step/steps)^power (DeepLab); "one-cycle" rises
    over the first tenth and falls as a cosine."""
    progress = min(step / settings.steps, 1.0)
    if settings.schedule == "poly":
        return float((1 - progress) ** settings.poly_power)
    warm = 0.1
    if progress < warm:
        return 0.05 + 0.95 * progress / warm
    return float(0.5 * (1 + np.cos(np.pi * (progress - warm) / (1 - warm))) * 0.99 + 0.01)
