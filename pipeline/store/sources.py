"""What a run's record leads to: its artifacts, and the frames and masks of its scored videos, where they still are."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any

from fusionseg.pipeline.datasets.digests import LEDGER, Ledger
from fusionseg.pipeline.datasets.finding import Extract, load_items
from fusionseg.pipeline.datasets.items import Item
from fusionseg.pipeline.datasets.manifest import DataManifest, read_manifest
from fusionseg.pipeline.datasets.videos import extractor
from fusionseg.pipeline.errors import BadFile, UserError
from fusionseg.pipeline.store.artifact import Artifact, Record
from fusionseg.pipeline.store.artifacts import run_records

Unit = tuple[str, str]  # data set, video
_ANY_DATA_SET = "(default)"  # the folder of all data sets that the record names no other for


def open_recorded(root: Path, record: Record) -> Artifact:
    """An artifact of a run, opened. Raises UserError where it is gone or damaged."""
    path = root / record.path
    if not path.is_file():
        raise UserError(f"{path}: this artifact of the run is gone; run the same command again: it is made anew")
    return Artifact(path)


def records_by_unit(run: Mapping[str, Any], stage: str) -> dict[Unit, Record]:
    """The records of one stage by data set and video."""
    return {(record.dataset, record.video): record for record in run_records(run, stage)}


def scored_names(run: Mapping[str, Any]) -> dict[Unit, str]:
    """What to call each scored video: its name, after its data set's where several data sets are scored (two may have
    a video of one name)."""
    units = [(dataset, video) for dataset, _, video in (name.partition("/") for name in run["videos"]["scored"])]
    several = len({dataset for dataset, _ in units}) > 1
    return {(dataset, video): f"{dataset}/{video}" if several else video for dataset, video in units}


def scored_items(root: Path, run: Mapping[str, Any]) -> tuple[dict[Unit, Item], list[str]]:
    """The scored videos of a run of the store `root` whose files are still there, and in words why others are not."""
    return _items(root, run, run["profile"]["data"]["scored"], scored_names(run))


def boxed_items(root: Path, run: Mapping[str, Any]) -> tuple[dict[Unit, Item], list[str]]:
    """The same of the videos that weak labels were made for, with the frames that were in use."""
    wanted = [(dataset, video) for dataset, _, video in (name.partition("/") for name in run["videos"]["boxed"])]
    return _items(root, run, [run["profile"]["data"]["boxed"]], wanted)


def _items(
    root: Path, run: Mapping[str, Any], refs: Iterable[Mapping[str, Any]], wanted: Container[Unit]
) -> tuple[dict[Unit, Item], list[str]]:
    extract = extractor(Ledger(root / LEDGER))
    found: dict[Unit, Item] = {}
    problems: list[str] = []
    for ref in refs:
        try:
            manifest = read_manifest(ref["manifest"])
            items = _present_items(manifest, ref, _data_root(run, manifest), problems, extract)
        except UserError as error:
            problems.append(str(error.args[0]))
            continue
        found |= {(i.dataset, i.name): i for i in items if (i.dataset, i.name) in wanted}
    return found, problems


def _data_root(run: Mapping[str, Any], manifest: DataManifest) -> Path:
    roots = run["data"]
    root = roots.get(manifest.name) or roots.get(_ANY_DATA_SET)
    if root is None:
        raise UserError(f"the run's record names no folder for the data set {manifest.name}")
    return Path(root)


def _present_items(
    manifest: DataManifest, ref: Mapping[str, Any], root: Path, problems: list[str], extract: Extract
) -> list[Item]:
    """The items of a split without the videos that miss a file; those are named in `problems`, once each."""
    bad: list[BadFile] = []
    stride, most = ref.get("stride", 1), ref.get("frames", 0)
    items = load_items(manifest, ref["split"], root, (), stride, bad, extract, most)
    first = {error.name: str(error.args[0]) for error in reversed(bad)}
    problems += [text for _, text in reversed(first.items())]
    return [item for item in items if item.name not in first]
