"""What else could run the networks on a CPU: OpenVINO, `torch.compile` and plain eager PyTorch, side by side with what
we do (`models/fusing.py`, on private operators of PyTorch), for both streams of `paper` and `lite` at 480p.

    pip install openvino
    python benchmarks/cpu_engines.py DATA [--appearance A.safetensors --motion M.safetensors] [--networks paper lite]

DATA is DAVIS's folder; A and M are `lite`'s weights. Networks without weights are random, with BatchNorms that fit and
an object that covers half a picture. All engines get what doesn't need private operators: BatchNorm folded, padding
fixed, the paper's head as one 1x1 convolution. Engines whose package isn't there are left out. Printed as Markdown:

- milliseconds a frame through both streams, preprocessing included, engines in turns, by the clock and of all cores;
  of today's time: best over best, by both, and the median and range of the rounds' ratios by the clock. What else runs
  on the machine lengthens the first, hardly the second;
- J between the masks of each and those of the plain float32 network, on frames and flow images of DATA; rms error of
  logits, as a share of their standard deviation;
- seconds from the start of a process to the first frame's scores, with empty caches and again, and peak memory, each in
  a process of its own; what has to be installed.

Expected at first (written down after trial runs of single engines): OpenVINO within a tenth of ours on `paper`, whose
time is oneDNN's convolutions in both, a fifth faster on `lite`; equal masks in float32; in bfloat16 worse ones on
`lite`, as no layer can be kept exact, unless the network is cut in two. `torch.compile` within a tenth everywhere, as
it puts the same operators there, but a minute to start. Eager 1.15 times our time in float32, twice in bfloat16.
"""

from __future__ import annotations

import argparse
import copy
import importlib.metadata
import importlib.util
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import fusionseg  # noqa: F401  sets how threads wait, as in the chain: must come before torch

# isort: split
import numpy as np
import torch
from measuring import in_turns, peak_memory, ratio
from precision import TEST, agreement, frames_of
from torch import Tensor, nn

from fusionseg.models.folding import fold
from fusionseg.models.fusing import FusedConv, ShiftedSums, can_fuse
from fusionseg.models.inference import for_inference
from fusionseg.models.precision import FullPrecision, protect
from fusionseg.models.stream import ParallelDilated, Stream, to_frame
from fusionseg.pipeline.flow.colours import colour
from fusionseg.pipeline.flow.estimation import estimate
from fusionseg.pipeline.networks.trained import architecture_of, read_stream
from fusionseg.pipeline.settings.profile import read_profile

CPU = torch.device("cpu")
PROFILES = {"paper": "paper", "lite": "davis"}
FRAMES_A_TURN = {"paper": 1, "lite": 5}
TODAY = "ours, today"
Run = Callable[[Tensor], Tensor]  # (1, 3, H, W) uint8 RGB -> logits (1, 2, h, w) float32 at the network's stride
Pictures = tuple[Tensor, Tensor]  # a frame and its flow image, as `Run` takes them


@dataclass(frozen=True)
class Case:
    network: str
    bf16: bool

    def __str__(self) -> str:
        return f"{self.network}, {'bfloat16' if self.bf16 else 'float32'}"


# Engines: each makes a `Run` of a stream as trained, for pictures of one size.


def today(stream: Stream, bf16: bool, size: tuple[int, int]) -> Run:
    return in_torch(stream, for_inference(stream, CPU, bf16), bf16)


def eager(stream: Stream, bf16: bool, size: tuple[int, int]) -> Run:
    return in_torch(stream, protected(stream, bf16), bf16)


def compiled(stream: Stream, bf16: bool, size: tuple[int, int]) -> Run:
    """`freezing`: weights become constants, without which none are laid out in advance."""
    network: Any = torch.compile(protected(stream, bf16), options={"freezing": True})
    return in_torch(stream, network, bf16)


def openvino(stream: Stream, bf16: bool, size: tuple[int, int]) -> Run:
    """OpenVINO has one precision for a whole network, so what stays exact is compiled as a network of its own."""
    model = converted(stream, size)
    exact = exact_convolutions(stream) if bf16 else []
    parts = [(part, bf16 and index == 1) for index, part in enumerate(cut(model, exact))] if exact else [(model, bf16)]
    return in_openvino(stream, parts)


