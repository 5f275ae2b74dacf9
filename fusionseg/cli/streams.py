"""What a command reads from and writes to, made such that no command need think of it: whatever it is connected to."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any

# Nobody is at the other end of a pipe, or of a terminal that was closed.
_GONE = (errno.EPIPE, errno.EIO)


class _Descriptor(io.FileIO):
    """Standard output or error. What nobody reads any longer is dropped, and the command goes on: its exit code says
    what became of it."""

    def write(self, data: Any) -> int | None:  # type: ignore[override]
        try:
            return super().write(data)
        except OSError as error:
            _to_nowhere(self.fileno())  # what is still buffered, and Python's last flush
            if error.errno in _GONE or self.fileno() == 2:  # nobody is left to be told
                return len(data)
            error.filename = "standard output"
            raise


def make_ready() -> None:
    """Open what is closed, and write any text whatever the encoding; to be called first."""
    for number in (0, 1, 2):
        if not _is_open(number):
            _to_nowhere(number)  # or the next file to be opened would be taken for it
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = _stream(sys.stdout, sys.__stdout__, 1), _stream(sys.stderr, sys.__stderr__, 2)


def _stream(now: Any, own: Any, number: int) -> Any:
    """Standard output or error; `now` what it is, `own` what Python made it."""
    if now is not own:  # a test's, or a notebook's
        return now
    if now is not None:
        now.flush()
    line_by_line = number == 2 or os.isatty(number)
    encoding = now.encoding if now is not None else "utf-8"
    buffer = io.BufferedWriter(_Descriptor(number, "w", closefd=False))
    return io.TextIOWrapper(buffer, encoding, "backslashreplace", line_buffering=line_by_line)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _to_nowhere(number: int) -> None:
    """Connect a descriptor to nothing, for child processes too."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere == number:
        os.set_inheritable(number, True)
    else:
        os.dup2(nowhere, number)
        os.close(nowhere)
