"""The store: artifacts under one root, found by key, checked cheaply, written whole."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from fusionseg.models.weights import WeightsError, pack_weights, read_header, read_weights
from fusionseg.pipeline.basics.atomic import write_atomically
from fusionseg.pipeline.basics.paths import STORE, AnyPath, as_folder
from fusionseg.pipeline.errors import DamagedArtifact, UserError
from fusionseg.pipeline.graph import known_stage
from fusionseg.pipeline.store.artifact import (
    Artifact,
    ArtifactWriter,
    Record,
    create_artifact,
    read_artifact_header,
    software,
)
from fusionseg.pipeline.store.job import WEIGHTS_SUFFIX, Job, Work

if TYPE_CHECKING:
    from torch import Tensor


def read_any_header(path: Path) -> dict[str, Any]:
    """Header of an artifact of either format. Raises DamagedArtifact or UserError."""
    if path.suffix != WEIGHTS_SUFFIX:
        return read_artifact_header(path)
    try:
        return read_header(path)
    except WeightsError as error:
        raise DamagedArtifact(path, str(error)) from None


def record_of(work: Work) -> Record:
    """The record of the artifact that was made of `work`, now or before."""
    return _record(work.job.path, read_any_header(work.path))


def _record(path: Path, header: Mapping[str, Any]) -> Record:
    names = ("stage", "dataset", "video", "key", "content", "counts", "made")
    return Record(path=path.as_posix(), **{name: header[name] for name in names})


def find(work: Work) -> Record | None:
    """The intact artifact of `work`, or None. A damaged one is named and deleted, so that it is made again."""
    try:
        return peek(work.context.root, work.job)
    except DamagedArtifact as error:
        work.context.say(f"  {error.args[0]}")
        work.path.unlink()
        return None


def peek(root: Path, job: Job) -> Record | None:
    """The artifact of `job` in the store `root`, or None; nothing is touched. Raises DamagedArtifact."""
    if not (root / job.path).exists():
        return None
    header = read_any_header(root / job.path)
    return _record(job.path, header) if header["key"] == job.key else None


class WeightsWriter:
    """What a stage that makes a model writes to."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def write(self, state: Mapping[str, Tensor], header: Mapping[str, Any], counts: Mapping[str, float]) -> None:
        """Write the weights, whole or not at all; of several processes, which all call this, the main one does."""
        processes = self._work.context.processes
        if processes.main:
            write_atomically(self._work.path, self.pack(state, header, counts))
        processes.wait()

    def pack(self, state: Mapping[str, Tensor], header: Mapping[str, Any], counts: Mapping[str, float]) -> bytes:
        """The bytes of a weights file that says whose it is."""
        made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        full = {**header, **self._work.job.identity(), "counts": dict(counts), "made": made, "software": software()}
        data, _ = pack_weights(state, full)
        return data


@contextlib.contextmanager
def open_writer(work: Work) -> Iterator[ArtifactWriter | WeightsWriter]:
    """What the stage of `work` writes to: an HDF5 artifact, which takes its place at the end, or weights."""
    if work.job.suffix == WEIGHTS_SUFFIX:
        yield WeightsWriter(work)
        return
    with create_artifact(work.path, work.job.identity()) as writer:
        yield writer


def list_artifacts(root: AnyPath, stage: str | None = None, verify: bool = False) -> pd.DataFrame:
    """All artifacts under `root` (of one stage) as a table: stage, dataset, video, frames, bytes, key, made, from,
    state, path. `verify`: read each whole and compare with its digest. Raises UserError where there is no such folder
    or stage.
    """
    rows, root = [], as_folder(root, STORE)
    stage = known_stage(stage) if stage else None
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


def read_settings(path: Path, header: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that an artifact was made with, by section. Raises DamagedArtifact."""
    if path.suffix == WEIGHTS_SUFFIX:
        return dict(header.get("settings", {}))
    with Artifact(path) as artifact:
        return dict(json.loads(artifact.attributes["settings"]))


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
