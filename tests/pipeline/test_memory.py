"""Peak memory, as the system tells it."""

import numpy as np
import pytest
import torch

from fusionseg.pipeline.memory import peak_memory, start_measuring


def test_the_peak_covers_what_was_held_and_never_falls() -> None:
    device = torch.device("cpu")
    start_measuring(device)
    before = peak_memory(device)
    held = np.ones(1 << 25)  # 256 MB, touched
    during = peak_memory(device)
    assert set(before) == {"process"}
    assert held.nbytes < during["process"] < 1 << 40, "bytes"
    del held
    assert peak_memory(device)["process"] >= during["process"] >= before["process"]


def test_a_cuda_device_has_its_own_peak_since_the_stage_began(monkeypatch: pytest.MonkeyPatch) -> None:
    held = {"peak": 7}
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: held.update(peak=0))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: held["peak"])
    device = torch.device("cuda:0")
    start_measuring(device)
    assert peak_memory(device)["gpu"] == 0
    held["peak"] = 5
    assert peak_memory(device)["gpu"] == 5
