"""What follows from the graph: the files that hold it are up to date, and a new stage needs no other file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from layers import LAYERS
from tiny import write_profile

import fusionseg.pipeline
from fusionseg.flows import derived
from fusionseg.pipeline.graph import EVERY

CHECKOUT = Path(__file__).resolve().parents[2]


def test_files_are_as_the_graph_says() -> None:
    assert (CHECKOUT / "prefect.yaml").read_text() == derived.deployments(), "run make"
    assert derived.dag() in (fusionseg.pipeline.__doc__ or ""), "run make"


def test_every_stage_is_deployed() -> None:
    declared = yaml.safe_load(derived.deployments())["deployments"]
    names = {entry["entrypoint"].rpartition(":")[2] for entry in declared}
    assert names == {"fusionseg_flow", *(stage.name.replace("-", "_") for stage in EVERY)}


def test_the_map_shows_the_layers_that_are_tested() -> None:
    text = (fusionseg.pipeline.__doc__ or "").partition("other.\n\n")[2]
    shown: list[tuple[str, ...]] = []
    for line in text.splitlines():
        first, *rest = line.split()
        if first == "|":
            shown[-1] += (rest[0],)
        else:
            shown.append((first, rest[1]) if rest[:1] == ["|"] else (first,))
    assert shown == list(LAYERS)


STAGE = """    Stage(
        "mask-areas", "area of every joint mask", 1, "video", data={"scored": ()}, needs=("prediction",),
    ),
)
FINAL ="""
MODULE = '''"""Stage `mask-areas`: how large the joint mask of every frame is."""

import pandas as pd


def compute(work, writer):
    """Write the table `areas`: frame, area (px)."""
    with work.open("prediction") as masks:
        areas = [int((masks.frame("joint", n) > 0).sum()) for n in range(masks.length("joint"))]
    writer.table("areas", pd.DataFrame({"frame": range(len(areas)), "area": areas}))
    writer.counts["frames"] = len(areas)
'''
LOAD = """
from prefect.flows import load_flow_from_entrypoint
print(load_flow_from_entrypoint("flows/stages.py:mask_areas").name)
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the checkout with a stage more: a module, and its declaration."""
    folder = tmp_path / "copy"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    for name in filter(None, tracked.stdout.split("\0")):
        if (CHECKOUT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((CHECKOUT / name).read_bytes())
    (folder / "pipeline/stages/mask_areas.py").write_text(MODULE)
    graph = folder / "pipeline/graph.py"
    graph.write_text(graph.read_text().replace(")\nFINAL =", STAGE, 1))
    return folder


@pytest.mark.system
def test_a_new_stage_touches_its_own_file_and_the_graph_alone(copy: Path, tmp_path: Path) -> None:
    own = {"PYTHONPATH": str(copy), "PREFECT_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "2"}

    def python(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=copy, capture_output=True, text=True, env=os.environ | own
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run = (
        "-m",
        "fusionseg.cli",
        "run",
        str(write_profile(tmp_path)),
        "--device",
        "cpu",
        "--out",
        str(tmp_path / "out"),
    )
    plain = python(*run, "--plain")
    assert "[13/13]" in plain and "mask-areas           2 videos    computed" in plain
    made = {path.name: path.read_bytes() for path in (tmp_path / "out/artifacts/mask-areas").rglob("*.h5")}
    assert len(made) == 2
    again = python(*run, "--refresh", "mask-areas")  # under Prefect
    assert "mask-areas           2 videos    computed" in again and again.count("cached") == 12
    assert {path.name for path in (tmp_path / "out/artifacts/mask-areas").rglob("*.h5")} == made.keys()
    assert "verified" in python(
        "-m", "fusionseg.cli", "artifacts", "--stage", "mask-areas", "--verify", "--out", str(tmp_path / "out")
    )
    assert "written anew" in python("-m", "fusionseg.flows.derived")
    assert "flows/stages.py:mask_areas" in (copy / "prefect.yaml").read_text()
    assert "mask-areas           video  <- prediction" in (copy / "pipeline/__init__.py").read_text()
    assert python("-c", LOAD).strip() == "mask-areas"
