"""Tables for people: aligned on the terminal, or as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fusionseg.pipeline.basics.atomic import write_atomically
from fusionseg.pipeline.errors import UserError


def aligned(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Rows of cells as lines with aligned columns.

    >>> aligned([["a", "n"], ["bear", "10"]], right=[1])
    ['a      n', 'bear  10']
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    fit = lambda cell, n: cell.rjust(widths[n]) if n in right else cell.ljust(widths[n])  # noqa: E731
    return ["  ".join(fit(cell, n) for n, cell in enumerate(row)).rstrip() for row in rows]


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, whole or not at all. Raises UserError."""
    try:
        write_atomically(path, table.to_csv(index=False).encode())
    except OSError as error:
        raise UserError(f"{path}: can't be written ({error.strerror})") from None
