"""What fusions cost: each on both streams' scores of one frame, at the frame's size; a fusion that reads the frame is
given it as uint8, as the stage `prediction` does. Ratios are to `release`, round by round.

    python benchmarks/fusions.py [--size 480 854] [--rounds 30] [--device cuda]

Expected before measuring, two cores with nothing else running: `release` 15 ms, `gated` 6, `guided` 20 (0.9 G
multiply-adds, as many again in passes over maps of the frame's size).
"""

from __future__ import annotations

import argparse
import statistics

import fusionseg  # noqa: F401  sets how threads wait, as in the chain: must come before torch

# isort: split
import torch
from measuring import in_turns, multiply_adds, ratio

from fusionseg.models.fusion import FUSIONS, create_fusion, fuse

BASE = "release"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--size", type=int, nargs=2, default=(480, 854), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.manual_seed(0)
    appearance, motion = (5 * torch.randn(2, 1, 2, *options.size)).to(device)
    frame = torch.randint(0, 256, (1, 3, *options.size), dtype=torch.uint8).to(device)
    fusions = {name: create_fusion(name).eval().to(device) for name in FUSIONS}
    work = {name: (lambda fusion=fusion: fuse(fusion, appearance, motion, frame)) for name, fusion in fusions.items()}
    with torch.inference_mode():
        times = in_turns(work, options.rounds, device)
        adds = {name: sum(multiply_adds(fusion, work[name]).values()) for name, fusion in fusions.items()}
    threads = f", {torch.get_num_threads()} threads" if device.type == "cpu" else ""
    print(f"one frame of {options.size[1]}x{options.size[0]}, {device}{threads}, {options.rounds} rounds in turns")
    print(f"  {'':8} parameters  G mul-adds  ms, best  median  all cores', best  of {BASE}'s: by the clock; all cores'")
    for name, fusion in fusions.items():
        own, base = times[name], times[BASE]
        count = sum(p.numel() for p in fusion.parameters())
        best, median, cores = (1000 * x for x in (min(own.wall), statistics.median(own.wall), min(own.cores)))
        ratios = f"{ratio(own.wall, base.wall)}; {ratio(own.cores, base.cores)}"
        print(f"  {name:8} {count:10,} {adds[name] / 1e9:11.2f} {best:9.1f} {median:7.1f} {cores:17.1f}  {ratios}")


if __name__ == "__main__":
    main()
