"""What `fusionseg score` writes: tables for programs (Parquet, CSV) and for papers (LaTeX, Markdown), and a page."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from fusionseg.pipeline.basics.atomic import atomic_path
from fusionseg.pipeline.basics.columns import aligned
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.pages.render import DASH, percent, render
from fusionseg.pipeline.scoring.protocols import Protocol, overall_means, per_class_table
from fusionseg.pipeline.scoring.published import published_rows
from fusionseg.pipeline.scoring.statistics import SCORE_COLUMNS, per_sequence_table

TEMPLATE = "scores.html.j2"
_TITLES = {
    "J": "J mean", "J_recall": "J recall", "J_decay": "J decay", "F": "F mean", "F_recall": "F recall",
    "F_decay": "F decay", "JF": "J&F",
}  # fmt: skip
_LATEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
          "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", DASH: "--"}  # fmt: skip


@dataclass(frozen=True)
class Scored:
    """The scores of all methods, one row a method and frame (and object), and the tables that follow from them.
    `missing`: how many masks of a method were missing and counted as empty, of those methods that miss any; `read`: how
    masks were read, in words, where that isn't the obvious way; `left_out`: what wasn't scored, in words."""

    protocol: Protocol
    per_frame: pd.DataFrame
    missing: Mapping[str, int] = field(default_factory=dict)
    read: Sequence[str] = ()
    left_out: Sequence[str] = ()

    @cached_property
    def per_sequence(self) -> pd.DataFrame:
        """See `metrics.per_sequence_table`."""
        return per_sequence_table(self.per_frame)

    @cached_property
    def overall(self) -> pd.DataFrame:
        """See `protocols.overall_means`."""
        return overall_means(self.per_frame, self.protocol)

    def lines(self) -> list[str]:
        """The overall figures as text, in per cent."""
        table = aligned(cells(self.overall), range(2, 9))
        return [f"{self.protocol.name}: {self.count}, per cent", *table, *self.notes()]

    def notes(self) -> list[str]:
        """What a reader of the figures must know."""
        empty = [f"{method}: {count} missing masks counted as empty" for method, count in self.missing.items()]
        return [*empty, *self.read, *self.left_out]

    @property
    def count(self) -> str:
        """How much was scored, in words."""
        frames = len(self.per_frame[["sequence", "frame"]].drop_duplicates())
        return f"{self.per_frame['sequence'].nunique()} sequences, {frames} frames"


def write_outputs(out: Path, scored: Scored) -> None:
    """Write all files into the folder `out`, whole or not at all. Raises UserError."""
    check_out(out)
    with ExitStack() as stack:  # every file is written under another name before the first takes its own
        for name, data in outputs(scored).items():
            stack.enter_context(atomic_path(out / name)).write_bytes(data)


def check_out(out: Path) -> None:
    """Raises UserError where `out` can't be a folder."""
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: not a folder")


def outputs(scored: Scored) -> dict[str, bytes]:
    """All files by name."""
    found = {"per_frame.parquet": _parquet(scored.per_frame), "per_frame.csv": _csv(scored.per_frame)}
    for name, table in (("per_sequence", scored.per_sequence), ("overall", scored.overall)):
        rows = cells(table)
        found |= {
            f"{name}.csv": _csv(table), f"{name}.tex": latex(rows).encode(), f"{name}.md": markdown(rows).encode(),
        }  # fmt: skip
    return found | {"comparison.html": page(scored).encode()}


def _parquet(table: pd.DataFrame) -> bytes:
    file = io.BytesIO()
    table.to_parquet(file, index=False)
    return file.getvalue()


def _csv(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False, float_format="%.6f").encode()


def cells(table: pd.DataFrame) -> list[list[str]]:
    """A table of scores as text, its head first; scores in per cent.

    >>> cells(pd.DataFrame({"method": ["ours"], "J": [0.5], "J_decay": [float("nan")]}))
    [['method', 'J mean', 'J decay'], ['ours', '50.0', '–']]
    """
    head = [_TITLES.get(str(column), str(column)) for column in table.columns]
    rows = [
        [percent(value) if column in SCORE_COLUMNS else str(value) for column, value in row.items()]
        for row in table.to_dict("records")
    ]
    return [head, *rows]


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells, the head first, as a table.

    >>> print(markdown([["method", "J mean"], ["a|b", "50.0"]]), end="")
    | method | J mean |
    | --- | ---: |
    | a\\|b | 50.0 |
    """
    line = lambda row: f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n"  # noqa: E731
    rule = line(["---:" if right else "---" for right in _numeric(rows)])
    return "".join([line(rows[0]), rule, *map(line, rows[1:])])


def latex(rows: Sequence[Sequence[str]]) -> str:
    r"""Rows of cells, the head first, as a tabular that needs no package.

    >>> print(latex([["method", "J mean"], ["a_b", "50.0"]]), end="")
    \begin{tabular}{lr}
    \hline
    method & J mean \\
    \hline
    a\_b & 50.0 \\
    \hline
    \end{tabular}
    """
    line = lambda row: f"{' & '.join(''.join(_LATEX.get(c, c) for c in cell) for cell in row)} \\\\\n"  # noqa: E731
    form = "".join("r" if right else "l" for right in _numeric(rows))
    body = "".join(map(line, rows[1:]))
    return f"\\begin{{tabular}}{{{form}}}\n\\hline\n{line(rows[0])}\\hline\n{body}\\hline\n\\end{{tabular}}\n"


def _numeric(rows: Sequence[Sequence[str]]) -> list[bool]:
    """Which columns hold scores."""
    return [title in _TITLES.values() for title in rows[0]]


def page(scored: Scored) -> str:
    """The comparison of all methods, with the published figures, as one HTML file that needs nothing else."""
    return render(
        TEMPLATE,
        protocol=scored.protocol,
        count=scored.count,
        notes=scored.notes(),
        titles=_TITLES,
        overall=scored.overall.to_dict("records"),
        published=published_rows(scored.protocol.name).to_dict("records"),
        methods=list(scored.overall["method"].unique()),
        tables=_unit_tables(scored),
    )


def _unit_tables(scored: Scored) -> Mapping[str, tuple[Sequence[str], Sequence[tuple[str, Sequence[float]]]]]:
    """By title: methods, and each sequence's (or object's, or class's) scores by method."""
    found = {measure: _pivot(scored.per_sequence, measure) for measure in ("J", "F")}
    tables = {f"{measure} by sequence": table for measure, table in found.items()}
    if "classes" in scored.protocol.means:
        classes = per_class_table(scored.per_sequence).rename(columns={"class": "sequence"})
        return {"J by class": _pivot(classes, "J"), **tables}
    return tables


def _pivot(per_sequence: pd.DataFrame, measure: str) -> tuple[list[str], list[tuple[str, list[float]]]]:
    methods = [str(method) for method in per_sequence["method"].unique()]
    names = per_sequence["sequence"].astype(str)
    if "object" in per_sequence:
        names = names + ", object " + per_sequence["object"].astype(str)
    wide = per_sequence.assign(name=names).pivot_table(measure, "name", "method", sort=False)
    return methods, [(str(name), [float(row[method]) for method in methods]) for name, row in wide.iterrows()]
