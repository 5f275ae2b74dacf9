"""How a command ends: an exit code, and where it isn't 0 one line that says why."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import Any

from fusionseg.pipeline.errors import UserError

EXIT_PROBLEMS = 1
EXIT_BAD_INPUT = 2
EXIT_FAULT = 70  # of ours; EX_SOFTWARE of BSD's sysexits
EXIT_INTERRUPTED = 130

# How OpenCV and PyTorch (on a GPU, on a CPU) say that there is no memory left.
_NO_MEMORY = ("Insufficient memory", "out of memory", "can't allocate memory")

# Set it to see a fault of ours as Python tells it.
TRACEBACK = "FUSIONSEG_TRACEBACK"


class Stopped(Exception):
    """Ctrl-C, where others would take KeyboardInterrupt for theirs."""


def ended(command: Callable[[], int | None], *passed_on: type[Exception]) -> int:
    """Run a command to its end, whatever that is; its exit code. `passed_on`: exceptions that are somebody else's."""
    try:
        return command() or 0
    except passed_on:
        raise
    except (KeyboardInterrupt, Stopped):
        tell("stopped; the same command goes on from here")
        return EXIT_INTERRUPTED
    except Exception as error:
        words = _words(error)
        if words is None:
            return _fault(error)
        if not words:  # the help was shown instead of a command
            return 0
        tell(f"error: {words}")
        return EXIT_BAD_INPUT


def _words(error: Exception) -> str | None:
    """What people can do about an error; None where it is a fault of ours."""
    if isinstance(error, UserError):
        return str(error.args[0])
    if isinstance(error, OSError):
        what = f"{_shown(error.filename)}: " if error.filename else ""
        return f"{what}{error.strerror or error}; check path, permissions, free space"
    if isinstance(error, ImportError):  # of a library that the system lacks; all others are bugs
        from fusionseg.machine import explained

        return explained(error) or None
    if isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY):
        return "out of memory; give it more, or less to do at a time: smaller batches, crops or frames, fewer workers"
    typer = sys.modules.get("typer")
    return _typed_wrong(error) if typer and isinstance(error, typer.TyperException) else None


def _shown(filename: Any) -> str:
    return os.fsdecode(filename) if isinstance(filename, bytes | str) else str(filename)


def _typed_wrong(error: Any) -> str:
    """What was typed is no command of ours."""
    message = " ".join(error.format_message().replace("Value error, ", "").split())
    context = getattr(error, "ctx", None)
    where = f" ({context.command_path} --help)" if context else ""
    return f"{message[0].lower()}{message[1:].rstrip('.')}{where}" if message else ""


def _fault(error: Exception) -> int:
    """Tell of a fault of ours in one line; the details lie in a file."""
    if os.environ.get(TRACEBACK):
        raise error
    last = traceback.extract_tb(error.__traceback__)[-1]
    what = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    tell(f"a fault of fusionseg's own, please report it: {what} ({last.name}, line {last.lineno}); {_kept(error)}")
    return EXIT_FAULT


def _kept(error: Exception) -> str:
    """Keep the details; where they are."""
    system = f"Python {platform.python_version()}, {platform.platform()}"
    text = f"fusionseg {' '.join(sys.argv[1:])}\n{system}\n\n{''.join(traceback.format_exception(error))}"
    try:
        descriptor, path = tempfile.mkstemp(".txt", "fusionseg-fault-")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError:
        return f"set {TRACEBACK}=1 to see the details"
    return f"the details are in {path}"


def tell(text: str) -> None:
    """Why the run ends, in one line; of several processes, the first to end says it for all."""
    from fusionseg.pipeline.basics.processes import first_to_tell

    if first_to_tell():
        print(f"fusionseg: {text}", file=sys.stderr, flush=True)
