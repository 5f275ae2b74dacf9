"""Peak memory of the stages that make weak labels, of few videos and of many: it must not grow with their number.

    python benchmarks/many_videos.py DATA [--videos 30,300] [--frames 4] [--appearance A.safetensors]

DATA holds `davis2016_train`. Its sequences, but those scored, are linked again and again under new names, of each
`--frames` frames are used, and the stages from optical flow to weak labels run in a process of their own. Without
weights the appearance stream is trained for one step.

Expected before measuring: within 2 %; a record of every video (a few KB) is all that is kept.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import fusionseg  # noqa: F401  sets how threads wait, as in the chain: must come before torch

# isort: split
import torch
import yaml
from measuring import peak_memory

from fusionseg.pipeline.datasets.manifest import read_manifest
from fusionseg.pipeline.run.request import Request
from fusionseg.pipeline.run.session import Session

LAST = "flow-filter"


def link(data: Path, root: Path, count: int) -> Path:
    """`count` videos and their masks below `root`; the manifest's path."""
    sequences = read_manifest("davis2016-small").splits["train24"]
    names = [f"{sequences[n % len(sequences)]}-{n:05}" for n in range(count)]
    for kind in ("JPEGImages", "Annotations"):
        (root / "many" / kind).mkdir(parents=True)
        for name in names:
            source = data / "davis2016_train" / kind / "480p" / name.rpartition("-")[0]
            (root / "many" / kind / name).symlink_to(source.resolve())
    manifest = {
        "name": "many", "title": "DAVIS 2016's sequences again and again", "kind": "videos", "licence": "CC BY-NC 4.0",
        "frames": "many/JPEGImages/{video}/{frame}.jpg", "masks": "many/Annotations/{video}/{frame}.png",
        "boxes": "from-masks", "protocol": "davis2016", "splits": {"all": names},
    }  # fmt: skip
    path = root / "many.yaml"
    path.write_text(yaml.safe_dump(manifest))
    return path


def make_labels(data: Path, count: int, frames: int, weights: Path | None) -> float:
    """Weak labels of `count` videos; the peak in MB."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        boxed = f'{{manifest = "{link(data, root, count)}", split = "all", frames = {frames}}}'
        stream = f"appearance-training.weights={weights}" if weights else "appearance-training.steps=1"
        overrides = (f"data.boxed={boxed}", stream, "data.validation=none")
        session = Session(Request("davis", (str(data), f"many={root}"), str(root / "out"), "many", overrides), print)
        items = {role: items if role in ("stills", "boxed") else [] for role, items in session.items.items()}
        session.jobs = replace(session.jobs, inputs=replace(session.inputs, items=items))
        for stage in session.names[: session.names.index(LAST) + 1]:
            assert len(session.run_stage(stage)) in (1, count)  # a model, or these videos and no others
    return peak_memory(torch.device("cpu"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--videos", default="30,300")
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--appearance", type=Path)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(f"peak {make_labels(options.data, options.one, options.frames, options.appearance)}")
        return
    found = {}
    for count in map(int, options.videos.split(",")):
        command = [sys.executable, __file__, str(options.data), "--one", str(count), "--frames", str(options.frames)]
        command += ["--appearance", str(options.appearance)] if options.appearance else []
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found[count] = float(done.stdout.rpartition("peak ")[2])
        print(f"{count} videos, {options.frames} frames of each: {found[count]:.0f} MB", flush=True)
    peaks = list(found.values())
    print(f"last / first {peaks[-1] / peaks[0]:.2f}")


if __name__ == "__main__":
    main()
