"""The study of weak labels for people: its tables as text, as Markdown and as a page, from the files it has written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from fusionseg.pipeline.basics.atomic import write_atomically
from fusionseg.pipeline.basics.columns import aligned
from fusionseg.pipeline.pages.charts import Line, line_chart
from fusionseg.pipeline.pages.render import DASH, percent, render
from fusionseg.pipeline.study.quality import Trial
from fusionseg.pipeline.study.worth import LEAST_YIELD, PRUNED, REFINED, UNPRUNED, frontier

TEMPLATE = "weak_labels_study.html.j2"
_STYLES = {  # of lines, in the pages' style sheet
    "iou": "appearance", "coverage": "motion", "uncut-iou": "average", "confidence": "other",
    "agreement": "joint",
}  # fmt: skip
MEASURED = {
    "iou": "box test by IoU of the tight box (the paper's)", "coverage": "by coverage of the box",
    "uncut-iou": "by IoU of the box and what isn't cut", "confidence": "the paper's and the network's confidence",
    "agreement": "the paper's and agreement of colours and network",
}  # fmt: skip
_PURITY = {
    "settings": "thresholds", "step": "labels", "kept": "frames", "yield": "yield", "purity": "purity",
    "purity_by_sequence": "purity by sequence", "filled_box": "filled box", "grabcut": "GrabCut",
}  # fmt: skip
_TRAINING = {
    "labels": "labels", "frames": "frames", "yield": "yield", "purity": "purity", "seeds": "seeds", "J": "J",
    "J_spread": "spread", "ratio": "weak / this", "ratio_spread": "spread of the ratio",
}  # fmt: skip
_COUNTS = ("kept", "frames", "seeds")
KINDS_OF_LABELS = {
    "weak": "weak labels", "second": "weak labels of the second round",
    "masks": "true masks, identical frames", "random": "true masks, as many random frames",
}  # fmt: skip
TRAININGS = ("training", "second-round")


@dataclass(frozen=True)
class Part:
    """One part of the study as it was written: tables by name and facts; both empty where it wasn't run yet."""

    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def bars(self) -> list[dict[str, Any]]:
        """The bars, each with `text`."""
        return [{**bar, "text": bar_text(bar)} for bar in self.facts.get("bars", [])]


def read_part(folder: Path, name: str, tables: Sequence[str]) -> Part:
    """A part of the study, if it was run."""
    facts = folder / f"{name}.json"
    if not facts.exists():
        return Part()
    return Part(
        {table: pd.read_parquet(folder / f"{table}.parquet") for table in tables}, json.loads(facts.read_text())
    )


def read_study(folder: Path) -> tuple[Part, dict[str, Part]]:
    """The part `purity`, and those of TRAININGS that were run."""
    parts = {name: read_part(folder, name, [name, f"{name}-summary"]) for name in TRAININGS}
    trainings = {name: part for name, part in parts.items() if part.facts}
    return read_part(folder, "purity", ["purity", "grid"]), trainings


def bar_text(bar: Mapping[str, Any]) -> str:
    """A bar in words."""
    verdict = "met" if bar["met"] else "NOT MET"
    return f"{bar['name']}: {percent(bar['value'])} (at least {percent(bar['least'])}): {verdict}"


def cells(table: pd.DataFrame, titles: Mapping[str, str]) -> list[list[str]]:
    """Some columns of a table as text under their titles: words, counts, and shares in per cent."""
    body = [[_cell(name, row[name]) for name in titles] for row in table.to_dict("records")]
    return [list(titles.values()), *body]


