"""The chain under Prefect in this process: with a server that starts and ends with it, or the one that
PREFECT_API_URL names."""

from __future__ import annotations

import os

from fusionseg.flows.server import bring_server
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.run.request import Request

# Our own lines tell progress and errors; Prefect's would repeat each error with tracebacks.
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
os.environ.setdefault("PREFECT_CLI_PROMPT", "false")
# Nothing leaves the machine.
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")


def run_under_prefect(request: Request) -> None:
    """Run the chain, or one stage, as the flow `fusionseg`. Raises UserError before anything starts, where it can."""
    server = bring_server()
    from fusionseg.flows.stages import fusionseg_flow, handing_on, say  # Prefect, while the server starts
    from fusionseg.pipeline.run.runner import open_session

    session = open_session(request, say)
    if server is not None:
        server.wait()
    try:
        with handing_on(session):
            fusionseg_flow(**session.request.as_parameters())
    except RuntimeError as error:
        if "Failed to reach API" not in str(error):
            raise
        raise UserError(f"{error} Start that Prefect server, unset PREFECT_API_URL, or add --plain") from None
