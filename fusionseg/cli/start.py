"""From the first moment to the exit code. Loads nothing, so that Ctrl-C finds an orderly end at once."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence

from fusionseg.cli import streams
from fusionseg.cli.exits import EXIT_INTERRUPTED, ended
from fusionseg.pipeline.errors import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code: 0, 1 where `data check` found problems, 2 for bad input (one line says what and how
    to mend it), 70 for a fault of ours (one line says where its details are), 130 where it was stopped."""
    streams.make_ready()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` is as orderly as Ctrl-C
    code = ended(lambda: _command(sys.argv[1:] if arguments is None else arguments))
    if code == EXIT_INTERRUPTED and arguments is None:  # asking again would only tear off what ends
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    return code


def _command(arguments: Sequence[str]) -> int:
    _check_text(arguments)
    from typer.main import get_command

    from fusionseg.cli.app import make_app

    code = get_command(make_app()).main(arguments, prog_name="fusionseg", standalone_mode=False) or 0
    sys.stdout.flush()  # a full disk is told, like any other fault
    return int(code)


def _check_text(arguments: Sequence[str]) -> None:
    """Raises UserError for bytes that are no text: they could stand in no record, table or list."""
    for text in arguments:
        if not text.strip():
            raise UserError("an empty argument is no path, name or value; leave it out")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            raise UserError(f"{shown}: not UTF-8, as names of files and all arguments must be; rename it") from None
