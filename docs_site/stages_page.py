"""The page of stages, made of the graph and of the docstrings of the stages' modules."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from diagram import draw
from doctests import fenced

from fusionseg.pipeline.graph import PRETRAINING, SECOND_ROUND, STAGES, Stage

_FLOWCHART = re.compile(r"^```mermaid\n(?:flowchart|graph)\b.*?^```$", re.MULTILINE | re.DOTALL)
_HEAD = "| stage | what it computes | once a | reads from outside | needs | settings | version |\n" + "| --- " * 7 + "|"


def page(checkout: Path) -> str:
    """All of it, as Markdown."""
    return "\n\n".join(
        [
            "# Stages",
            "This page is made of `pipeline/graph.py`, which declares the stages, and of the modules in "
            "`pipeline/stages/`, which compute them. An arrow leads from a stage to one that reads its artifacts.",
            graph_svg(),
            _table(STAGES),
            "*once a*: `video`, one artifact for every video; `model`, one file of weights. *reads from outside*: what "
            "a stage may read of the data in each role; nothing else is handed to it. *version* is part of the key "
            "of a result: a raised one computes anew.",
            "## The second round of weak labels",
            "With `weak-labels.rounds = 2` these follow `motion-training`, computed by the modules of the first round.",
            _table(SECOND_ROUND),
            "## Pre-training",
            "Where their section has steps, these go ahead of the training of the same stream, which begins with their "
            "weights.",
            _table(PRETRAINING),
            *(_about(stage, checkout) for stage in (*STAGES, *PRETRAINING)),
        ]
    )


def graph_svg() -> str:
    """The graph as a picture."""
    return draw({stage.name: stage.needs for stage in STAGES}, {stage.name: ", ".join(stage.data) for stage in STAGES})


def draw_graph(markdown: str) -> str:
    """A page whose flow chart, which needs a script to be seen, is replaced by the graph as a picture."""
    return _FLOWCHART.sub(lambda _: graph_svg(), markdown)


def _table(stages: tuple[Stage, ...]) -> str:
    return "\n".join([_HEAD, *(_row(stage) for stage in stages)])


def _row(stage: Stage) -> str:
    known = {s.name for s in (*STAGES, *PRETRAINING)}
    outside = "<br>".join(f"{role}: {', '.join(kinds)}" for role, kinds in stage.data.items() if kinds)
    return "| {} | {} | {} | {} | {} | {} | {} |".format(
        f"[`{stage.name}`](#{stage.name})" if stage.name in known else f"`{stage.name}`",
        stage.title,
        stage.unit,
        outside or "nothing",
        "<br>".join(f"[`{need}`](#{need})" if need in known else f"`{need}`" for need in stage.needs),
        "<br>".join(f"[`{section}`](settings.md#{section})" for section in stage.settings),
        stage.version,
    )


def _about(stage: Stage, checkout: Path) -> str:
    """What the module of a stage says of itself."""
    path = checkout / "pipeline" / "stages" / f"{stage.name.replace('-', '_')}.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    compute = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "compute")
    said = [text for node in (tree, compute) if (text := ast.get_docstring(node))]
    return "\n\n".join([f"## {stage.name}", *map(fenced, said)])
