"""Several processes of one training: the same batch, the same curve, one line where one of them fails."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_training import Small, free_port, settings, start, train_in_one_of
from tiny import Said, request, run, write_profile

from fusionseg.models.weights import read_header
from fusionseg.pipeline.basics.processes import ALONE, Processes, first_to_tell, join, launched
from fusionseg.pipeline.errors import BadFile, DamagedArtifact, UserError
from fusionseg.pipeline.store.artifacts import list_artifacts
from fusionseg.pipeline.store.runs import read_run


@given(st.integers(0, 50), st.integers(1, 9))
def test_shares_are_the_whole_and_almost_equal(total: int, count: int) -> None:
    shares = [Processes(rank, count).share(total) for rank in range(count)]
    assert [index for share in shares for index in share] == list(range(total))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_one_process_alone_needs_nobody() -> None:
    assert launched() == 1 and join("cuda:1") == Processes(device="cuda:1")
    assert ALONE.main and ALONE.gather(3) == [3] and ALONE.from_main(lambda: 4) == 4
    tensor = torch.ones(2)
    assert ALONE.add_up(tensor) is tensor and tensor.tolist() == [1, 1]
    assert first_to_tell()
    with pytest.raises(UserError, match="no"):
        ALONE.together(lambda: (_ for _ in ()).throw(UserError("no")))


@pytest.mark.parametrize(
    ("device", "wrong"),
    [
        ("cuda:0", "--device cuda:0: each of several processes takes its own; expected auto, cpu or cuda"),
        ("cuda", "process 64 of this machine has no GPU of its own"),
    ],
)
def test_a_device_that_cannot_be_shared_out_is_refused(
    device: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"WORLD_SIZE": "65", "RANK": "64", "LOCAL_RANK": "64"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=wrong):
        join(device)


def test_errors_cross_from_one_process_to_another() -> None:
    for error in (
        BadFile("cut off", dataset="davis", name="bear"),
        DamagedArtifact(Path("a.h5"), "short"),
        UserError("x"),
    ):
        found = pickle.loads(pickle.dumps(error))
        assert type(found) is type(error) and found.args == error.args and vars(found) == vars(error)


def start_two(root: Path, changes: dict[str, Any], norm: bool = False, fail: tuple[int, ...] = ()) -> list[BaseProcess]:
    root.mkdir(exist_ok=True)
    port = free_port()
    return [start(train_in_one_of, rank, 2, port, root, changes, norm, fail) for rank in range(2)]


def exit_codes(processes: list[BaseProcess]) -> list[int | None]:
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


# The loss of a step in two processes differs by rounding from that of one: sums in another order.
TOLERANCE = 1e-5
KINDS: dict[str, dict[str, Any]] = {
    "adamw": {"loss": "cross-entropy+dice"},
    "sgd, mean, parts, balance, uneven": {"optimiser": "sgd", "ema": 0.9, "accumulate": 2, "balance": True, "batch": 5},
}


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_reach_the_curve_of_one(tmp_path: Path, kind: str) -> None:
    changes = {"steps": 30, "validate_every": 1, **KINDS[kind]}
    one, two = (Small(tmp_path / name, settings(**changes)) for name in ("one", "two"))
    one.train()
    assert exit_codes(start_two(tmp_path / "two", changes)) == [0, 0]
    (state, found), (wanted_state, wanted) = two.result(), one.result()
    for row, expected in zip(found["history"], wanted["history"], strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], abs=TOLERANCE)
    for name, value in wanted_state.items():
        assert torch.allclose(state[name], value, atol=TOLERANCE)
    assert not two.checkpoint.exists()


def test_all_processes_hold_equal_weights_and_statistics(tmp_path: Path) -> None:
    assert exit_codes(start_two(tmp_path, {"steps": 8}, norm=True)) == [0, 0]
    first, second = (np.load(tmp_path / f"rank{rank}.npz") for rank in range(2))
    assert "1.running_mean" in first.files
    for name in first.files:
        assert np.array_equal(first[name], second[name])


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_in_one_process_ends_all_with_one_line(tmp_path: Path, failing: int) -> None:
    begun = time.monotonic()
    codes = exit_codes(start_two(tmp_path, {"steps": 200}, fail=(failing, 6)))
    assert sorted(codes) == [3, 4] and time.monotonic() - begun < 60


def test_two_killed_processes_go_on_to_the_same_weights(tmp_path: Path) -> None:
    changes = {"steps": 40, "ema": 0.9, "accumulate": 2}
    whole, cut = (Small(tmp_path / name, settings(**changes), norm=True) for name in ("whole", "cut"))
    assert exit_codes(start_two(whole.context.root, changes, norm=True)) == [0, 0]
    processes = start_two(cut.context.root, changes, norm=True)
    while not cut.checkpoint.exists():
        assert all(process.is_alive() for process in processes)
        time.sleep(0.002)
    processes[0].kill()  # the other loses its peer, and doesn't hang
    processes[0].join()
    assert exit_codes(processes) in ([-signal.SIGKILL, 3], [-signal.SIGKILL, 4])
    assert exit_codes(start_two(cut.context.root, changes, norm=True)) == [0, 0]
    (state, header), (wanted, wanted_header) = cut.result(), whole.result()
    assert header == wanted_header
    assert all(torch.equal(state[name], value) for name, value in wanted.items())


def launch(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line in two processes under torchrun."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run([*launcher, "-m", "fusionseg.cli", *arguments], capture_output=True, text=True)


def losses(root: Path, stage: str) -> list[float]:
    (path,) = (root / "artifacts" / stage).glob("*/*.safetensors")
    return [row["loss"] for row in read_header(path)["history"]]


@pytest.mark.system
def test_the_chain_in_two_processes_is_the_chain_in_one(tmp_path: Path) -> None:
    done = launch("run", str(write_profile(tmp_path)), "--plain", "--device", "cpu", "--out", str(tmp_path / "two"))
    assert done.returncode == 0, done.stderr
    run(request(tmp_path, out="one"), say=(said := Said()))
    stages = [line.split()[1:3] for line in said if line.startswith("[")]
    assert [line.split()[1:3] for line in done.stdout.splitlines() if line.startswith("[")] == stages
    two, one = (read_run(tmp_path / out, "tiny").stages for out in ("two", "one"))
    for stage, record in one.items():
        videos, expected = ([r.video for r in found.records] for found in (two[stage], record))
        assert videos == expected
    for stage in ("optical-flow", "flow-images"):  # no network in these
        assert [r.content for r in two[stage].records] == [r.content for r in one[stage].records]
    found, expected = (losses(tmp_path / out, "appearance-training") for out in ("two", "one"))
    assert found == pytest.approx(expected, abs=1e-4)
    assert (tmp_path / "two/reports/tiny.html").exists() and not list((tmp_path / "two").rglob("*.part"))


@pytest.mark.system
def test_damage_that_one_of_two_processes_meets_is_mended_by_both(tmp_path: Path) -> None:
    """One meets it while it works off its share of the videos; both start over, and find the rest cached."""
    run(request(tmp_path), say=Said())
    path = sorted((tmp_path / "out/artifacts/flow-images/demo-vid").iterdir())[-1]
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(64)
    path.write_bytes(bytes(data))
    common = ["--plain", "--device", "cpu", "--out", str(tmp_path / "out"), "--refresh", "box-motion"]  # which reads it
    done = launch("run", str(tmp_path / "tiny.toml"), *common)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"{path}: damaged artifact") == 1
    assert (said := Said(done.stdout.splitlines())).states()["flow-images"] == "1 computed, 8 cached"
    assert said.states()["appearance-scores"] == "cached"
    assert set(list_artifacts(tmp_path / "out", "flow-images", verify=True)["state"]) == {"verified"}


@pytest.mark.system
@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (["run", "nosuch", "--plain"], "no profile 'nosuch'"),
        (["run", "demo"], "several processes under one launcher work without Prefect only; add --plain"),
    ],
)
def test_what_all_processes_refuse_is_said_once(arguments: list[str], wrong: str) -> None:
    done = launch(*arguments, "--device", "cpu")
    assert done.returncode != 0 and done.stderr.count("fusionseg: error:") == 1
    assert f"fusionseg: error: {wrong}" in done.stderr
