"""Paths as people give them to public functions."""

from __future__ import annotations

import os
from pathlib import Path

from fusionseg.pipeline.basics.text import user_path
from fusionseg.pipeline.errors import UserError

AnyPath = str | os.PathLike[str]


def as_path(given: AnyPath) -> Path:
    """The path that a person means, see `text.user_path`. Raises TypeError for what is no path, UserError for one that
    says nothing.

    >>> as_path("out/runs")
    PosixPath('out/runs')
    """
    try:
        return user_path(os.fspath(given))
    except ValueError as error:
        raise UserError(str(error)) from None


def as_folder(given: AnyPath, what: str) -> Path:
    """The path of a folder that is there; `what` it should be, in words. Raises UserError."""
    path = as_path(given)
    if not path.is_dir():
        found = "not a folder" if path.exists() else "no such folder"
        raise UserError(f"{path}: {found}; expected {what}")
    return path


STORE = "the folder that runs were computed into (--out)"
