"""A training so small that tests can afford hundreds of steps, in this process or in others that get killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from builders import make_job
from torch import Tensor, nn

from fusionseg.models.labels import VOID
from fusionseg.models.weights import read_weights
from fusionseg.pipeline.basics.processes import ALONE, Processes, first_to_tell, join, leave
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.settings.sections import Run
from fusionseg.pipeline.settings.trainings import Training
from fusionseg.pipeline.store.artifact import Record
from fusionseg.pipeline.store.artifacts import WeightsWriter, record_of
from fusionseg.pipeline.store.job import Context, Job, Work
from fusionseg.pipeline.training.loop import train
from fusionseg.pipeline.training.step import Task

STEPS = 12
Hook = Callable[[int], None]
# Importing takes seconds: done once, then forked from.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["fusionseg.pipeline.training.loop", "torch.utils.tensorboard", "torch._dynamo", "accelerate", "scipy.io"]
)


def settings(**changes: Any) -> Training:
    return Training(
        **{"steps": STEPS, "batch": 4, "validate_every": 4, "lr_head": 0.05, "loss": "cross-entropy", **changes}
    )


def network(norm: bool) -> nn.Module:
    """Per-pixel logits of (N, 3, H, W); `norm`: with BatchNorm that learns its statistics."""
    torch.manual_seed(0)
    if not norm:
        return nn.Conv2d(3, 2, 1)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))


class Small:
    """A little model on random pixels, with hooks that may raise while a batch is made or while it is validated."""

    def __init__(
        self,
        root: Path,
        setting: Training,
        at_batch: Hook = lambda step: None,
        at_validation: Hook = lambda n: None,
        norm: bool = False,
        checkpoint_seconds: float = 1000,
        processes: Processes = ALONE,
    ) -> None:
        self.model = network(norm)
        self.settings = setting
        run = Run(workers=1, checkpoint_seconds=checkpoint_seconds)
        self.said: list[str] = []
        self.context = Context(root, "cpu", run, self.said.append, processes)
        sources = (("settings", "norm", "value", str(norm)),)
        self.job: Job = make_job(
            "motion-training", suffix=".safetensors", sections={"motion-training": setting}, sources=sources
        )
        self.at_batch, self.at_validation = at_batch, at_validation
        self.batches: list[int] = []
        self.validated: list[dict[str, Tensor]] = []
        self.scores: list[float] | None = None

    def batch(self, step: int, positions: range) -> dict[str, Tensor]:
        self.at_batch(step)
        self.batches.append(step)
        images = np.stack([np.random.default_rng([step, i]).normal(0, 1, (3, 4, 4)) for i in positions])
        labels = (images[:, 0] > 0).astype(np.uint8)
        labels[:, 0, : 1 + step % 3] = VOID  # as many valid pixels in no two steps, nor images
        labels[[i == 0 for i in positions], 1] = VOID
        return {"images": torch.from_numpy(images.astype(np.float32)), "labels": torch.from_numpy(labels)}

    @staticmethod
    def logits(model: nn.Module, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        return model(tensors["images"]), tensors["labels"].long()

    def validate(self, model: nn.Module) -> float:
        self.at_validation(len(self.validated))
        assert not model.training
        self.validated.append({k: v.clone() for k, v in model.state_dict().items()})
        if self.scores:
            return self.scores[len(self.validated) - 1]
        images = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(9))
        return float((model(images).argmax(1) == (images[:, 0] > 0)).float().mean())

    def train(self, validate: bool = True) -> Record:
        groups = [{"params": list(self.model.parameters()), "lr": self.settings.lr_head}]
        task = Task(self.model, self.batch, self.logits, self.validate if validate else None, groups)
        work = Work(self.job, self.context)
        train(task, self.settings, work, WeightsWriter(work), {"kind": "tiny"})
        return record_of(work)

    def result(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        state, header = read_weights(self.context.root / self.job.path)
        names = ("history", "counts", "content", "kind", "key", "kept_step")
        return state, {name: header[name] for name in names}

    @property
    def checkpoint(self) -> Path:
        return self.context.root / self.job.path.with_suffix(".checkpoint")

    @property
    def logs(self) -> Path:
        (found,) = (self.context.root / "logs").iterdir()
        return found


def assert_same(found: Small, expected: Small) -> None:
    (state, header), (wanted, wanted_header) = found.result(), expected.result()
    assert header == wanted_header
    assert all(torch.equal(state[name], value) for name, value in wanted.items())


# What follows runs in processes of its own.


def kill_at_write(number: int) -> Callable[[int], None]:
    """An `os.fsync` that kills its process instead of finishing the `number`-th file."""
    left = [number]

    def fsync(file: int) -> None:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    return fsync


def train_alone(root: Path, changes: Mapping[str, Any], norm: bool, write: int = 0) -> None:
    """Train with a checkpoint after every step; `write`: number of the checkpoint to be killed at."""
    if write:
        os.fsync = kill_at_write(write)
    Small(root, settings(**changes), lambda step: time.sleep(0.005), norm=norm, checkpoint_seconds=0).train()


def train_in_one_of(
    rank: int, count: int, port: int, root: Path, changes: Mapping[str, Any], norm: bool, fail: Sequence[int]
) -> None:
    """Train as one of several; `fail`: the rank and step at which this one's batch can't be made. Exit code 3 if it is
    stopped and the first to tell, 4 if it isn't the first."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}

    def at_batch(step: int) -> None:
        time.sleep(0.005)
        if (rank, step) == tuple(fail):
            raise UserError("no such picture")

    try:
        small = Small(root, settings(**changes), at_batch, norm=norm, checkpoint_seconds=0, processes=join("cpu"))
        small.train()
        own = {name: value.numpy() for name, value in small.model.state_dict().items()}
        np.savez(root / f"rank{rank}.npz", **own)
        leave()
    except UserError:
        sys.exit(3 if first_to_tell() else 4)


def start(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Run a function in a process of its own, forked from one that has imported all there is to import."""
    process = SERVER.Process(target=target, args=arguments)
    process.start()
    return process


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
