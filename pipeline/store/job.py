"""One unit of work, as plain data: a stage, a video or model, and everything its result depends on."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tqdm import tqdm

from fusionseg.pipeline.basics.processes import ALONE, Processes
from fusionseg.pipeline.datasets.items import Item
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.settings.profile import Run
from fusionseg.pipeline.store.artifact import (
    SCHEMA_VERSION,
    Artifact,
    ArtifactWriter,
    Record,
    artifact_path,
    create_artifact,
    json_digest,
)

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
# Where output isn't a terminal, one line of progress this often (s).
_LOG_SECONDS = 10.0


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


def progress_bar(title: str, total: int, unit: str, done: int = 0, quiet: bool = False) -> tqdm[Any]:
    """A progress bar on a terminal, a line now and then elsewhere; nothing if `quiet`."""
    options: dict[str, Any] = {
        "total": total,
        "initial": done,
        "desc": f"  {title}",
        "unit": unit,
        "leave": False,
        "disable": quiet,
    }
    if sys.stderr.isatty():
        return tqdm(**options, dynamic_ncols=True)
    return _LogLines(**options, mininterval=_LOG_SECONDS, maxinterval=_LOG_SECONDS, ascii=True, ncols=0)


@contextmanager
def shown(title: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A function of (done, total) that shows progress; nothing is shown before its first call."""
    bars: list[tqdm[Any]] = []

    def show(done: int, total: int) -> None:
        if not bars:
            bars.append(progress_bar(title, total, unit))
        bars[0].total = total
        bars[0].update(done - bars[0].n)

    try:
        yield show
    finally:
        for bar in bars:
            bar.close()


class _LogLines(tqdm):
    """Progress as plain lines, for logs: no carriage returns, nothing at the start and the end."""

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        if not msg and self.initial < self.n < (self.total or 0):
            print(str(self), file=sys.stderr, flush=True)


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


def resolve_device(name: str) -> torch.device:
    """ "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1" ... Raises UserError."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"--device {name}: unknown; expected auto, cpu or cuda[:N]") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"--device {name}: not supported; expected auto, cpu or cuda[:N]")
    found = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= found:
        raise UserError(f"--device {name}: this machine's torch sees {found} CUDA devices; use --device auto or cpu")
    return device


def in_order(function: Callable[[int], T], count: int, workers: int, start: int = 0) -> Generator[T, None, None]:
    """`function(start)` ... `function(count - 1)`, computed by threads a little ahead, given in order.

    OpenCV, HDF5 and NumPy release the interpreter's lock, so threads suffice, and memory stays bounded.
    """
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for index in range(start, count):
                waiting.append(pool.submit(function, index))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def batches(count: int, size: int) -> Iterable[range]:
    """Ranges of at most `size` indices that cover `count`."""
    return (range(start, min(start + size, count)) for start in range(0, count, size))
