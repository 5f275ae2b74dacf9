"""Runs the graph: computes what isn't there yet, starts over where an artifact was damaged or a file is bad.

One rule, one cache: a job whose artifact is there, intact and under the same key, isn't computed. `flows` runs the same
sessions under Prefect.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from fusionseg.pipeline.basics.processes import ALONE, Processes, join
from fusionseg.pipeline.errors import BadFile, DamagedArtifact
from fusionseg.pipeline.report.report import finish
from fusionseg.pipeline.run.request import Request
from fusionseg.pipeline.run.session import OwnStage, Session

RunStage = Callable[[Session, str, bool], object]  # session, stage, whether to compute it anew


def open_session(
    request: Request,
    say: Callable[[str], None] = print,
    processes: Processes = ALONE,
    own: Sequence[OwnStage] = (),
    make: bool = True,
) -> Session:
    """The session of a run, after all that can be checked before it starts. A bad file stops it or, where the profile
    says so, is left out. Raises UserError, and without `make` NotMadeYet."""
    while True:
        try:
            with processes.main_first():
                session = Session(request, say, processes, own, make)
                session.inspect()
            return session
        except BadFile as error:
            request = _without(request, error, say)


def _without(request: Request, error: BadFile, say: Callable[[str], None]) -> Request:
    """The request without what a bad file belongs to; the error itself where the profile wants that."""
    name = f"{error.dataset}/{error.name}"
    if request.settings.data.on_bad_file == "fail" or name in request.leave_out:
        raise error
    say(f"  left out: {error.args[0]}")
    return request.without(name)


def _plainly(session: Session, name: str, again: bool) -> object:
    return session.run_stage(name, again)


def run_chain(
    session: Session,
    run_stage: RunStage = _plainly,
    names: Sequence[str] | None = None,
    report: bool = True,
) -> Path | None:
    """Run stages in order (`names`: instead of the session's), then, of a whole chain, perhaps write the report, whose
    path is given back.

    An artifact found damaged is deleted and made again; a bad file, where the profile says so, is left out. Either way
    the chain starts over, and finds cached what isn't concerned.
    """
    say, processes = session.context.say, session.context.processes
    if session.request.shard is None and processes.main:  # a part of the videos leaves no record
        session.journal.begin()
    waiting, mended = set(session.request.refresh), set[Path]()
    while True:
        try:
            for name in names or session.names:
                run_stage(session, name, name in waiting)
                waiting.discard(name)
            if not report or not session.request.whole:
                return None
            return processes.from_main(partial(finish, session.request.root, session.request.run_name, say))
        except DamagedArtifact as error:
            if error.path in mended:
                raise
            mended.add(error.path)
            error.path.unlink(missing_ok=True)
            say(f"  {error.args[0]}")
            session.forget()
        except BadFile as error:
            session = open_session(_without(session.request, error, say), say, processes, session.own)


def run_plain(request: Request, say: Callable[[str], None] = print) -> None:
    """Run the graph in this process, and in those that a launcher started beside it, without Prefect."""
    processes = join(request.device)
    request = replace(request, device=processes.device)
    run_chain(open_session(request, say if processes.main else _say_nothing, processes))


def _say_nothing(text: str) -> None:
    """What all processes but the main one say."""
