"""A unit of work, as plain data: a stage, a video or model, all that its result depends on; and how to do it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fusionseg.pipeline.basics.device import resolve_device
from fusionseg.pipeline.basics.digests import json_digest
from fusionseg.pipeline.basics.processes import ALONE, Processes
from fusionseg.pipeline.basics.progress import Bar, progress_bar
from fusionseg.pipeline.datasets.items import Item
from fusionseg.pipeline.graph import first_name
from fusionseg.pipeline.settings.base import Settings
from fusionseg.pipeline.settings.sections import OUTSIDE, Run
from fusionseg.pipeline.store.artifact import SCHEMA_VERSION, Artifact, Record, artifact_path

if TYPE_CHECKING:
    import torch

Section = TypeVar("Section", bound=Settings)
WEIGHTS_SUFFIX = ".safetensors"
SUFFIXES = {"video": ".h5", "model": WEIGHTS_SUFFIX}  # by what a stage has one artifact of


@dataclass(frozen=True)
class Context:
    """How to compute: nothing in here enters a key. `device_name`: as the command line names it."""

    root: Path
    device_name: str = "auto"
    run: Run = field(default_factory=lambda: Run())
    say: Callable[[str], None] = print
    processes: Processes = ALONE

    @cached_property
    def device(self) -> torch.device:
        """The device that networks run on; asked for by what computes, since PyTorch takes seconds to load."""
        return resolve_device(self.device_name)

    @property
    def used_device(self) -> torch.device | None:
        """`device`, if anybody has asked for it."""
        found: torch.device | None = self.__dict__.get("device")
        return found

    def progress(self, title: str, total: int, unit: str, done: int = 0) -> Bar:
        """See `progress_bar`; of several processes, the main one shows its own."""
        return progress_bar(title, total, unit, done, quiet=not self.processes.main)


def inner_settings(sections: Mapping[str, Settings]) -> dict[str, dict[str, Any]]:
    """Sections as JSON-able values, without the settings that name outside files, and those of `in_keys`."""
    return {name: section.in_keys(OUTSIDE) for name, section in sections.items()}


@dataclass(frozen=True)
class Job:
    """`items`: outside data by role, restricted to what the stage may read; `sources`: their digests; `inputs`:
    artifacts of other stages; `sections`: those of the profile that determine the result, by name; `key`: digest of all
    that. Of settings that name outside files, what is in these stands in `sources`."""

    stage: str
    stage_version: int
    dataset: str
    video: str
    suffix: str
    sections: Mapping[str, Settings]
    items: Mapping[str, tuple[Item, ...]]
    sources: tuple[tuple[str, str, str, str], ...]  # role, data set/video, kind, digest
    inputs: tuple[Record, ...]

    @cached_property
    def settings(self) -> dict[str, dict[str, Any]]:
        """The sections as JSON-able values, without those that name outside files."""
        return inner_settings(self.sections)

    @cached_property
    def key(self) -> str:
        parts = {
            "schema": SCHEMA_VERSION,
            "stage": [self.stage, self.stage_version],
            "unit": [self.dataset, self.video],
            "settings": self.settings,
            "sources": self.sources,
            "inputs": [[r.stage, r.content] for r in self.inputs],
        }
        return json_digest(parts)

    def identity(self) -> dict[str, Any]:
        """What an artifact says of its origin."""
        return {
            "stage": self.stage,
            "stage_version": self.stage_version,
            "dataset": self.dataset,
            "video": self.video,
            "key": self.key,
            "settings": self.settings,
            "inputs": [
                *(
                    {"stage": r.stage, "dataset": r.dataset, "video": r.video, "content": r.content}
                    for r in self.inputs
                ),
                *(
                    {"role": role, "item": name, "kind": kind, "digest": digest}
                    for role, name, kind, digest in self.sources
                ),
            ],
        }

    @property
    def path(self) -> Path:
        """Where the artifact goes, below the store's root."""
        return artifact_path(self.stage, self.dataset, self.video, self.key, self.suffix)


@dataclass(frozen=True)
class Work:
    """What a stage is given: a job, and how to do it."""

    job: Job
    context: Context

    @property
    def stage(self) -> str:
        """The name of the stage."""
        return self.job.stage

    @property
    def item(self) -> Item:
        """The video of a stage that works video by video."""
        (items,) = self.job.items.values()
        return items[0]

    @property
    def items(self) -> Mapping[str, tuple[Item, ...]]:
        """Outside data by role, of a stage that makes a model."""
        return self.job.items

    @property
    def run(self) -> Run:
        """How many threads, how large batches, and the like."""
        return self.context.run

    @property
    def device(self) -> torch.device:
        """Where networks run."""
        return self.context.device

    @property
    def path(self) -> Path:
        """Where the artifact goes."""
        return self.context.root / self.job.path

    def settings(self, kind: type[Section]) -> Section:
        """The section of this kind, which the graph must name for the stage."""
        (found,) = (section for section in self.job.sections.values() if type(section) is kind)
        return found

    def has_settings(self, kind: type[Settings]) -> bool:
        """Whether the graph names such a section for the stage."""
        return any(type(section) is kind for section in self.job.sections.values())

    def has(self, stage: str) -> bool:
        """Whether it reads artifacts of `stage`, of either round."""
        return any(first_name(record.stage) == stage for record in self.job.inputs)

    def input(self, stage: str, item: Item | None = None) -> Record:
        """The artifact of `stage`, of either round (for `item`, where there is one a video)."""
        found = [
            r
            for r in self.job.inputs
            if first_name(r.stage) == stage and (item is None or (r.dataset, r.video) == (item.dataset, item.name))
        ]
        if len(found) != 1:
            raise RuntimeError(
                f"{self.stage}: {len(found)} artifacts of {stage} for {item.name if item else 'it'}, expected one"
            )
        return found[0]

    def open(self, stage: str, item: Item | None = None) -> Artifact:
        """`input`, opened."""
        return Artifact(self.context.root / self.input(stage, item).path)
