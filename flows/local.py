"""The chain under Prefect in this process: with a server that starts and ends with it, or the one that
PREFECT_API_URL names."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

# Our own lines tell progress and errors; Prefect's would repeat each error with tracebacks.
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
os.environ.setdefault("PREFECT_CLI_PROMPT", "false")

from fusionseg.flows.stages import fusionseg_flow
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.run.runner import check
from fusionseg.pipeline.run.session import Request


def run_under_prefect(request: Request, only: str | None, refresh: Sequence[str], say: Callable[[str], None]) -> None:
    """Run the chain, or one stage, as the flow `fusionseg`. Raises UserError before anything starts, where it can."""
    check(request, only, refresh, say)
    try:
        run_flow(request, only, refresh)
    except RuntimeError as error:
        if "Failed to reach API" not in str(error):
            raise
        raise UserError(f"{error} Start that Prefect server, unset PREFECT_API_URL, or add --plain") from None


def run_flow(request: Request, only: str | None, refresh: Sequence[str]) -> None:
    """The flow `fusionseg`, with the parameters of `request`."""
    fusionseg_flow(
        profile=request.profile,
        data=list(request.data),
        out=request.out,
        name=request.name,
        overrides=list(request.overrides),
        device=request.device,
        refresh=list(refresh),
        only=only,
        shard=request.shard,
    )
