"""How a command ends: exit codes, and one line that says why."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from fusionseg.cli import main
from fusionseg.cli.exits import ended
from fusionseg.pipeline.errors import UserError


@pytest.mark.parametrize(("given", "code"), [(None, 0), (0, 0), (1, 1)])
def test_what_a_command_gives_is_its_exit_code(given: int | None, code: int) -> None:
    assert ended(lambda: given) == code


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("no such thing"), 2, "error: no such thing"),
        (OSError(28, "No space left on device", "a.h5"), 2, "error: a.h5: No space left on device; check path, "),
        (OSError("odd"), 2, "error: odd; check path, permissions, free space"),
        (KeyboardInterrupt(), 130, "stopped; the same command goes on from here"),
    ],
)
def test_what_stops_a_command_is_one_line(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise error

    assert ended(command) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"fusionseg: {said}")


def test_bugs_keep_their_tracebacks() -> None:
    with pytest.raises(ZeroDivisionError):
        ended(lambda: 1 // 0)


def stub(body: str) -> str:
    """Code that runs `fusionseg artifacts` with this in place of what it does."""
    return (
        "import os, signal, sys, time, types\n"
        f"def work(*arguments):\n    {body}\n"
        "sys.modules['fusionseg.pipeline.report.listing'] = types.SimpleNamespace(print_artifacts=work)\n"
        "from fusionseg.cli import main\n"
        "sys.exit(main(['artifacts']))"
    )


def test_kill_is_as_orderly_as_ctrl_c() -> None:
    code = stub("os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr == "fusionseg: stopped; the same command goes on from here\n"


def test_who_listens_no_longer_is_told_nothing() -> None:
    code = stub("sys.stdin.read(); print('x' * 100_000, flush=True)")
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_a_bug_is_no_box_of_rich() -> None:
    done = subprocess.run([sys.executable, "-c", stub("1 / 0")], capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback (most recent call last):" in done.stderr and "╭" not in done.stderr


def test_commands_run_in_any_thread() -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main(["--help"])))
    thread.start()
    thread.join()
    assert codes == [0]
