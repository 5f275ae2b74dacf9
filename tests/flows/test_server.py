"""The server that a run brings along."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from tiny import write_profile

from fusionseg.flows import local, server
from fusionseg.pipeline.errors import UserError


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder and a home of Prefect's without any settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.delenv("PREFECT_PROFILES_PATH", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path


def test_no_server_is_named(nowhere: Path) -> None:
    assert not server.is_named()
    (nowhere / "pyproject.toml").write_text("[tool.ruff]\n")
    (nowhere / "home/profiles.toml").write_text('active = "ephemeral"\n[profiles.ephemeral]\n')
    assert not server.is_named()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("home/profiles.toml", '[profiles.team]\nPREFECT_API_URL = "http://team:4200/api"\n'),
        ("prefect.toml", '[api]\nurl = "http://team:4200/api"\n'),
        ("pyproject.toml", '[tool.prefect.api]\nurl = "http://team:4200/api"\n'),
        (".env", "PREFECT_API_URL=http://team:4200/api\n"),
    ],
)
def test_a_server_that_prefect_s_settings_name_is_left_to_prefect(nowhere: Path, file: str, text: str) -> None:
    (nowhere / file).write_text(text)
    assert server.is_named() and server.bring_server() is None


def test_a_server_of_the_environment(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://team:4200/api")
    assert server.is_named()


def test_a_server_that_ends_at_once_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_COMMAND", ("-c", "raise SystemExit('no room for a database')"))
    with pytest.raises(UserError, match=r"doesn't start \(no room for a database\); add --plain"):
        server.Server().wait()


def test_one_that_never_answers_is_waited_for_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_COMMAND", ("-c", "import time; time.sleep(60)"))
    found = server.Server()
    with pytest.raises(
        UserError, match=r"doesn't answer within 0 s \(it says nothing\); .* add --plain to run without"
    ):
        found.wait(0.2)
    found.stop()
    assert found.ended


class Clock:
    """A busy machine on which a server takes its time, without anybody waiting for it."""

    def __init__(self, answers_at: float) -> None:
        self.now, self.answers_at = 0.0, answers_at

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def answers(self) -> bool:
        return self.now >= self.answers_at


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], server.Server]]:
    """A server that answers after so many seconds of a clock of its own."""
    made: list[server.Server] = []

    def start(seconds: float) -> server.Server:
        clock = Clock(seconds)
        monkeypatch.setattr(server, "_COMMAND", ("-c", "import time; time.sleep(60)"))
        monkeypatch.setattr(server, "time", clock)
        monkeypatch.setattr(server.Server, "_answers", clock.answers)
        made.append(server.Server())
        return made[0]

    yield start
    made[0].stop()


def test_a_busy_machine_is_waited_for(late: Callable[[float], server.Server]) -> None:
    late(100.0).wait()


def test_a_server_that_never_answers_ends_in_one_line(late: Callable[[float], server.Server]) -> None:
    with pytest.raises(
        UserError, match=r"doesn't answer within 120 s .*is the machine busy\? Try again, or add --plain"
    ):
        late(10_000.0).wait()


class Answers(BaseHTTPRequestHandler):
    """What a web server answers, by path; "/auth" wants a password, "/busy" is well the second time."""

    def do_GET(self) -> None:
        asked.append(self.path)
        known = {"/prefect/health": (200, b"true"), "/page/health": (200, b"<html>"), "/other/health": (200, b"{}")}
        status, text = known.get(self.path, (404, b"no"))
        if self.path == "/auth/health":
            given = base64.b64decode(self.headers.get("Authorization", "").removeprefix("Basic "))
            status, text = (200, b"true") if given == b"me:secret" else (401, b"no")
        if self.path == "/busy/health":
            status, text = (503, b"wait") if asked.count(self.path) < 2 else (200, b"true")
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


asked: list[str] = []


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(server, "_PAUSE", 0.0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()


def check(url: str, auth: str | None = None) -> None:
    with temporary_settings({PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: auth}):
        server.check_named()


def test_a_named_server_is_asked_as_prefect_asks(web: str) -> None:
    check(f"{web}/prefect")
    check(f"{web}/prefect/")
    check(f"{web}/busy")
    check(f"{web}/auth", "me:secret")


@pytest.mark.parametrize(
    ("path", "said", "tries"),
    [
        ("", r"answers HTTP 404 where Prefect's API is looked for; its address ends in /api\. Start it", 1),
        ("/api", r"answers HTTP 404 where Prefect's API is looked for\. Start it", 1),
        ("/page", "isn't Prefect's: it answers otherwise", 1),
        ("/other", "isn't Prefect's: it answers otherwise", 1),
        ("/auth", r"refuses access \(HTTP 401\); is PREFECT_API_AUTH_STRING", 1),
    ],
)
def test_what_is_no_server_of_prefect_s(web: str, path: str, said: str, tries: int) -> None:
    with pytest.raises(UserError, match=said) as caught:
        check(web + path)
    assert len(asked) == tries
    text = str(caught.value)
    assert f"{web}{path} " in text and "unset PREFECT_API_URL" in text and "--plain" in text and "\n" not in text


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:{port}/api", "can't be reached"),
        ("http://me:secret@127.0.0.1:{port}/api", r"at http://127\.0\.0\.1:\d+/api can't be reached"),
        ("127.0.0.1/api", "expected http://HOST:PORT/api"),
        ("ftp://host/api", "expected http://HOST:PORT/api"),
        ("http://127.0.0.1:99999/api", "can't be reached|expected http"),
    ],
)
def test_servers_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch, url: str, said: str) -> None:
    monkeypatch.setattr(server, "_TRIES", 1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(UserError, match=said) as caught:
            check(url.format(port=free.getsockname()[1]))
    assert "secret" not in str(caught.value)


def test_https_where_there_is_none(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_TRIES", 1)
    with pytest.raises(UserError, match=r"can't be reached \(.*SSL"):
        check(f"{web.replace('http:', 'https:')}/prefect")


def test_a_server_that_hangs_is_left_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_ANSWER", 0.1)
    monkeypatch.setattr(server, "_PAUSE", 0.0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(UserError, match="doesn't answer within"):
            check(f"http://127.0.0.1:{silent.getsockname()[1]}/api")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (httpx.ConnectError("refused"), "the one that PREFECT_API_URL names, no longer answers as it should (refused)"),
        (httpx.ReadTimeout(""), "no longer answers as it should (ReadTimeout)"),
        (RuntimeError("Failed to reach API at http://x"), "what was computed is kept: run the same command again"),
        (PrefectException("odd"), "add --plain to run without"),
    ],
)
def test_a_server_lost_in_mid_run_is_one_line(error: Exception, said: str) -> None:
    assert said in local._lost(error, None) and "\n" not in local._lost(error, None)


@pytest.mark.parametrize(
    "error", [UserError("x"), RuntimeError("x"), OSError(28, "No space left on device"), KeyError(1)]
)
def test_other_errors_in_mid_run_are_what_they_are(error: Exception) -> None:
    assert local._lost(error, None) == ""


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PREFECT_API_URL", "http://[::1/api"),
        ("PREFECT_CLIENT_MAX_RETRIES", "many"),
        ("PREFECT_PROFILES_PATH", "p.toml"),
    ],
)
def test_settings_of_prefect_s_that_cannot_be_read_are_one_line(nowhere: Path, variable: str, value: str) -> None:
    (nowhere / "p.toml").write_text("not = [toml")
    command = [sys.executable, "-m", "fusionseg.cli", "demo", "--out", str(nowhere / "out")]
    done = subprocess.run(command, env=os.environ | {variable: value}, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert (
        done.stderr.startswith("fusionseg: error: Prefect's settings can't be read (") and done.stderr.count("\n") == 1
    )


BRING = """
from fusionseg.flows.server import bring_server
server = bring_server()
assert bring_server() is server
server.wait()
print(server._process.pid)
"""


@pytest.mark.system
def test_it_ends_with_the_process(nowhere: Path) -> None:
    done = subprocess.run([sys.executable, "-c", BRING], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)


KILL = """
import os, signal, sys
from fusionseg.cli import main
from fusionseg.flows import server
from fusionseg.pipeline.run import session

