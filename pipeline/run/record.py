"""The record of a run as it grows, stage by stage, and what a user is told of a stage's results."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fusionseg.pipeline.datasets.digests import Ledger
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.graph import stages_for
from fusionseg.pipeline.run.inputs import RENDERED, Inputs
from fusionseg.pipeline.run.request import Request
from fusionseg.pipeline.settings.differences import ABSENT, changed_settings, changes, listed
from fusionseg.pipeline.settings.profile import Profile
from fusionseg.pipeline.store.artifact import Record, software
from fusionseg.pipeline.store.job import Context
from fusionseg.pipeline.store.runs import RunRecord, StageRun, read_run, run_path, write_run
from fusionseg.pipeline.store.sources import ANY_DATA_SET


class Journal:
    """Keeps one run's record. Each stage reads it and writes it anew, since others may write it in between."""

    def __init__(self, request: Request, inputs: Inputs, context: Context, ledger: Ledger) -> None:
        self._request, self._inputs, self._context, self._ledger = request, inputs, context, ledger
        self._computed_on = ""  # the device that an earlier run of this name computed on

    def begin(self) -> None:
        """Say what becomes of an earlier run of this name, and, before a whole run, forget it (not its artifacts)."""
        self.announce()
        if not self._request.whole:
            return
        earlier = self.earlier()
        self._computed_on = earlier.device if earlier else ""
        run_path(self._request.root, self._request.run_name).unlink(missing_ok=True)

    def add(self, name: str, stage: StageRun) -> None:
        """A stage is done."""
        run = self._run()
        write_run(self._request.root, replace(run, stages={**run.stages, name: stage}, finished=_now()))

    def announce(self) -> None:
        """Say what becomes of an earlier run of this name."""
        earlier = self.earlier()
        if earlier is not None and (told := replaced(earlier, self._request, self._inputs)):
            self._context.say(told)

    def earlier(self) -> RunRecord | None:
        """The record of an earlier run of this name."""
        try:
            return read_run(self._request.root, self._request.run_name)
        except UserError:
            return None

    def _run(self) -> RunRecord:
        """The record so far, as this request goes on with it."""
        earlier, settings = self.earlier(), self._request.settings
        used = self._context.used_device
        device = (earlier.device if earlier else "") or self._computed_on or self._context.device_name
        read = (*(earlier.read if earlier else ()), *self._ledger.how_read())
        return RunRecord(
            name=self._request.run_name,
            started=earlier.started if earlier else _now(),
            stages=still_valid(earlier.stages, earlier.profile, settings) if earlier else {},
            profile=settings,
            videos={role: tuple(f"{i.dataset}/{i.name}" for i in items) for role, items in self._inputs.items.items()},
            left_out=tuple(self._request.leave_out),
            request=self._request.as_parameters(),
            software=software(),
            device=device if used is None else str(used),
            read=tuple(dict.fromkeys(read)),
            passed_over={name: tuple(some) for name, some in self._inputs.passed_over.items()},
            data=_data(self._inputs),
        )


def replaced(earlier: RunRecord, request: Request, inputs: Inputs) -> str:
    """What a user must know where a request takes the name of a run of other settings or data; "" elsewhere."""
    roots = {"--data": _folders(earlier.data)}, {"--data": _folders(_data(inputs))}
    found = [*changed_settings(earlier.profile, request.settings), *changes(*roots)]
    if not found:
        return ""
    kept = still_valid(earlier.stages, earlier.profile, request.settings)
    lost = [name for name in earlier.stages if name not in kept]
    if not request.whole and not lost:
        return ""
    gone = "its record and report are replaced" if request.whole else f"it loses {', '.join(lost)}"
    return f"  run {earlier.name!r} was another: {listed(found)}; {gone} (no artifact is); --name NAME keeps both"


def _data(inputs: Inputs) -> dict[str, str]:
    return {name or ANY_DATA_SET: str(root) for name, root in inputs.roots.items()}


def _folders(data: Mapping[str, str]) -> str:
    """The folders of a run's data in words; where built-in data was rendered, its settings tell."""
    own = {name: root for name, root in sorted(data.items()) if Path(root).parent.name != RENDERED}
    return ", ".join(root if name == ANY_DATA_SET else f"{name}={root}" for name, root in own.items()) or ABSENT


def still_valid(stages: Mapping[str, StageRun], old: Profile, new: Profile) -> dict[str, StageRun]:
    """Of a run's stages, those that the new settings lead to as well; a single stage run with other settings leaves
    none behind that were computed from what it replaced."""
    before, after = (stages_for(settings.variant) for settings in (old, new))
    stale = set(before) - set(after)
    for stage in after.values():
        sections = (*stage.settings, "data", "render")
        moved = stage.name in before and before[stage.name].needs != stage.needs
        changed = any(old.section(name) != new.section(name) for name in sections)
        if moved or changed or stale.intersection(stage.needs):
            stale.add(stage.name)
    return {name: found for name, found in stages.items() if name not in stale}


# What a user must be told of results, by the count that says so; "frames ..." are added up.
_NOTES = {
    "appearance_only": "no flow (one frame): segmented by appearance alone",
    "unscored": "too short for its protocol: nothing scored",
    "no_truth": "no masks: predicted, not scored",
    "no_protocol": "no protocol to score it by: predicted, not scored",
    "frames_without_boxes": "frames without boxes, skipped",
    "filled_flow": "frames without imported flow: the other way's flow, negated",
    "not_stabilised": "frames whose camera motion can't be told: flow kept as it is",
}


def notes(records: Sequence[Record]) -> list[str]:
    """Videos without flow, videos that aren't scored, frames without boxes: in words."""
    found = []
    for name, text in _NOTES.items():
        if text.startswith("frames"):
            total = sum(int(r.counts.get(name, 0)) for r in records)
            found += [f"{total} {text}"] if total else []
        else:
            found += [f"{r.video}: {text}" for r in records if r.counts.get(name)]
    return found


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
