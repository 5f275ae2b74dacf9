"""`fusionseg export`: masks and optical flow of a run as files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np

from fusionseg.pipeline.datasets.items import Item
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.formats.flow import VIDEO_SUFFIXES, Metadata, write_flow, write_flow_video
from fusionseg.pipeline.formats.masks import write_mask
from fusionseg.pipeline.names import FlowFormat
from fusionseg.pipeline.store.artifact import Artifact
from fusionseg.pipeline.store.runs import read_run
from fusionseg.pipeline.store.sources import open_recorded, scored_items


def export_masks(root: Path, run_name: str, method: str, folder: Path) -> int:
    """Write the masks of one method as indexed PNGs, folder/SEQUENCE/FRAME.png, named like the frames, or 00000.png
    and so on where the data isn't there any more; how many. A sequence appears whole or not at all.

    Where several data sets are scored, each gets a folder of its own. Raises UserError for an unknown method, a run
    without predictions, and a sequence that is there already with other content.
    """
    run = read_run(root, run_name)
    records = run.by_unit("prediction")
    if not records:
        raise UserError(f"run {run_name!r} has no predictions yet; run the same command again to finish it")
    items, names = scored_items(root, run)[0], run.scored_names()
    count, known, lacking = 0, dict[str, None](), []
    for unit, record in records.items():
        name = names.get(unit, record.video)
        with open_recorded(root, record) as artifact:
            known |= dict.fromkeys(artifact.datasets())
            if method in artifact:
                count += export_sequence(artifact, method, items.get(unit), folder / name)
            else:
                lacking.append(name)
    if method not in known:
        raise UserError(f"no method {method!r} in run {run_name!r}; it has: {', '.join(known)}")
    for name in lacking:
        print(f"{name}: has no {method} masks; left out")
    return count


def export_sequence(artifact: Artifact, method: str, item: Item | None, folder: Path) -> int:
    """Write the masks of one sequence beside `folder`, then rename; how many. Raises UserError."""
    count = artifact.length(method)
    stems = [path.stem for path in item.frames] if item else []
    if len(stems) != count:
        stems = [f"{index:05}" for index in range(count)]
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        for index, stem in enumerate(stems):
            write_mask(temporary / f"{stem}.png", artifact.frame(method, index) > 0)
        _take_place(temporary, folder)
    except OSError as error:
        raise UserError(f"{folder}: can't be written ({error.strerror})") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return count


FORMATS: dict[FlowFormat, str] = {"flo": ".flo", "kitti": ".png", "npz": ".npz", "hdf5": ".h5"}


def export_flow(root: Path, run_name: str, form: FlowFormat, folder: Path) -> int:
    """Write the optical flow of a run: folder/VIDEO/00000.flo (or .png, as KITTI does), or folder/VIDEO.npz (.h5) with
    the frames that it goes to; how many flows. A file appears whole or not at all, and none is overwritten.

    Raises UserError for a run without optical flow, and for a file that is there already.
    """
    run = read_run(root, run_name)
    records = run.by_unit("optical-flow")
    if not records:
        raise UserError(
            f"run {run_name!r} has no optical flow; run the same command again to finish it (with "
            'flow-images.store = "images" none is kept)'
        )
    several = len({dataset for dataset, _ in records}) > 1
    count = 0
    for (dataset, video), record in records.items():
        with open_recorded(root, record) as artifact:
            place = folder / dataset / video if several else folder / video
            count += _export_video_flow(artifact, place, FORMATS[form])
    return count


def _export_video_flow(artifact: Artifact, place: Path, suffix: str) -> int:
    count = artifact.length("flow")
    if count == 0:
        print(f"{place.name}: no flow (one frame); left out")
        return 0
    flows = (artifact.frame("flow", index).astype(np.float32) for index in range(count))
    if suffix in VIDEO_SUFFIXES:
        path = place.with_name(place.name + suffix)
        _refuse_existing(path)
        height, width = artifact.datasets()["flow"].shape[1:3]
        stated = Metadata(partners=tuple(artifact.facts["partners"]))
        write_flow_video(path, flows, count, (int(height), int(width)), stated)
        return count
    for number, flow in zip(artifact.facts["frames"], flows, strict=True):
        path = place / f"{number:05}{suffix}"
        _refuse_existing(path)
        write_flow(path, flow)
    return count


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise UserError(f"{path}: there already; delete it or choose another folder")


def _take_place(temporary: Path, folder: Path) -> None:
    """Rename `temporary` to `folder`. What is there already is never overwritten: it may be somebody's truth."""
    if not folder.exists():
        temporary.rename(folder)
    elif not folder.is_dir() or _content(folder) != _content(temporary):
        raise UserError(f"{folder}: there already, with other content; delete it or choose another folder")


def _content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
