"""Looking into the store from the command line: a table of artifacts, what one holds, masks of a run as files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from fusionseg.models.labels import VOID
from fusionseg.models.weights import WeightsError, read_weights
from fusionseg.pipeline.basics.columns import aligned, write_table
from fusionseg.pipeline.basics.spread import evenly
from fusionseg.pipeline.errors import DamagedArtifact, UserError
from fusionseg.pipeline.flow.colours import colour
from fusionseg.pipeline.flow.videos import BACK
from fusionseg.pipeline.store.artifact import Artifact
from fusionseg.pipeline.store.artifacts import list_artifacts
from fusionseg.pipeline.store.bits import PACKED, read_plain
from fusionseg.pipeline.store.job import WEIGHTS_SUFFIX
from fusionseg.pipeline.store.reading import open_artifact

Array = npt.NDArray[Any]

_GOOD = ("intact", "verified")
_KEY_DIGITS = 12
_MOST_PICTURES = 50  # of a dataset
_MOST_ROWS = 8  # of a table, or of a list of inputs
# Colours of pictures of labels: background, object, and void (as PASCAL VOC draws it).
_BLACK, _RED, _CREAM = (0, 0, 0), (128, 0, 0), (224, 224, 192)


def print_artifacts(root: Path, stage: str | None = None, verify: bool = False, csv: Path | None = None) -> int:
    """Print a table of all artifacts under `root` (of one stage); `csv` gets the whole table. Gives the number of those
    that are damaged. Raises UserError for an unknown stage or folder."""
    table = list_artifacts(root, stage, verify)
    if csv is not None:
        write_table(csv, table)
    if table.empty:
        print(f"no artifacts{f' of {stage}' if stage else ''} under {root}")
        return 0
    damaged = table[~table["state"].isin(_GOOD)]
    print("\n".join(artifact_lines(table)))
    verdict = ", all verified" if verify and damaged.empty else ""
    print(f"{len(table)} artifacts, {human_size(int(table['bytes'].sum()))}{verdict}")
    for state in damaged["state"]:
        print(state)
    if len(damaged):
        print(f"{len(damaged)} of {len(table)} artifacts can't be used; a run that needs them makes them anew")
    return len(damaged)


def artifact_lines(table: pd.DataFrame) -> list[str]:
    """The table for the terminal."""
    rows = [
        [
            row["stage"], row["dataset"], _text(row["video"]), _text(row["frames"]), human_size(row["bytes"]),
            _text(row["key"])[:_KEY_DIGITS], _text(row["made"]), _text(row["from"]),
            row["state"] if row["state"] in _GOOD else "DAMAGED", row["path"],
        ]
        for row in table.to_dict("records")
    ]  # fmt: skip
    return aligned(
        [["stage", "data set", "video", "frames", "size", "key", "made", "from", "state", "path"], *rows], right=(3, 4)
    )


def _text(value: Any) -> str:
    """A cell; a dash where there is none."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "-"
    return f"{value:.0f}" if isinstance(value, float) else str(value)


