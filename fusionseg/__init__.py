"""FusionSeg: the object that moves in a video, as a mask, with no click and no prompt.

    >>> import fusionseg
    >>> sorted(fusionseg.__all__)
    ['Request', 'UserError', 'estimate_flow', 'list_artifacts', 'read_frame', 'read_table', 'read_verdicts', 'run']

`run(Request("davis", data=("../data",)))` runs the whole chain without Prefect; `read_table` loads a table of an
artifact as a DataFrame, `read_frame` a frame of an artifact as an array, `read_verdicts` what was measured of all boxes
of a run; `list_artifacts(root)` gives a table of all artifacts; `estimate_flow` is the flow that stages use. Each path
may be a string or any `os.PathLike`.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fusionseg.pipeline.errors import UserError
    from fusionseg.pipeline.flow.estimation import estimate as estimate_flow
    from fusionseg.pipeline.report.verdicts import read_verdicts
    from fusionseg.pipeline.run.request import Request
    from fusionseg.pipeline.run.runner import run_plain as run
    from fusionseg.pipeline.store.artifacts import list_artifacts
    from fusionseg.pipeline.store.reading import read_frame, read_table

# Threads that wait for each other sleep instead of spinning. On an idle machine that costs a training step a quarter
# (183 ms against 140), with one core busy it nearly halves it (284 ms against 526; benchmarks/threads.py), and our own
# threads that read data keep cores busy. Must be set before torch is loaded; whoever sets it otherwise has his way.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# In a checkout the rooms lie beside this folder, not in it: let `PYTHONPATH=. python` find them without installing.
_CHECKOUT = Path(__file__).resolve().parent.parent
if (_CHECKOUT / "pyproject.toml").exists() and (_CHECKOUT / "pipeline" / "graph.py").exists():
    __path__.append(str(_CHECKOUT))

# Loaded when asked for: importing torch takes seconds, and `fusionseg --help` needs none of it.
_HOMES = {
    "Request": ("run.request", "Request"),
    "UserError": ("errors", "UserError"),
    "estimate_flow": ("flow.estimation", "estimate"),
    "list_artifacts": ("store.artifacts", "list_artifacts"),
    "read_frame": ("store.reading", "read_frame"),
    "read_table": ("store.reading", "read_table"),
    "read_verdicts": ("report.verdicts", "read_verdicts"),
    "run": ("run.runner", "run_plain"),
}
__all__ = [
    "Request", "UserError", "estimate_flow", "list_artifacts", "read_frame", "read_table", "read_verdicts", "run",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module 'fusionseg' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    try:
        return getattr(importlib.import_module(f"fusionseg.pipeline.{module}"), attribute)
    except ImportError as error:
        from fusionseg.machine import explained

        reason = explained(error)
        raise (ImportError(reason) if reason else error) from error.__cause__


def _version() -> str:
    """The installed package's, or that of the checkout that this is."""
    import importlib.metadata  # what few ask for: Ctrl-C while the package loads finds no orderly end
    import tomllib

    if (project := _CHECKOUT / "pyproject.toml").exists():
        return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])
    return importlib.metadata.version("fusionseg")
