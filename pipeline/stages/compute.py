"""From the name of a stage to what computes it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from fusionseg.pipeline.graph import Stage
from fusionseg.pipeline.store.job import Work

# `compute(work, writer)`; the writer is an ArtifactWriter for a stage of videos, a WeightsWriter for one of models.
Compute = Callable[[Work, Any], None]


def compute_of(stage: Stage) -> Compute:
    """`compute` of the module that is named like the stage; loaded now, since it may load PyTorch."""
    module = importlib.import_module(f"fusionseg.pipeline.stages.{stage.module}")
    found: Compute = module.compute
    return found
