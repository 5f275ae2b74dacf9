"""Kill a training, run the same command: it goes on, and ends with the very weights of an uninterrupted run.

A small training many times, at any moment and at the worst one, a checkpoint's write; the real one once, through the
command line; and one of two processes.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from small_training import Small, assert_same, settings, start, train_alone
from tiny import Said, request, run, write_profile

from fusionseg.pipeline.store.runs import read_run

pytestmark = pytest.mark.system
STAGE = "appearance-training"
MODERN = [f"{STAGE}.{text}" for text in ("steps=12", "ema=0.9", "accumulate=2", "bf16=true", "batch_norm=trained")]


KINDS: dict[str, tuple[dict[str, Any], bool]] = {
    "sgd, mean, parts, BatchNorm": ({"optimiser": "sgd", "schedule": "poly", "ema": 0.9, "accumulate": 2}, True),
    "adamw, mean, bf16, BatchNorm": ({"ema": 0.99, "bf16": True, "loss": "cross-entropy+dice"}, True),
}
STEPS = 40


def whole_and_cut(folder: Path, kind: str, steps: int = STEPS) -> tuple[Small, Small]:
    """A training done without interruption, and one to be killed."""
    changes, norm = KINDS[kind]
    whole, cut = (Small(folder / name, settings(steps=steps, **changes), norm=norm) for name in ("whole", "cut"))
    whole.train()
    return whole, cut


@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_any_moment_it_ends_with_the_same_weights(tmp_path: Path, kind: str) -> None:
    began = time.monotonic()
    whole, cut = whole_and_cut(tmp_path, kind)
    took = time.monotonic() - began  # each start shall get on by a part of it only, on fast machines too
    moments, kills = random.Random(kind), 0
    while True:
        before = cut.checkpoint.stat().st_mtime_ns if cut.checkpoint.exists() else 0
        process = start(train_alone, cut.context.root, {"steps": STEPS, **KINDS[kind][0]}, KINDS[kind][1])
        while process.is_alive() and not (cut.checkpoint.exists() and cut.checkpoint.stat().st_mtime_ns > before):
            time.sleep(0.001)
        time.sleep(moments.uniform(0, min(0.2, took / 8)))
        process.kill()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        kills += 1
    assert kills >= 2
    assert_same(cut, whole)
    assert not list(cut.context.root.rglob("*.part")) and not cut.checkpoint.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_killed_while_a_checkpoint_is_written_it_ends_with_the_same_weights(tmp_path: Path, kind: str) -> None:
    whole, cut = whole_and_cut(tmp_path, kind, steps=12)
    for write in (1, 5):
        process = start(train_alone, cut.context.root, {"steps": 12, **KINDS[kind][0]}, KINDS[kind][1], write)
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        assert list(cut.context.root.rglob("*.part"))
    train_alone(cut.context.root, {"steps": 12, **KINDS[kind][0]}, KINDS[kind][1])
    assert_same(cut, whole)
    assert not list(cut.context.root.rglob("*.part"))


def command(folder: Path, out: str) -> list[str]:
    # A checkpoint after every step, so that the test needn't wait.
    return [
        sys.executable, "-m", "fusionseg.cli", "run", str(write_profile(folder)), "--plain", "--device", "cpu",
        "--out", str(folder / out), "--only", STAGE, "--set", "run.checkpoint_seconds=0",
        *(word for setting in MODERN for word in ("--set", setting)),
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
    run(request(tmp_path, "run.checkpoint_seconds=1000", *MODERN, out="whole"), STAGE, say=Said())
    contents = [read_run(tmp_path / out, "tiny").records(STAGE)[0].content for out in ("killed", "whole")]
    assert contents[0] == contents[1]
