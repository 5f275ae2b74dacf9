"""The chain under Prefect in this process: with a server that starts and ends with it, or the one that
PREFECT_API_URL names."""

from __future__ import annotations

import contextlib
import io
import os

from pydantic import ValidationError

from fusionseg.flows.server import Server, bring_server, check_named
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.run.request import Request

# Our own lines tell progress and errors; Prefect's would repeat each error with tracebacks.
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
os.environ.setdefault("PREFECT_CLI_PROMPT", "false")
# Nothing leaves the machine.
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")

_UNREADABLE = "Prefect's settings can't be read"
_MEND = "mend them (variables PREFECT_..., its profiles.toml, prefect.toml), or add --plain to run without"


def run_under_prefect(request: Request) -> None:
    """Run the chain, or one stage, as the flow `fusionseg`. Raises UserError before anything starts, where it can."""
    server = bring_server()
    _check_settings()
    if server is None:
        check_named()
    from fusionseg.flows.stages import fusionseg_flow, handing_on, say  # Prefect, while the server starts
    from fusionseg.pipeline.run.runner import open_session

    session = open_session(request, say)
    if server is not None:
        server.wait()
    try:
        with handing_on(session):
            fusionseg_flow(**session.request.as_parameters())
    except Exception as error:
        if lost := _lost(error, server):
            raise UserError(lost) from None
        raise


def _check_settings() -> None:
    """Prefect's settings can be read. Raises UserError."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # Prefect says it, too, in many lines
            from prefect.settings import get_current_settings

            get_current_settings()
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(map(str, wrong["loc"]))
        raise UserError(f"{_UNREADABLE} ({f'{where}: ' if where else ''}{wrong['msg']}); {_MEND}") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{_UNREADABLE} ({' '.join(str(error).split())}); {_MEND}") from None


def _lost(error: Exception, server: Server | None) -> str:
    """What is said where Prefect's server was lost in mid-run; empty where an error is another."""
    import httpx
    from prefect.exceptions import PrefectException

    of_prefect = isinstance(error, httpx.HTTPError | PrefectException) or "Failed to reach API" in str(error)
    if not of_prefect:
        return ""
    which = "of its own" if server is not None else "that PREFECT_API_URL names"
    how = "ended" if server is not None and server.ended else "no longer answers as it should"
    said = " ".join(str(error).split())[:200] or type(error).__name__
    return (
        f"Prefect's server, the one {which}, {how} ({said}); what was computed is kept: run the same command again, or "
        "add --plain to run without"
    )
