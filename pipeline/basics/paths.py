"""Paths as people give them to public functions."""

from __future__ import annotations

import os
from pathlib import Path

from fusionseg.pipeline.errors import UserError

AnyPath = str | os.PathLike[str]


def as_path(given: AnyPath) -> Path:
    """The path; `~` is the home folder. Raises TypeError for what is no path.

    >>> as_path("out/runs")
    PosixPath('out/runs')
    """
    return Path(given).expanduser()


def as_folder(given: AnyPath, what: str) -> Path:
    """The path of a folder that is there; `what` it should be, in words. Raises UserError."""
    path = as_path(given)
    if not path.is_dir():
        found = "not a folder" if path.exists() else "no such folder"
        raise UserError(f"{path}: {found}; expected {what}")
    return path


STORE = "the folder that runs were computed into (--out)"
