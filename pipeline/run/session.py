"""A run in progress: its data found and checked once, each stage's work planned, computed or found, and noted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from fusionseg.pipeline.basics.memory import peak_memory, start_measuring
from fusionseg.pipeline.basics.processes import ALONE, Processes
from fusionseg.pipeline.datasets.digests import LEDGER, Ledger
from fusionseg.pipeline.datasets.finding import left_out_line
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.graph import MASKS, Stage, known_stage, required, stages_for
from fusionseg.pipeline.run.inputs import Wanted, find_inputs
from fusionseg.pipeline.run.jobs import Jobs
from fusionseg.pipeline.run.record import Journal, notes
from fusionseg.pipeline.run.request import Request, check_shard
from fusionseg.pipeline.settings.profile import Profile
from fusionseg.pipeline.settings.shipped import weights_file
from fusionseg.pipeline.stages.compute import Compute, compute_of
from fusionseg.pipeline.store.artifact import Record, Unit
from fusionseg.pipeline.store.artifacts import find, open_writer, record_of
from fusionseg.pipeline.store.job import Context, Work
from fusionseg.pipeline.store.runs import StageRun, State, whole_command

# Runs the function that gives a record, under a title: as it is, or as a task of an engine's.
Execute = Callable[[str, Callable[[], Record]], Record]


def directly(title: str, compute: Callable[[], Record]) -> Record:
    """The plain `Execute`."""
    return compute()


def run_job(work: Work, compute: Compute, refresh: bool = False) -> Record:
    """The artifact of `work`: found, or computed."""
    record = None if refresh else find(work)
    if record is not None:
        return replace(record, cached=True)
    begun = time.monotonic()
    with open_writer(work) as writer:
        compute(work, writer)
    return replace(record_of(work), seconds=round(time.monotonic() - begun, 3))


@dataclass(frozen=True)
class Plan:
    """What a stage has to do, and the records of what is there already (None: to be computed); `given`: its weights
    come from outside, and there is nothing to do."""

    stage: Stage
    works: Sequence[Work]
    found: Sequence[Record | None]
    refresh: bool
    begun: float
    given: bool = False

    @property
    def cached(self) -> bool:
        """Whether nothing has to be computed."""
        return all(record is not None for record in self.found)


class OwnStage(NamedTuple):
    """A stage that isn't the graph's, and what computes it."""

    stage: Stage
    compute: Compute


class Session:
    """One run in progress: profile, data, and the records of the stages so far."""

    def __init__(
        self,
        request: Request,
        say: Callable[[str], None] = print,
        processes: Processes = ALONE,
        own: Sequence[OwnStage] = (),
        make: bool = True,
    ) -> None:
        """`own`: further stages; without `make`, nothing is written. Raises UserError, BadFile, NotMadeYet."""
        self._make = make
        self.request, self.profile, self.own = request, request.settings, own
        self.context = Context(request.root, request.device, self.profile.run, say, processes)
        if request.device not in ("auto", "cpu"):
            _ = self.context.device  # refused now, not hours later
        variant = self.profile.variant
        self.by_name = {**stages_for(variant), **{stage.name: stage for stage, _ in own}}
        self.given = given_weights(self.profile, self.by_name)
        self.stages = required(frozenset(self.given), variant)
        self._check_request()
        self.ledger = Ledger(request.root / LEDGER)
        self.inputs = find_inputs(request, self._wanted(), self.ledger, self.context, make)
        self.items = self.inputs.items
        self.jobs = Jobs(request, self.by_name, self.inputs, self.ledger)
        self.journal = Journal(request, self.inputs, self.context, self.ledger)
        self.records: dict[str, dict[Unit, Record]] = {}
        self.forget()

    def forget(self) -> None:
        """Forget what was found of the stages so far: an artifact of theirs is gone."""
        self.records = {name: {record.unit: record} for name, record in self.given.items()}

    @property
    def names(self) -> list[str]:
        """The stages that the request runs, in order."""
        return [self.request.only] if self.request.only else [stage.name for stage in self.stages]

    def _check_request(self) -> None:
        only, _ = self.request.only, self.request.run_name
        if only is not None and known_stage(only) not in self.by_name:
            raise UserError(f"--only {only}: with {self.profile.variant.told} there is no such stage")
        check_shard(self.request)
        for name in self.request.refresh:
            if known_stage(name) not in self.names:
                raise UserError(f"--refresh {name}: this run has no such stage; it has: {', '.join(self.names)}")

    def _wanted(self) -> Wanted:
        """Which data this run's stages want. Boxed videos and others serve no training of a run whose weights are
        given."""
        trained = [stage for stage in self.stages if stage.trained and stage.name not in self.given]
        readers = [stage for stage in self.by_name.values() if stage.trained]
        return Wanted(
            roles=frozenset({"scored"}.union(*(stage.data for stage in trained))),
            masked=frozenset(role for stage in readers for role, kinds in stage.data.items() if MASKS in kinds),
            boxes="box-pruning" in {stage.name for stage in self.stages},
        )

    def inspect(self) -> None:
        """Look at all outside data and code of the stages to run: what can't be used stops the run before it starts.

        Says how files are read, where that isn't the obvious way. Costs nothing more: digests are remembered. Raises
        BadFile, UserError.
        """
        try:
            for stage in (self.by_name[name] for name in [*self.names, *(stage.name for stage, _ in self.own)]):
                if stage.name not in self.given:
                    self.jobs.plug_ins(stage)
                    self._inspect(stage)
            left = [f"{dataset}: {left_out_line(some)}" for dataset, some in self.inputs.passed_over.items()]
            for line in (*self.ledger.how_read(), *left):
                self.context.say(line)
        finally:
            self._save_ledger()

    def _inspect(self, stage: Stage) -> None:
        for role, kinds in stage.data.items():
            for item in self.items[role] if stage.unit == "model" else self.jobs.own_part(role):
                for kind in kinds:
                    if item.files(kind):
                        self.ledger.digest(item, kind)

    def _save_ledger(self) -> None:
        if self.context.processes.main and self._make:
            self.ledger.save()

    # Planning

    def works(self, stage: Stage, whole: bool = False) -> list[Work]:
        """What `stage` has to do, in order; its inputs must have records. `whole`: also what belongs to other parts of
        the videos. Raises BadFile."""
        try:
            jobs = self.jobs.of(stage, self.records, whole)
        finally:
            self._save_ledger()
        return [Work(job, self.context) for job in jobs]

    def find(self, works: Sequence[Work]) -> list[Record | None]:
        """The artifacts of `works`, or None for those to compute. Of several processes, one looks: all agree."""
        return self.context.processes.from_main(lambda: [find(work) for work in works])

    def resolve(self, stage: Stage, whole: frozenset[str] | None = None) -> None:
        """Find the records that `stage` needs of stages computed before. Raises UserError if one is missing.

        `whole`: stages of which all videos are needed even where only a part of them is worked on, since a model was
        made of all.
        """
        whole = self.behind_models(stage) if whole is None else whole
        for need in stage.needs:
            if need not in self.records:
                earlier = self.by_name[need]
                self.resolve(earlier, whole)
                works = self.works(earlier, need in whole)
                self.records[need] = self._found(stage, works, self.find(works))

    def _found(self, stage: Stage, works: Sequence[Work], records: Sequence[Record | None]) -> dict[Unit, Record]:
        """All of these records, by unit. Raises UserError if one is missing."""
        found = {}
        for work, record in zip(works, records, strict=True):
            if record is None:
                need, job = work.stage, work.job
                raise UserError(
                    f"{stage.name} needs {need} of {job.dataset}/{job.video} with these settings, which is "
                    f"not there; {self.whole_command} makes all that is missing"
                )
            found[record.unit] = record
        return found

    @property
    def whole_command(self) -> str:
        """The command that computes all of the run, in backticks."""
        return whole_command(self.request.as_parameters(), self.request.run_name)

    def behind(self, stage: Stage) -> set[str]:
        """All stages that `stage` needs, directly or not; given weights need none."""
        needs = [need for need in stage.needs if stage.name not in self.given]
        return set(needs).union(*(self.behind(self.by_name[need]) for need in needs))

    def behind_models(self, stage: Stage) -> frozenset[str]:
        """All stages that models which `stage` needs were made of."""
        models = [self.by_name[name] for name in self.behind(stage) if self.by_name[name].unit == "model"]
        return frozenset[str]().union(*(self.behind(model) for model in models))

    def plan(self, name: str, refresh: bool = False) -> Plan:
        """What a stage has to do; all of it, with `refresh`."""
        stage, begun = self.by_name[name], time.monotonic()
        if name in self.given:
            return Plan(stage, (), (self.given[name],), False, begun, given=True)
        self.resolve(stage)
        works = self.works(stage)
        return Plan(stage, works, [None] * len(works) if refresh else self.find(works), refresh, begun)

    # Doing

    def run_stage(self, name: str, refresh: bool = False) -> list[Record]:
        """Compute one stage, or find it computed."""
        return self.run(self.plan(name, refresh))

    def run(self, plan: Plan, execute: Execute = directly) -> list[Record]:
        """Do what is planned; tell the user; note it in the run's record."""
        start_measuring(self.context.used_device)
        records = [replace(record, cached=not plan.given) for record in plan.found if record is not None]
        if not plan.cached:
            records = self._compute(plan, execute)
        self.records[plan.stage.name] = {record.unit: record for record in records}
        self._note(plan, records)
        return records

    def _compute(self, plan: Plan, execute: Execute) -> list[Record]:
        """Compute what isn't found: models by all processes at once, videos by one each."""
        processes = self.context.processes
        if plan.stage.unit == "model":  # shows its own steps
            # None may come late, find what the others have just written, and leave them alone.
            anew = replace(plan, refresh=plan.refresh or not processes.alone)
            return processes.together(lambda: [self._execute(anew, work, execute) for work in plan.works])[0]
        if processes.alone:  # also those that are found, so that whoever executes can show it
            return self._compute_share(plan, plan.works, execute)
        missing = [work for work, record in zip(plan.works, plan.found, strict=True) if record is None]
        share = [missing[number] for number in processes.share(len(missing))]
        shares = processes.together(lambda: self._compute_share(plan, share, execute))
        computed = iter([record for records in shares for record in records])
        return [next(computed) if record is None else replace(record, cached=True) for record in plan.found]

    def _compute_share(self, plan: Plan, works: Sequence[Work], execute: Execute) -> list[Record]:
        records = []
        with self.context.progress(plan.stage.name, len(works), "video") as bar:
            for work in works:
                records.append(self._execute(plan, work, execute))
                bar.update()
        return records

    def _execute(self, plan: Plan, work: Work, execute: Execute) -> Record:
        own = {stage.name: compute for stage, compute in self.own}
        compute = own.get(plan.stage.name) or compute_of(plan.stage)
        title = f"{plan.stage.name} {work.job.dataset}/{work.job.video}"
        return execute(title, partial(run_job, work, compute, plan.refresh))

    def _note(self, plan: Plan, records: Sequence[Record]) -> None:
        """Tell the user, and the run's record."""
        seconds = time.monotonic() - plan.begun
        new = sum(not record.cached for record in records)
        state: State = "given" if plan.given else "computed" if new else "cached"
        what = f"{len(records)} {'videos' if plan.stage.unit == 'video' else 'model'}"
        detail = f"{new} computed, {len(records) - new} cached" if 0 < new < len(records) else state
        self.context.say(f"{self.number(plan.stage)} {plan.stage.name:20} {what:11} {detail:28} {seconds:7.1f} s")
        for note in notes(records):
            self.context.say(f"        {note}")
        if self.request.shard or not self.context.processes.main:  # a part of a stage is no state of a run
            return
        peak = peak_memory(self.context.used_device)
        self.journal.add(plan.stage.name, StageRun(state, seconds, peak, tuple(records)))

    def number(self, stage: Stage) -> str:
        """Which of how many a stage is, for a line about it."""
        names = [one.name for one in self.stages]
        return f"[{names.index(stage.name) + 1:2}/{len(names)}]" if stage.name in names else " " * 7


def given_weights(profile: Profile, stages: Mapping[str, Stage]) -> dict[str, Record]:
    """Records of the weights that a profile names, by the stage they take the place of. Raises UserError."""
    given = {}
    for name in (stage.name for stage in stages.values() if stage.trained):
        section = getattr(profile, name.replace("-", "_"), None)
        if (path := getattr(section, "weights", None)) is not None:
            from fusionseg.pipeline.networks.trained import given_record  # PyTorch

            given[name] = given_record(name, weights_file(name, path), profile)
    return given
