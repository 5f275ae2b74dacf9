"""The chain under Prefect in this process: with a server that starts and ends with it, or the one that
PREFECT_API_URL names."""

from __future__ import annotations

import os

# Our own lines tell progress and errors; Prefect's would repeat each error with tracebacks.
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
os.environ.setdefault("PREFECT_CLI_PROMPT", "false")

from fusionseg.flows.stages import fusionseg_flow, handing_on, say
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.run.request import Request
from fusionseg.pipeline.run.runner import open_session


def run_under_prefect(request: Request) -> None:
    """Run the chain, or one stage, as the flow `fusionseg`. Raises UserError before anything starts, where it can."""
    session = open_session(request, say)
    try:
        with handing_on(session):
            fusionseg_flow(**session.request.as_parameters())
    except RuntimeError as error:
        if "Failed to reach API" not in str(error):
            raise
        raise UserError(f"{error} Start that Prefect server, unset PREFECT_API_URL, or add --plain") from None
