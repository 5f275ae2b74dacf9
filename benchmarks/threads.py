"""What spinning threads cost: training steps with OMP_WAIT_POLICY passive against the default, on a machine that is
otherwise idle and on one where a process keeps one core busy. Prints ratios of median step times.

    python benchmarks/threads.py

Expected before measuring: about equal when idle, passive clearly faster when busy.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

STEPS = 10
WARM_UP = 3
POLICIES = {"default": None, "passive": "PASSIVE"}


def steps() -> None:
    """Time training steps of the demo's stream (4 crops of 144x208) and print them."""
    import torch

    from fusionseg.models.losses import loss as loss_of
    from fusionseg.models.stream import Architecture, Stream, upsample

    torch.manual_seed(0)
    images = torch.randint(0, 255, (4, 3, 144, 208), dtype=torch.uint8)
    labels = torch.randint(0, 2, (4, 144, 208))
    stream = Stream(Architecture()).to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(stream.parameters(), 1e-4)
    for _ in range(WARM_UP + STEPS):
        begun = time.perf_counter()
        scores = stream(stream.prepare(images).contiguous(memory_format=torch.channels_last))
        scores = upsample(scores, stream.score_stride, (144, 208))
        loss = loss_of("cross-entropy+dice", False, scores, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        print(time.perf_counter() - begun)


def measure(policy: str | None) -> float:
    """Median step time (s) in a process of its own."""
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    if policy:
        environment["OMP_WAIT_POLICY"] = policy
    # torch first: importing fusionseg would set the policy.
    code = f"import torch, runpy; runpy.run_path({__file__!r})['steps']()"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return statistics.median(sorted(map(float, done.stdout.split()))[WARM_UP:])


def main() -> None:
    for busy in (False, True):
        load = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
        try:
            times = {name: measure(policy) for name, policy in POLICIES.items()}
        finally:
            if load:
                load.kill()
        state = "one core busy" if busy else "idle machine"
        shown = ", ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in times.items())
        print(f"{state}: {shown} a step; default / passive = {times['default'] / times['passive']:.2f}")


if __name__ == "__main__":
    main()