def openvino_inexact(stream: Stream, bf16: bool, size: tuple[int, int]) -> Run:
    """All of it in bfloat16, as its option has it."""
    return in_openvino(stream, [(converted(stream, size), bf16)])


ENGINES: dict[str, Callable[[Stream, bool, tuple[int, int]], Run]] = {
    TODAY: today,
    "eager, folded": eager,
    "torch.compile": compiled,
    "OpenVINO": openvino,
    "OpenVINO, no exact layers": openvino_inexact,
}


def left_out(engine: str, bf16: bool) -> str | None:
    """Why an engine can't be measured; None where it can."""
    if engine == TODAY and not can_fuse(CPU, bf16):
        return "this PyTorch or processor lacks what it needs"
    if engine == "torch.compile" and not shutil.which(os.environ.get("CXX", "g++")):
        return "no C++ compiler"
    if engine.startswith("OpenVINO") and not importlib.util.find_spec("openvino"):
        return "the package openvino isn't installed"
    return None


def engines_for(case: Case) -> list[str]:
    names = [name for name in ENGINES if case.bf16 or ENGINES[name] is not openvino_inexact]
    return [name for name in names if left_out(name, case.bf16) is None]


def in_torch(stream: Stream, network: Callable[[Tensor], Tensor], bf16: bool) -> Run:
    def run(images: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return network(stream.prepare(images).contiguous(memory_format=torch.channels_last)).float()

    return run


def unfused(stream: Stream) -> Stream:
    """`stream` with all that we do for inference in public operators."""
    folded = fold(stream)
    if isinstance(folded.decoder, ParallelDilated):
        folded.decoder = public_sums(folded.decoder)
    return folded.to(memory_format=torch.channels_last)


def protected(stream: Stream, bf16: bool) -> Stream:
    return protect(unfused(stream)) if bf16 else unfused(stream)


def public_sums(head: ParallelDilated) -> nn.Module:
    """Our rewriting of the paper's head, around an ordinary convolution."""
    for path, branch in list(head.branches.named_children()):
        head.branches.set_submodule(path, FusedConv(branch, torch.float32))
    sums = ShiftedSums(head)
    weight = sums.taps.get_buffer("weight")
    conv = nn.Conv2d(weight.shape[1], weight.shape[0], 1, bias=False, device="meta")
    conv.weight = nn.Parameter(weight, requires_grad=False)
    sums.set_submodule("taps", conv)
    return sums


def converted(stream: Stream, size: tuple[int, int]) -> Any:
    """OpenVINO's model of a stream, for pictures of `size`."""
    import openvino

    picture = stream.prepare(torch.zeros((1, 3, *size), dtype=torch.uint8))
    with torch.no_grad():
        model = openvino.convert_model(torch.export.export(unfused(stream), (picture,)))
    model.reshape(list(picture.shape))
    return model


def exact_convolutions(stream: Stream) -> list[int]:
    """Numbers of weights of the convolutions that stay in float32, in the order that they compute in."""
    layers = [m for m in protect(fold(stream)).modules() if isinstance(m, FullPrecision)]
    return [m.weight.numel() for layer in layers for m in layer.modules() if isinstance(m, nn.Conv2d)]


def cut(model: Any, exact: Sequence[int]) -> tuple[Any, Any]:
    """Two models in the place of one: the first does its first convolutions, which have weights of these numbers."""
    import openvino
    from openvino import opset15

    nodes = model.get_ordered_ops()
    convolutions = [node for node in nodes if node.get_type_name() in ("Convolution", "GroupConvolution")]
    found = [int(np.prod(list(node.input(1).get_shape()))) for node in convolutions[: len(exact)]]
    assert found == list(exact), "OpenVINO orders convolutions otherwise"
    later = {node.get_friendly_name() for node in convolutions[len(exact) :]}
    for node in nodes:
        if any(source.get_node().get_friendly_name() in later for source in node.input_values()):
            later.add(node.get_friendly_name())
    borders: dict[tuple[str, int], tuple[Any, list[Any]]] = {}
    for node in nodes:
        for place in node.inputs() if node.get_friendly_name() in later else ():
            source = place.get_source_output()
            name = source.get_node().get_friendly_name()
            if name not in later and not only_constants(source.get_node()):
                borders.setdefault((name, source.get_index()), (source, []))[1].append(place)
    first = openvino.Model([source for source, _ in borders.values()], model.get_parameters(), "exact")
    inputs = [opset15.parameter(list(source.get_shape()), source.get_element_type()) for source, _ in borders.values()]
    for parameter, (_, places) in zip(inputs, borders.values(), strict=True):
        for place in places:
            place.replace_source_output(parameter.output(0))
    return first, openvino.Model(model.get_results(), inputs, "rest")


def only_constants(node: Any) -> bool:
    if node.get_type_name() == "Parameter":
        return False
    return all(only_constants(source.get_node()) for source in node.input_values())


def in_openvino(stream: Stream, parts: Sequence[tuple[Any, bool]]) -> Run:
    """`parts`: models, each with what the one before gives, and whether in bfloat16. A run writes over the last one's
    logits."""
    import openvino

    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": str(torch.get_num_threads())}
    requests = [
        openvino.compile_model(m, "CPU", options | {"INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32"})
        .create_infer_request()
        for m, bf16 in parts
    ]  # fmt: skip
    for before, after in pairwise(requests):
        for index, tensor in enumerate(before.output_tensors):
            after.set_input_tensor(index, tensor)

    def run(images: Tensor) -> Tensor:
        first, *others = requests
        first.infer([stream.prepare(images).contiguous().numpy()], share_inputs=True, share_outputs=True)
        for request in others:
            request.infer(share_outputs=True)
        return torch.from_numpy(requests[-1].get_output_tensor().data)

    return run


# Networks and pictures.


def streams_of(network: str, options: argparse.Namespace, pictures: Pictures | None) -> list[Stream]:
    """Appearance and motion stream. Without weights random; fit to `pictures` if these are given."""
    paths = (options.appearance, options.motion) if network == "lite" else (None, None)
    torch.manual_seed(0)
    return [
        read_stream(path, given=True)[0] if path else untrained(network, pictures and pictures[index])
        for index, path in enumerate(paths)
    ]


def untrained(network: str, picture: Tensor | None) -> Stream:
    """A random stream. With a picture its BatchNorms get that one's statistics, and half of it becomes object: as they
    are made, residual blocks add nothing, and there is no mask to compare."""
    stream = Stream(architecture_of(read_profile(PROFILES[network]).network)).eval()
    if picture is None:
        return stream
    norms = [module for module in stream.backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the plain mean over pictures, here of one
        if not norm.weight.any():
            nn.init.constant_(norm.weight, 0.3)
    stream.batch_norm_trained = True
    last = [module for module in stream.decoder.modules() if isinstance(module, nn.Conv2d)][-1]
    assert last.bias is not None
    with torch.no_grad():
        stream.train()(stream.prepare(picture))
        scores = stream.eval()(stream.prepare(picture))
        last.bias[1] -= (scores[:, 1] - scores[:, 0]).median()
    return stream


def as_input(picture: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 RGB -> (1, 3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None]


def pictures_of(options: argparse.Namespace) -> dict[str, Pictures]:
    """Frames by name, of the networks' size alone."""
    found = {}
    for name, frame, following in frames_of(options.data, options.sequences, options.every):
        if frame.shape[:2] == tuple(options.size):
            flow = colour(estimate(frame, following, method="dis-medium"))
            found[name] = as_input(frame[..., ::-1]), as_input(flow)
    return found


# Measuring.


@dataclass
class Measured:
    """An engine in a case: ms a frame by rounds, by the clock and of cores; J of frames of both streams; error of
    logits."""

    wall: list[float]
    cores: list[float]
    agreement: tuple[list[float], list[float]]
    error: float


def measure(case: Case, options: argparse.Namespace, pictures: dict[str, Pictures]) -> dict[str, Measured]:
    first = next(iter(pictures.values()))
    streams = streams_of(case.network, options, first)
    runs = {}
    for name in engines_for(case):
        runs[name] = [ENGINES[name](copy.deepcopy(stream), case.bf16, tuple(options.size)) for stream in streams]
    compared = compare(streams, runs, pictures)
    turn = FRAMES_A_TURN[case.network]

    def frames(pair: list[Run]) -> None:
        for _ in range(turn):
            for run, picture in zip(pair, first, strict=True):
                run(picture)

    times = in_turns({name: lambda p=pair: frames(p) for name, pair in runs.items()}, options.rounds, CPU)
    return {
        name: Measured(*([1000 * s / turn for s in spent] for spent in (found.wall, found.cores)), *compared[name])
        for name, found in times.items()
    }


def compare(
    streams: list[Stream], runs: dict[str, list[Run]], pictures: dict[str, Pictures]
) -> dict[str, tuple[tuple[list[float], list[float]], float]]:
    """J with the masks of the plain float32 network, of both streams, and the mean error of logits, by engine."""
    found: dict[str, tuple[tuple[list[float], list[float]], list[float]]] = {name: (([], []), []) for name in runs}
    for pair in pictures.values():
        for index, (stream, picture) in enumerate(zip(streams, pair, strict=True)):
            exact = in_torch(stream, stream, bf16=False)(picture)
            for name, both in runs.items():
                scores = both[index](picture)
                masks, errors = found[name]
                masks[index].append(mask_agreement(exact, scores, stream, picture))
                errors.append(logit_error(exact, scores))
    return {name: (masks, statistics.mean(errors)) for name, (masks, errors) in found.items()}


def mask_agreement(exact: Tensor, scores: Tensor, stream: Stream, picture: Tensor) -> float:
    size = (picture.shape[-2], picture.shape[-1])
    first, second = (to_frame(z, stream.score_stride, size, size) for z in (exact, scores))
    return agreement(first, second)


def logit_error(exact: Tensor, scores: Tensor) -> float:
    """Rms error of the object's logit less the background's, in standard deviations of the exact one."""
    first, second = (z[:, 1] - z[:, 0] for z in (exact, scores))
    return float((second - first).square().mean().sqrt() / first.std())


@dataclass
class Start:
    """Seconds to the first frame, with empty caches and again; peak memory of both processes, MB."""

    seconds: tuple[float, float]
    memory: tuple[float, float]


def start(name: str, case: Case, options: argparse.Namespace) -> Start:
    with tempfile.TemporaryDirectory() as cache:
        cold, warm = (one_start(name, case, options, cache) for _ in range(2))
    return Start((cold[0], warm[0]), (cold[1], warm[1]))


def one_start(name: str, case: Case, options: argparse.Namespace, cache: str) -> tuple[float, float]:
    command = [sys.executable, __file__, str(options.data), "--start", name, "--networks", case.network]
    command += ["--bf16"] * case.bf16 + ["--size", *map(str, options.size)]
    for weights in ("appearance", "motion"):
        given = getattr(options, weights)
        command += [f"--{weights}", str(given)] if given else []
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": cache}
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    assert process.stdout is not None
    line = process.stdout.readline()  # comes with the first frame's scores
    seconds, rest = time.perf_counter() - begun, process.communicate()[0]
    if line.strip() != "first" or process.returncode:
        raise RuntimeError(f"{name} failed: {' '.join(command)}")
    return seconds, float(rest)


def be_started(options: argparse.Namespace) -> None:
    """A process of `one_start`: says when the first frame is done, and how much memory three of them needed."""
    (network,) = options.networks
    size = (options.size[0], options.size[1])
    runs = [ENGINES[options.start](s, options.bf16, size) for s in streams_of(network, options, None)]
    for frame in range(3):
        for run in runs:
            run(torch.zeros((1, 3, *size), dtype=torch.uint8))
        if not frame:
            print("first", flush=True)
    print(peak_memory(CPU))


def needed(package: str) -> set[str]:
    """Names of the installed packages that `package` needs, itself among them."""
    found: set[str] = set()
    waiting = [package]
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            requirements = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found.add(name)
        waiting += [re.split(r"[^\w.-]", r, maxsplit=1)[0] for r in requirements if "extra ==" not in r]
    return found


def size_of(package: str) -> float:
    """MB on disk."""
    files = [Path(str(f.locate())) for f in importlib.metadata.files(package) or []]
    return sum(f.stat().st_size for f in files if f.exists()) / 1e6


# Printing.


def row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def table(heads: Sequence[str], rows: Iterator[Sequence[object]]) -> None:
    print(row(heads))
    print(row(["---"] * len(heads)))
    for cells in rows:
        print(row(cells), flush=True)


def speed_rows(
    cases: Sequence[Case], options: argparse.Namespace, pictures: dict[str, Pictures]
) -> Iterator[Sequence[object]]:
    for case in cases:
        engines = measure(case, options, pictures)
        for name, one in engines.items():
            base = engines[TODAY]
            appearance, motion = one.agreement
            yield (
                case, name, f"{min(one.wall):.0f}", f"{statistics.median(one.wall):.0f}", f"{min(one.cores):.0f}",
                f"{min(one.wall) / min(base.wall):.2f}", f"{min(one.cores) / min(base.cores):.2f}",
                ratio(one.wall, base.wall), f"{statistics.mean(appearance):.4f}", f"{statistics.mean(motion):.4f}",
                f"{min(appearance + motion):.4f}", f"{one.error:.1e}",
            )  # fmt: skip


def start_rows(cases: Sequence[Case], options: argparse.Namespace) -> Iterator[Sequence[object]]:
    for case in cases:
        for name in engines_for(case):
            found = start(name, case, options)
            yield (case, name, *(f"{seconds:.1f}" for seconds in found.seconds), *(f"{mb:.0f}" for mb in found.memory))


def report(options: argparse.Namespace) -> None:
    cases = [Case(network, bf16) for network in options.networks for bf16 in (False, True)]
    for name, why in {(name, left_out(name, case.bf16)) for case in cases for name in ENGINES}:
        if why:
            print(f"{name}: left out, {why}\n")
    cases = [case for case in cases if TODAY in engines_for(case)]
    if "start" in options.parts:  # first: a process's peak counts from what the one that started it held
        table(["case", "engine", "first frame after s", "again", "peak memory MB", "again"], start_rows(cases, options))
        report_installation()
    if "speed" in options.parts:
        report_speed(cases, options)


def report_speed(cases: Sequence[Case], options: argparse.Namespace) -> None:
    pictures = pictures_of(options)
    height, width = options.size
    print(f"\n{width}x{height}, {torch.get_num_threads()} threads, {options.rounds} rounds, {len(pictures)} frames\n")
    heads = ["case", "engine", "ms, best", "median", "of cores", "of ours", "of cores", "rounds' ratios"]
    table([*heads, "J, appearance", "motion", "worst", "error of logits"], speed_rows(cases, options, pictures))


def report_installation() -> None:
    if importlib.util.find_spec("openvino"):
        new = {name: size_of(name) for name in sorted(needed("openvino") - needed("fusionseg"))}
        print("\nto install for OpenVINO: " + ", ".join(f"{name} {mb:.1f} MB" for name, mb in new.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--appearance", type=Path, help="weights of lite's appearance stream")
    parser.add_argument("--motion", type=Path, help="weights of lite's motion stream")
    parser.add_argument("--networks", nargs="+", choices=list(PROFILES), default=list(PROFILES))
    parser.add_argument("--parts", nargs="+", choices=["start", "speed"], default=["start", "speed"])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--size", type=int, nargs=2, default=[480, 854], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--sequences", default=TEST)
    parser.add_argument("--every", type=int, default=40, help="frames from one compared frame to the next")
    parser.add_argument("--start", choices=list(ENGINES), help=argparse.SUPPRESS)
    parser.add_argument("--bf16", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.start:
        be_started(options)
    else:
        report(options)


if __name__ == "__main__":
    main()
