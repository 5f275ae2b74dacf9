"""How a command ends: exit codes, and one line that says why."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

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
        (MemoryError(), 2, "error: out of memory; "),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), 2, "error: out of memory; "),
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


def test_a_fault_of_ours_is_one_line_and_keeps_its_details(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert ended(lambda: 1 // 0) == 70
    (line,) = capsys.readouterr().err.splitlines()
    (kept,) = tmp_path.iterdir()
    assert "please report it: ZeroDivisionError: " in line and line.endswith(f"the details are in {kept}")
    assert "Traceback (most recent call last):" in kept.read_text() and "test_exits.py" in kept.read_text()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    assert ended(lambda: 1 // 0) == 70 and "set FUSIONSEG_TRACEBACK=1" in capsys.readouterr().err
    monkeypatch.setenv("FUSIONSEG_TRACEBACK", "1")
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


SAID = "print('x' * 100_000, flush=True)"


def run_in_shell(
    line: str, body: str = SAID, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A line of bash in which `$fusionseg` is our command, with `body` in place of what `artifacts` does."""
    command = f"{sys.executable} -c '{stub(body).replace(chr(39), chr(34))}'"
    script = f"set -o pipefail; fusionseg() {{ {command}; }}; {line}"
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment, errors="replace")


@pytest.mark.parametrize(
    "line",
    [
        "fusionseg | head -c 5 | wc -c; exit ${PIPESTATUS[0]}",
        "fusionseg | true",
        "fusionseg 2>&1 | true",
        "fusionseg 2> >(true) | true",
        "fusionseg >&-",
        "fusionseg <&- >&- 2>&-",
        "fusionseg 2>&- | wc -c",
    ],
)
@pytest.mark.parametrize("flushed", ["True", "False"])
def test_who_listens_no_longer_or_never_did_is_told_nothing(line: str, flushed: str, tmp_path: Path) -> None:
    done_at = tmp_path / "done"
    body = f"[print('x' * 9, file=f, flush={flushed}) for f in (sys.stdout, sys.stderr) for n in range(9999)]; "
    done = run_in_shell(line, body + f"open('{done_at}', 'w').write('whole')")
    assert (done.returncode, done_at.read_text()) == (0, "whole"), "what is done is done"
    assert done.stderr.strip("x\n") == ""


@pytest.mark.parametrize("body", [SAID, "print('x')", "print('x', end='')"])
def test_a_full_device_is_one_line(body: str) -> None:
    done = run_in_shell("fusionseg > /dev/full", body)
    assert done.returncode == 2
    said = "fusionseg: error: standard output: No space left on device; check path, permissions, free space\n"
    assert done.stderr == said
    assert run_in_shell("fusionseg > /dev/full 2>&1", body).returncode == 2
    assert run_in_shell("fusionseg 2> /dev/full", "print('x', file=sys.stderr)").returncode == 0


def test_a_closed_descriptor_is_no_file_that_is_opened_next(tmp_path: Path) -> None:
    body = f"file = open('{tmp_path / 'file'}', 'w'); print('lost'); print('lost', file=sys.stderr); file.write('kept')"
    assert run_in_shell("fusionseg >&- 2>&- <&-", body).returncode == 0
    assert (tmp_path / "file").read_text() == "kept"
    child = "os.system('echo to a child; echo of it >&2')"
    done = run_in_shell("fusionseg >&- 2>&-", child)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}, {"LC_ALL": "POSIX"}, {}])
def test_any_text_can_be_written(environment: dict[str, str]) -> None:
    path = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
    body = "print('caf\\u00e9 \\udce9'); from fusionseg.pipeline.errors import UserError; "
    body += "raise UserError('f\\u00fcr \\udce9')"
    done = run_in_shell("fusionseg", body, path | environment)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stdout.endswith("\\udce9\n") and done.stderr.endswith("\\udce9\n")


def test_arguments_that_are_no_text_are_one_line() -> None:
    command = [sys.executable, "-m", "fusionseg.cli", "artifacts", "--out", b"caf\xe9"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert (
        done.stderr == "fusionseg: error: caf\\xe9: not UTF-8, as names of files and all arguments must be; rename it\n"
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("body", ["os.kill(os.getpid(), {0}); time.sleep(9)", "print(flush=True); time.sleep(9)"])
def test_on_a_terminal_it_stops_in_one_line(number: int, body: str) -> None:
    main_end, other_end = pty.openpty()
    command = [sys.executable, "-c", stub(body.format(number))]
    with subprocess.Popen(command, stdin=other_end, stdout=other_end, stderr=other_end, start_new_session=True) as run:
        os.close(other_end)
        said = os.read(main_end, 999)
        if said.strip() == b"":
            run.send_signal(number)
            said = os.read(main_end, 999)
        assert run.wait() == 130
    assert said.decode().strip() == "fusionseg: stopped; the same command goes on from here"
    os.close(main_end)


def test_stopped_while_words_are_looked_at_it_says_so() -> None:
    code = stub("pass").replace(
        "from fusionseg.cli import main\n",
        "from fusionseg.cli import main\nimport typer.core\n"
        "def slow(*arguments, **options): os.kill(os.getpid(), signal.SIGINT); time.sleep(9)\n"
        "typer.core.TyperGroup.make_context = slow\n",
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "fusionseg: stopped; the same command goes on from here\n")


def test_a_terminal_that_was_closed_stops_nothing(tmp_path: Path) -> None:
    main_end, other_end = pty.openpty()
    body = f"sys.stdin.read(); print(1, flush=True); open('{tmp_path / 'done'}', 'w').write('whole')"
    ignoring = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); " + stub(body)
    command = [sys.executable, "-c", ignoring]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=other_end, stderr=other_end) as run:
        os.close(other_end)
        os.close(main_end)
        run.communicate()
    assert run.returncode == 0 and (tmp_path / "done").read_text() == "whole"


def test_commands_run_in_any_thread() -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main(["--help"])))
    thread.start()
    thread.join()
    assert codes == [0]


@pytest.mark.parametrize(
    "words", [["show", ""], ["data", "check", "folder", "--data", ""], ["artifacts", "--out", " "]]
)
def test_an_empty_argument_is_nothing(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """It would be the current folder."""
    assert main(words) == 2
    assert "an empty argument is no path, name or value" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("appearance-training.steps=true", "expected a whole number, found True"),
        ("appearance-training.lr_head=true", "expected a number, found True"),
        ("appearance-training.batch=99999999", "expected 65536 or less"),
        (f"run.workers={'9' * 10_000}", "expected a whole number with fewer digits, found '999"),
    ],
)
def test_slips_in_numbers(setting: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--dry-run", "--out", str(tmp_path / "out"), "--set", setting]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and len(error) < 500


def test_own_videos_are_never_the_built_in_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = ["--set", 'data.scored=[{manifest="folder", split="all"}]', "--out", str(tmp_path / "out")]
    assert main(["demo", "--plain", *own]) == 2
    assert "no folder for the data set folder; give it with --data" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_store_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("words")
    for dry in ([], ["--dry-run"]):
        assert main(["demo", "--plain", *dry, "--out", str(tmp_path / "file")]) == 2
        assert "is a file; expected a folder" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../digests", "a/b", "x" * 101])
def test_names_that_no_run_has(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", name, "demo", "--out", str(tmp_path)]) == 2
    assert "expected at most 100 letters, digits" in capsys.readouterr().err
