"""Progress of long work: live bars on a terminal, plain lines now and then elsewhere."""

from __future__ import annotations

import atexit
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

# Where output isn't a terminal, one line of progress this often (s).
_LOG_SECONDS = 10.0


class Bar:
    """Progress of one piece of work, in units like "frame". This one shows nothing; those below show it."""

    def __init__(self, title: str, total: int, unit: str, done: int = 0) -> None:
        self.title, self.total, self.unit, self.n = title, total, unit, done
        self._notes: Mapping[str, str] = {}

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def update(self, n: int = 1) -> None:
        """So many more are done."""
        self.n += n
        self._show()

    def note(self, notes: Mapping[str, str]) -> None:
        """What to show behind the bar from the next update on, e.g. the loss."""
        self._notes = dict(notes)

    def close(self) -> None:
        """Show it no longer."""

    def words(self, speed: float | None) -> str:
        """All of it in words; `speed`: units a second, if known. A total of 0 is an unknown one.

        >>> bar = Bar("training", 40, "step", done=10)
        >>> bar.note({"loss": "0.5"})
        >>> bar.words(0.25)
        '10/40 steps, 0:02:00 left, loss 0.5, 4.0 s/step'
        """
        parts = [f"{self.n}/{self.total} {self.unit}s" if self.total else f"{self.n} {self.unit}s"]
        if speed and self.total:
            parts.append(f"{timedelta(seconds=round(max(self.total - self.n, 0) / speed))} left")
        parts += [f"{name} {value}" for name, value in self._notes.items()]
        if speed:  # last: where a line is too narrow, it can be spared
            parts.append(f"{speed:.1f} {self.unit}s/s" if speed >= 1 else f"{1 / speed:.1f} s/{self.unit}")
        return ", ".join(parts)

    def _show(self) -> None:
        """Something has changed."""


class _LogLines(Bar):
    """Plain lines, for logs: nothing at the start and the end."""

    def __init__(self, title: str, total: int, unit: str, done: int = 0) -> None:
        super().__init__(title, total, unit, done)
        self._told, self._told_at = done, time.monotonic()

    def _show(self) -> None:
        seconds = time.monotonic() - self._told_at
        if seconds < _LOG_SECONDS or (self.total and self.n >= self.total):
            return
        speed = (self.n - self._told) / seconds if seconds else None  # of late: what was cached went faster
        print(f"  {self.title}: {self.words(speed)}", file=sys.stderr, flush=True)
        self._told, self._told_at = self.n, time.monotonic()


class _LiveBar(Bar):
    """A bar on the terminal, together with others."""

    def __init__(self, title: str, total: int, unit: str, done: int = 0) -> None:
        super().__init__(title, total, unit, done)
        _SCREEN.add(self)

    def _show(self) -> None:
        _SCREEN.update(self)

    def close(self) -> None:
        _SCREEN.remove(self)


class _Words(ProgressColumn):
    """What a bar says in words."""

    def render(self, task: Task) -> Text:
        bar: Bar = task.fields["bar"]
        return Text(bar.words(task.speed), no_wrap=True, overflow="ellipsis")


class _Screen:
    """What is live on the terminal: there can be one display, so all bars share it. Bars may come from several threads.

    rich's `Progress` keeps the bars; the display is ours, since a line that is written has to take it off for a moment,
    and one that was stopped doesn't start again where it should.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._tasks: dict[Bar, TaskID] = {}
        self._progress: Progress | None = None
        self._live: Live | None = None

    def add(self, bar: Bar) -> None:
        with self._lock:
            progress = self._progress = self._progress or _make_progress()
            self._tasks[bar] = progress.add_task(bar.title, total=bar.total or None, completed=bar.n, bar=bar)
            self._begin(progress)

    def update(self, bar: Bar) -> None:
        with self._lock:
            if self._progress is not None and bar in self._tasks:
                self._progress.update(self._tasks[bar], completed=bar.n, total=bar.total or None)

    def remove(self, bar: Bar) -> None:
        with self._lock:
            if self._progress is not None and bar in self._tasks:
                self._progress.remove_task(self._tasks.pop(bar))
            if not self._tasks:
                self.end()
                self._progress = None

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Nothing is live meanwhile."""
        with self._lock:
            self.end()
            try:
                yield
            finally:
                if self._progress is not None:
                    self._begin(self._progress)

    def _begin(self, progress: Progress) -> None:
        if self._live is None:  # what others write isn't redirected: processes that are forked would inherit that
            self._live = Live(
                console=progress.console, get_renderable=progress.get_renderable, transient=True,
                redirect_stdout=False, redirect_stderr=False,
            )  # fmt: skip
            self._live.start(refresh=True)

    def end(self) -> None:
        """Take the display off; the cursor is back."""
        with self._lock:
            if self._live is not None:
                self._live.stop()
                self._live = None


def _make_progress() -> Progress:
    """rich's bookkeeping of bars, and how they look."""
    columns = (TextColumn("  {task.description}", markup=False), BarColumn(bar_width=12), _Words())
    return Progress(*columns, console=Console(stderr=True), auto_refresh=False)


_SCREEN = _Screen()
atexit.register(_SCREEN.end)  # whoever fails to close a bar leaves no terminal without a cursor


def progress_bar(title: str, total: int, unit: str, done: int = 0, quiet: bool = False) -> Bar:
    """A progress bar on a terminal, a line now and then elsewhere; nothing if `quiet`."""
    kind = Bar if quiet else _LiveBar if _on_terminal() else _LogLines
    return kind(title, total, unit, done)


def _on_terminal() -> bool:
    """Whether somebody watches a terminal that can move its cursor."""
    return sys.stderr.isatty() and Console(stderr=True).is_interactive


def say(text: str) -> None:
    """One line to the user, at once and without cutting through a bar."""
    with _SCREEN.aside():
        print(text, flush=True)


@contextmanager
def shown(title: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A function of (done, total) that shows progress; nothing is shown before its first call."""
    bars: list[Bar] = []

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