def human_size(size: float) -> str:
    """Bytes for people.

    >>> human_size(512), human_size(2_500_000)
    ('512 B', '2.5 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def describe(file: Path, png: Path | None = None) -> None:
    """Print what an artifact or weights file holds; `png`: a folder for pictures of it. Raises UserError."""
    kinds = {".h5": describe_artifact, WEIGHTS_SUFFIX: describe_weights}
    if file.is_dir():
        raise UserError(f"{file}: a folder; expected an artifact (.h5) or weights ({WEIGHTS_SUFFIX})")
    if not file.exists():
        raise UserError(f"{file}: no such file; `fusionseg artifacts` lists what there is")
    if file.suffix not in kinds:
        raise UserError(f"{file}: expected an artifact (.h5) or weights ({WEIGHTS_SUFFIX})")
    try:
        kinds[file.suffix](file, png)
    except OSError as error:
        raise UserError(f"{error.filename or file}: {error.strerror or error}") from None
    except (RuntimeError, TypeError, KeyError, ValueError) as error:  # what h5py makes of damaged HDF5 structure
        raise DamagedArtifact(file, str(error)) from None


def describe_artifact(file: Path, png: Path | None) -> None:
    """An HDF5 artifact: header, attributes, datasets, tables."""
    with open_artifact(file) as artifact:
        print("\n".join(_fields(artifact.header)))
        details = {name: json.loads(artifact.attributes[name]) for name in ("settings", "inputs", "software", "facts")}
        print("\n".join(_details(details)))
        print("\n".join(dataset_lines(artifact.datasets())))
        for name in artifact.tables():
            table = artifact.table(name)
            print(f"table {name}: {len(table)} rows")
            if len(table):
                print(table.head(_MOST_ROWS).to_string(index=False))
        if png is not None:
            count = write_pictures(artifact, png)
            print(f"{count} pictures written to {png}" if count else "no frames in it: no pictures written")


def describe_weights(file: Path, png: Path | None) -> None:
    """A safetensors file: header, tensors, the end of its training."""
    try:
        state, header = read_weights(file)
    except WeightsError as error:
        raise UserError(str(error)) from None
    history = header.pop("history", [])
    names = ("settings", "inputs", "software", "origin")
    details: dict[str, Any] = {name: header.pop(name) for name in names if name in header}
    print("\n".join(_fields(header)))
    print("\n".join(_details(details)))
    print(f"tensors: {len(state)}, {sum(value.numel() for value in state.values()):,} numbers")
    print(f"history: {len(history)} rows; last: {json.dumps(history[-1])}" if history else "history: none")
    if png is not None:
        print("weights hold no frames: no pictures written")


def _fields(header: Mapping[str, Any]) -> list[str]:
    """Header fields, one a line."""
    rows = [[name, value if isinstance(value, str) else json.dumps(value)] for name, value in header.items()]
    return aligned(rows)


def _details(details: Mapping[str, Any]) -> list[str]:
    """Attributes with structure: their parts one a line, long lists cut."""
    lines = []
    for name, value in details.items():
        parts = value if isinstance(value, list) else [{key: part} for key, part in value.items()]
        lines.append(f"{name}:" if parts else f"{name}: none")
        lines += [f"  {_plain(part)}" for part in parts[:_MOST_ROWS]]
        lines += [f"  and {len(parts) - _MOST_ROWS} more"] if len(parts) > _MOST_ROWS else []
    return lines


def _plain(part: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value if isinstance(value, str) else json.dumps(value)}" for key, value in part.items())


def dataset_lines(datasets: Mapping[str, h5py.Dataset]) -> list[str]:
    """Frame datasets: name, shape, type, chunk, compression."""
    rows = [
        [name, _product(data.shape), str(data.dtype), _product(data.chunks or ()), data.compression or "-"]
        for name, data in datasets.items()
    ]
    return aligned([["dataset", "shape", "type", "chunk", "compression"], *rows]) if rows else []


def _product(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))


def write_pictures(artifact: Artifact, folder: Path) -> int:
    """Pictures of at most 50 frames of every dataset, evenly spread: folder/DATASET/FRAME.png; how many."""
    count = 0
    for name, data in artifact.datasets().items():
        image = picture_of(name, data)
        if image is None:
            continue
        for index in evenly(data.shape[0], _MOST_PICTURES):
            path = folder / name / f"{index:05}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image(read_plain(artifact, name, index)).save(path)
            count += 1
    return count


def picture_of(name: str, data: h5py.Dataset) -> Callable[[Array], Image.Image] | None:
    """How to draw the frames of a dataset; None for what can't be drawn."""
    special: dict[str, Callable[[Array], Image.Image]] = {
        "images": Image.fromarray,
        "flow": lambda flow: Image.fromarray(colour(flow)),
        "scores": lambda scores: Image.fromarray(probability(scores)),
        **dict.fromkeys(PACKED, label_picture),
    }
    labels = label_picture if data.ndim == 3 and data.dtype == np.uint8 else None
    return special.get(name.removesuffix(BACK), labels)


def probability(scores: Array) -> npt.NDArray[np.uint8]:
    """(2, h, w) logits -> (h, w) uint8, 255 where the object is certain."""
    background, found = scores.astype(np.float32)
    return np.rint(255 / (1 + np.exp(np.clip(background - found, -80, 80)))).astype(np.uint8)


def label_picture(labels: Array) -> Image.Image:
    """(H, W) uint8 of 0, 1 and 255 -> an indexed picture with the same values; void is cream."""
    image = Image.fromarray(labels)
    image.putpalette([*_BLACK, *_RED * (VOID - 1), *_CREAM])
    return image
