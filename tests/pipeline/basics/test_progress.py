"""Progress: bars that share a terminal, plain lines elsewhere, nothing where it is quiet."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fusionseg.pipeline.basics import progress
from fusionseg.pipeline.basics.processes import Processes
from fusionseg.pipeline.basics.progress import progress_bar, say, shown
from fusionseg.pipeline.store.job import Context

# What takes the last bar off: its line is erased, the cursor is back.
_GONE = "\r\x1b[2K\x1b[?25h\r"


class Watched(io.StringIO):
    """Takes what is written inside its `with`: pytest would take it back from a fixture that did."""

    def __enter__(self) -> Watched:
        self._before = sys.stdout, sys.stderr
        sys.stdout = sys.stderr = self
        return self

    def __exit__(self, *error: object) -> None:
        sys.stdout, sys.stderr = self._before


class Terminal(Watched):
    """What a terminal was sent."""

    def isatty(self) -> bool:
        return True

    def plain(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue())


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    return Terminal()


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Where lines of progress go, without waiting between them."""
    monkeypatch.setattr(progress, "_LOG_SECONDS", 0.0)
    return Watched()


def test_a_bar_on_a_terminal_and_nothing_of_it_is_left(terminal: Terminal) -> None:
    with terminal, progress_bar("motion-training", 10, "step", done=4) as bar:
        bar.note({"loss": "0.123", "J": "0.512"})
        bar.update(3)
        say("half")
    assert "  motion-training ━" in terminal.plain() and "4/10 steps" in terminal.plain()
    assert re.search(r"7/10 steps.*loss 0\.123, J 0\.512", terminal.plain())
    left = terminal.getvalue()
    assert left.count("\x1b[?25l") == left.count("\x1b[?25h") == 2  # the cursor is back
    assert left.endswith(_GONE)


def test_a_line_stands_by_itself_and_the_bar_goes_on(terminal: Terminal) -> None:
    with terminal, progress_bar("scoring", 3, "frame") as bar:
        say("a line of its own, however long it may be: " + "x" * 200)
        bar.update()
    before, _, after = terminal.getvalue().partition("a line of its own, however long it may be: " + "x" * 200 + "\n")
    assert before.endswith("\x1b[2K") and "scoring" in after


def test_bars_at_once_share_the_terminal(terminal: Terminal) -> None:
    with terminal, progress_bar("outer", 2, "video") as outer, shown("inner", "frame") as show:
        show(1, 5)
        say("between")
        show(5, 5)
        outer.update()
    assert "outer" in terminal.plain().partition("between")[2] and "inner" in terminal.plain().partition("between")[2]
    assert progress._SCREEN._live is None and progress._SCREEN._progress is None


def test_bars_of_several_threads(terminal: Terminal) -> None:
    def work(number: int) -> None:
        for _ in range(5):
            with progress_bar(f"work {number}", 3, "frame") as bar:
                bar.update()
                say(f"said by {number}")
                bar.update(2)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    with terminal:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(terminal.getvalue().count(f"said by {number}\n") == 5 for number in range(4))
    assert progress._SCREEN._live is None


def test_a_closed_bar_may_be_closed_and_updated(terminal: Terminal) -> None:
    with terminal:
        bar = progress_bar("scoring", 3, "frame")
        bar.close()
        bar.update()
        bar.close()
    assert bar.n == 1


def test_an_error_takes_the_bar_off(terminal: Terminal) -> None:
    with terminal, pytest.raises(ValueError), progress_bar("scoring", 3, "frame"):
        raise ValueError
    assert terminal.getvalue().endswith(_GONE) and progress._SCREEN._live is None


def test_title_with_brackets_is_no_markup(terminal: Terminal) -> None:
    with terminal, progress_bar("frames of clip[red].mp4", 3, "frame"):
        pass
    assert "frames of clip[red].mp4" in terminal.plain()


def test_a_total_that_is_not_known_yet(terminal: Terminal) -> None:
    with terminal, shown("extracting", "frame") as show:
        show(3, 0)
        say("x")
        show(4, 8)
        say("y")
    assert " 3 frames" in terminal.plain() and " 4/8 frames" in terminal.plain()


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(progress, "_LOG_SECONDS", 0.0)
    with terminal, progress_bar("scoring", 3, "frame") as bar:
        bar.update()
    assert terminal.getvalue().startswith("  scoring: 1/3 frames") and terminal.getvalue().endswith("\n")


def test_plain_lines_where_nobody_watches(log: Watched) -> None:
    with log, progress_bar("training", 5, "step", done=1) as bar:
        assert log.getvalue() == ""
        bar.note({"loss": "0.5"})
        for _ in range(4):
            bar.update()
    lines = log.getvalue().splitlines()
    assert [line.partition(",")[0] for line in lines] == [f"  training: {n}/5 steps" for n in (2, 3, 4)]
    assert all(re.search(r" left, loss 0\.5, \S+ steps/s$", line) for line in lines)
    assert "\r" not in log.getvalue() and "\x1b" not in log.getvalue()


def test_lines_come_now_and_then(log: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress, "_LOG_SECONDS", 10.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with log, progress_bar("scoring", 100, "frame") as bar:
        for second in range(1, 31):
            now[0] = float(second)
            bar.update(2 if second > 10 else 1)
    assert log.getvalue().splitlines() == [
        "  scoring: 10/100 frames, 0:01:30 left, 1.0 frames/s",
        "  scoring: 30/100 frames, 0:00:35 left, 2.0 frames/s",
        "  scoring: 50/100 frames, 0:00:25 left, 2.0 frames/s",
    ]


def test_nothing_where_it_is_quiet(log: Watched, terminal: Terminal) -> None:
    for there in (log, terminal):
        with there, progress_bar("scoring", 3, "frame", quiet=True) as bar:
            bar.note({"loss": "0.5"})
            bar.update()
        assert there.getvalue() == "" and bar.n == 1


def test_of_several_processes_the_main_one_shows_its_own(log: Watched, tmp_path: Path) -> None:
    for rank in (1, 0):
        assert log.getvalue() == ""
        with log, Context(tmp_path, processes=Processes(rank, 2)).progress("training", 5, "step") as bar:
            for _ in range(5):
                bar.update()
    assert len(log.getvalue().splitlines()) == 4 and "\r" not in log.getvalue()


def test_nothing_before_the_first_call(terminal: Terminal) -> None:
    with terminal, shown("extracting", "frame"):
        pass
    assert terminal.getvalue() == ""


def test_lines_go_to_stdout_though_the_bar_is_on_stderr() -> None:
    """On a real terminal, with stdout in a pipe."""
    code = (
        "from fusionseg.pipeline.basics.progress import progress_bar, say\n"
        "with progress_bar('scoring', 3, 'frame') as bar:\n    bar.update(); say('a line')\n"
    )
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=-1, stderr=theirs, env=environment) as process:
        said, _ = process.communicate()
    os.close(theirs)
    drawn = os.read(ours, 100_000).decode()
    os.close(ours)
    assert process.returncode == 0 and said == b"a line\n"
    assert "scoring" in drawn and "1/3 frames" in drawn and "a line" not in drawn
