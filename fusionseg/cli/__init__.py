"""The command line: a function a command, which says what it takes and loads what it needs only when it runs."""

from fusionseg.cli.start import main

__all__ = ["main"]
