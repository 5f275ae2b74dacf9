"""How a command ends: an exit code, and where it isn't 0 one line that says why."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import typer

from fusionseg.machine import explained
from fusionseg.pipeline.errors import UserError

EXIT_PROBLEMS = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


def ended(command: Callable[[], int | None]) -> int:
    """Run a command to its end, whatever that is; its exit code."""
    try:
        return command() or 0
    except UserError as error:
        tell(f"error: {error.args[0]}")
        return EXIT_BAD_INPUT
    except ImportError as error:  # of a library that the system lacks; all others are bugs
        if not (reason := explained(error)):
            raise
        tell(f"error: {reason}")
        return EXIT_BAD_INPUT
    except BrokenPipeError:  # `fusionseg artifacts | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        tell(f"error: {what}{error.strerror or error}; check path, permissions, free space")
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        tell("stopped; the same command goes on from here")
        return EXIT_INTERRUPTED
    return 0


def refused(error: typer.TyperException) -> int:
    """What was typed is no command of ours; the exit code."""
    message = " ".join(error.format_message().replace("Value error, ", "").split())
    if message:  # none where the help was shown instead
        context = getattr(error, "ctx", None)
        where = f" ({context.command_path} --help)" if context else ""
        tell(f"error: {message[0].lower()}{message[1:].rstrip('.')}{where}")
    return EXIT_BAD_INPUT


def tell(text: str) -> None:
    """Why the run ends, in one line; of several processes, the first to end says it for all."""
    from fusionseg.pipeline.basics.processes import first_to_tell

    if first_to_tell():
        print(f"fusionseg: {text}", file=sys.stderr)
