"""Where a report comes from: the run's stages, the data in their roles with digests, and what was left out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fusionseg.pipeline.basics.digests import json_digest
from fusionseg.pipeline.datasets.finding import left_out_line
from fusionseg.pipeline.datasets.manifest import read_manifest
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.graph import required
from fusionseg.pipeline.names import PROTOCOL_INPUT
from fusionseg.pipeline.settings.sections import DataRef
from fusionseg.pipeline.store.artifacts import read_any_header, read_inputs
from fusionseg.pipeline.store.runs import RunRecord

_ROLES = {
    "stills": "train the appearance stream",
    "boxed": "boxes only: weak labels for the motion stream",
    "fusion": "train the fusion",
    "validation": "choose checkpoints",
    "scored": "scored, and nothing else",
}
# By the count of `scoring` that says why a video has no scores.
_UNSCORED = {
    "no_truth": "Without masks, so predicted and not scored",
    "no_protocol": "Without a protocol to score by, so predicted and not scored",
    "unscored": "Too short for the protocol, so not scored",
}
_SHOWN_DIGITS = 12  # of a content digest
_STAGE_COLUMNS = ["stage", "title", "state", "seconds", "peak_memory", "peak_gpu_memory", "artifacts", "made"]
DATA_COLUMNS = ["dataset", "item", "kind", "digest"]


def stages_table(run: RunRecord) -> pd.DataFrame:
    """What became of every stage of the graph, in order: stage, title, state, seconds, peak_memory and
    peak_gpu_memory (bytes), artifacts, made."""
    given = frozenset(stage.name for stage in run.declared if run.state(stage.name) == "given")
    needed = {stage.name for stage in required(given, run.profile.variant)}
    rows = [_stage_row(run, stage.name, stage.title, stage.name in needed) for stage in run.declared]
    table = pd.DataFrame(rows, columns=_STAGE_COLUMNS)
    return table.astype({"seconds": float, "peak_memory": "Int64", "peak_gpu_memory": "Int64", "artifacts": int})


def _stage_row(run: RunRecord, name: str, title: str, needed: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"stage": name, "title": title, "artifacts": 0, "made": ""}
    state = run.state(name)
    if state is None:
        return row | {"state": "not run" if needed else "not needed"}
    records, found = run.records(name), run.stages[name]
    if state == "given":
        digest = records[0].content[:_SHOWN_DIGITS]
        return row | {"state": f"given: {Path(records[0].path).name}, content {digest}", "artifacts": 1}
    new = sum(not record.cached for record in records)
    if 0 < new < len(records):
        state = f"{new} computed, {len(records) - new} cached"
    return row | {
        "state": state,
        "seconds": found.seconds,
        "peak_memory": found.peak_memory.get("process"),
        "peak_gpu_memory": found.peak_memory.get("gpu"),
        "artifacts": len(records),
        "made": max((record.made for record in records), default=""),
    }


def data_table(root: Path, run: RunRecord) -> tuple[pd.DataFrame, int]:
    """Outside data that the run's artifacts were made from: dataset, item, kind, digest; and how many artifacts can't
    be asked any more."""
    rows: dict[tuple[str, str, str], str] = {}
    gone = 0
    readers = [stage.name for stage in run.declared if any(stage.data.values())]
    for record in (record for stage in readers for record in run.records(stage)):
        path = root / record.path
        try:
            inputs = read_inputs(path, read_any_header(path))
        except (UserError, OSError):
            gone += 1
            continue
        for origin in (one for one in inputs if "digest" in one and one["kind"] != PROTOCOL_INPUT):
            dataset, _, item = origin["item"].partition("/")
            rows[dataset, item, origin["kind"]] = origin["digest"]
    return pd.DataFrame([(*key, digest) for key, digest in rows.items()], columns=DATA_COLUMNS), gone


def digests(data: pd.DataFrame) -> list[dict[str, Any]]:
    """Of every data set and kind of file: dataset, kind, items (how many), digest (over the digests of all of them)."""
    return [
        {"dataset": key[0], "kind": key[1], "items": len(rows), "digest": _digest_of(rows)}
        for key, rows in data.groupby(["dataset", "kind"], sort=False)
    ]


def _digest_of(rows: pd.DataFrame) -> str:
    return json_digest(sorted([str(row["item"]), str(row["digest"])] for row in rows.to_dict("records")))


@dataclass(frozen=True)
class RoleRow:
    """What data played one role."""

    role: str
    purpose: str
    split: str
    videos: str
    title: str
    licence: str
    home: str


def roles(run: RunRecord) -> list[RoleRow]:
    """Which split of which data set plays which role."""
    found = []
    masks = run.profile.motion_training.labels == "masks"
    purposes = _ROLES | ({"boxed": "boxes, and true masks: both train the motion stream"} if masks else {})
    for role, purpose in purposes.items():
        found += [_role_row(run, role, purpose, ref) for ref in run.profile.data.of(role)]
    return found


def _role_row(run: RunRecord, role: str, purpose: str, ref: DataRef) -> RoleRow:
    split = f"{ref.manifest}/{ref.split}"
    try:
        manifest = read_manifest(ref.manifest)
    except UserError:
        return RoleRow(role, purpose, split, "", "its manifest is not there any more", "unknown", "")
    names = [name for dataset, name in run.units(role) if dataset == manifest.name]
    videos = "stills" if manifest.kind == "stills" else f"{len(names)} videos: {', '.join(names)}"
    home = manifest.home if manifest.home.startswith(("https://", "http://")) else ""
    return RoleRow(role, purpose, split, videos, manifest.title, manifest.licence, home)


def notes(run: RunRecord) -> list[str]:
    """What a reader must know of the data: what was left out, segmented by appearance alone, or not scored."""
    left_out = run.left_out
    found = [f"Left out, because a file can't be used: {', '.join(left_out)}." if left_out else "No file was left out."]
    found += [f"{dataset}: {left_out_line(some)}." for dataset, some in run.passed_over.items()]
    found += [f"How they were read: {line}." for line in run.read]
    alone = _names(run, "prediction", "appearance_only")
    if alone:
        found.append(f"Videos of one frame have no flow and are segmented by appearance alone: {', '.join(alone)}.")
    for count, why in _UNSCORED.items():
        if names := _names(run, "scoring", count):
            found.append(f"{why}: {', '.join(names)}.")
    return found


def _names(run: RunRecord, stage: str, count: str) -> list[str]:
    names = run.scored_names()
    found = run.by_unit(stage).items()
    return [names.get(unit, unit[1]) for unit, record in found if record.counts.get(count)]
