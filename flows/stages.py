"""One Prefect flow a stage and the flow that chains them, made from the graph that `pipeline.graph` declares.

All take the same plain parameters, so each can be deployed and run by itself; a stage's flow finds what it needs from
earlier stages in the store. A task computes one video or model and gives back a small record. Prefect's own cache stays
off: the store decides what is computed, and a task that found its artifact ends in the state "Cached".
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

# Before Prefect is imported: nothing leaves the machine.
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")

from prefect import Flow, flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.exceptions import MissingContextError
from prefect.states import Completed
from tqdm import tqdm

from fusionseg.flows.headline import Progress, publish
from fusionseg.pipeline.graph import EVERY, Stage
from fusionseg.pipeline.run.runner import check, forget_run, run_chain, run_job
from fusionseg.pipeline.run.session import Request, Session, place
from fusionseg.pipeline.store.artifact import Record
from fusionseg.pipeline.store.job import Context, Job


@task(cache_policy=NO_CACHE, persist_result=False, task_run_name="{name}")
def compute(name: str, work: tuple[Stage, Job, Context, bool]) -> State[Record]:
    """The artifact of one job, found or computed."""
    record = run_job(*work)
    return Completed(name="Cached" if record.cached else "Completed", message=record.path, data=record)


def execute(stage: Stage, job: Job, context: Context, refresh: bool) -> Record:
    """Run one job as a Prefect task."""
    name = f"{stage.name} {job.dataset}/{job.video}"
    state: State[Any] = compute(name, (stage, job, context, refresh), return_state=True)
    record: Record = state.result()  # raises what the task raised
    return record


@task(cache_policy=NO_CACHE, persist_result=False, task_run_name="{name}")
def find_all(name: str, paths: list[str]) -> State[list[str]]:
    """A stage with nothing to compute. One task, since one a video would cost Prefect 0.1 s each to say so."""
    return Completed(name="Cached", message=name, data=paths)


def show_cached(stage: Stage, records: list[Record]) -> None:
    """Tell Prefect that all of a stage was found."""
    find_all(f"{stage.name}, {len(records)} found", [record.path for record in records])


def say(text: str) -> None:
    """One line to whoever watches: the terminal and, within a run, Prefect's log."""
    tqdm.write(text)
    sys.stdout.flush()
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
        plain = (profile, tuple(data or ()), out, name, tuple(overrides or ()), device, tuple(leave_out or ()))
        request = Request(*plain, shard)
        records = Session(request, say).run_stage(stage.name, execute, refresh, show_cached)
        return [record.path for record in records]

    return run_stage


STAGE_FLOWS: dict[str, Flow[..., list[str]]] = {stage.name: make_stage_flow(stage) for stage in EVERY}


# Deployments name a flow as a module attribute.
optical_flow = STAGE_FLOWS["optical-flow"]
flow_images = STAGE_FLOWS["flow-images"]
appearance_training = STAGE_FLOWS["appearance-training"]
appearance_scores = STAGE_FLOWS["appearance-scores"]
box_pruning = STAGE_FLOWS["box-pruning"]
box_motion = STAGE_FLOWS["box-motion"]
flow_filter = STAGE_FLOWS["flow-filter"]
motion_training = STAGE_FLOWS["motion-training"]
motion_scores_2 = STAGE_FLOWS["motion-scores-2"]
box_pruning_2 = STAGE_FLOWS["box-pruning-2"]
flow_filter_2 = STAGE_FLOWS["flow-filter-2"]
motion_training_2 = STAGE_FLOWS["motion-training-2"]
motion_scores = STAGE_FLOWS["motion-scores"]
fusion_training = STAGE_FLOWS["fusion-training"]
prediction = STAGE_FLOWS["prediction"]
scoring = STAGE_FLOWS["scoring"]


def run_stage_flow(request: Request, name: str, refresh: bool) -> list[str]:
    """Run the flow of one stage with the parameters of `request`."""
    return STAGE_FLOWS[name](
        profile=request.profile,
        data=list(request.data),
        out=request.out,
        name=request.name,
        overrides=list(request.overrides),
        device=request.device,
        refresh=refresh,
        leave_out=list(request.leave_out),
        shard=request.shard,
    )


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
    only: str | None = None,
    shard: str | None = None,
) -> str:
    """Run the chain; gives the path of the report ("" for a single stage, or a part of one)."""
    request = Request(profile, tuple(data or ()), out, name, tuple(overrides or ()), device, shard=shard)
    names = check(request, only, refresh or (), say)
    if only is None:
        forget_run(request)
    progress = Progress(place(request)[1], names) if only is None else None
    sessions: dict[Request, Session] = {}

    def run_stage(request: Request, name: str, again: bool) -> None:
        if request not in sessions:
            sessions[request] = Session(request, say)
        session = sessions[request]
        if not again and session.is_cached(name):  # a flow of its own would cost Prefect a second to say so
            session.run_stage(name, execute, again, show_cached)
        else:
            run_stage_flow(request, name, again)
        if progress:
            progress.done(name)

    report = run_chain(request, run_stage, names, refresh or (), say, report=only is None)
    if report:
        publish(*place(request))
    return str(report or "")
