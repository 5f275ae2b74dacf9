"""A training step of the `davis` profile through the loader (read, decode, resize, cut, augment, colour) against the
same step on tensors that lie in memory, at the profile's own network, crop, batch and threads.

    python benchmarks/training_step.py DATA OUT [--stream appearance|motion] [--steps 8] [--rounds 3]
    python benchmarks/training_step.py DATA OUT --plain

DATA is the folder of the `davis` profile's data sets, OUT a store (optical flow of the boxed videos is made there if it
isn't yet). Three kinds of steps take turns, each without the others' threads: in memory; cold, as in a first epoch,
where nothing is kept; warm, as in all later ones, where all samples are. The whole training is the mix of both.
`--plain`: instead, the step in memory against the same network as timm computes it, with glibc's own habits.

Expected before measuring: 1.04 cold and 1.02 warm for the appearance stream (50 and 15 ms of one core beside a step of
0.7 s on two), 1.06 and 1.02 for the motion stream. The plain step 1.3 times as slow as ours.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from unittest import mock

import numpy as np

from fusionseg.models.losses import count
from fusionseg.pipeline.basics.memory import kept_memory
from fusionseg.pipeline.basics.threads import in_order
from fusionseg.pipeline.run.request import Request
from fusionseg.pipeline.run.session import Session, run_job
from fusionseg.pipeline.settings.trainings import AppearanceTraining, StreamTraining
from fusionseg.pipeline.stages import appearance_training, motion_training, optical_flow
from fusionseg.pipeline.store.job import Job, Work
from fusionseg.pipeline.training import streams as stream_training
from fusionseg.pipeline.training.optimiser import make_optimiser
from fusionseg.pipeline.training.step import Task, Tensors, backpropagate
from fusionseg.pipeline.training.streams import MakeSample, stream_task

ALL = 100_000  # MB
Seconds = tuple[float, float]  # by the clock, and of cores at work: what else runs slows the first, hardly the second


@dataclass(frozen=True)
class Training:
    """A stream's training: its work, its settings, how many samples there are, and what makes them cold and warm."""

    work: Work
    settings: StreamTraining
    samples: int
    cold: MakeSample
    warm: MakeSample


def with_cache(work: Work, megabytes: int) -> Work:
    run = work.run.model_copy(update={"cache_mb": megabytes})
    return replace(work, context=replace(work.context, run=run))


def appearance(session: Session) -> Training:
    (work,) = session.works(session.by_name["appearance-training"])
    settings = work.settings(AppearanceTraining)
    stills = appearance_training.stills_with_masks(work)
    cold, warm = (appearance_training.sampler(with_cache(work, mb), settings, stills) for mb in (0, ALL))
    return Training(work, settings, len(stills), cold, warm)


def motion(session: Session) -> Training:
    """With true masks in the place of weak labels, which cost no more to read."""
    boxed = tuple(session.items["boxed"])
    names = {item.name for item in boxed}
    works = [work for work in session.works(session.by_name["optical-flow"]) if work.job.video in names]
    flows = tuple(run_job(work, optical_flow.compute) for work in works)
    sections = {name: session.profile.section(name) for name in ("network", "flow-images", "motion-training")}
    settings = session.profile.motion_training.model_copy(update={"labels": "masks"})
    job = Job("motion-training", 0, "benchmark", "model", "", sections, {"boxed": boxed}, (), flows)
    work = Work(job, session.context)
    frames = [(video, i) for video in boxed for i in motion_training.annotated_flow(work, video)]
    cold, warm = (motion_training.sampler(with_cache(work, mb), settings, frames) for mb in (0, ALL))
    return Training(work, settings, len(frames), cold, warm)


class Stepper:
    """A network and its optimiser."""

    def __init__(self, task: Task, training: Training) -> None:
        self.task, self.settings, self.context = task, training.settings, training.work.context
        self.optimiser = make_optimiser(task.groups, training.settings)

    def seconds(self, batches: Iterable[Tensors]) -> Seconds:
        """Of a step, the mean over all `batches`: by the clock, and of cores at work."""
        begun, worked, steps = time.perf_counter(), time.process_time(), 0
        for steps, tensors in enumerate(batches, 1):  # noqa: B007
            backpropagate(self.task, tensors, count(tensors["labels"]), self.settings, self.context)
            self.optimiser.step()
        return (time.perf_counter() - begun) / steps, (time.process_time() - worked) / steps


