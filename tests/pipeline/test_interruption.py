"""Kill a training, run the same command: it goes on, and ends with the very weights of an uninterrupted run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny import Said, request, write_profile

from fusionseg.pipeline.runner import run_plain
from fusionseg.pipeline.store import read_run

pytestmark = pytest.mark.system
STAGE = "appearance-training"


def command(folder: Path, out: str) -> list[str]:
    # A checkpoint after every step, so that the test needn't wait.
    return [
        sys.executable, "-m", "fusionseg.cli", "run", str(write_profile(folder)), "--plain", "--device", "cpu",
        "--out", str(folder / out), "--only", STAGE, "--set", "run.checkpoint_seconds=0",
    ]  # fmt: skip


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_training_goes_on_bit_for_bit(tmp_path: Path, how: signal.Signals) -> None:
    process = subprocess.Popen(
        command(tmp_path, "killed"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell's background jobs ignore Ctrl-C, and so would a child of tests that run in one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    folder = tmp_path / "killed" / "artifacts" / STAGE / "demo-stills"
    end = time.monotonic() + 120
    while not list(folder.glob("*.checkpoint")):
        assert process.poll() is None and time.monotonic() < end, process.communicate()[0]
        time.sleep(0.01)
    os.kill(process.pid, how)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == (-signal.SIGKILL if how == signal.SIGKILL else 130), output
    assert "Traceback" not in output
    assert not list(folder.glob("*.safetensors"))

    done = subprocess.run(command(tmp_path, "killed"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "goes on from step" in done.stdout
    assert not list(folder.glob("*.checkpoint"))
    run_plain(request(tmp_path, "run.checkpoint_seconds=1000", out="whole"), STAGE, say=Said())
    contents = [
        read_run(tmp_path / out, "tiny")["stages"][STAGE]["records"][0]["content"] for out in ("killed", "whole")
    ]
    assert contents[0] == contents[1]
