"""What an artifact holds, for whoever names its file: one table, one frame; and in words what it doesn't hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy.typing as npt
import pandas as pd

from fusionseg.pipeline.basics.paths import AnyPath, as_path
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.graph import NAMES
from fusionseg.pipeline.store.artifact import EXPECTED, SCHEMA, Artifact
from fusionseg.pipeline.store.bits import read_plain
from fusionseg.pipeline.store.job import WEIGHTS_SUFFIX

_BEGINNING = f'{{"schema": "{SCHEMA}"'.encode()  # of an artifact's header
# Tables and datasets that settings switch off: (stage, name) -> with what they are made.
_STABILISED = 'optical-flow.stabilise = "homography"'
_BOTH = 'optical-flow.direction = "both"'
_BASELINES = "prediction.baselines = true"
BY_SETTING = {
    ("optical-flow", "camera"): _STABILISED,
    ("optical-flow", "flow_back"): _BOTH,
    ("optical-flow", "camera_back"): f"{_BOTH} and {_STABILISED}",
    ("flow-images", "images_back"): _BOTH,
    ("flow-images", "camera"): f'{_STABILISED} and flow-images.store = "images"',
    ("prediction", "centre-box"): _BASELINES,
    ("prediction", "flow-otsu"): f'{_BASELINES}, of videos of several frames, unless flow-images.store = "images"',
}


def open_artifact(given: AnyPath) -> Artifact:
    """The artifact that somebody names, opened. Raises UserError for what is none, DamagedArtifact for what was one."""
    path = as_path(given)
    if path.suffix == WEIGHTS_SUFFIX:
        raise UserError(f"{path}: weights; {EXPECTED}; `fusionseg show` tells what weights hold")
    if not _in_store(path) and path.is_file() and not _has_header(path):
        kind = "an HDF5 file of another schema" if h5py.is_hdf5(path) else "no HDF5 file"
        raise UserError(f"{path}: {kind}; {EXPECTED}")
    return Artifact(path)


def _in_store(path: Path) -> bool:
    """Whether a file lies where we write artifacts: there what has no header has lost it."""
    return path.suffix == ".h5" and path.parent.parent.name in NAMES and path.parts[-4:-3] == ("artifacts",)


def _has_header(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_BEGINNING)) == _BEGINNING


def read_table(path: AnyPath, name: str) -> pd.DataFrame:
    """One table of an artifact, e.g. the weak labels' `verdicts`, as a DataFrame.

    Raises UserError for a table that isn't there and for what is no artifact, DamagedArtifact for a damaged one.
    """
    with open_artifact(path) as artifact:
        if name not in artifact.tables():
            raise UserError(f"{path}: {_absent(artifact, name, 'table')}")
        return artifact.table(name)


def dataset_length(artifact: Artifact, name: str) -> int:
    """Number of frames of a dataset. Raises UserError where there is no such dataset, and names those that are."""
    if name not in artifact.datasets():
        raise UserError(f"{artifact.path}: {_absent(artifact, name, 'dataset')}")
    return artifact.length(name)


def _absent(artifact: Artifact, name: str, kind: str) -> str:
    """Why there is no such table or dataset, and what there is."""
    tables, datasets = artifact.tables(), list(artifact.datasets())
    here, there = (tables, datasets) if kind == "table" else (datasets, tables)
    found = f"no {kind} {name!r}; it has: {', '.join(here) or 'none'}"
    if name in there:
        return f"{found} ({name} is a {'dataset: read_frame' if kind == 'table' else 'table: read_table'} gives it)"
    setting = BY_SETTING.get((artifact.header["stage"], name))
    return f"{found} ({name} is made with {setting})" if setting else found


def read_frame(path: AnyPath, name: str, index: int) -> npt.NDArray[Any]:
    """One frame of an artifact's dataset, e.g. the weak labels' `labels`, as an array; what is packed is unpacked.

    Raises UserError for a dataset or frame that isn't there and for what is no artifact, DamagedArtifact for a damaged
    one.
    """
    with open_artifact(path) as artifact:
        count = dataset_length(artifact, name)
        if not 0 <= index < count:
            raise UserError(f"{path}: {name} has {count} frames, numbered from 0; none has number {index}")
        return read_plain(artifact, name, index)
