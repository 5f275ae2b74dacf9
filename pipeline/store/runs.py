"""Records of runs: of what settings, data and artifacts a run is made. `runs/NAME.json` below the store's root."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from fusionseg.pipeline.basics.atomic import write_json
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.graph import Stage, rounds_of
from fusionseg.pipeline.settings.profile import Profile
from fusionseg.pipeline.store.artifact import Record, Unit

State = Literal["given", "computed", "cached"]  # weights from outside; made now; found


@dataclass(frozen=True)
class StageRun:
    """What became of a stage. `peak_memory`: bytes, see `basics.memory`."""

    state: State
    seconds: float = 0.0
    peak_memory: Mapping[str, int] = field(default_factory=dict)
    records: tuple[Record, ...] = ()


@dataclass(frozen=True)
class RunRecord:
    """A run: `videos`, "data set/name" by role; `left_out`, the same of bad ones; `data`: folders by data set,
    "(default)" for all others; `device`: the one that computed; `stages`: those done so far, in order; `passed_over`:
    by data set, files that are no pictures and no videos; `read`: how files were read, where that isn't obvious."""

    name: str
    started: str
    stages: Mapping[str, StageRun]
    profile: Profile
    videos: Mapping[str, tuple[str, ...]]
    left_out: tuple[str, ...] = ()
    software: Mapping[str, str] = field(default_factory=dict)
    device: str = ""
    data: Mapping[str, str] = field(default_factory=dict)
    finished: str = ""
    passed_over: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    read: tuple[str, ...] = ()

    def records(self, stage: str) -> tuple[Record, ...]:
        """The records of one stage; none where the run has none."""
        return self.stages[stage].records if stage in self.stages else ()

    def by_unit(self, stage: str) -> dict[Unit, Record]:
        """The same by data set and video."""
        return {record.unit: record for record in self.records(stage)}

    def state(self, stage: str) -> str | None:
        """`StageRun.state`; None where the stage isn't in the run."""
        return self.stages[stage].state if stage in self.stages else None

    @property
    def declared(self) -> list[Stage]:
        """The stages of its graph as declared, in order."""
        return rounds_of(self.profile.variant.rounds)

    def scored_names(self) -> dict[Unit, str]:
        """What to call each scored video: its name, after its data set's where several data sets are scored (two may
        have a video of one name)."""
        units = self.units("scored")
        several = len({dataset for dataset, _ in units}) > 1
        return {(dataset, video): f"{dataset}/{video}" if several else video for dataset, video in units}

    def units(self, role: str) -> list[Unit]:
        """Data set and name of what plays a role."""
        return [(dataset, name) for dataset, _, name in (text.partition("/") for text in self.videos.get(role, ()))]


_ADAPTER = TypeAdapter(RunRecord)


def run_path(root: Path, name: str) -> Path:
    """Where the record of a run lies."""
    return root / "runs" / f"{name}.json"


def read_run(root: Path, name: str) -> RunRecord:
    """The record of a run. Raises UserError."""
    path = run_path(root, name)
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except FileNotFoundError:
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.json"))) or "none yet"
        raise UserError(f"no run {name!r} under {root} ({path}); known: {known}") from None
    except ValidationError:
        raise UserError(f"{path}: not a run's record; run the same command again to write it anew") from None


def write_run(root: Path, run: RunRecord) -> None:
    """Write a run's record, whole or not at all."""
    write_json(run_path(root, run.name), _ADAPTER.dump_python(run, mode="json", by_alias=True))
