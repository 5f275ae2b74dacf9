"""What the stages around optical flow cost: `optical-flow` and `flow-images` (decode, estimate, colour, compress,
write) against a bare loop that only decodes and calls DIS medium, on the same frames and cores.

    python benchmarks/flow_stages.py DATA [--videos 6] [--rounds 3]
    python benchmarks/flow_stages.py DATA --memory

DATA is the folder of the `davis` profile's data sets. The bare loop is run both ways it can use the cores (OpenCV's own
threads in one loop, one loop a core); the faster one counts. The stages are run as two that keep u,v and flow images
(`flow-images.store = "both"`), as one that keeps u,v ("flow"), and as one pass that keeps flow images alone ("images").
All take turns video by video, so that a slow minute of the machine hits them alike. `--memory`: peak memory of both
stages on videos of 50 and of 1,000 frames, each in a process of its own.

Expected before measuring: 0.75 to 0.85 for two stages, which read, compress and write 1.6 MB of u,v a frame (some 10 ms
of a core beside 30 ms for DIS); 0.9 for one pass.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import cv2

from fusionseg.pipeline.datasets.items import Item
from fusionseg.pipeline.datasets.pairs import with_partners
from fusionseg.pipeline.run.request import Request
from fusionseg.pipeline.run.session import Session, run_job
from fusionseg.pipeline.stages import flow_images, optical_flow
from fusionseg.pipeline.store.artifact import Record
from fusionseg.pipeline.store.job import Work

LENGTHS = (50, 1000)


def quiet(text: str) -> None:
    """Nothing: the benchmark prints its own lines."""


def make_session(data: str, out: str, workers: int) -> Session:
    return Session(Request("davis", (data,), out, overrides=(f"run.workers={workers}",)), quiet)


def two_stages(session: Session, work: Work) -> int:
    """u,v, then flow images of them; bytes written."""
    images = pictures(session, work, (run_job(work, optical_flow.compute),))
    run_job(images, flow_images.compute)
    return work.path.stat().st_size + images.path.stat().st_size


def flow_only(work: Work) -> int:
    """u,v; bytes written."""
    run_job(work, optical_flow.compute, refresh=True)
    return work.path.stat().st_size


def one_pass(session: Session, work: Work) -> int:
    """Flow images straight from frames; bytes written."""
    images = pictures(session, work, ())
    run_job(images, flow_images.compute)
    return images.path.stat().st_size


def pictures(session: Session, work: Work, inputs: tuple[Record, ...]) -> Work:
    sections = {**work.job.sections, "flow-images": session.profile.flow_images}
    return replace(work, job=replace(work.job, stage="flow-images", sections=sections, inputs=inputs))


def bare(frames: Sequence[Path], partners: Sequence[Path]) -> None:
    """Decode each frame once and call DIS medium on each pair."""
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = lambda path: cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2GRAY)  # noqa: E731
    known = {frames[0]: grey(frames[0])}
    for frame, partner in zip(frames, partners, strict=True):
        for path in (frame, partner):
            if path not in known:
                known[path] = grey(path)
        dis.calc(known[frame], known[partner], None)
        known = {path: known[path] for path in (frame, partner)}


def bare_parts(item: Item, parts: int) -> None:
    """The bare loop on each of so many parts of a video, side by side."""
    ends = [round(n * len(item.frames) / parts) for n in range(parts + 1)]
    with ThreadPoolExecutor(parts) as pool:
        slices = [slice(*pair) for pair in pairwise(ends)]
        list(pool.map(lambda part: bare(item.frames[part], item.partners[part]), slices))


def compare(data: str, videos: int, rounds: int) -> None:
    workers = len(os.sched_getaffinity(0))
    times: dict[str, list[float]] = {}
    sizes: dict[str, int] = {}
    for turn in range(rounds + 1):  # the first warms up
        with tempfile.TemporaryDirectory() as out:
            session = make_session(data, out, workers)
            works = session.works(session.by_name["optical-flow"])[:videos]
            for work in works:
                ways: dict[str, Callable[[], int | None]] = {
                    "bare: one loop, OpenCV's threads": partial(bare_parts, work.item, 1),
                    "bare: a loop a core": partial(bare_parts, work.item, workers),
                    "two stages, u,v and images kept": partial(two_stages, session, work),
                    "u,v kept": partial(flow_only, work),
                    "one pass, images kept": partial(one_pass, session, work),
                }
                for name, do in ways.items():
                    begun = time.perf_counter()
                    size = do()
                    if turn:
                        times.setdefault(name, []).append(time.perf_counter() - begun)
                        sizes[name] = sizes.get(name, 0) + (size or 0)
    count = rounds * sum(len(work.item.frames) for work in works)
    print(f"{count // rounds} frames of {len(works)} videos, {workers} cores, {rounds} rounds")
    total = {name: 1000 * sum(found) / count for name, found in times.items()}
    base = min(value for name, value in total.items() if name.startswith("bare"))
    for name, value in total.items():
        written = f", {sizes[name] / count / 1e6:.2f} MB a frame" if sizes[name] else ""
        print(f"  {name:34} {value:6.1f} ms a frame, throughput / bare loop {base / value:.2f}{written}")


def measure_memory(data: str, length: int) -> None:
    """Run both stages on a video of `length` frames (real ones, over and over) and print the peak in MB."""
    with tempfile.TemporaryDirectory() as out:
        session = make_session(data, out, 2)
        work = session.works(session.by_name["optical-flow"])[0]
        frames = tuple(work.item.frames[n % len(work.item.frames)] for n in range(length))
        item = replace(work.item, frames=frames, all_frames=frames, numbers=())
        item = with_partners(item, session.profile.optical_flow)
        two_stages(session, replace(work, job=replace(work.job, items={"video": (item,)})))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)


def compare_memory(data: str) -> None:
    peaks = {}
    for length in LENGTHS:
        command = [sys.executable, __file__, data, "--length", str(length)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[length] = float(done.stdout)
    shown = ", ".join(f"{length} frames {peak:.0f} MB" for length, peak in peaks.items())
    print(f"peak memory: {shown}; ratio {peaks[LENGTHS[1]] / peaks[LENGTHS[0]]:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--videos", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--length", type=int, help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    if parsed.length:
        measure_memory(parsed.data, parsed.length)
    elif parsed.memory:
        compare_memory(parsed.data)
    else:
        compare(parsed.data, parsed.videos, parsed.rounds)


if __name__ == "__main__":
    main()
