"""The one training loop: of both streams and of the fusion.

Deterministic from its seed, with live progress, validation on given frames, the best state kept, and a checkpoint that
a killed training goes on from.
"""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fusionseg.models.losses import LOSSES
from fusionseg.pipeline.artifact import Record, json_digest
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.files import write_atomically
from fusionseg.pipeline.job import Context, Job, in_order
from fusionseg.pipeline.profile import Training
from fusionseg.pipeline.store import write_weights

_MAX_NORM = 10.0  # gradients are clipped to this; far above what a healthy step shows


@dataclass(frozen=True)
class Task:
    """What a training consists of.

    `batch(step)` gives the tensors of a step, prepared by threads ahead of time; `logits(model, tensors)` gives logits
    (N, 2, H, W) and labels (N, H, W); `validate(model)` gives the mean J on the validation frames (None: there are
    none); `groups` are the optimiser's parameter groups.
    """

    model: nn.Module
    batch: Callable[[int], Mapping[str, Tensor]]
    logits: Callable[[nn.Module, Mapping[str, Tensor]], tuple[Tensor, Tensor]]
    validate: Callable[[nn.Module], float] | None
    groups: list[dict[str, Any]]


def train(task: Task, settings: Training, job: Job, context: Context, header: Mapping[str, Any]) -> Record:
    """Train, and write the best state (by validation J; the last without validation) as the job's weights."""
    optimiser = make_optimiser(task.groups, settings)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: learning_rate_factor(step, settings))
    checkpoint = Checkpoint(context.root / job.path().with_suffix(".checkpoint"), job.key)
    state = checkpoint.load(task.model, optimiser, schedule) or {
        "step": 0,
        "best": None,
        "best_j": -1.0,
        "history": [],
    }
    if state["step"]:
        context.say(f"  {job.stage}: goes on from step {state['step']} of {settings.steps}")
    saved, whole = time.monotonic(), True  # whether weights and `state` belong together
    bar = context.progress(job.stage, settings.steps, "step", state["step"])

    def save() -> None:
        checkpoint.save(task.model, optimiser, schedule, state)

    try:
        for tensors in in_order(task.batch, settings.steps, context.run.workers, state["step"]):
            loss = backpropagate(task, tensors, optimiser, settings)
            whole = False
            optimiser.step()
            schedule.step()
            state["step"] += 1
            _note(state, settings, task, loss, bar)
            whole = True
            bar.update()
            if time.monotonic() - saved > context.run.checkpoint_seconds:
                save()
                saved = time.monotonic()
    except KeyboardInterrupt:
        if whole:  # else the last checkpoint stands: no half-done update, no validation passed over
            save()
        context.say(f"  {job.stage}: stopped; the same command goes on from the last checkpoint")
        raise
    finally:
        bar.close()
    counts = {"steps": settings.steps, "final_loss": state["history"][-1]["loss"]}
    if state["best"] is not None:
        counts["best_validation_j"] = state["best_j"]
    full = {**header, "history": state["history"]}
    record = write_weights(job, context, state["best"] or task.model.state_dict(), full, counts)
    checkpoint.remove()
    return record


def backpropagate(
    task: Task, tensors: Mapping[str, Tensor], optimiser: torch.optim.Optimizer, settings: Training
) -> float:
    """Gradients of one batch; its loss. Raises UserError if it is not a number."""
    task.model.train()
    logits, labels = task.logits(task.model, tensors)
    loss = LOSSES[settings.loss](logits.float(), labels)
    value = float(loss.detach())
    if not np.isfinite(value):
        raise UserError(
            f"the loss became {value}: lower the learning rates (lr_head is {settings.lr_head}) with "
            "--set; the last checkpoint is kept"
        )
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(task.model.parameters(), _MAX_NORM)
    return value


def _note(state: dict[str, Any], settings: Training, task: Task, loss: float, bar: Any) -> None:
    """Validate where it is due, keep the best state, add to the history."""
    step = state["step"]
    state["smooth"] = loss if "smooth" not in state else 0.95 * state["smooth"] + 0.05 * loss
    due = step % settings.validate_every == 0 or step == settings.steps
    if due:
        row = {"step": step, "loss": round(state["smooth"], 5)}
        if task.validate:
            task.model.eval()
            row["J"] = round(task.validate(task.model), 5)
            if row["J"] > state["best_j"]:
                state["best_j"] = row["J"]
                state["best"] = {k: v.detach().cpu().clone() for k, v in task.model.state_dict().items()}
        state["history"].append(row)
    latest = state["history"][-1] if state["history"] else {}
    bar.set_postfix(loss=f"{state['smooth']:.3f}", J=f"{latest['J']:.3f}" if "J" in latest else "-", refresh=False)


def make_optimiser(groups: list[dict[str, Any]], settings: Training) -> torch.optim.Optimizer:
    """AdamW or SGD over parameter groups that carry their own `lr`."""
    if settings.optimiser == "adamw":
        return torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    return torch.optim.SGD(groups, momentum=settings.momentum, weight_decay=settings.weight_decay)


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


_DIGEST_BYTES = 20


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()


class Checkpoint:
    """One file beside the weights to come: model, optimiser, schedule, best state so far, history."""

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key

    def save(self, model: nn.Module, optimiser: Any, schedule: Any, state: Mapping[str, Any]) -> None:
        """Write it, whole or not at all."""
        buffer = io.BytesIO()
        parts = {
            "model": model.state_dict(),
            "optimiser": optimiser.state_dict(),
            "schedule": schedule.state_dict(),
        }
        torch.save({**parts, "state": dict(state), "key": self.key}, buffer)
        data = buffer.getvalue()
        write_atomically(self.path, _digest(data) + data)  # torch.load checks no checksums

    def load(self, model: nn.Module, optimiser: Any, schedule: Any) -> dict[str, Any] | None:
        """Restore, and give the state; None where there is no checkpoint of this very training."""
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
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        schedule.load_state_dict(saved["schedule"])
        state: dict[str, Any] = saved["state"]
        return state

    def remove(self) -> None:
        """Delete it."""
        self.path.unlink(missing_ok=True)


def seed_of(job: Job, settings: Training) -> int:
    """Seed of a model's initial weights: the profile's seed and the stage's name."""
    return int(json_digest([job.stage, settings.seed])[:8], 16)
