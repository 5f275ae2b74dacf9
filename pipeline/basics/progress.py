"""Progress of long work: a bar on a terminal, plain lines now and then elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

if TYPE_CHECKING:
    pass


# Where output isn't a terminal, one line of progress this often (s).
_LOG_SECONDS = 10.0


def progress_bar(title: str, total: int, unit: str, done: int = 0, quiet: bool = False) -> tqdm[Any]:
    """A progress bar on a terminal, a line now and then elsewhere; nothing if `quiet`."""
    options: dict[str, Any] = {
        "total": total,
        "initial": done,
        "desc": f"  {title}",
        "unit": unit,
        "leave": False,
        "disable": quiet,
    }
    if sys.stderr.isatty():
        return tqdm(**options, dynamic_ncols=True)
    return _LogLines(**options, mininterval=_LOG_SECONDS, maxinterval=_LOG_SECONDS, ascii=True, ncols=0)


@contextmanager
def shown(title: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A function of (done, total) that shows progress; nothing is shown before its first call."""
    bars: list[tqdm[Any]] = []

    def show(done: int, total: int) -> None:
        if not bars:
            bars.append(progress_bar(title, total, unit))
        bars[0].total = total
        bars[0].update(done - bars[0].n)

    try:
        yield show
    finally:
        for bar in bars:
            bar.close()


class _LogLines(tqdm):
    """Progress as plain lines, for logs: no carriage returns, nothing at the start and the end."""

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        if not msg and self.initial < self.n < (self.total or 0):
            print(str(self), file=sys.stderr, flush=True)
