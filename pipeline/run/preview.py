"""What a run would do, and why: nothing is computed, rendered, extracted or written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from typing import Any

from fusionseg.pipeline.errors import DamagedArtifact, NotMadeYet, UserError
from fusionseg.pipeline.graph import Stage, required
from fusionseg.pipeline.run.request import Request
from fusionseg.pipeline.run.runner import open_session
from fusionseg.pipeline.run.session import Session
from fusionseg.pipeline.settings.differences import changes, listed
from fusionseg.pipeline.store.artifact import Record, Unit
from fusionseg.pipeline.store.artifacts import peek, read_any_header, read_inputs, read_settings
from fusionseg.pipeline.store.job import SUFFIXES, Job

NEVER, GONE = "never computed", "its artifact is gone"
_UNLESS = ", in whole or in part; where what one reads comes out as before, it is found again"
_MOST = 3  # inputs that are named


def preview(request: Request, say: Callable[[str], None]) -> None:
    """Say of each stage of a run whether it would be computed, and why. Raises UserError for what would stop it."""
    try:
        session = open_session(request, say, make=False)
    except NotMadeYet as error:
        _say_unknown(request, say, str(error.args[0]))
        return
    if request.shard is None:  # a part of the videos leaves no record
        session.journal.announce()
    forecasts = Forecaster(session).all()
    for one in forecasts:
        say(f"{session.number(one.stage)} {one.stage.name:20} {one.what:11} {one.words}")
    new = [one for one in forecasts if one.missing]
    say(f"nothing was computed; {len(new)} of {len(forecasts)} stages would be{_UNLESS if new else ''}")


def _say_unknown(request: Request, say: Callable[[str], None], first: str) -> None:
    """What can be said before the data is there."""
    names = (
        [request.only] if request.only else [stage.name for stage in required(frozenset(), request.settings.variant)]
    )
    say(f"first {first}; what is to be computed can be told only then")
    say(f"stages: {', '.join(names)}")
    say("nothing was computed")


@dataclass(frozen=True)
class Forecast:
    """What would become of a stage: of `total` artifacts, `found` are there and the others are `missing`, by reason."""

    stage: Stage
    total: int
    found: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    given: bool = False

    @property
    def what(self) -> str:
        """Of what there are how many."""
        return f"{self.total} {'videos' if self.stage.unit == 'video' else 'model'}"

    @property
    def words(self) -> str:
        """What would become of it, and why."""
        if not self.missing:
            return "given" if self.given else "cached"
        count = f"{self.missing.total()} " if self.found else ""
        one = len(self.missing) == 1
        return f"{count}would be computed: " + "; ".join(
            why if one else f"{n} {why}" for why, n in self.missing.items()
        )


class Forecaster:
    """Looks at one stage after the other, as a run would."""

    def __init__(self, session: Session) -> None:
        self._session, self._root = session, session.context.root
        self._earlier = session.journal.earlier()
        self._lacking: dict[str, set[Unit]] = {}  # what isn't there, by stage

    def all(self) -> list[Forecast]:
        """The stages of the request, in order. Raises UserError where one that runs alone lacks its inputs."""
        session, only = self._session, self._session.request.only
        if only is not None:
            self._look_behind(session.by_name[only])
        return [self._stage(session.by_name[name]) for name in session.names]

    def _look_behind(self, stage: Stage) -> None:
        """The stages that one which runs alone needs, as the run would find them."""
        session = self._session
        behind, whole = session.behind(stage), session.behind_models(stage)
        for name in [name for name in session.by_name if name in behind and name not in session.given]:
            lacking = self._stage(session.by_name[name], name in whole).missing
            if lacking:
                raise UserError(
                    f"--only {stage.name} would stop: {name} isn't all there with these settings "
                    f"({', '.join(lacking)}); {session.whole_command} makes it"
                )

    def _stage(self, stage: Stage, whole: bool = False) -> Forecast:
        session, name = self._session, stage.name
        if name in session.given:
            return Forecast(stage, 1, 1, given=True)
        units = session.jobs.units(stage, whole)
        blocking = [need for need in stage.needs if self._lacks(stage, need)]
        blocked = any("model" in (stage.unit, session.by_name[need].unit) for need in blocking)
        jobs = [] if blocked else session.jobs.of(stage, session.records, whole, ready=True)
        records, missing = dict[Unit, Record](), Counter[str]()
        again = name in session.request.refresh
        for job in jobs:
            found = "--refresh" if again else self._look(job)
            if isinstance(found, Record):
                records[found.unit] = found
            else:
                missing[found] += 1
        if waiting := len(units) - len(jobs):
            missing[self._follows(stage, units[0], blocking)] += waiting
        session.records[name] = records
        self._lacking[name] = set(units) - set(records)
        return Forecast(stage, len(units), len(records), missing)

    def _lacks(self, stage: Stage, need: str) -> bool:
        """Whether what a stage reads of another isn't all there: of a stage of videos, the videos of its own roles."""
        lacking = self._lacking.get(need, set())
        if self._session.by_name[need].unit == "model":
            return bool(lacking)
        read = {(i.dataset, i.name) for role in stage.data for i in self._session.items[role]}
        return not lacking.isdisjoint(read)

    def _look(self, job: Job) -> Record | str:
        """The artifact of a job, or why there is none."""
        try:
            return peek(self._root, job) or self._why(job)
        except DamagedArtifact:
            return "damaged"

    def _why(self, job: Job) -> str:
        path = self._before(job.stage, (job.dataset, job.video), job.suffix)
        if isinstance(path, str):
            return path
        try:
            return _difference(path, job)
        except UserError:  # of another version of the store, or damaged
            return NEVER

    def _before(self, stage: str, unit: Unit, suffix: str) -> Path | str:
        """The artifact of the run that is recorded under the name or, without one, the newest; or why there is none."""
        record = self._earlier.by_unit(stage).get(unit) if self._earlier else None
        if record is not None and (self._root / record.path).is_file():
            return self._root / record.path
        folder, video = self._root / "artifacts" / stage / unit[0], unit[1].replace("/", "_")
        found = sorted(folder.glob(f"{escape(video)}-*{suffix}"), key=lambda path: path.stat().st_mtime)
        return found[-1] if found else NEVER if record is None else GONE

    def _follows(self, stage: Stage, unit: Unit, blocking: Iterable[str]) -> str:
        """Why what isn't known yet is computed: inputs are, and perhaps settings changed as well."""
        told = f"what it reads is computed anew ({', '.join(blocking)})"
        path = self._before(stage.name, unit, SUFFIXES[stage.unit])
        if isinstance(path, str):
            return f"{path}, after {', '.join(blocking)}"
        try:
            own = _own_changes(path, read_any_header(path), stage.version, self._session.jobs.settings(stage))
        except UserError:
            own = []
        return ", ".join([*own, told])


