"""The Prefect server of a run that has none: it starts while the rest is loaded, and ends with this process.

Prefect would start the same one, but only when the flow begins, and would load all of it into this process too; that
took half of a run in which everything was found.
"""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from fusionseg.pipeline.errors import UserError

_PATIENCE = 120.0  # s; of a busy machine that makes its database for the first time
_URL = "PREFECT_API_URL"
_COMMAND = ("-m", "uvicorn", "--factory", "prefect.server.api.server:create_app", "--host", "127.0.0.1")
# As Prefect sets them for a server of this kind.
_SETTINGS = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}


class Server:
    """A server on loopback, in a process of its own."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{port}/api"
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (kept as long as the server)
        self._process = subprocess.Popen(
            [sys.executable, *_COMMAND, "--port", str(port), "--log-level", "error"],
            env=os.environ | _SETTINGS, stdout=self._log, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def wait(self, seconds: float = _PATIENCE) -> None:
        """Until it answers. Raises UserError."""
        end = time.monotonic() + seconds
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                raise UserError(
                    f"Prefect's own server doesn't start ({self._last_words()}); add --plain to run without"
                )
            time.sleep(0.05)

    def _answers(self) -> bool:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy leads to loopback
        try:
            with direct.open(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it says nothing")

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


_RUNNING: list[Server] = []


def bring_server() -> Server | None:
    """The server that this process brings along, started now, before Prefect is loaded; None where one is named."""
    if not _RUNNING:
        if is_named():
            return None
        server = Server()
        _RUNNING.append(server)
        os.environ[_URL] = server.url
        atexit.register(server.stop)  # before Prefect registers what it still has to send: called after it
    return _RUNNING[0]


def is_named() -> bool:
    """Whether a server's address is set, in the environment or in one of Prefect's files (which Prefect then reads)."""
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    profiles = Path(os.environ.get("PREFECT_PROFILES_PATH", home / "profiles.toml"))
    files = (profiles, Path("prefect.toml"), Path(".env"), Path("pyproject.toml"))
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in files if path.is_file()]
    return _URL in os.environ or any(word in text for word in (_URL, "[tool.prefect", "[api]") for text in texts)
