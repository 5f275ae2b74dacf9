"""The server that a run brings along."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fusionseg.flows import server
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
    with pytest.raises(UserError, match="it says nothing"):
        found.wait(0.2)
    found.stop()
    assert found._process.poll() is not None


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
