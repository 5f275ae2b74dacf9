"""One Prefect flow a stage and the flow that chains them, made from the graph that `pipeline.graph` declares.

All take the same plain parameters, so each can be deployed and run by itself; a stage's flow finds what it needs from
earlier stages in the store. In the chain they work on its one plan. A task computes one video or model and gives back a
small record. Prefect's own cache stays off: the store decides what is computed, and a task that found its artifact ends
in the state "Cached".
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

# Before Prefect is imported: nothing leaves the machine.
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")

from prefect import Flow, flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.exceptions import MissingContextError
from prefect.states import Completed

from fusionseg.flows.headline import Progress, publish
from fusionseg.pipeline.basics.progress import say as say_here
from fusionseg.pipeline.graph import EVERY, Stage
from fusionseg.pipeline.run.request import Request
from fusionseg.pipeline.run.runner import open_session, run_chain
from fusionseg.pipeline.run.session import Plan, Session
from fusionseg.pipeline.store.artifact import Record

# What one flow hands on to the flow that it starts: its session, and what the stage has to do.
_HANDED: ContextVar[tuple[Session, Plan | None] | None] = ContextVar("handed", default=None)


@contextlib.contextmanager
def handing_on(session: Session, plan: Plan | None = None) -> Iterator[None]:
    """A flow started meanwhile, in this process, works with this session."""
    token = _HANDED.set((session, plan))
    try:
        yield
    finally:
        _HANDED.reset(token)


def received(request: Request) -> tuple[Session, Plan | None]:
    """The session that was handed on for this request, and the stage's plan; else one opened now."""
    found = _HANDED.get()
    return found if found is not None else (open_session(request, say), None)


@task(cache_policy=NO_CACHE, persist_result=False, task_run_name="{name}")
def compute(name: str, work: Callable[[], Record]) -> State[Record]:
    """The artifact of one job, found or computed."""
    record = work()
    return Completed(name="Cached" if record.cached else "Completed", message=record.path, data=record)


def execute(name: str, work: Callable[[], Record]) -> Record:
    """Run one job as a Prefect task."""
    state: State[Any] = compute(name, work, return_state=True)
    record: Record = state.result()  # raises what the task raised
    return record


@task(cache_policy=NO_CACHE, persist_result=False, task_run_name="{name}")
def find_all(name: str, paths: list[str]) -> State[list[str]]:
    """A stage with nothing to compute. One task, since one a video would cost Prefect 0.1 s each to say so."""
    return Completed(name="Cached", message=name, data=paths)


def run_plan(session: Session, plan: Plan) -> list[str]:
    """Do what a stage has to do, as tasks; the paths of its artifacts."""
    records = session.run(plan, execute)
    paths = [record.path for record in records]
    if plan.cached and not plan.given:
        find_all(f"{plan.stage.name}, {len(paths)} found", paths)
    return paths


def say(text: str) -> None:
    """One line to whoever watches: the terminal and, within a run, Prefect's log."""
    say_here(text)
    with contextlib.suppress(MissingContextError):
        get_run_logger().info(text)


def make_stage_flow(stage: Stage) -> Flow[..., list[str]]:
    """The flow of one stage."""

    @flow(name=stage.name, description=stage.title, validate_parameters=True, persist_result=False)
    def run_stage(
        profile: str = "demo",
        data: list[str] | None = None,
        out: str = "out",
        name: str | None = None,
        overrides: list[str] | None = None,
        device: str = "auto",
        refresh: bool = False,
        leave_out: list[str] | None = None,
        shard: str | None = None,
    ) -> list[str]:
        """`shard`: "K/N", the K-th of N parts of the videos."""
        given = {**locals(), "only": stage.name, "refresh": [stage.name] if refresh else []}
        given.pop("stage", None)  # of the function around this one
        session, plan = received(Request.from_parameters(**given))
        return run_plan(session, plan or session.plan(stage.name, refresh))

    return run_stage


STAGE_FLOWS: dict[str, Flow[..., list[str]]] = {stage.name: make_stage_flow(stage) for stage in EVERY}


def __getattr__(name: str) -> Flow[..., list[str]]:
    """Deployments name a flow as a module's attribute: `optical_flow` is the flow of the stage `optical-flow`."""
    try:
        return STAGE_FLOWS[name.replace("_", "-")]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


def run_stage_flow(session: Session, plan: Plan) -> None:
    """Run the flow of one stage with the parameters of the session's request, on its plan."""
    parameters = session.request.as_parameters() | {"refresh": plan.refresh}
    del parameters["only"]
    with handing_on(session, plan):
        STAGE_FLOWS[plan.stage.name](**parameters)


@flow(
    name="fusionseg",
    description="The whole chain, from frames to scores and the report",
    persist_result=False,
)
def fusionseg_flow(
    profile: str = "demo",
    data: list[str] | None = None,
    out: str = "out",
    name: str | None = None,
    overrides: list[str] | None = None,
    device: str = "auto",
    refresh: list[str] | None = None,
    leave_out: list[str] | None = None,
    only: str | None = None,
    shard: str | None = None,
) -> str:
    """Run the chain; gives the path of the report ("" for a single stage, or a part of one)."""
    session, _ = received(Request.from_parameters(**locals()))
    request = session.request
    progress = Progress(request.run_name, session.names) if request.whole else None

    def run_stage(session: Session, name: str, again: bool) -> None:
        plan = session.plan(name, again)
        if plan.cached:  # a flow of its own would cost Prefect a second to say so
            run_plan(session, plan)
        else:
            run_stage_flow(session, plan)
        if progress and (name == session.names[-1] or not plan.cached):  # each call costs the server 40 ms
            progress.done(name)

    report = run_chain(session, run_stage)
    if report:
        publish(request.root, request.run_name)
    return str(report or "")
