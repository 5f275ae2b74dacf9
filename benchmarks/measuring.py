"""What the benchmarks of inference share: timing in turns, multiply-adds of a network, the machine's measured peak."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import fusionseg  # noqa: F401  sets how threads wait, as in the chain: must come before torch

# isort: split
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusionseg.models.fusing import FusedConv

CONVOLUTIONS = "convolutions"
DEPTHWISE = "depthwise"


@dataclass
class Times:
    """Seconds of each round: by the clock, and of processor time over all cores (None on CUDA)."""

    wall: list[float] = field(default_factory=list)
    cores: list[float] = field(default_factory=list)


def in_turns(work: Mapping[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, Times]:
    """Times of each piece of work, one round after another, so that a slow minute hits all alike; a first round warms
    up."""
    times = {name: Times() for name in work}
    for turn in range(rounds + 1):
        for name, do in work.items():
            wall, cores = time.perf_counter(), time.process_time()
            do()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn:
                times[name].wall.append(time.perf_counter() - wall)
                times[name].cores.append(time.process_time() - cores)
    return times


def ratio(over: list[float], under: list[float]) -> str:
    """Median and range of the rounds' ratios."""
    found = [a / b for a, b in zip(over, under, strict=True)]
    return f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"


def multiply_adds(network: nn.Module, run: Callable[[], object]) -> dict[str, int]:
    """Multiply-adds of the convolutions that `run` takes `network` through, dense ones and depthwise ones."""
    found = {CONVOLUTIONS: 0, DEPTHWISE: 0}

    def count(conv: nn.Module, _: object, output: Tensor) -> None:
        assert isinstance(conv, nn.Conv2d | FusedConv)
        kind = DEPTHWISE if conv.groups > 1 else CONVOLUTIONS
        found[kind] += output.numel() * conv.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d | FusedConv)]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return found


def peaks(device: torch.device, cores: bool) -> dict[tuple[str, torch.dtype], float]:
    """Multiply-adds a second this machine reaches on what suits it best: a large 3x3 convolution, and a depthwise 3x3
    one over maps that don't fit a cache. `cores`: a second of one core, else of the clock."""
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        probes = {
            CONVOLUTIONS: (torch.randn(1, 512, 64, 64), torch.randn(512, 512, 3, 3), 1),
            DEPTHWISE: (torch.randn(4, 144, 144, 256), torch.randn(144, 1, 3, 3), 144),
        }
        for kind, (pictures, weight, groups) in probes.items():
            x = pictures.to(device, dtype).contiguous(memory_format=torch.channels_last)
            w = weight.to(device, dtype).contiguous(memory_format=torch.channels_last)
            work = x.numel() // x.shape[1] * weight.numel()
            with torch.inference_mode():
                times = in_turns({"probe": lambda x=x, w=w, g=groups: F.conv2d(x, w, padding=1, groups=g)}, 10, device)
            found[kind, dtype] = work / min(times["probe"].cores if cores else times["probe"].wall)
    return found


def peak_memory(device: torch.device) -> float:
    """MB: of this process, or of its tensors on a GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