def _difference(path: Path, job: Job) -> str:
    """How an earlier artifact was made otherwise. Raises UserError."""
    header = read_any_header(path)
    own = _own_changes(path, header, job.stage_version, job.settings)
    before, now = (_digests(inputs) for inputs in (read_inputs(path, header), job.identity()["inputs"]))
    names = [name for name in dict.fromkeys([*before, *now]) if before.get(name) != now.get(name)]
    return ", ".join([*own, *_inputs_changed(names)]) or NEVER


def _own_changes(path: Path, header: dict[str, Any], version: int, settings: dict[str, Any]) -> list[str]:
    """How version and settings of an earlier artifact's stage differ."""
    told = []
    if (before := header.get("stage_version")) != version:
        told.append(f"version {version} of the stage (was {before})")
    if found := changes(read_settings(path, header), settings):
        told.append(listed(found))
    return told


def _digests(inputs: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Digest of each input by its name for people."""
    return {
        f"{one['stage']} of {one['dataset']}/{one['video']}" if "stage" in one else f"{one['kind']} of {one['item']}":
        one.get("content") or one.get("digest") or "" for one in inputs
    }  # fmt: skip


def _inputs_changed(names: list[str]) -> list[str]:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return [f"other {', '.join(names[:_MOST])}{more}"] if names else []