def held(task: Task, settings: StreamTraining, steps: int) -> list[Tensors]:
    return [task.batch(number, range(settings.batch)) for number in range(steps)]


def through_the_loader(task: Task, training: Training, steps: int, turn: int) -> Iterator[Tensors]:
    batch = lambda step: task.batch(step, range(training.settings.batch))  # noqa: E731
    return in_order(batch, (turn + 1) * steps, training.work.run.workers, turn * steps)


def against_memory(training: Training, steps: int, rounds: int) -> None:
    arguments = (training.work, training.settings, training.samples)
    cold, warm = (stream_task(*arguments, make, []) for make in (training.cold, training.warm))
    for index in range(training.samples):
        training.warm(index, np.random.default_rng(index))
    step, memory = Stepper(warm, training), held(warm, training.settings, steps)
    seconds: dict[str, list[Seconds]] = {"memory": [], "cold": [], "warm": []}
    with kept_memory():
        step.seconds(memory)
        for turn in range(rounds):
            seconds["memory"].append(step.seconds(memory))
            for kind, task in (("cold", cold), ("warm", warm)):
                seconds[kind].append(step.seconds(through_the_loader(task, training, steps, turn)))
    report(training, {kind: middle(values) for kind, values in seconds.items()})


def middle(values: list[Seconds]) -> Seconds:
    clock, cores = zip(*values, strict=True)
    return statistics.median(clock), statistics.median(cores)


def report(training: Training, seconds: dict[str, Seconds]) -> None:
    settings = training.settings
    first = min(1.0, training.samples / (settings.steps * settings.batch))
    print(f"{training.work.stage}: batches of {settings.batch}, {settings.crop[1]}x{settings.crop[0]}")
    print(f"  {1 / first:.1f} epochs of {training.samples} samples; s a step, and of the step in memory:")
    for number, what in enumerate(("by the clock", "of cores at work")):
        memory, cold, warm = (seconds[kind][number] for kind in ("memory", "cold", "warm"))
        whole = first * cold + (1 - first) * warm
        parts = {"first epoch": cold, "later epochs": warm, "whole training": whole}
        print(f"  {what:16} {memory:.3f}: " + ", ".join(f"{k} {v:.3f} ({v / memory:.3f})" for k, v in parts.items()))


def against_plain(training: Training, steps: int, rounds: int) -> None:
    arguments = (training.work, training.settings, training.samples, training.warm, [])
    ours = Stepper(stream_task(*arguments), training)
    with mock.patch.object(stream_training, "speed_up"):
        plain = Stepper(stream_task(*arguments), training)
    memory = held(ours.task, training.settings, steps)
    seconds: dict[str, list[Seconds]] = {"plain": [], "ours": []}
    for _ in range(rounds):
        for kind, step, keeping in (("plain", plain, contextlib.nullcontext()), ("ours", ours, kept_memory())):
            with keeping:
                step.seconds(memory[:2])
                seconds[kind].append(step.seconds(memory))
    for number, what in enumerate(("by the clock", "of cores at work")):
        theirs, mine = (middle(seconds[kind])[number] for kind in ("plain", "ours"))
        print(f"s a step {what}: plain {theirs:.3f}, ours {mine:.3f}; plain / ours {theirs / mine:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("out")
    parser.add_argument("--stream", choices=["appearance", "motion"], default="appearance")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plain", action="store_true")
    given = parser.parse_args()
    session = Session(Request("davis", (given.data,), given.out), lambda text: None)
    training = (appearance if given.stream == "appearance" else motion)(session)
    measure = against_plain if given.plain else against_memory
    measure(training, given.steps, given.rounds)


if __name__ == "__main__":
    main()
