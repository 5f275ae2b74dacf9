"""The one training loop: of both streams and of the fusion.

Deterministic from its seed, with live progress, validation on given frames, the best state kept, and a checkpoint that
a killed training goes on from. docs/training.md tells it to users.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fusionseg.models.losses import count
from fusionseg.pipeline.basics.atomic import write_atomically
from fusionseg.pipeline.basics.digests import json_digest
from fusionseg.pipeline.basics.threads import in_order
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.settings.trainings import Training
from fusionseg.pipeline.store.artifacts import WeightsWriter
from fusionseg.pipeline.store.job import WEIGHTS_SUFFIX, Work
from fusionseg.pipeline.training.averaging import running_mean
from fusionseg.pipeline.training.checkpoint import Checkpoint, Parts
from fusionseg.pipeline.training.log import TrainingLog, log_folder
from fusionseg.pipeline.training.optimiser import learning_rate_factor, make_optimiser, make_schedule
from fusionseg.pipeline.training.step import Task, Tensors, backpropagate, trained_norms

_SMOOTH = 0.95  # weight of the past in the loss that is shown
# How CPU and GPU say that memory is out; only the GPU has an exception of its own.
_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "bad allocation")


def train(task: Task, settings: Training, work: Work, writer: WeightsWriter, header: Mapping[str, Any]) -> None:
    """Train, and write what `settings.keep` chooses as the job's weights: the state with the best validation J, or the
    last. Raises UserError."""
    count = work.context.processes.count
    if settings.batch < count:
        raise UserError(
            f"{work.stage}.batch = {settings.batch} is less than the {count} processes; raise it, or start fewer"
        )
    loop = _Loop(task, settings, work)
    loop.run()
    loop.finish(writer, header)


class _Loop:
    """A training in progress."""

    def __init__(self, task: Task, settings: Training, work: Work) -> None:
        self.task, self.settings, self.work, self.context = task, settings, work, work.context
        optimiser = make_optimiser(task.groups, settings)
        average = running_mean(task.model, settings.ema) if settings.ema else None
        self.parts = Parts(task.model, optimiser, make_schedule(optimiser, settings), average)
        self.checkpoint = Checkpoint(work.path.with_suffix(".checkpoint"), work.job.key)
        # Plain values and the best weights so far; `void`: steps in a row without a single labelled pixel.
        self.state: dict[str, Any] = self.checkpoint.load(self.parts) or {
            "step": 0, "best": None, "best_step": 0, "best_j": -1.0, "history": [], "smooth": None, "void": 0,
        }  # fmt: skip
        self.whole = True  # whether weights and `state` belong together
        self.saved = time.monotonic()

    def run(self) -> None:
        """All steps that are left."""
        state, steps = self.state, self.settings.steps
        if state["step"]:
            self.context.say(f"  {self.work.stage}: goes on from step {state['step']} of {steps}")
        positions = self.context.processes.share(self.settings.batch)
        batches = in_order(
            lambda step: self.task.batch(step, positions), steps, self.context.run.workers, state["step"]
        )
        self.log = TrainingLog(self.work, steps, state["step"])
        try:
            while state["step"] < steps:
                with _memory_explained(self.work.stage, self.settings):
                    self.step(batches)
                if time.monotonic() - self.saved > self.context.run.checkpoint_seconds:
                    self.save()
        except KeyboardInterrupt:
            if self.whole:  # else the last checkpoint stands: no half-done update, no validation passed over
                self.save()
            self.context.say(f"  {self.work.stage}: stopped; the same command goes on from the last checkpoint")
            raise
        finally:
            batches.close()
            self.log.close()

    def step(self, batches: Iterator[Tensors]) -> None:
        """One update of the weights, and what is due after it."""
        self.log.begin()
        tensors, counts = self.fetch(batches)
        rate = self.settings.lr_head * learning_rate_factor(self.state["step"], self.settings)
        self.whole = not trained_norms(self.task.model.train())
        loss = backpropagate(self.task, tensors, counts, self.settings, self.context)
        self.whole = False
        self.parts.optimiser.step()
        self.parts.schedule.step()
        self.state["step"] += 1
        if self.parts.average:
            self.parts.average.update_parameters(self.task.model)
        self.log.step(self.state["step"], self.settings.batch, loss, rate)
        self.note(loss, int(counts[:2].sum()))
        self.whole = True
        score = self.state["history"][-1].get("J") if self.state["history"] else None
        self.log.show(self.state["smooth"], score, rate)

    def fetch(self, batches: Iterator[Tensors]) -> tuple[Tensors, Tensor]:
        """This process's share of the next batch, and the counts of the whole one."""
        fetched: list[Tensors] = []

        def work() -> list[int]:
            fetched.append(next(batches))
            counts: list[int] = count(fetched[0]["labels"]).tolist()
            return counts

        shares = self.context.processes.together(work)  # a file that one can't read stops all
        return fetched[0], torch.tensor(shares).sum(0)

    def note(self, loss: float, pixels: int) -> None:
        """Validate where it is due, keep the best state, add to the history."""
        state, settings = self.state, self.settings
        smooth = state["smooth"]
        state["smooth"] = loss if smooth is None else _SMOOTH * smooth + (1 - _SMOOTH) * loss
        state["void"] = 0 if pixels else state["void"] + 1
        if state["void"] >= min(settings.validate_every, settings.steps):
            raise UserError(
                f"{self.work.stage}: {state['void']} steps in a row had no labelled pixel, void everywhere; look at "
                f"the labels, or raise {self.work.stage}.crop or .batch with --set"
            )
        if state["step"] % settings.validate_every == 0 or state["step"] == settings.steps:
            state["history"].append({"step": state["step"], "loss": round(state["smooth"], 5), **self.validate()})

    def validate(self) -> dict[str, float]:
        """The mean J on the validation frames; the state is kept where it is the best so far."""
        validate = self.task.validate
        if validate is None:
            return {}
        newest = self.newest.eval()
        score = self.context.processes.from_main(lambda: round(validate(newest), 5))
        self.log.validated(self.state["step"], score)
        if score > self.state["best_j"]:
            self.state |= {"best_j": score, "best_step": self.state["step"]}
            if self.context.processes.main:
                self.state["best"] = {name: value.cpu() for name, value in self.last().items()}
        return {"J": score}

    @property
    def newest(self) -> nn.Module:
        """The model as it is now: the running mean, where there is one."""
        return self.parts.average.module if self.parts.average else self.task.model

    def last(self) -> dict[str, Tensor]:
        """A copy of the newest weights."""
        return copy.deepcopy(self.newest.state_dict())

    def save(self) -> None:
        """A checkpoint; the main process's does for all."""
        if self.context.processes.main:
            self.log.flush()
            self.checkpoint.save(self.parts, self.state)
        self.saved = time.monotonic()

    def finish(self, writer: WeightsWriter, header: Mapping[str, Any]) -> None:
        """Write the weights, those that weren't chosen beside the logs, and remove the checkpoint."""
        state, steps = self.state, self.settings.steps
        counts = {"steps": steps, "final_loss": state["history"][-1]["loss"]}
        found = {"last": (steps, self.last())}
        if state["best_step"]:
            counts["best_validation_j"] = state["best_j"]
            found["best"] = (state["best_step"], state["best"])
        chosen = self.settings.keep if self.settings.keep in found else "last"
        full = {**header, "history": state["history"], "kept_step": found[chosen][0]}
        if self.context.processes.main and len({step for step, _ in found.values()}) == 2:
            (other,) = found.keys() - {chosen}
            step, weights = found[other]
            data = writer.pack(weights, {**full, "kept_step": step}, counts)
            write_atomically(log_folder(self.work) / f"{other}{WEIGHTS_SUFFIX}", data)
        writer.write(found[chosen][1], full, counts)
        if self.context.processes.main:
            self.checkpoint.remove()


@contextmanager
def _memory_explained(stage: str, settings: Training) -> Iterator[None]:
    """What to change where memory is out."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is the former
        text = str(error).lower()
        if not isinstance(error, MemoryError) and not any(words in text for words in _NO_MEMORY):
            raise
        raise UserError(
            f"{stage}: out of memory; raise {stage}.accumulate (now {settings.accumulate}; up to .batch), or "
            f"lower .batch ({settings.batch}) or .crop ({list(settings.crop)}) with --set; the last checkpoint is kept"
        ) from None


def seed_of(stage: str, settings: Training) -> int:
    """Seed of a model's initial weights: the profile's seed and the stage's name."""
    return int(json_digest([stage, settings.seed])[:8], 16)
