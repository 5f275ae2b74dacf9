"""The command line."""

from fusionseg.cli.app import main

__all__ = ["main"]
