"""Checkpoints: all that a killed training needs to go on bit for bit, in one file that is whole or not there."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from fusionseg.pipeline.basics.atomic import write_atomically
from fusionseg.pipeline.training.averaging import counting

_DIGEST_BYTES = 20


@dataclass(frozen=True)
class Parts:
    """What a training changes, step by step."""

    model: nn.Module
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    average: AveragedModel | None


class Checkpoint:
    """One file beside the weights to come: the parts, and `state`, plain values and the best weights so far."""

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key

    def save(self, parts: Parts, state: Mapping[str, Any]) -> None:
        """Write it, whole or not at all."""
        buffer = io.BytesIO()
        values = {
            "model": parts.model.state_dict(),
            "optimiser": parts.optimiser.state_dict(),
            "schedule": parts.schedule.state_dict(),
            "average": parts.average.module.state_dict() if parts.average else None,
        }
        torch.save({**values, "state": dict(state), "key": self.key}, buffer)
        data = buffer.getvalue()
        write_atomically(self.path, _digest(data) + data)  # torch.load checks no checksums

    def load(self, parts: Parts) -> dict[str, Any] | None:
        """Restore the parts, and give the state; None where there is no checkpoint of this very training."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        if data[:_DIGEST_BYTES] != _digest(data[_DIGEST_BYTES:]):  # damage costs minutes, not the run
            self.remove()
            return None
        saved = torch.load(io.BytesIO(data[_DIGEST_BYTES:]), map_location="cpu", weights_only=True)
        if saved["key"] != self.key:
            return None
        parts.model.load_state_dict(saved["model"])
        parts.optimiser.load_state_dict(saved["optimiser"])
        parts.schedule.load_state_dict(saved["schedule"])
        if parts.average:
            parts.average.module.load_state_dict(saved["average"])
            counting(parts.average, saved["state"]["step"])
        state: dict[str, Any] = saved["state"]
        return state

    def remove(self) -> None:
        """Delete it."""
        self.path.unlink(missing_ok=True)


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()