def _cell(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    return str(round(value)) if name in _COUNTS else percent(value)


def purity_cells(part: Part) -> list[list[str]]:
    """The table of all steps; what no threshold changes stands there once."""
    table = part.tables["purity"]
    same = table["step"].isin([UNPRUNED, PRUNED, REFINED])
    table = table.assign(settings=(table["settings"] + ": " + table["thresholds"]).where(~same, DASH))
    return cells(table.drop_duplicates(["settings", "step"]), _PURITY)


def training_cells(table: pd.DataFrame) -> list[list[str]]:
    """The table of the trainings of a part."""
    return cells(table.assign(labels=table["labels"].map(KINDS_OF_LABELS)), _TRAINING)


def markdown(found: Sequence[Sequence[str]], words: int) -> str:
    """A table of text as Markdown, its head first; the first `words` columns to the left, the others to the right.

    >>> print(markdown([["name", "J"], ["bear", "90.1"]], 1), end="")
    | name | J |
    |---|---:|
    | bear | 90.1 |
    """
    rule = ["---"] * words + ["---:"] * (len(found[0]) - words)
    lines = [f"| {' | '.join(found[0])} |", f"|{'|'.join(rule)}|", *(f"| {' | '.join(one)} |" for one in found[1:])]
    return "".join(f"{line}\n" for line in lines)


def lines(folder: Path) -> list[str]:
    """The study for the terminal, all shares in per cent."""
    purity, trainings = read_study(folder)
    found: list[str] = []
    if purity.facts:
        table = aligned(purity_cells(purity), range(2, len(_PURITY)))
        found += ["", "weak labels against true masks, per cent", *table]
        found += [bar["text"] for bar in purity.bars] + chosen_lines(purity)
    for name, part in trainings.items():
        table = aligned(training_cells(part.tables[f"{name}-summary"]), range(1, len(_TRAINING)))
        found += ["", f"{name}: a motion stream trained on them, J on the scored sequences, per cent", *table]
        found += [bar["text"] for bar in part.bars]
    return [*found, ""]


def chosen_lines(part: Part) -> list[str]:
    """How to run with the thresholds that were chosen."""
    chosen = part.facts["chosen"]
    if chosen is None:
        return ["no thresholds chosen: no box passes both tests"]
    changes = Trial(**chosen).changes()
    return ["chosen: " + " ".join(f"--set flow-filter.{key}={value}" for key, value in changes.items())]


def write_page(root: Path, folder: Path) -> Path:
    """Write `study.md` beside the study's tables, and its page, whose path is given back."""
    purity, trainings = read_study(folder)
    tables = [markdown(purity_cells(purity), 2)] if purity.facts else []
    tables += [markdown(training_cells(part.tables[f"{name}-summary"]), 1) for name, part in trainings.items()]
    bars = [bar for part in (purity, *trainings.values()) for bar in part.bars]
    text = "\n".join([*tables, "".join(f"- {bar['text']}\n" for bar in bars)])
    write_atomically(folder / "study.md", text.encode())
    path = root / "reports" / "weak-labels-study.html"
    write_atomically(path, page(purity, trainings, folder.name).encode())
    return path


def page(purity: Part, trainings: Mapping[str, Part], folder: str) -> str:
    """The study as one HTML file that needs nothing else."""
    grid = purity.tables.get("grid")
    return render(
        TEMPLATE,
        purity=purity.facts,
        purity_cells=purity_cells(purity) if purity.facts else [],
        chart="" if grid is None else curve(grid, purity.facts["chosen"]),
        grids={} if grid is None else grid_cells(grid),
        given=purity.facts.get("given", ""),
        chosen=chosen_lines(purity) if purity.facts else [],
        trainings=[
            {
                "name": name,
                "facts": part.facts,
                "cells": training_cells(part.tables[f"{name}-summary"]),
                "runs": part.tables[name].to_dict("records"),
            }
            for name, part in trainings.items()
        ],
        measures={measure: (style, MEASURED[measure]) for measure, style in _STYLES.items()},
        bars=[bar for part in (purity, *trainings.values()) for bar in part.bars],
        least_yield=LEAST_YIELD,
        kinds=KINDS_OF_LABELS,
        folder=folder,
    )


def split_grid(grid: pd.DataFrame, split: str) -> pd.DataFrame:
    """The rows of one split, numbered."""
    return grid[grid["split"] == split].reset_index(drop=True)


def curve(grid: pd.DataFrame, chosen: Mapping[str, Any] | None) -> Markup:
    """Purity over yield on `proof`, for each measure of the box test the trials that are best on `thresholds`."""
    first, second = (split_grid(grid, split) for split in ("thresholds", "proof"))
    drawn, said = [], []
    for measure, style in _STYLES.items():
        found = frontier(first, second, measure)
        points = [(100 * float(r["yield"]), 100 * float(r["purity"])) for r in found.to_dict("records")]
        drawn.append(Line(style, points, dots=True))
        said.append(f"{measure} " + ", ".join(f"{purity:.1f} at {kept:.0f}" for kept, purity in points))
    kept = None
    if chosen is not None:
        row = second[(second[list(chosen)] == pd.Series(chosen)).all(axis=1)].to_dict("records")[0]
        kept = (100 * row["yield"], 100 * row["purity"]) if row["kept"] else None
    title = "Purity over yield, per cent"
    drawn = [line for line in drawn if line.points]
    lowest = min((purity for line in drawn for _, purity in line.points), default=0.0)
    bottom = 10.0 * (lowest // 10)
    return line_chart(title, "; ".join(said), drawn, 100, (0, 100), "yield", kept=kept, bottom=bottom)


def grid_cells(grid: pd.DataFrame) -> dict[str, list[list[str]]]:
    """By what both tests look at: purity and yield on `proof` for every pair of thresholds, as text."""
    found: dict[str, list[list[str]]] = {}
    for (measure, contrast), table in split_grid(grid, "proof").groupby(["measure", "contrast"], sort=False):
        text = table["purity"].map(percent) + " / " + (100 * table["yield"]).map("{:.0f}".format)
        wide = table.assign(text=text).pivot_table("text", "min_overlap", "min_contrast", "first")
        head = [str(measure), *(f"{value:g}" for value in wide.columns)]
        found[f"{measure}, {contrast} contrast"] = [
            head,
            *([f"{value:g}", *map(str, row)] for value, row in zip(wide.index, wide.to_numpy(), strict=True)),
        ]
    return found
