"""The public face: few names, loaded when asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
