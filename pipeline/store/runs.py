"""Records of runs: of what settings, data and artifacts a run is made. `runs/NAME.json` below the store's root."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from fusionseg.pipeline.basics.atomic import write_json
from fusionseg.pipeline.basics.paths import STORE, as_folder
from fusionseg.pipeline.basics.validation import meant
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.graph import Stage, declared, required, stages_for
from fusionseg.pipeline.settings.profile import Profile
from fusionseg.pipeline.store.artifact import Record, Unit

State = Literal["given", "computed", "cached"]  # weights from outside; made now; found

# The stages that make a network, the one that a run uses first: of two motion streams the last.
_NETWORKS = {
    "appearance": ("appearance-training",),
    "motion": ("motion-training-2", "motion-training"),
    "fusion": ("fusion-training",),
}


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
    "(default)" for all others; `device`: the one that computed; `stages`: those done so far, in order; `request`: what
    was asked for last, `Request.as_parameters()` (none in records of older versions); `passed_over`: by data set, files
    that are no pictures and no videos; `read`: how files were read, where that isn't obvious."""

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
    request: Mapping[str, Any] = field(default_factory=dict)
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
        return declared(self.profile.variant)

    def scored_names(self) -> dict[Unit, str]:
        """What to call each scored video: its name, after its data set's where several data sets are scored (two may
        have a video of one name)."""
        units = self.units("scored")
        several = len({dataset for dataset, _ in units}) > 1
        return {(dataset, video): f"{dataset}/{video}" if several else video for dataset, video in units}

    def units(self, role: str) -> list[Unit]:
        """Data set and name of what plays a role."""
        return [(dataset, name) for dataset, _, name in (text.partition("/") for text in self.videos.get(role, ()))]

    @property
    def required(self) -> list[Stage]:
        """The stages of a whole run of its settings, in order; those with given weights need none."""
        given = {stage.name for stage in self.declared if self.profile.gives(stage.name)}
        stages = required(frozenset(given), self.profile.variant)
        return [replace(stage, needs=()) if stage.name in given else stage for stage in stages]

    @property
    def networks(self) -> dict[str, Record]:
        """The weights of its networks, by "appearance", "motion", "fusion". Raises UserError where one is missing."""
        found, made = {}, {stage.name for stage in self.required}
        for network, stages in _NETWORKS.items():
            last = next(stage for stage in stages if stage in made)
            self.need(last, f"network of {network}")
            found[network] = self.records(last)[0]
        return found

    def need(self, stage: str, what: str) -> None:
        """Raise UserError unless the run has records of `stage`: what of it is missing, and the command that makes it;
        or that its settings make none. `what` is wanted, in words."""
        if stage in self.stages:
            return
        stages = self.required
        if stage not in {one.name for one in stages}:
            raise UserError(f"run {self.name!r} has no {what}, and its settings make none: {self._why_none(stage)}")
        wanted = {stage}
        for one in reversed(stages):  # whoever is needed stands before
            wanted.update(one.needs if one.name in wanted else ())
        missing = [one.name for one in stages if one.name in wanted and one.name not in self.stages]
        raise UserError(
            f"run {self.name!r} has no {what}: it was made by --only, or stopped, and lacks {', '.join(missing)}; "
            f"{self.command} makes what is missing"
        )

    def _why_none(self, stage: str) -> str:
        if stage not in stages_for(self.profile.variant):
            return self.profile.variant.told
        return "given weights take the place of what would need it"

    @property
    def command(self) -> str:
        """The command that computes all of the run, in backticks."""
        if not self.request:
            return f"`fusionseg run` with the run's profile, --data and --set, --name {self.name} and without --only"
        return whole_command(self.request, self.name)


def whole_command(request: Mapping[str, Any], name: str) -> str:
    """The command that runs the whole chain of what `Request.as_parameters()` asks for, in backticks."""
    data = [word for root in request["data"] for word in ("--data", root)]
    sets = [word for text in request["overrides"] for word in ("--set", text)]
    out = [] if request["out"] == "out" else ["--out", request["out"]]
    return f"`{shlex.join(['fusionseg', 'run', request['profile'], *data, *out, '--name', name, *sets])}`"


_ADAPTER = TypeAdapter(RunRecord)


def check_run_name(name: str) -> None:
    """Raises UserError for a name that no run can have."""
    if not re.fullmatch(r"\w[\w. +-]{0,99}", name):
        raise UserError(
            f"run name {name!r}: expected at most 100 letters, digits, spaces, '.', '_', '+', '-', the first a letter "
            "or digit, since it becomes a file name"
        )


def run_path(root: Path, name: str) -> Path:
    """Where the record of a run lies."""
    return root / "runs" / f"{name}.json"


def read_run(root: Path, name: str) -> RunRecord:
    """The record of a run. Raises UserError."""
    check_run_name(name)
    path = run_path(as_folder(root, STORE), name)
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except FileNotFoundError:
        known = sorted(p.stem for p in path.parent.glob("*.json"))
        named = f"{', '.join(known) or 'none yet'}{meant(name, known)}"
        raise UserError(f"no run {name!r} under {root} ({path}); known: {named}") from None
    except ValidationError:
        raise UserError(f"{path}: not a run's record; run the same command again to write it anew") from None


def write_run(root: Path, run: RunRecord) -> None:
    """Write a run's record, whole or not at all."""
    write_json(run_path(root, run.name), _ADAPTER.dump_python(run, mode="json", by_alias=True))
