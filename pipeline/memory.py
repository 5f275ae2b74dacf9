"""How much memory a stage needed, as far as the system tells."""

from __future__ import annotations

import sys

import torch

try:
    import resource
except ImportError:  # a system without it, such as Windows
    resource = None  # type: ignore[assignment]

# `ru_maxrss` is in kilobytes, on macOS in bytes.
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


def start_measuring(device: torch.device) -> None:
    """Forget the GPU's peak so far; the process's can't be forgotten."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> dict[str, int]:
    """Bytes. `process`: the most that this process has held since it began, so a stage's figure is at least the one
    before it; `gpu`: the most that PyTorch has held on a CUDA device since `start_measuring`. Without what the system
    doesn't tell."""
    found = {}
    if resource is not None:
        found["process"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT
    if device.type == "cuda":
        found["gpu"] = torch.cuda.max_memory_allocated(device)
    return found
