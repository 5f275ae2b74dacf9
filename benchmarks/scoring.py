"""Scoring masks: the package vos-benchmark and `fusionseg score` on the same masks, with the same number of processes,
in turns; and what decoding the PNGs alone costs. Prints ratios and checks that J and F are equal.

    python -m venv VOS && VOS/bin/pip install vos-benchmark
    python benchmarks/scoring.py DATA --vos-python VOS/bin/python

DATA holds `davis2016_train` and `fseg_masks_train30`. That package needs an environment of its own: it overwrites the
contrib build of OpenCV. Without --vos-python, only our own times are taken. Times are those of scoring, without the
start of Python and imports; ours include finding the files and the tables.

Expected before measuring: 3 times as fast as vos-benchmark, within twice the cost of decoding alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from fusionseg.pipeline.formats.masks import decode_mask
from fusionseg.pipeline.scoring.benchmark import score
from fusionseg.pipeline.scoring.request import ScoreRequest

TOLERANCE = 1e-9  # of a sequence's mean J or F
OTHER = """
import json, sys, time
from vos_benchmark.benchmark import benchmark
begun = time.perf_counter()
*_, found = benchmark([sys.argv[1]], [sys.argv[2]], num_processes=int(sys.argv[3]), verbose=False)
seconds = time.perf_counter() - begun
means = {name: [scores[0][1] / 100, scores[1][1] / 100] for name, scores in found[0].items()}
print(json.dumps([seconds, means]))
"""


def by_vos_benchmark(python: Path, truth: Path, masks: Path, workers: int) -> tuple[float, dict[str, list[float]]]:
    """Seconds, and the mean J and F of each sequence."""
    with tempfile.TemporaryDirectory() as folder:  # it writes into the folder of masks
        for sequence in masks.iterdir():
            (Path(folder) / sequence.name).symlink_to(sequence)
        command = [str(python), "-c", OTHER, str(truth), folder, str(workers)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, means = json.loads(done.stdout)
    return seconds, means


def by_us(truth: Path, masks: Path, workers: int) -> tuple[float, dict[str, list[float]]]:
    """The same."""
    begun = time.perf_counter()
    table = score(ScoreRequest("davis2016", truth, {"masks": masks}, workers=workers)).per_sequence
    seconds = time.perf_counter() - begun
    return seconds, {row["sequence"]: [row["J"], row["F"]] for row in table.to_dict("records")}


def by_pillow(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def decoding(decode: Callable[[Path], object], paths: Sequence[Path]) -> float:
    """Seconds, on one core."""
    begun = time.perf_counter()
    for path in paths:
        decode(path)
    return time.perf_counter() - begun


def scored_files(folder: Path) -> list[Path]:
    return [path for sequence in sorted(folder.iterdir()) for path in sorted(sequence.glob("*.png"))[1:-1]]


def compare(ours: dict[str, list[float]], theirs: dict[str, list[float]]) -> None:
    """Say how far apart the two are; exit where it is more than rounding."""
    assert ours.keys() == theirs.keys()
    apart = {name: float(np.abs(np.subtract(ours[name], theirs[name])).max()) for name in ours}
    equal = [name for name, difference in apart.items() if difference <= TOLERANCE]
    print(f"mean J and F of {len(equal)} of {len(apart)} sequences agree within {TOLERANCE:g}")
    for name in sorted(set(apart) - set(equal)):
        print(f"  {name}: J and F {ours[name]}, theirs {theirs[name]}")


def ratio(name: str, over: Sequence[float], under: Sequence[float]) -> None:
    found = [a / b for a, b in zip(over, under, strict=True)]
    print(f"{name}: {statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--vos-python", type=Path, help="of an environment that has vos-benchmark")
    parser.add_argument("--workers", type=int, default=1, help="processes of both [1]")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    truth, masks = options.data / "davis2016_train/Annotations/480p", options.data / "fseg_masks_train30"
    paths = scored_files(truth) + scored_files(masks)
    times: dict[str, list[float]] = {"vos-benchmark": [], "fusionseg": [], "Pillow": [], "ours": []}
    means: list[dict[str, list[float]]] = []
    for _ in range(options.rounds):
        if options.vos_python:
            seconds, theirs = by_vos_benchmark(options.vos_python, truth, masks, options.workers)
            times["vos-benchmark"].append(seconds)
            means = [theirs]
        seconds, ours = by_us(truth, masks, options.workers)
        times["fusionseg"].append(seconds)
        for name, decode in (("Pillow", by_pillow), ("ours", decode_mask)):
            times[name].append(decoding(decode, paths) / options.workers)  # as if processes cost nothing
    print(f"{len(paths) // 2} frames, {options.workers} processes, {options.rounds} rounds; seconds:")
    for name, found in times.items():
        print(f"  {name}: " + ", ".join(f"{seconds:.2f}" for seconds in found))
    if options.vos_python:
        compare(ours, means[0])
        ratio("vos-benchmark / fusionseg", times["vos-benchmark"], times["fusionseg"])
    ratio("fusionseg / decoding alone, by Pillow", times["fusionseg"], times["Pillow"])
    ratio("fusionseg / decoding alone, by our decoder", times["fusionseg"], times["ours"])


if __name__ == "__main__":
    main()
