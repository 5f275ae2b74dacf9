"""Runs the graph: computes what isn't there yet, starts over where an artifact was damaged or a file is bad.

One rule, one cache: a job whose artifact is there, intact and under the same key, isn't computed. `flows` runs the same
sessions under Prefect.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from fusionseg.pipeline.basics.processes import ALONE, Processes, join
from fusionseg.pipeline.errors import BadFile, DamagedArtifact, UserError
from fusionseg.pipeline.graph import BY_NAME, EVERY, NAMES, Stage, required, stages_for, variant_of
from fusionseg.pipeline.report.report import finish
from fusionseg.pipeline.run.session import Request, Session, given_weights, parse_shard, place
from fusionseg.pipeline.settings.profile import read_profile
from fusionseg.pipeline.store.artifact import Record
from fusionseg.pipeline.store.artifacts import find, run_path
from fusionseg.pipeline.store.job import Context, Job


def run_job(stage: Stage, job: Job, context: Context, refresh: bool = False) -> Record:
    """The artifact of `job`: found, or computed."""
    record = None if refresh else find(job, context)
    if record is not None:
        return replace(record, cached=True)
    begun = time.monotonic()
    record = stage.compute(job, context)
    return replace(record, seconds=round(time.monotonic() - begun, 3))


def run_chain(
    request: Request,
    run_stage: Callable[[Request, str, bool], object],
    names: Sequence[str],
    refresh: Iterable[str],
    say: Callable[[str], None],
    report: bool,
    processes: Processes = ALONE,
) -> Path | None:
    """Run stages in order, then perhaps write the report, whose path is given back.

    An artifact found damaged is deleted and made again; a bad file, where the profile says so, is left out. Either way
    the chain starts over, and finds cached what isn't concerned.
    """
    profile = read_profile(request.profile, request.overrides)
    waiting, mended = set(refresh), set[Path]()
    while True:
        try:
            for name in names:
                run_stage(request, name, name in waiting)
                waiting.discard(name)
            return processes.from_main(partial(finish, *place(request), say)) if report else None
        except DamagedArtifact as error:
            if error.path in mended:
                raise
            mended.add(error.path)
            error.path.unlink(missing_ok=True)
            say(f"  {error.args[0]}")
        except BadFile as error:
            name = f"{error.dataset}/{error.name}"
            if profile.data.on_bad_file == "fail" or name in request.leave_out:
                raise
            say(f"  left out: {error.args[0]}")
            request = replace(request, leave_out=(*request.leave_out, name))


def stage_names(request: Request, only: str | None) -> list[str]:
    """The stages of a run, in order. Raises UserError for an unknown one."""
    profile = read_profile(request.profile, request.overrides)
    variant = variant_of(profile.as_dict())
    if only is None:
        return [stage.name for stage in required(frozenset(given_weights(profile)), *variant)]
    if known_stage(only) not in stages_for(*variant):
        own = f'flow-images.store = "{variant.store}" and weak-labels.rounds = {variant.rounds}'
        raise UserError(f"--only {only}: with {own} there is no such stage")
    return [only]


def check(
    request: Request,
    only: str | None,
    refresh: Iterable[str],
    say: Callable[[str], None],
    processes: Processes = ALONE,
) -> list[str]:
    """The stages of a run, after checking all that can be checked before it starts. Raises UserError."""
    names = stage_names(request, only)
    if request.shard is not None:
        parse_shard(request.shard)
        if only is None or BY_NAME[only].unit != "video":
            videos = [stage.name for stage in EVERY if stage.unit == "video"]
            raise UserError(f"--shard works on one stage of videos: add --only with one of {', '.join(videos)}")
    for name in refresh:
        if known_stage(name) not in names:
            raise UserError(f"--refresh {name}: this run has no such stage; it has: {', '.join(names)}")
    try:
        with processes.main_first():
            Session(request, say, processes).inspect(names)
    except BadFile:
        if read_profile(request.profile, request.overrides).data.on_bad_file == "fail":
            raise
    return names


def forget_run(request: Request) -> None:
    """Remove the record of an earlier run of this name (not its artifacts)."""
    run_path(*place(request)).unlink(missing_ok=True)


def known_stage(name: str) -> str:
    """`name`, if it is a stage's. Raises UserError."""
    if name not in NAMES:
        raise UserError(f"no stage {name!r}; the stages are: {', '.join(NAMES)}")
    return name


def run_plain(
    request: Request, only: str | None = None, refresh: Sequence[str] = (), say: Callable[[str], None] = print
) -> None:
    """Run the graph in this process, and in those that a launcher started beside it, without Prefect."""
    processes = join(request.device)
    request, say = replace(request, device=processes.device), say if processes.main else _say_nothing
    names = check(request, only, refresh, say, processes)
    sessions: dict[Request, Session] = {}

    def run_stage(request: Request, name: str, again: bool) -> None:
        if request not in sessions:
            with processes.main_first():
                sessions[request] = Session(request, say, processes)
        sessions[request].run_stage(name, run_job, again)

    if only is None and processes.main:
        forget_run(request)
    run_chain(request, run_stage, names, refresh, say, report=only is None, processes=processes)


def _say_nothing(text: str) -> None:
    """What all processes but the main one say."""
