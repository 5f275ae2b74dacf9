"""A run's headline for Prefect's own pages: progress over the stages, then scores as table and text, and pictures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pandas as pd
from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from fusionseg.pipeline.pages.render import percent
from fusionseg.pipeline.report.pictures import contact_sheet
from fusionseg.pipeline.report.report import headline, is_own, report_path, scored_splits
from fusionseg.pipeline.report.tables import (
    Scores,
    comparisons,
    differences_table,
    funnel_line,
    load_scores,
    published_table,
)
from fusionseg.pipeline.store.runs import RunRecord, read_run


def key(name: str, what: str) -> str:
    """An artifact's key, of which Prefect keeps the versions: one a run name and kind.

    >>> key("Davis 2", "scores")
    'fusionseg-davis-2-scores'
    """
    return f"fusionseg-{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}-{what}"


class Progress:
    """Which share of the stages is done, as an artifact of the flow run that it is made in."""

    def __init__(self, name: str, stages: Sequence[str]) -> None:
        self._stages = list(stages)
        created = create_progress_artifact(0.0, key(name, "progress"), f"run {name}: no stage done yet")
        self._id = cast(UUID, created)  # typed for callers that await it as well

    def done(self, stage: str) -> None:
        """A stage is done, and with it all before."""
        number = self._stages.index(stage) + 1
        text = f"{number} of {len(self._stages)} stages done, the last one {stage}"
        update_progress_artifact(self._id, 100 * number / len(self._stages), text)


def publish(root: Path, name: str) -> None:
    """Artifacts of what the report of run `name` shows first. Raises UserError where the run has no scores."""
    run = read_run(root, name)
    scores = load_scores(root, run)
    rows = headline_rows(run, scores)
    title = f"run {name}: {', '.join(scored_splits(run))}"
    if rows:
        create_table_artifact(table=rows, key=key(name, "scores"), description=f"{title}, per cent")
    create_markdown_artifact(text(root, run, scores, rows), key(name, "report"), title)
    sheet = contact_sheet(root, run, scores.by_frame)
    if sheet:
        what = "best, median and worst frame: frame, flow image, appearance, motion, joint, truth"
        create_image_artifact(image_url=sheet, key=key(name, "frames"), description=f"{title}: {what}")


def headline_rows(run: RunRecord, scores: Scores) -> list[dict[str, str]]:
    """The headline as rows of words, FusionSeg's published figures last."""
    measured = headline({"overall": scores.overall, "differences": differences_table(scores)})
    published = published_table(run).to_dict("records") if measured else []
    return [_measured(row) for row in measured] + [_published(row) for row in published if is_own(row)]


def _measured(row: Mapping[str, Any]) -> dict[str, str]:
    return _row(row, str(row["method"]), row["difference"], str(row["sequences"]), row["kind"])


def _published(row: Mapping[Any, Any]) -> dict[str, str]:
    kind = f"published, on {row['split']}"  # short: Prefect cuts wide tables
    return _row(row, str(row["method"]), "–", "–", kind)


def _row(row: Mapping[Any, Any], method: str, less: str, sequences: str, kind: str) -> dict[str, str]:
    scores = {name: percent(row[column]) for name, column in (("J", "J"), ("F", "F"), ("J&F", "JF"))}
    return {"method": method, **scores, "joint less this (J)": less, "sequences": sequences, "kind": kind}


def text(root: Path, run: RunRecord, scores: Scores, rows: Sequence[Mapping[str, str]]) -> str:
    """The headline in Markdown."""
    table = markdown_table(pd.DataFrame(rows)) if rows else ["Nothing was scored."]
    lines = [f"# FusionSeg: run {run.name}", "", f"Means over {scores.means_over}, per cent.", "", *table, ""]
    lines += [f"- {comparison.text()}" for comparison in comparisons(scores)]
    return "\n".join([*lines, f"- {funnel_line(run)}", f"- report: `{report_path(root, run.name)}`"])


def markdown_table(table: pd.DataFrame) -> list[str]:
    """A table of words in Markdown.

    >>> markdown_table(pd.DataFrame({"method": ["joint"], "J": ["64.4"]}))
    ['| method | J |', '| --- | --- |', '| joint | 64.4 |']
    """
    rows = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    return [f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
