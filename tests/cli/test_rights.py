"""A user who may not read, or not write, is told so in one line; nothing is half-written."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny import PROFILE

CHECKOUT = Path(__file__).resolve().parents[2]
# Root may do all by these two capabilities: to pass over the rights of files, and of folders. Linux's prctl takes them.
DROP, CAPABILITIES = 24, (1, 2)


def give_up_rights() -> None:
    """From the next program on, root may do what a user may."""
    if os.geteuid() == 0:
        for capability in CAPABILITIES:
            ctypes.CDLL(None).prctl(DROP, capability, 0, 0, 0)


@pytest.fixture
def open_folder(data: Path) -> Iterator[Path]:
    """A folder that may not be written to, but for `mine`, with data; without any rights to what is in `shut`."""
    folder = data.parent
    (folder / "tiny.toml").write_text(PROFILE)
    (folder / "mine").mkdir()
    (folder / "shut/inside").mkdir(parents=True)
    for name in ("a.txt", "a.toml", "a.yaml", "a.h5", "a.safetensors"):
        (folder / "shut" / name).write_text("x")
    (folder / "shut").chmod(0)
    folder.chmod(0o555)
    if subprocess.run(["ls", folder / "shut"], capture_output=True, preexec_fn=give_up_rights).returncode == 0:
        pytest.skip("rights can't be given up here")
    yield folder
    folder.chmod(0o755)
    (folder / "shut").chmod(0o755)


COMMANDS = [
    ("artifacts --out shut", "shut"),
    ("artifacts --out shut/inside", "shut/inside"),
    ("show shut/a.h5", "shut/a.h5"),
    ("data check demo-davis --data shut --out mine", "shut"),
    ("data check folder --data shut/inside --out mine", "shut/inside"),
    ("data check shut/a.yaml --data data --out mine", "shut/a.yaml"),
    ("run shut/a.toml --plain --out mine", "shut/a.toml"),
    ("run tiny.toml --plain --data shut --out mine", "--data shut: may not be read by this user"),
    ("run tiny.toml --plain --data data --out theirs", "theirs"),
    ("run tiny.toml --plain --out theirs", "theirs"),
    ("run tiny.toml --plain --out mine --set motion-training.weights=shut/a.safetensors", "shut/a.safetensors"),
    ("score --protocol davis2016 --truth shut --masks a=data/davis/Annotations/480p --out mine/s", "shut"),
    ("score --protocol davis2016 --truth data/davis --masks a=shut --out mine/s", "shut"),
    ("score --protocol davis2016 --truth data/davis --masks a=data/davis --list shut/a.txt --out mine/s", "shut/a.txt"),
    ("score --protocol davis2016 --truth data/davis --masks a=data/davis/Annotations/480p --out theirs", "theirs"),
]


@pytest.mark.system
@pytest.mark.parametrize(("line", "said"), COMMANDS)
def test_what_a_user_may_not_do_is_one_line(open_folder: Path, line: str, said: str) -> None:
    command = [sys.executable, "-m", "fusionseg.cli", *line.split()]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(
        command, cwd=open_folder, env=environment, capture_output=True, text=True, preexec_fn=give_up_rights
    )
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert said in done.stderr and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    assert not (open_folder / "theirs").exists() and not list((open_folder / "mine").glob("artifacts/**/*.h5"))
