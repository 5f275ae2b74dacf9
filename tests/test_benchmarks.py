"""Every benchmark can be started: a refactoring can't break what they import, nor how they say what they take."""

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
