"""What a training tells while it runs: a line of progress, and TensorBoard's event files."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fusionseg.pipeline.basics.digests import short_key
from fusionseg.pipeline.store.job import Work

LOGS = "logs"  # below the store's root
_SMOOTH = 0.9  # weight of the past in images/s


def log_folder(work: Work) -> Path:
    """Where the logs of a training lie: `logs/<stage>-<short key>`."""
    return work.context.root / LOGS / f"{work.stage}-{short_key(work.job.key)}"


class TrainingLog:
    """Progress and events of one training; of several processes, the main one's alone."""

    def __init__(self, work: Work, steps: int, done: int) -> None:
        self._bar = work.context.progress(work.stage, steps, "step", done)
        self._writer: Any = None
        if work.context.processes.main:
            from torch.utils.tensorboard import SummaryWriter  # slow to import

            # Events past the checkpoint, of steps that are now done again, don't count.
            self._writer = SummaryWriter(str(log_folder(work)), purge_step=done + 1)
        self._speed: float | None = None
        self._begun = time.monotonic()

    def begin(self) -> None:
        """A step begins: what came before, validation or a checkpoint, isn't its time."""
        self._begun = time.monotonic()

    def step(self, step: int, images: int, loss: float, rate: float) -> None:
        """A step is done. `rate`: the head's learning rate."""
        now = images / max(time.monotonic() - self._begun, 1e-9)
        self._speed = now if self._speed is None else _SMOOTH * self._speed + (1 - _SMOOTH) * now
        self._write(step, {"loss": loss, "learning_rate": rate, "images_per_second": now})

    def validated(self, step: int, score: float) -> None:
        """The mean J on the validation frames, in 0..1."""
        self._write(step, {"validation_J": score})

    def show(self, loss: float, score: float | None, rate: float) -> None:
        """One step further: the smoothed loss, the latest J."""
        shown = {"loss": f"{loss:.3f}", "J": "-" if score is None else f"{score:.3f}"}
        shown |= {"images/s": f"{self._speed or 0:.1f}", "lr": f"{rate:.1e}"}
        self._bar.note(shown)
        self._bar.update()

    def _write(self, step: int, values: Mapping[str, float]) -> None:
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        """Write what is waiting: with a checkpoint, so that no event of its steps is missing."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """The end, orderly or not."""
        self._bar.close()
        if self._writer is not None:
            self._writer.close()
