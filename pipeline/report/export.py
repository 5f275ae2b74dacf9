"""`fusionseg export`: masks and optical flow of a run as files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fusionseg.pipeline.basics.validation import meant
from fusionseg.pipeline.datasets.items import Item
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.formats.flow import VIDEO_SUFFIXES, Metadata, write_flow, write_flow_video
from fusionseg.pipeline.formats.masks import write_mask
from fusionseg.pipeline.names import FlowFormat
from fusionseg.pipeline.report.places import Written, claim
from fusionseg.pipeline.store.artifact import Artifact, Unit
from fusionseg.pipeline.store.runs import read_run
from fusionseg.pipeline.store.sources import open_recorded, scored_items


def export_masks(root: Path, run_name: str, method: str, folder: Path, overwrite: bool = False) -> Written:
    """Write the masks of one method as indexed PNGs, folder/SEQUENCE/FRAME.png, named like the frames, or 00000.png
    and so on where the data isn't there any more. A new sequence appears whole or not at all.

    Where several data sets are scored, each gets a folder of its own. Raises UserError for an unknown method, a run
    without predictions, and a folder that holds anything but an earlier export of the same, unless `overwrite`.
    """
    run = read_run(root, run_name)
    run.need("prediction", "masks")
    items, names = scored_items(root, run)[0], run.scored_names()
    stems, known, lacking = dict[Unit, list[str]](), dict[str, None](), []
    for unit, record in run.by_unit("prediction").items():
        with open_recorded(root, record) as artifact:
            known |= dict.fromkeys(artifact.datasets())
            if method in artifact:
                stems[unit] = _stems(items.get(unit), artifact.length(method))
            else:
                lacking.append(names.get(unit, record.video))
    if method not in known:
        raise UserError(f"no method {method!r} in run {run_name!r}; it has: {', '.join(known)}{meant(method, known)}")
    named = {unit: names.get(unit, unit[1]) for unit in stems}
    files = [f"{named[unit]}/{stem}.png" for unit, own in stems.items() for stem in own]
    place = claim(folder, f"masks of run {run_name!r}, method {method}", files, overwrite)
    place.begin()
    for unit, own in stems.items():
        with open_recorded(root, run.by_unit("prediction")[unit]) as artifact:
            _export_sequence(artifact, method, own, folder / named[unit])
    for name in lacking:
        print(f"{name}: has no {method} masks; left out")
    return place.end(len(files))


def _stems(item: Item | None, count: int) -> list[str]:
    """How the masks of a sequence are called."""
    found = [path.stem for path in item.frames] if item else []
    return found if len(found) == count else [f"{index:05}" for index in range(count)]


def _export_sequence(artifact: Artifact, method: str, stems: Sequence[str], folder: Path) -> None:
    """Write the masks of one sequence beside `folder`, then move them there. Raises UserError."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        for index, stem in enumerate(stems):
            write_mask(temporary / f"{stem}.png", artifact.frame(method, index) > 0)
        _take_place(temporary, folder)
    except OSError as error:
        raise UserError(f"{folder}: can't be written ({error.strerror})") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _take_place(temporary: Path, folder: Path) -> None:
    """Rename `temporary` to `folder`; where that is there already, move file by file and leave others alone."""
    if not folder.exists():
        temporary.rename(folder)
        return
    for path in temporary.iterdir():
        path.replace(folder / path.name)


FORMATS: dict[FlowFormat, str] = {"flo": ".flo", "kitti": ".png", "npz": ".npz", "hdf5": ".h5"}


def export_flow(root: Path, run_name: str, form: FlowFormat, folder: Path, overwrite: bool = False) -> Written:
    """Write the optical flow of a run: folder/VIDEO/00000.flo (or .png, as KITTI does), or folder/VIDEO.npz (.h5) with
    the frames that it goes to. A file appears whole or not at all.

    Raises UserError for a run without optical flow, and a folder that holds anything but an earlier export of the
    same, unless `overwrite`.
    """
    run = read_run(root, run_name)
    run.need("optical-flow", "optical flow")
    records = run.by_unit("optical-flow")
    several = len({dataset for dataset, _ in records}) > 1
    names = {unit: "/".join(unit) if several else unit[1] for unit in records}
    files: dict[Unit, list[str]] = {}
    for unit, record in records.items():
        with open_recorded(root, record) as artifact:
            files[unit] = _flow_files(artifact, names[unit], FORMATS[form])
    every = [name for own in files.values() for name in own]
    place = claim(folder, f"optical flow of run {run_name!r}, format {form}", every, overwrite)
    place.begin()
    count = 0
    for unit, record in records.items():
        if not files[unit]:
            print(f"{names[unit]}: no flow (one frame); left out")
            continue
        with open_recorded(root, record) as artifact:
            count += _export_video_flow(artifact, [folder / name for name in files[unit]])
    return place.end(count)


def _flow_files(artifact: Artifact, name: str, suffix: str) -> list[str]:
    if artifact.length("flow") == 0:
        return []
    if suffix in VIDEO_SUFFIXES:
        return [f"{name}{suffix}"]
    return [f"{name}/{number:05}{suffix}" for number in artifact.facts["frames"]]


def _export_video_flow(artifact: Artifact, paths: Sequence[Path]) -> int:
    count = artifact.length("flow")
    flows = (artifact.frame("flow", index).astype(np.float32) for index in range(count))
    if paths[0].suffix in VIDEO_SUFFIXES:
        height, width = artifact.datasets()["flow"].shape[1:3]
        stated = Metadata(partners=tuple(artifact.facts["partners"]))
        write_flow_video(paths[0], flows, count, (int(height), int(width)), stated)
        return count
    for path, flow in zip(paths, flows, strict=True):
        write_flow(path, flow)
    return count
