"""The device that networks run on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusionseg.pipeline.errors import UserError

if TYPE_CHECKING:
    import torch


def resolve_device(name: str) -> torch.device:
    """ "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1" ... Raises UserError."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"--device {name}: unknown; expected auto, cpu or cuda[:N]") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"--device {name}: not supported; expected auto, cpu or cuda[:N]")
    found = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= found:
        raise UserError(f"--device {name}: this machine's torch sees {found} CUDA devices; use --device auto or cpu")
    return device