kept = session.Session._note
def note(self, plan, records):
    kept(self, plan, records)
    if plan.stage.name == "flow-images":
        server._RUNNING[0]._process.kill()
session.Session._note = note
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.system
def test_a_run_whose_server_dies_ends_in_one_line_and_goes_on_without(nowhere: Path) -> None:
    write_profile(nowhere)
    words = ["run", str(nowhere / "tiny.toml"), "--out", str(nowhere / "out"), "--device", "cpu"]
    environment = os.environ | {"PREFECT_CLIENT_MAX_RETRIES": "0"}
    done = subprocess.run([sys.executable, "-c", KILL, *words], env=environment, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("fusionseg: error: Prefect's server, the one of its own, ended (")
    assert done.stderr.count("\n") == 1 and "flow-images" in done.stdout
    assert sorted((nowhere / "out/artifacts/flow-images").rglob("*.h5")), "what was computed is kept"


@pytest.mark.system
def test_a_named_server_that_is_not_there_is_told_before_anything_starts(nowhere: Path) -> None:
    write_profile(nowhere)
    environment = os.environ | {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    words = ["run", str(nowhere / "tiny.toml"), "--out", str(nowhere / "out")]
    begun = time.monotonic()
    command = [sys.executable, "-m", "fusionseg.cli", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and time.monotonic() - begun < 30  # s; 3 of them for asking, the rest for loading
    assert done.stderr.startswith("fusionseg: error: Prefect's server at http://127.0.0.1:9/api can't be reached (")
    assert done.stdout == "" and done.stderr.count("\n") == 1 and not (nowhere / "out").exists()
