"""Devices by name."""

import pytest
import torch

from fusionseg.pipeline.basics.device import resolve_device
from fusionseg.pipeline.errors import UserError


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(UserError, match="--device tpu9: unknown"):
        resolve_device("tpu9")
    with pytest.raises(UserError, match="--device meta: not supported"):
        resolve_device("meta")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")
    for count, asked in ((0, "cuda"), (1, "cuda:1")):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        with pytest.raises(UserError, match=f"--device {asked}: this machine's torch sees {count} CUDA devices"):
            resolve_device(asked)
    assert resolve_device("cuda:0") == torch.device("cuda:0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == torch.device("cuda")
