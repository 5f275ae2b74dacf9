"""The store: artifacts under one root, found by key, checked cheaply; run records beside them."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from fusionseg.models.weights import WeightsError, pack_weights, read_header, read_weights
from fusionseg.pipeline.basics.atomic import write_atomically
from fusionseg.pipeline.errors import DamagedArtifact, UserError
from fusionseg.pipeline.store.artifact import Artifact, Record, read_artifact_header, software
from fusionseg.pipeline.store.job import Context, Job

WEIGHTS_SUFFIX = ".safetensors"


def read_any_header(path: Path) -> dict[str, Any]:
    """Header of an artifact of either format. Raises DamagedArtifact or UserError."""
    if path.suffix != WEIGHTS_SUFFIX:
        return read_artifact_header(path)
    try:
        return read_header(path)
    except WeightsError as error:
        raise DamagedArtifact(path, str(error)) from None


def record_of(job: Job, context: Context) -> Record:
    """The record of the artifact that `job` has just written, or wrote before."""
    return _record(job.path(), read_any_header(context.root / job.path()))


def _record(path: Path, header: Mapping[str, Any]) -> Record:
    names = ("stage", "dataset", "video", "key", "content", "counts", "made")
    return Record(path=path.as_posix(), **{name: header[name] for name in names})


def find(job: Job, context: Context) -> Record | None:
    """The intact artifact of `job`, or None. A damaged one is named and deleted, so that it is made again."""
    path = context.root / job.path()
    if not path.exists():
        return None
    try:
        header = read_any_header(path)
    except DamagedArtifact as error:
        context.say(f"  {error.args[0]}")
        path.unlink()
        return None
    return _record(job.path(), header) if header["key"] == job.key else None


def write_weights(
    job: Job,
    context: Context,
    state: Mapping[str, Tensor],
    header: Mapping[str, Any],
    counts: Mapping[str, float],
) -> Record:
    """Write the weights artifact of `job`; of several processes, which all call this, the main one writes."""
    if context.processes.main:
        write_atomically(context.root / job.path(), pack_job_weights(job, state, header, counts))
    context.processes.wait()
    return record_of(job, context)


def pack_job_weights(
    job: Job, state: Mapping[str, Tensor], header: Mapping[str, Any], counts: Mapping[str, float]
) -> bytes:
    """The bytes of a weights file that `job` made."""
    made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    full = {**header, **job.identity(), "counts": dict(counts), "made": made, "software": software()}
    data, _ = pack_weights(state, full)
    return data


def list_artifacts(root: Path, stage: str | None = None, verify: bool = False) -> pd.DataFrame:
    """All artifacts under `root` as a table: stage, data set, video, frames, size, key, made, from, state, path."""
    rows = []
    for path in sorted((root / "artifacts").glob("*/*/*")):
        if path.name.startswith(".") or path.suffix not in (".h5", WEIGHTS_SUFFIX):
            continue
        if stage is None or path.parts[-3] == stage:
            with contextlib.suppress(FileNotFoundError):  # another run may just have replaced it
                rows.append(_row(root, path, verify))
    columns = ["stage", "dataset", "video", "frames", "bytes", "key", "made", "from", "state", "path"]
    return pd.DataFrame(rows, columns=columns)


def _row(root: Path, path: Path, verify: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"stage": path.parts[-3], "dataset": path.parts[-2], "bytes": path.stat().st_size}
    row["path"] = path.relative_to(root).as_posix()
    try:
        header = read_any_header(path)
        row |= {name: header[name] for name in ("video", "key", "made")}
        row["frames"] = header["counts"].get("frames")
        row["from"] = ", ".join(_origins(path, header))
        if verify:
            verify_artifact(path)
        row["state"] = "verified" if verify else "intact"
    except UserError as error:
        row["state"] = str(error.args[0])
    return row


def verify_artifact(path: Path) -> None:
    """Read a whole artifact and compare with its digest. Raises DamagedArtifact."""
    if path.suffix == WEIGHTS_SUFFIX:
        try:
            read_weights(path)
        except WeightsError as error:
            raise DamagedArtifact(path, str(error)) from None
    else:
        with Artifact(path) as artifact:
            artifact.verify()


def _origins(path: Path, header: Mapping[str, Any]) -> list[str]:
    """Stages and kinds of outside data that an artifact was made from, each once."""
    return list(dict.fromkeys(origin.get("stage") or origin["kind"] for origin in read_inputs(path, header)))


def read_inputs(path: Path, header: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What an artifact was made from: artifacts (stage, dataset, video, content) and outside data (role, item, kind,
    digest). Raises DamagedArtifact."""
    found: list[dict[str, Any]]
    if path.suffix == WEIGHTS_SUFFIX:
        found = header.get("inputs", [])  # weights that others wrote may not say
    else:
        with Artifact(path) as artifact:
            found = json.loads(artifact.attributes["inputs"])
    return found


def run_path(root: Path, name: str) -> Path:
    """Where the record of a run lies."""
    return root / "runs" / f"{name}.json"


def read_run(root: Path, name: str) -> dict[str, Any]:
    """The record of a run. Raises UserError."""
    path = run_path(root, name)
    try:
        run: dict[str, Any] = json.loads(path.read_text())
        if "stages" not in run:
            raise ValueError("no stages")
    except FileNotFoundError:
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.json"))) or "none yet"
        raise UserError(f"no run {name!r} under {root} ({path}); known: {known}") from None
    except (ValueError, TypeError):
        raise UserError(f"{path}: not a run's record; run the same command again to write it anew") from None
    return run


def run_records(run: Mapping[str, Any], stage: str) -> list[Record]:
    """The records of one stage in a run."""
    return [Record(**record) for record in run["stages"].get(stage, {}).get("records", [])]
