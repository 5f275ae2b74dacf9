"""Every benchmark can be started: a refactoring can't break what they import, nor how they say what they take."""

import ast
import runpy
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
SCRIPTS = sorted(FOLDER.glob("*.py"))


def test_there_are_benchmarks() -> None:
    assert {"startup.py", "training_step.py"} <= {path.name for path in SCRIPTS}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_it_imports_and_shows_its_help(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(FOLDER)  # as Python does for a script
    names = runpy.run_path(str(path), run_name="benchmark")
    if "argparse" not in names:
        return
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as ended:
        names["main"]()
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: {path.name}")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_threads_wait_as_in_the_chain(path: Path) -> None:
    """`fusionseg` says how threads wait, and only before PyTorch is loaded: else a benchmark times another policy."""
    loaded = []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            loaded += [alias.name.partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            loaded.append((node.module or "").partition(".")[0])
    if "torch" in loaded:
        assert "fusionseg" in loaded[: loaded.index("torch")], "import fusionseg before torch"
