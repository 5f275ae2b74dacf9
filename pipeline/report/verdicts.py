"""The verdicts of a run's weak labels, as a table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from fusionseg.pipeline.basics.paths import AnyPath, as_path
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.store.artifact import Record
from fusionseg.pipeline.store.runs import RunRecord, read_run
from fusionseg.pipeline.store.sources import open_recorded
from fusionseg.pipeline.weak_labels.verdicts import VERDICT_COLUMNS


def read_verdicts(out: AnyPath, run: str) -> pd.DataFrame:
    """What was measured of every box of a run, and its verdict, a row a box: dataset and `VERDICT_COLUMNS`; no rows for
    a run that needs no weak labels, since it was given a motion stream.

    `out`: the folder of artifacts and runs; `run`: the run's name. Raises UserError where there is no such run, it has
    no weak labels yet, or an artifact of it is gone or older than this version.
    """
    root = as_path(out)
    found = read_run(root, run)
    if not label_records(found) and (stages := label_stages(found)):
        found.need(stages[-1], "weak labels")
    return run_verdicts(root, found)


def label_stages(run: RunRecord) -> list[str]:
    """The stages of a whole run of these settings that make weak labels, a round each."""
    return [stage.name for stage in run.required if stage.module == "flow_filter"]


def label_records(run: RunRecord) -> tuple[Record, ...]:
    """The records of a run's weak labels, those of its last round."""
    return run.records("flow-filter-2") or run.records("flow-filter")


def run_verdicts(root: Path, run: RunRecord) -> pd.DataFrame:
    """`read_verdicts` of a run's record."""
    columns = ["dataset", *VERDICT_COLUMNS]
    tables = []
    for record in label_records(run):
        with open_recorded(root, record) as artifact:
            table = artifact.table("verdicts").assign(dataset=record.dataset, video=record.video)
        if missing := [name for name in columns if name not in table]:
            what = f"verdicts without {', '.join(missing)}, of an older version"
            raise UserError(f"{root / record.path}: {what}; run the same command again: it is made anew")
        tables.append(table[columns])
    filled = [table for table in tables if len(table)] or tables[:1]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=columns)
