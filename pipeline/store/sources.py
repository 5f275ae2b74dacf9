"""What a run's record leads to: its artifacts, and the frames and masks of its scored videos, where they still are."""

from __future__ import annotations

from collections.abc import Container, Iterable
from pathlib import Path

from fusionseg.pipeline.datasets.digests import LEDGER, Ledger
from fusionseg.pipeline.datasets.finding import Extract, load_items
from fusionseg.pipeline.datasets.items import Item
from fusionseg.pipeline.datasets.manifest import DataManifest, read_manifest
from fusionseg.pipeline.datasets.videos import extractor
from fusionseg.pipeline.errors import BadFile, UserError
from fusionseg.pipeline.settings.sections import DataRef
from fusionseg.pipeline.store.artifact import Artifact, Record, Unit
from fusionseg.pipeline.store.runs import RunRecord

ANY_DATA_SET = "(default)"  # the folder of all data sets that the record names no other for


def open_recorded(root: Path, record: Record) -> Artifact:
    """An artifact of a run, opened. Raises UserError where it is gone or damaged."""
    path = root / record.path
    if not path.is_file():
        raise UserError(f"{path}: this artifact of the run is gone; run the same command again: it is made anew")
    return Artifact(path)


def scored_items(root: Path, run: RunRecord) -> tuple[dict[Unit, Item], list[str]]:
    """The scored videos of a run of the store `root` whose files are still there, and in words why others are not."""
    return _items(root, run, run.profile.data.scored, run.scored_names())


def boxed_items(root: Path, run: RunRecord) -> tuple[dict[Unit, Item], list[str]]:
    """The same of the videos that weak labels were made for, with the frames that were in use."""
    return _items(root, run, run.profile.data.of("boxed"), run.units("boxed"))


def _items(
    root: Path, run: RunRecord, refs: Iterable[DataRef], wanted: Container[Unit]
) -> tuple[dict[Unit, Item], list[str]]:
    extract = extractor(Ledger(root / LEDGER))
    found: dict[Unit, Item] = {}
    problems: list[str] = []
    for ref in refs:
        try:
            manifest = read_manifest(ref.manifest)
            items = _present_items(manifest, ref, _data_root(run, manifest), problems, extract)
        except UserError as error:
            problems.append(str(error.args[0]))
            continue
        found |= {(i.dataset, i.name): i for i in items if (i.dataset, i.name) in wanted}
    return found, problems


def _data_root(run: RunRecord, manifest: DataManifest) -> Path:
    root = run.data.get(manifest.name) or run.data.get(ANY_DATA_SET)
    if root is None:
        raise UserError(f"the run's record names no folder for the data set {manifest.name}")
    return Path(root)


def _present_items(
    manifest: DataManifest, ref: DataRef, root: Path, problems: list[str], extract: Extract
) -> list[Item]:
    """The items of a split without the videos that miss a file; those are named in `problems`, once each."""
    bad: list[BadFile] = []
    items = load_items(manifest, ref.split, root, (), ref.stride, bad, extract, ref.frames)
    first = {error.name: str(error.args[0]) for error in reversed(bad)}
    problems += [text for _, text in reversed(first.items())]
    return [item for item in items if item.name not in first]
