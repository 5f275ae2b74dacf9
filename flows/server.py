"""The Prefect server of a run that has none: it starts while the rest is loaded, and ends with this process.

Prefect would start the same one, but only when the flow begins, and would load all of it into this process too; that
took half of a run in which everything was found.
"""

from __future__ import annotations

import atexit
import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from fusionseg.pipeline.errors import UserError

_PATIENCE = 120.0  # s; of a busy machine that makes its database for the first time
_URL = "PREFECT_API_URL"
_COMMAND = ("-m", "uvicorn", "--factory", "prefect.server.api.server:create_app", "--log-level", "error")
_WITHOUT = "add --plain to run without"
# As Prefect sets them for a server of this kind.
_SETTINGS = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
# One on this machine that doesn't answer after 14 s of waiting is gone; after Prefect's five tries it would be minutes.
_RETRIES = "3"
# Of a server that is named: how often it is asked, how long it may take to answer and what lies between (s). Each time
# Prefect's client tries thrice to connect, which takes 1.5 s where that is refused.
_TRIES, _ANSWER, _PAUSE = 2, 3.0, 0.5


class Server:
    """A server on loopback, in a process of its own."""

    def __init__(self) -> None:
        # The server gets the port itself, not its number: between two processes nobody else can take it.
        with socket.socket() as port:
            port.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{port.getsockname()[1]}/api"
            self._log = tempfile.TemporaryFile()  # noqa: SIM115 (kept as long as the server)
            self._process = subprocess.Popen(
                [sys.executable, *_COMMAND, "--fd", str(port.fileno())],
                env=os.environ | _SETTINGS, stdout=self._log, stderr=subprocess.STDOUT, pass_fds=(port.fileno(),),
            )  # fmt: skip

    def wait(self, seconds: float = _PATIENCE) -> None:
        """Until it answers. Raises UserError."""
        end = time.monotonic() + seconds
        while not self._answers():
            if self.ended:
                raise UserError(f"Prefect's own server doesn't start ({self._last_words()}); {_WITHOUT}")
            if time.monotonic() > end:
                raise UserError(
                    f"Prefect's own server doesn't answer within {seconds:.0f} s ({self._last_words()}); is the "
                    f"machine busy? Try again, or {_WITHOUT}"
                )
            time.sleep(0.05)

    @property
    def ended(self) -> bool:
        """Whether its process is no more."""
        return self._process.poll() is not None

    def _answers(self) -> bool:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy leads to loopback
        try:
            with direct.open(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (OSError, http.client.HTTPException):
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
        os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", _RETRIES)
        atexit.register(server.stop)  # before Prefect registers what it still has to send: called after it
    return _RUNNING[0]


def is_named() -> bool:
    """Whether a server's address is set, in the environment or in one of Prefect's files (which Prefect then reads)."""
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    profiles = Path(os.environ.get("PREFECT_PROFILES_PATH", home / "profiles.toml"))
    files = (profiles, Path("prefect.toml"), Path(".env"), Path("pyproject.toml"))
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in files if path.is_file()]
    words = (_URL, "[tool.prefect", "[api]")
    return bool(os.environ.get(_URL)) or any(word in text for word in words for text in texts)


def check_named() -> None:
    """The server that Prefect's settings name answers, and is Prefect's. Raises UserError, within seconds.

    It is asked as Prefect itself would: with its headers, certificates and timeouts, but not as patiently.
    """
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    url = PREFECT_API_URL.value()
    if not url:  # Prefect brings one along
        return
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
        for left in reversed(range(_TRIES)):
            wrong, again = _asked(url)
            if not wrong:
                return
            if not (left and again):
                break
            time.sleep(_PAUSE)
    raise UserError(
        f"Prefect's server at {_without_secret(url)} {wrong}. Start it or name it rightly, unset {_URL} to run with "
        f"one of its own, or {_WITHOUT}"
    )


def _asked(url: str) -> tuple[str, bool]:
    """What is wrong with a server, if anything, and whether that may pass."""
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError

    try:
        with get_client(httpx_settings={"timeout": _ANSWER}, sync_client=True) as client:
            answer = client.request("GET", "/health")
            well = answer.json() is True
    except PrefectHTTPStatusError as error:
        code = error.response.status_code
        if code in (401, 403):
            return f"refuses access (HTTP {code}); is PREFECT_API_AUTH_STRING or PREFECT_API_KEY set?", False
        hint = "" if url.rstrip("/").endswith("/api") else "; its address ends in /api"
        return f"answers HTTP {code} where Prefect's API is looked for{hint}", code >= 500
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        return f"has no address that can be asked ({error}); expected http://HOST:PORT/api", False
    except httpx.TimeoutException:
        return f"doesn't answer within {_ANSWER:.0f} s", True
    except (httpx.HTTPError, OSError) as error:
        return f"can't be reached ({error or type(error).__name__})", True
    except ValueError:  # no JSON
        well = False
    return ("", False) if well else ("isn't Prefect's: it answers otherwise; its address ends in /api", False)


def _without_secret(url: str) -> str:
    """A URL without user and password."""
    scheme, sign, rest = url.partition("://")
    return f"{scheme}{sign}{rest.rpartition('@')[2]}"
