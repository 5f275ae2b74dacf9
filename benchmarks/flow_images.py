"""Colouring optical flow: our `colour` against torchvision's `flow_to_image`, on one core, side by side.

    python benchmarks/flow_images.py DATA

DATA is the folder of the `davis` profile's data sets; flow of real 480p frames is coloured from half precision, as it
is stored (torchvision is given float32, which it asks for). Also tells the largest difference in grey levels.

Expected before measuring: 5 times as fast, the table look-up costing about as much as reading the flow.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import fusionseg  # noqa: F401  sets how threads wait, as in the chain: must come before torch

# isort: split
import cv2
import numpy as np
import torch
from torchvision.utils import flow_to_image

from fusionseg.pipeline.flow.colours import colour
from fusionseg.pipeline.flow.estimation import estimate
from fusionseg.pipeline.flow.videos import stored

VIDEOS = ("bear", "motorbike", "mallard-fly", "horsejump-low", "train", "bus")
FRAME = 20
ROUNDS = 31


def milliseconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - begun)


def main(data: Path) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    ours: list[float] = []
    theirs: list[float] = []
    largest = 0
    for video in VIDEOS:
        folder = data / "davis2016_train/JPEGImages/480p" / video
        frames = [cv2.imread(str(folder / f"{FRAME + n:05}.jpg")) for n in (0, 1)]
        flow = stored(estimate(*frames))
        tensor = torch.from_numpy(flow.astype(np.float32).transpose(2, 0, 1).copy())
        images = colour(flow), flow_to_image(tensor).numpy().transpose(1, 2, 0)
        difference = np.abs(images[0].astype(int) - images[1])
        # Where its rounding takes the largest vector's saturation past 1, torchvision's bytes overflow from -1 to 255.
        largest = max(largest, int(np.minimum(difference, 256 - difference).max()))
        for _ in range(ROUNDS):
            ours.append(milliseconds(lambda flow=flow: colour(flow)))
            theirs.append(milliseconds(lambda tensor=tensor: flow_to_image(tensor)))
    mine, other = statistics.median(ours), statistics.median(theirs)
    height, width = flow.shape[:2]
    print(f"{width}x{height}, one core, median of {len(ours)}: ours {mine:.2f} ms, torchvision {other:.2f} ms a frame")
    print(f"torchvision / ours: {other / mine:.1f}; largest difference {largest} grey level(s)")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
