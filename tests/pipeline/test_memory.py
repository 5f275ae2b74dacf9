"""Peak memory, as the system tells it."""

import numpy as np
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
