"""Both streams and the fusion of the `paper` profile (ResNet-101, output stride 8) on 480p frames: our inference
(`models/inference.py`:
bfloat16, BatchNorm folded, convolutions fused) against a plain fp32 eager loop over the same networks, in turns.

    python benchmarks/paper_inference.py [--rounds 3] [--batch 1] [--device cpu]
    python benchmarks/paper_inference.py --memory

Weights are random: speed and memory don't depend on them. `--memory`: peak memory of both ways, each in a process of
its own. How far the masks of both are apart: benchmarks/precision.py.

Expected before measuring: 3.3 times as fast on a CPU with bfloat16 instructions (measured on one stream: 3.05 s to
0.91 s); two thirds of the memory, since activations take half.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import fusionseg  # noqa: F401  sets how threads wait, as in the chain: must come before torch

# isort: split
import torch
from measuring import CONVOLUTIONS, in_turns, multiply_adds, peak_memory, peaks, ratio
from torch import Tensor, nn

from fusionseg.models.fusion import PaperFusion
from fusionseg.models.inference import for_inference
from fusionseg.models.stream import Architecture, Stream, upsample
from fusionseg.pipeline.networks.trained import architecture_of
from fusionseg.pipeline.settings.profile import read_profile

WAYS = ("plain fp32", "ours")


def networks(device: torch.device) -> tuple[list[Stream], nn.Module]:
    """Appearance and motion stream, and the fusion."""
    torch.manual_seed(0)
    architecture: Architecture = architecture_of(read_profile("paper").network)
    return [Stream(architecture).eval().to(device) for _ in range(2)], PaperFusion().eval().to(device)


def plain(streams: list[Stream], fusion: nn.Module, images: list[Tensor]) -> list[Tensor]:
    """Masks (H, W) bool of each frame, as one writes it first."""
    masks, size = [], size_of(images)
    with torch.no_grad():
        for pair in zip(*(batch.split(1) for batch in images), strict=True):
            logits = [upsample(s(s.prepare(x)), s.score_stride, size) for s, x in zip(streams, pair, strict=True)]
            masks.append(fusion(*logits).argmax(1)[0] == 1)
    return masks


def ours(streams: list[Stream], fusion: nn.Module, images: list[Tensor]) -> list[Tensor]:
    """The same, as the stages `appearance-scores`, `motion-scores` and `prediction` do it."""
    device = images[0].device.type
    with torch.inference_mode():
        stored = []
        for stream, batch in zip(streams, images, strict=True):
            with torch.autocast(device, torch.bfloat16):
                scores = stream(stream.prepare(batch).contiguous(memory_format=torch.channels_last)).half()
            stored.append((stream, scores))
        masks, size = [], size_of(images)
        for index in range(len(images[0])):
            logits = [upsample(scores[index, None].float(), s.score_stride, size) for s, scores in stored]
            fused = fusion(*logits)
            masks.append(fused[0, 1] > fused[0, 0])
    return masks


def size_of(images: list[Tensor]) -> tuple[int, int]:
    return images[0].shape[-2], images[0].shape[-1]


def made(
    way: str, batch: int, size: tuple[int, int], device: torch.device
) -> tuple[list[Stream], Callable[[], list[Tensor]]]:
    """The networks of one way, and what runs them."""
    streams, fusion = networks(device)
    images = [torch.randint(0, 256, (batch, 3, *size), dtype=torch.uint8).to(device) for _ in streams]
    if way == "plain fp32":
        return streams, partial(plain, streams, fusion, images)
    streams = [for_inference(stream, device, bf16=True) for stream in streams]
    return streams, partial(ours, streams, fusion, images)


def compare(options: argparse.Namespace) -> None:
    device, size = torch.device(options.device), (options.size[0], options.size[1])
    ways = {way: made(way, options.batch, size, device) for way in WAYS}
    streams, _ = ways["plain fp32"]
    work = options.batch * sum(sum(found.values()) for found in (one_frame(stream, size, device) for stream in streams))
    times = in_turns({way: run for way, (_, run) in ways.items()}, options.rounds, device)
    cores = device.type == "cpu"
    reached = peaks(device, cores)
    threads = f", {torch.get_num_threads()} threads" if cores else ""
    print(f"paper, two streams and fusion, {size[0]}x{size[1]}, batch {options.batch}, {device}{threads}")
    print(f"  {work / options.batch / 1e9:.0f} G multiply-adds a frame")
    for way, dtype in zip(WAYS, (torch.float32, torch.bfloat16), strict=True):
        spent = times[way].cores if cores else times[way].wall
        share = work / min(spent) / reached[CONVOLUTIONS, dtype]
        processor = f", at best {min(spent) / options.batch:.2f} core-seconds a frame" if cores else ""
        print(
            f"  {way:11} {options.batch / statistics.median(times[way].wall):6.2f} frames/s{processor}; {share:.0%} of "
            f"the {reached[CONVOLUTIONS, dtype] / 1e9:.0f} G multiply-adds a second{' and core' * cores} that a large "
            "3x3 convolution reaches"
        )
    print(f"  plain / ours by the clock: {ratio(times['plain fp32'].wall, times['ours'].wall)}")
    if cores:
        best = min(times["plain fp32"].cores) / min(times["ours"].cores)
        shown = ratio(times["plain fp32"].cores, times["ours"].cores)
        print(f"  plain / ours in processor time: {shown}, at best {best:.2f}")


def one_frame(stream: Stream, size: tuple[int, int], device: torch.device) -> dict[str, int]:
    """Multiply-adds of a frame, counted on one small enough to be quick and scaled by area."""
    small, whole = (97, 97), tuple((n - 2 + stream.pad_stride) // stream.pad_stride + 1 for n in size)
    positions = [(n - 1) // stream.pad_stride + 1 for n in small]
    with torch.inference_mode():
        picture = stream.prepare(torch.zeros((1, 3, *small), dtype=torch.uint8, device=device))
        found = multiply_adds(stream, lambda: stream(picture))
    scale = whole[0] * whole[1] / (positions[0] * positions[1])
    return {kind: round(count * scale) for kind, count in found.items()}


def compare_memory(options: argparse.Namespace) -> None:
    found = {}
    for way in WAYS:
        command = [sys.executable, __file__, "--way", way, "--batch", str(options.batch), "--device", options.device]
        command += ["--size", *map(str, options.size)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
        found[way] = float(done.stdout)
    shown = ", ".join(f"{way} {peak:.0f} MB" for way, peak in found.items())
    share = found["ours"] / found["plain fp32"]
    print(f"peak memory, batch {options.batch}, {options.device}: {shown}; ours / plain {share:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=1, help="frames a forward pass")
    parser.add_argument("--size", type=int, nargs=2, default=[480, 854], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        made(options.way, options.batch, tuple(options.size), torch.device(options.device))[1]()
        print(peak_memory(torch.device(options.device)))
    elif options.memory:
        compare_memory(options)
    else:
        compare(options)


if __name__ == "__main__":
    main()
