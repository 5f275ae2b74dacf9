"""The public face: few names, loaded when asked for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_fixtures import make_run
from tiny import write_profile

import fusionseg


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("name", fusionseg.__all__)
def test_public_names_are_there(name: str) -> None:
    assert callable(getattr(fusionseg, name))


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonesuch'"):
        fusionseg.nonesuch  # noqa: B018


def test_import_loads_no_torch_and_sets_how_threads_wait() -> None:
    code = "import os, sys, fusionseg; print('torch' in sys.modules, os.environ['OMP_WAIT_POLICY'])"
    assert python(code) == "False PASSIVE"
    assert python("import os; os.environ['OMP_WAIT_POLICY'] = 'ACTIVE'\n" + code) == "False ACTIVE"


class Place:
    """A path that is no `Path`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __fspath__(self) -> str:
        return str(self._path)


PATHS = (Path, str, Place)


@pytest.mark.parametrize("kind", PATHS)
def test_public_functions_take_any_path(kind: Callable[[Path], Any], tmp_path: Path) -> None:
    tiny = make_run(tmp_path)
    root, path = kind(tiny.root), kind(tiny.path("flow-filter", "boxed"))
    table = fusionseg.list_artifacts(root)
    assert set(table["state"]) == {"intact"} and "flow-filter" in set(table["stage"])
    verdicts = fusionseg.read_verdicts(root, "tiny")
    assert len(verdicts) == len(fusionseg.read_table(path, "verdicts")) == 5
    assert fusionseg.read_frame(path, "labels", 0).ndim == 2
    weights, frame = kind(tmp_path / "none.pth"), np.zeros((16, 16, 3), np.uint8)
    with pytest.raises(fusionseg.UserError, match=r"none\.pth"):
        fusionseg.estimate_flow(frame, frame + 1, "raft-small", weights=weights)
    profile = write_profile(tmp_path)
    request = fusionseg.Request(kind(profile), kind(tmp_path / "data"), kind(tmp_path / "out"))
    assert request == fusionseg.Request(str(profile), (str(tmp_path / "data"),), str(tmp_path / "out"))
    assert request.settings.name == "tiny" and request.root == tmp_path / "out"


@pytest.mark.parametrize("kind", PATHS)
def test_a_store_that_is_not_there_is_said(kind: Callable[[Path], Any], tmp_path: Path) -> None:
    write_profile(tmp_path)
    for root, found in ((tmp_path / "nowhere", "no such folder"), (tmp_path / "tiny.toml", "not a folder")):
        for read in (fusionseg.list_artifacts, lambda out: fusionseg.read_verdicts(out, "davis")):
            with pytest.raises(fusionseg.UserError, match=f"{root}: {found}; expected the folder that runs"):
                read(kind(root))


def test_verdicts_of_a_run_that_is_not_there_or_stopped(tmp_path: Path) -> None:
    tiny = make_run(tmp_path)
    with pytest.raises(fusionseg.UserError, match=r"no run 'typo' .*known: tiny"):
        fusionseg.read_verdicts(tiny.root, "typo")
    del tiny.record["stages"]["flow-filter"]
    tiny.save()
    with pytest.raises(fusionseg.UserError, match=r"'tiny' has no weak labels: .*lacks .*flow-filter"):
        fusionseg.read_verdicts(tiny.root, "tiny")
