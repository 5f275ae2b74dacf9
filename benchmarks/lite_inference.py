"""A video through the networks of the `davis` profile (two EfficientNet-Lite0 streams and the fusion), optical flow
included: frames a second at 480p, the share of each part, and how near the networks are to what the machine can do.

    python benchmarks/lite_inference.py DATA [--appearance A.safetensors --motion M.safetensors] [--device cpu]

DATA is DAVIS's folder. Without weights, streams on ImageNet weights: speed is the same. Parts are timed one after
another; then the video runs as a pipeline, where threads read, estimate flow and colour a batch or more ahead of the
networks. Floor: multiply-adds of both streams over the rates that a large 3x3 and a depthwise convolution reach on
their own; layers that stay in float32 at float32's rate.

Expected before measuring: 12 frames/s on two cores (160 ms of a core a frame), of which 50 % networks, 25 % flow;
networks at 40 % of the floor's speed, since depthwise and 1x1 convolutions over few channels wait for memory.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import fusionseg  # noqa: F401  sets how threads wait, as in the chain: must come before torch

# isort: split
import numpy as np
import torch
from measuring import multiply_adds, peaks
from torch import Tensor, nn

from fusionseg.models.fusion import PaperFusion
from fusionseg.models.inference import for_inference
from fusionseg.models.precision import FullPrecision
from fusionseg.models.stream import Stream, to_frame
from fusionseg.pipeline.basics.resizing import fit, resize
from fusionseg.pipeline.basics.threads import batches, in_order, opencv_threads
from fusionseg.pipeline.flow.colours import colour
from fusionseg.pipeline.flow.estimation import estimate
from fusionseg.pipeline.formats.masks import write_mask
from fusionseg.pipeline.formats.pictures import decode_frame
from fusionseg.pipeline.networks.scores import object_mask
from fusionseg.pipeline.networks.trained import read_stream
from fusionseg.pipeline.settings.profile import Profile, read_profile
from fusionseg.pipeline.training.streams import build_stream

PARTS = ("decode", "flow", "colour", "resize", "appearance net", "motion net", "upsample", "fusion and mask", "write")
Pictures = tuple[np.ndarray, np.ndarray, tuple[int, int]]


@dataclass
class Clock:
    """Seconds by part: by the clock, and of processor time over all cores."""

    device: torch.device
    wall: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    cores: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        wall, cores = time.perf_counter(), time.process_time()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.wall[name] += time.perf_counter() - wall
        self.cores[name] += time.process_time() - cores


@dataclass
class Networks:
    """Both streams as the chain runs them, and the fusion."""

    appearance: Stream
    motion: Stream
    fusion: nn.Module
    device: torch.device

    def scores(self, stream: Stream, pictures: np.ndarray) -> Tensor:
        """(N, H, W, 3) uint8 RGB -> stored scores, float16."""
        images = torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16):
            found: Tensor = stream(stream.prepare(images).contiguous(memory_format=torch.channels_last))
        return found.half()

    def enlarge(self, scores: Tensor, small: tuple[int, int], size: tuple[int, int]) -> Tensor:
        return to_frame(scores.float(), self.appearance.score_stride, small, size)


def load(options: argparse.Namespace, profile: Profile) -> Networks:
    def stream(path: Path | None) -> Stream:
        found = read_stream(path, given=True)[0] if path else build_stream(profile.network, 0).eval()
        return for_inference(found, torch.device(options.device), bf16=True)

    fusion = PaperFusion().eval().to(options.device)
    return Networks(stream(options.appearance), stream(options.motion), fusion, torch.device(options.device))


def pictures_of(paths: list[Path], clock: Clock, long_side: int) -> Pictures:
    """Frames but the last and their flow images, as the networks take them, (N, h, w, 3) RGB; and the frames' size."""
    with clock.part("decode"):
        frames = [decode_frame(path.read_bytes()) for path in paths]
    with clock.part("flow"):
        flows = [estimate(a, b, method="dis-medium") for a, b in pairwise(frames)]
    with clock.part("colour"):
        coloured = [colour(flow) for flow in flows]
    size = (frames[0].shape[0], frames[0].shape[1])
    with clock.part("resize"):
        small = fit(size, long_side)
        first = np.stack([resize(np.ascontiguousarray(frame[..., ::-1]), small) for frame in frames[:-1]])
        second = np.stack([resize(picture, small) for picture in coloured])
    return first, second, size


