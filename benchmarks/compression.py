"""How to store u,v and flow images: bytes a frame and time to pack and unpack, of all that plain h5py reads without
plug-ins (none, lzf, gzip) and gzip's format as isal writes it, with and without HDF5's byte shuffle.

    python benchmarks/compression.py DATA

DATA is the folder of the `davis` profile's data sets. Packing includes all that happens to a frame on its way into the
file, unpacking all on its way out; one core, real 480p frames, in memory (no disk).

Expected before measuring: lzf fastest, gzip smallest, isal between.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from typing import Any

import fusionseg  # noqa: F401  sets how threads wait, as in the chain: must come before torch

# isort: split
import cv2
import h5py
import numpy as np
import torch

from fusionseg.pipeline.flow.colours import colour
from fusionseg.pipeline.flow.estimation import estimate
from fusionseg.pipeline.flow.videos import stored
from fusionseg.pipeline.store.artifact import FrameWriter, deflate

VIDEOS = ("bear", "motorbike", "mallard-fly", "horsejump-low", "train", "bus", "surf", "tennis")
FRAME = 20
ROUNDS = 5
LAYOUTS: dict[str, dict[str, Any]] = {
    f"{name}{', shuffled' if shuffle else ''}": {**options, "shuffle": shuffle}
    for name, options in {
        "no compression": {}, "lzf": {"compression": "lzf"}, "gzip 1": {"compression": "gzip", "compression_opts": 1}
    }.items()
    for shuffle in (False, True)
}  # fmt: skip


def by_h5py(arrays: list[np.ndarray], options: dict[str, Any]) -> tuple[float, float, float]:
    """Bytes a frame, ms a frame to write, ms a frame to read, through h5py's own filters."""
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        shape = arrays[0].shape
        data = file.create_dataset("x", (len(arrays), *shape), arrays[0].dtype, chunks=(1, *shape), **options)
        begun = time.perf_counter()
        for index, array in enumerate(arrays):
            data[index] = array
        file.flush()
        written = time.perf_counter()
        for index in range(len(arrays)):
            data[index]
        read = time.perf_counter()
        return data.id.get_storage_size() / len(arrays), *per_frame(arrays, begun, written, read)


def by_us(arrays: list[np.ndarray]) -> tuple[float, float, float]:
    """The same through our writer; plain h5py reads it back."""
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        writer = FrameWriter(file, "x", len(arrays), arrays[0].shape, arrays[0].dtype)
        begun = time.perf_counter()
        for array in arrays:
            writer.append(array)
        file.flush()
        written = time.perf_counter()
        back = [file["x"][index] for index in range(len(arrays))]
        read = time.perf_counter()
        assert all(map(np.array_equal, arrays, back))
        return file["x"].id.get_storage_size() / len(arrays), *per_frame(arrays, begun, written, read)


def per_frame(arrays: list[np.ndarray], *times: float) -> tuple[float, float]:
    begun, written, read = (1000 * t / len(arrays) for t in times)
    return written - begun, read - written


def main(data: Path) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    flows = []
    for video in VIDEOS:
        folder = data / "davis2016_train/JPEGImages/480p" / video
        flows.append(stored(estimate(*(cv2.imread(str(folder / f"{FRAME + n:05}.jpg")) for n in (0, 1)))))
    images = [colour(flow) for flow in flows]
    print(f"our writer's library: {deflate.__name__}; its times include a SHA-256 of the frame")
    for title, arrays in {"u,v (float16)": flows, "flow images (uint8)": images}.items():
        print(f"{title}, {arrays[0].nbytes / 1000:.0f} kB a frame as they are")
        for name, options in LAYOUTS.items():
            show(name, [by_h5py(arrays, options) for _ in range(ROUNDS)])
        show("ours", [by_us(arrays) for _ in range(ROUNDS)])


def show(name: str, found: list[tuple[float, float, float]]) -> None:
    size, write, read = (statistics.median(values) for values in zip(*found, strict=True))
    print(f"  {name:28} {size / 1000:7.0f} kB a frame, write {write:6.2f} ms, read {read:6.2f} ms")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
