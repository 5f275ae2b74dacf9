"""The built wheel works outside the checkout, beside folders of the same names."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # From a copy: setuptools leaves build folders behind.
    source = folder / "source"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    for name in filter(None, tracked.stdout.split("\0")):
        if (CHECKOUT / name).is_file():
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((CHECKOUT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


def test_wheel_holds_code_profiles_manifests_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "fusionseg/profiles/paper.toml" in names
    assert "fusionseg/data_manifests/davis2016-small.yaml" in names
    assert "fusionseg/pipeline/pages/templates/report.html.j2" in names
    assert "fusionseg/py.typed" in names
    assert "fusionseg/weights/__init__.py" in names
    for card in CHECKOUT.glob("weights/*/card.md"):
        files = {path.name for path in card.parent.iterdir()}
        assert {f"fusionseg/weights/{card.parent.name}/{name}" for name in files} <= set(names)
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"fusionseg"}


def test_installed_wheel_runs_beside_folders_of_the_same_names(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "installed"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run(install, check=True)
    research = tmp_path / "research"  # somebody's own checkout, with rooms of the same names
    for name in ("models", "pipeline", "flows"):
        (research / name).mkdir(parents=True)
        (research / name / "__init__.py").write_text("raise ImportError('the wrong one')")
    script = research / "script.py"
    script.write_text(
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import numpy as np, fusionseg\n"
        "assert fusionseg.__file__.startswith(sys.argv[1]), fusionseg.__file__\n"
        "frame = np.zeros((32, 40, 3), np.uint8)\n"
        "assert fusionseg.estimate_flow(frame, frame).shape == (32, 40, 2)\n"
        "from fusionseg.cli import main\n"
        "sys.exit(main(['demo', '--plain', '--only', 'optical-flow', '--set', 'render.frames=3',\n"
        "  '--set', 'render.stills=1', '--set', 'render.boxed_videos=1', '--set', 'render.fusion_videos=1',\n"
        "  '--set', 'render.validation_videos=1', '--set', 'render.test_videos=1', '--out', 'out']))\n"
    )
    done = subprocess.run([sys.executable, str(script), str(target)], cwd=research, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 videos" in done.stdout
