"""The house: which room may import which, what is loaded for a look, and how large things may grow."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from layers import LAYERS

CHECKOUT = Path(__file__).resolve().parents[2]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
ROOMS = sorted(path.name for path in (CHECKOUT / "pipeline").iterdir() if (path / "__init__.py").exists())


def modules(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((CHECKOUT / folder).rglob("*.py"))]


def imported(path: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it, also for type checking."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def offenders(folder: str, *forbidden: str) -> list[tuple[str, str]]:
    return [
        (path.name, module)
        for path in modules(folder)
        for module in imported(path)
        if any(f"{module}.".startswith(f"{name}.") for name in forbidden)
    ]


def test_imports_run_one_way() -> None:
    assert offenders("models", "prefect", "fusionseg.flows", "fusionseg.pipeline", "flows", "pipeline") == []
    assert offenders("pipeline", "prefect", "fusionseg.flows", "flows", "fusionseg.cli") == []
    assert offenders("flows", "fusionseg.cli") == []


def test_every_module_is_in_a_room_and_every_room_in_a_layer() -> None:
    loose = {path.stem for path in (CHECKOUT / "pipeline").glob("*.py")} - {"__init__"}
    assert {*ROOMS, *loose} == set(LEVEL)


def room_of(path: Path) -> str:
    inside = path.relative_to(CHECKOUT / "pipeline")
    return inside.parts[0].removesuffix(".py")


def test_a_layer_imports_only_layers_below_it() -> None:
    wrong = []
    for path in modules("pipeline"):
        own = room_of(path)
        for module in imported(path):
            parts = module.split(".")
            inside = parts[:2] == ["fusionseg", "pipeline"] and own != "__init__" and parts[2] != own
            if inside and LEVEL[parts[2]] <= LEVEL[own]:
                wrong.append((str(path.relative_to(CHECKOUT)), module))
    assert wrong == []


def test_nothing_grows_too_large() -> None:
    folders = {path.parent for path in modules("pipeline", "models", "flows", "fusionseg")}
    assert {str(f): n for f in folders if (n := len(list(f.glob("*.py")))) > 16} == {}
    lines = {str(p): len(p.read_text().splitlines()) for p in modules("pipeline", "models", "flows", "fusionseg")}
    assert {path: count for path, count in lines.items() if count > 400} == {}


def test_functions_are_short() -> None:
    lengths = [
        (node.end_lineno or node.lineno) - node.lineno + 1
        for path in modules("pipeline", "models", "flows", "fusionseg")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    ]
    assert statistics.median(lengths) < 10


def loaded(code: str, *packages: str) -> list[str]:
    """Which of these packages a piece of code loads, in a process of its own."""
    asked = f"\nimport sys; print(*sorted({set(packages)!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code + asked], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()


@pytest.mark.parametrize(
    "module",
    ["graph", "run.session", "run.runner", "store.artifacts", "report.listing", "report.report", "datasets.check"],
)
def test_what_only_looks_loads_no_engine(module: str) -> None:
    assert loaded(f"import fusionseg.pipeline.{module}", "torch", "timm", "prefect", "av", "scipy") == []


def test_the_graph_loads_nothing() -> None:
    heavy = ("torch", "numpy", "pandas", "cv2", "h5py", "pydantic")
    assert loaded("import fusionseg.pipeline.graph", *heavy) == []


def test_a_table_of_artifacts_loads_no_engine(tmp_path: Path) -> None:
    code = f"from fusionseg.cli import main; main(['artifacts', '--out', {str(tmp_path)!r}])"
    assert loaded(code, "torch", "timm", "prefect") == []
