"""One unit of work, as plain data: a stage, a video or model, and everything its result depends on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from fusionseg.pipeline.basics.digests import json_digest
from fusionseg.pipeline.basics.processes import ALONE, Processes
from fusionseg.pipeline.basics.progress import progress_bar
from fusionseg.pipeline.datasets.items import Item
from fusionseg.pipeline.settings.sections import Run
from fusionseg.pipeline.store.artifact import (
    SCHEMA_VERSION,
    Artifact,
    ArtifactWriter,
    Record,
    artifact_path,
    create_artifact,
)

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Context:
    """How to compute: nothing in here enters a key."""

    root: Path
    device: torch.device
    run: Run = field(default_factory=lambda: Run())
    say: Callable[[str], None] = print
    processes: Processes = ALONE

    def progress(self, title: str, total: int, unit: str, done: int = 0) -> tqdm[Any]:
        """See `progress_bar`; of several processes, the main one shows its own."""
        return progress_bar(title, total, unit, done, quiet=not self.processes.main)


def first_name(stage: str) -> str:
    """What a stage of the second round of weak labels is called in the first, whose part it plays.

    >>> first_name("box-pruning-2"), first_name("box-pruning")
    ('box-pruning', 'box-pruning')
    """
    return stage.removesuffix("-2")


@dataclass(frozen=True)
class Job:
    """`items`: outside data by role, restricted to what the stage may read; `sources`: their digests; `inputs`:
    artifacts of other stages; `settings`: sections of the profile, without those that name outside files; `key`: digest
    of all that. `files`: the outside files by name of the setting; what is in them stands in `sources`."""

    stage: str
    stage_version: int
    dataset: str
    video: str
    suffix: str
    settings: Mapping[str, Mapping[str, Any]]
    items: Mapping[str, tuple[Item, ...]]
    sources: tuple[tuple[str, str, str, str], ...]  # role, data set/video, kind, digest
    inputs: tuple[Record, ...]
    files: Mapping[str, Path] = field(default_factory=dict)
    key: str = field(init=False)

    def __post_init__(self) -> None:
        parts = {
            "schema": SCHEMA_VERSION,
            "stage": [self.stage, self.stage_version],
            "unit": [self.dataset, self.video],
            "settings": self.settings,
            "sources": self.sources,
            "inputs": [[r.stage, r.content] for r in self.inputs],
        }
        object.__setattr__(self, "key", json_digest(parts))

    @property
    def item(self) -> Item:
        """The video of a stage that works video by video."""
        (items,) = self.items.values()
        return items[0]

    @property
    def own(self) -> Mapping[str, Any]:
        """The settings that are its stage's own."""
        return self.settings[first_name(self.stage)]

    def has(self, stage: str) -> bool:
        """Whether it reads artifacts of `stage`, of either round."""
        return any(first_name(record.stage) == stage for record in self.inputs)

    def input(self, stage: str, item: Item | None = None) -> Record:
        """The artifact of `stage`, of either round (for `item`, where there is one a video)."""
        found = [
            r
            for r in self.inputs
            if first_name(r.stage) == stage and (item is None or (r.dataset, r.video) == (item.dataset, item.name))
        ]
        if len(found) != 1:
            raise RuntimeError(
                f"{self.stage}: {len(found)} artifacts of {stage} for {item.name if item else 'it'}, expected one"
            )
        return found[0]

    def open(self, context: Context, stage: str, item: Item | None = None) -> Artifact:
        """`input`, opened."""
        return Artifact(context.root / self.input(stage, item).path)

    def identity(self) -> dict[str, Any]:
        """What an artifact says of its origin."""
        return {
            "stage": self.stage,
            "stage_version": self.stage_version,
            "dataset": self.dataset,
            "video": self.video,
            "key": self.key,
            "settings": dict(self.settings),
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

    def path(self) -> Path:
        """Where the artifact goes, below the store's root."""
        return artifact_path(self.stage, self.dataset, self.video, self.key, self.suffix)

    def write(self, context: Context) -> AbstractContextManager[ArtifactWriter]:
        """The HDF5 artifact of this job, to be written."""
        return create_artifact(context.root / self.path(), self.identity())
