"""Errors made for people: which file, which field, what was found, what was expected, what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class UserError(Exception):
    """Something the user can put right. The command line prints it as one line and exits with code 2."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Made again in another process from what it holds: subclasses take arguments of their own."""
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[UserError], arguments: tuple[Any, ...], values: dict[str, Any]) -> UserError:
    error = kind.__new__(kind)
    error.args = arguments
    error.__dict__.update(values)
    return error


# What is wrong with a file of a data set; "unclear": which of several it is, or what it belongs to.
MISSING, UNCLEAR, UNREADABLE, WRONG_SIZE = "missing", "unclear", "unreadable", "wrong size"


class BadFile(UserError):
    """A file of a data set that can't be used; with `on_bad_file = "quarantine"` the video or still image `name` of
    `dataset` is left out instead of stopping the run."""

    def __init__(self, message: str, *, dataset: str, name: str, kind: str = UNREADABLE) -> None:
        super().__init__(message)
        self.dataset, self.name, self.kind = dataset, name, kind


class NotMadeYet(Exception):
    """Data that a run would make first, where nothing may be made; the message says what, in words."""


class DamagedArtifact(UserError):
    """An artifact whose content isn't what its header promises; the runner makes it again."""

    def __init__(self, path: Path, found: str) -> None:
        super().__init__(
            f"{path}: damaged artifact ({found}). Delete it, or run the same command again: it is made anew."
        )
        self.path = path
