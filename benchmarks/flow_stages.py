"""What the stages around optical flow cost: `optical-flow` and `flow-images` (decode, estimate, colour, compress,
write) against a bare loop that only decodes and calls DIS medium, on the same frames and cores.

    python benchmarks/flow_stages.py DATA [--videos 4] [--rounds 3]
    python benchmarks/flow_stages.py DATA --memory

DATA is the folder of the `davis` profile's data sets. The bare loop is run both ways it can use the cores (OpenCV's own
threads in one loop, one loop a core); the faster one counts. `--memory`: peak memory of both stages on videos of 50 and
of 1,000 frames, each in a process of its own.

Expected before measuring: 0.75 to 0.85; the stages read, compress and write 1.6 MB of u,v a frame, which costs some
10 ms of a core beside 30 ms for DIS.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2

from fusionseg.pipeline.flow_pairs import with_partners
from fusionseg.pipeline.job import Job
from fusionseg.pipeline.runner import run_job
from fusionseg.pipeline.session import Request, Session

LENGTHS = (50, 1000)


def quiet(text: str) -> None:
    """Nothing: the benchmark prints its own lines."""


def make_session(data: str, out: str, workers: int) -> Session:
    return Session(Request("davis", (data,), out, overrides=(f"run.workers={workers}",)), quiet)


def stages(session: Session, flow_jobs: Sequence[Job]) -> int:
    """Compute both stages; bytes written."""
    size = 0
    for job in flow_jobs:
        record = run_job(session.by_name["optical-flow"], job, session.context)
        settings = {"flow-images": session.profile.section("flow-images")}
        images = replace(job, stage="flow-images", settings=settings, inputs=(record,), sources=(), files={})
        made = run_job(session.by_name["flow-images"], images, session.context)
        size += sum((session.context.root / r.path).stat().st_size for r in (record, made))
    return size


def bare(frames: Sequence[Path], partners: Sequence[Path]) -> None:
    """Decode each frame once and call DIS medium on each pair."""
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = lambda path: cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2GRAY)  # noqa: E731
    last = grey(frames[0])
    for frame, other in zip(frames[1:], partners[:-1], strict=True):
        assert frame == other
        this = grey(frame)
        dis.calc(last, this, None)
        previous, last = last, this
    dis.calc(last, previous, None)


def bare_by_videos(jobs: Sequence[Job], workers: int) -> None:
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda job: bare(job.item.frames, job.item.partners), jobs))


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def compare(data: str, videos: int, rounds: int) -> None:
    workers = len(os.sched_getaffinity(0))
    times: dict[str, list[float]] = {"one loop, OpenCV's threads": [], "a loop a core": [], "stages": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as out:
            session = make_session(data, out, workers)
            jobs = session.plan(session.by_name["optical-flow"])[:videos]
            count = sum(len(job.item.frames) for job in jobs)
            times["one loop, OpenCV's threads"].append(seconds(lambda jobs=jobs: bare_by_videos(jobs, 1)))
            times["a loop a core"].append(seconds(lambda jobs=jobs: bare_by_videos(jobs, workers)))
            begun = time.perf_counter()
            size = stages(session, jobs)
            times["stages"].append(time.perf_counter() - begun)
    print(f"{count} frames of {len(jobs)} videos, {workers} cores, median of {rounds} rounds")
    middle = {name: 1000 * statistics.median(found) / count for name, found in times.items()}
    for name, found in middle.items():
        print(f"  {name:28} {found:6.1f} ms a frame")
    print(f"  written {size / count / 1e6:.2f} MB a frame")
    print(f"throughput of the stages / bare loop: {min(list(middle.values())[:2]) / middle['stages']:.2f}")


def measure_memory(data: str, length: int) -> None:
    """Run both stages on a video of `length` frames (real ones, over and over) and print the peak in MB."""
    with tempfile.TemporaryDirectory() as out:
        session = make_session(data, out, 2)
        job = session.plan(session.by_name["optical-flow"])[0]
        frames = tuple(job.item.frames[n % len(job.item.frames)] for n in range(length))
        item = with_partners(replace(job.item, frames=frames, all_frames=frames), session.profile.optical_flow)
        stages(session, [replace(job, items={"video": (item,)})])
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
    parser.add_argument("--videos", type=int, default=4)
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