def segment(nets: Networks, pictures: Pictures, clock: Clock, folder: Path) -> None:
    """Masks of a batch, written as PNG."""
    frames, flows, size = pictures
    small = (frames.shape[1], frames.shape[2])
    with torch.inference_mode():
        with clock.part("appearance net"):
            appearance = nets.scores(nets.appearance, frames)
        with clock.part("motion net"):
            motion = nets.scores(nets.motion, flows)
        for index in range(len(frames)):
            with clock.part("upsample"):
                pair = [nets.enlarge(scores[index, None], small, size) for scores in (appearance, motion)]
            with clock.part("fusion and mask"):
                mask = object_mask(nets.fusion(*pair))
            with clock.part("write"):
                write_mask(folder / f"{index:05}.png", mask)


def parts(nets: Networks, groups: list[list[Path]], long_side: int, folder: Path) -> Clock:
    """Times of the parts, one after another."""
    segment(nets, pictures_of(groups[0], Clock(nets.device), long_side), Clock(nets.device), folder)  # warms up
    clock = Clock(nets.device)
    for paths in groups:
        segment(nets, pictures_of(paths, clock, long_side), clock, folder)
    return clock


def pipeline(
    nets: Networks, groups: list[list[Path]], long_side: int, folder: Path, workers: int
) -> tuple[float, float]:
    """Seconds of the whole video, by the clock and of processor time."""
    unused = Clock(nets.device)
    wall, cores = time.perf_counter(), time.process_time()
    with opencv_threads(1):
        for found in in_order(lambda n: pictures_of(groups[n], unused, long_side), len(groups), workers):
            segment(nets, found, unused, folder)
    return time.perf_counter() - wall, time.process_time() - cores


def floor(nets: Networks, small: tuple[int, int], cores: bool) -> dict[str, tuple[float, float]]:
    """Multiply-adds of both streams for a frame and the seconds they take at the measured peaks, by kind and type."""
    found: dict[str, tuple[float, float]] = {}
    for (kind, dtype), rate in peaks(nets.device, cores).items():
        work = 0
        for stream in (nets.appearance, nets.motion):
            run: Callable[[], object] = lambda s=stream: nets.scores(s, np.zeros((1, *small, 3), np.uint8))  # noqa: E731
            with torch.inference_mode():
                exact = sum(multiply_adds(m, run)[kind] for m in stream.modules() if isinstance(m, FullPrecision))
                work += exact if dtype == torch.float32 else multiply_adds(stream, run)[kind] - exact
        found[f"{kind}, {str(dtype).removeprefix('torch.')}"] = work, work / rate
    return found


def report(clock: Clock, count: int, cores: bool) -> float:
    """Print the table; milliseconds of both networks a frame."""
    spent = clock.cores if cores else clock.wall
    total = sum(spent.values())
    for name in PARTS:
        print(f"  {name:16} {1000 * spent[name] / count:6.1f} ms  {spent[name] / total:4.0%}")
    print(f"  {'all':16} {1000 * total / count:6.1f} ms a frame{' and core' * cores}")
    return 1000 * (spent["appearance net"] + spent["motion net"]) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--appearance", type=Path)
    parser.add_argument("--motion", type=Path)
    parser.add_argument("--sequence", default="bus")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    profile = read_profile("davis")
    long_side = profile.scores.long_side or profile.network.long_side
    nets, cores = load(options, profile), options.device == "cpu"
    paths = sorted((options.data / "JPEGImages/480p" / options.sequence).glob("*.jpg"))[: options.frames + 1]
    groups = [[paths[i] for i in (*group, group[-1] + 1)] for group in batches(len(paths) - 1, options.batch)]
    count, small = len(paths) - 1, fit((480, 854), long_side)
    threads = f", {torch.get_num_threads()} threads" if cores else ""
    print(f"{count} frames of {options.sequence}, networks at {small[0]}x{small[1]}, {options.device}{threads}")
    with tempfile.TemporaryDirectory() as folder:
        clocks = [parts(nets, groups, long_side, Path(folder)) for _ in range(options.rounds)]
        clock = min(clocks, key=lambda c: sum((c.cores if cores else c.wall).values()))
        networks = report(clock, count, cores)
        runs = [pipeline(nets, groups, long_side, Path(folder), options.workers) for _ in range(options.rounds)]
    wall, spent = (min(values) for values in zip(*runs, strict=True))
    print(f"  as a pipeline: {count / wall:.1f} frames/s" + f", {1000 * spent / count:.1f} ms of a core" * cores)
    least = floor(nets, small, cores)
    for kind, (work, seconds) in least.items():
        print(f"  {kind:22} {work / 1e9:5.2f} G multiply-adds a frame, at the measured peak {1000 * seconds:5.1f} ms")
    total = 1000 * sum(seconds for _, seconds in least.values())
    print(f"  floor of both networks {total:.1f} ms, {total / networks:.0%} of what they take")


if __name__ == "__main__":
    main()
