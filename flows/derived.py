"""What follows from the graph and is kept in files: deployments in `prefect.yaml`, the DAG in `pipeline/__init__.py`.

`make` writes them anew when the graph changes; a test compares. By hand: `python -m fusionseg.flows.derived`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from fusionseg.pipeline.graph import EVERY, PRETRAINING, SECOND_ROUND, STAGES, Stage

_HEAD = """\
# Deployments of the whole chain and of every stage, written by `make` from pipeline/graph.py. From this folder:
#   prefect server start
#   prefect work-pool create fusionseg --type process
#   prefect --no-prompt deploy --all
#   prefect worker start --pool fusionseg
#   prefect deployment run fusionseg/chain --param profile=demo
name: fusionseg
pull:
  - prefect.deployments.steps.set_working_directory:
      directory: "{{ $PWD }}"

definitions:
  work_pool: &pool
    name: fusionseg

deployments:
"""
_DAG = re.compile(r"(?<=^DAG\n---\n\n)(    .*\n|\n)+(?=\nRooms\n)", re.MULTILINE)


def deployments() -> str:
    """The text of `prefect.yaml`."""
    entries = [_deployment("chain", "fusionseg_flow", "the whole chain")]
    entries += [_deployment("stage", stage.name.replace("-", "_"), stage.title) for stage in EVERY]
    return _HEAD + "".join(entries)


def _deployment(name: str, flow: str, description: str) -> str:
    entry = f'name: {name}, entrypoint: "flows/stages.py:{flow}", work_pool: *pool, description: "{description}"'
    return f"  - {{{entry}}}\n"


def dag() -> str:
    """The graph as text: a line a stage, what it is made of after the arrow."""
    second = ["    With weak-labels.rounds = 2, after motion-training:\n", *_lines(SECOND_ROUND)]
    before = ["\n    Where their section has steps, ahead of the training of the same stream:\n", *_lines(PRETRAINING)]
    return "".join([*_lines(STAGES), "\n", *second, *before])


def _lines(stages: Iterable[Stage]) -> list[str]:
    return [f"    {stage.name:19}  {stage.unit:5}  <- {', '.join(_origins(stage))}\n" for stage in stages]


def _origins(stage: Stage) -> list[str]:
    """The stages that it needs, and what it reads from outside."""
    kinds: dict[tuple[str, ...], list[str]] = {}
    for role, read in stage.data.items():
        kinds.setdefault(read, []).append(role)
    outside = [f"{' + '.join(read)} of {' | '.join(roles)}" for read, roles in kinds.items() if read]
    return [*stage.needs, *(f"({text})" for text in outside)]


def write(checkout: Path) -> list[Path]:
    """Write both files where they differ; those that did."""
    module = checkout / "pipeline" / "__init__.py"
    wanted = {
        checkout / "prefect.yaml": deployments(),
        module: _DAG.sub(lambda _: dag(), module.read_text(encoding="utf-8")),
    }
    changed = [path for path, text in wanted.items() if path.read_text(encoding="utf-8") != text]
    for path in changed:
        path.write_text(wanted[path], encoding="utf-8")
    return changed


if __name__ == "__main__":
    for path in write(Path(__file__).resolve().parents[1]):
        print(f"written anew: {path}")
