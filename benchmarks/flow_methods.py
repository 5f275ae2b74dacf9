"""The optical flow methods side by side: end-point error on Middlebury's RubberWhale (true flow), and on real 480p
pairs the time a pair and the warping error (mean absolute grey difference of a frame and its successor, warped back by
the flow; lower is better, and 0 motion is given for comparison).

    python benchmarks/flow_methods.py DATA [--raft WEIGHTS] [--slow]

DATA is the folder of the `davis` profile's data sets. `--slow` adds deepflow and tvl1 (seconds a pair).
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import cv2
import numpy as np

from fusionseg.pipeline.flow.estimation import METHODS, estimate
from fusionseg.pipeline.formats.flow import read_flow

PAIRS = (("bear", 20), ("motorbike", 20), ("mallard-fly", 20), ("train", 20), ("hockey", 20))
SLOW = ("deepflow", "tvl1")


def warping_error(first: np.ndarray, second: np.ndarray, flow: np.ndarray) -> float:
    """Mean absolute grey difference of `first` and `second` warped back by `flow`, inside the picture."""
    rows, columns = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    column, row = columns + flow[..., 0], rows + flow[..., 1]
    grey = [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY).astype(np.float32) for frame in (first, second)]
    warped = cv2.remap(grey[1], column, row, cv2.INTER_LINEAR)
    inside = (column >= 0) & (row >= 0) & (column < flow.shape[1] - 1) & (row < flow.shape[0] - 1)
    return float(np.abs(grey[0] - warped)[inside].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--raft", type=Path, help="weights of raft-small")
    parser.add_argument("--slow", action="store_true")
    parsed = parser.parse_args()
    whale = [cv2.imread(str(parsed.data / f"rubberwhale/frame{n}.png")) for n in (10, 11)]
    truth = read_flow(parsed.data / "rubberwhale/flow10.flo")
    known = np.isfinite(truth).all(-1)
    folder = parsed.data / "davis2016_train/JPEGImages/480p"
    pairs = [[cv2.imread(str(folder / video / f"{n + i:05}.jpg")) for i in (0, 1)] for video, n in PAIRS]
    still = statistics.mean(warping_error(*pair, np.zeros((*pair[0].shape[:2], 2), np.float32)) for pair in pairs)
    print(f"{'no motion':18} error {np.linalg.norm(truth[known], axis=-1).mean():6.3f} px {'':22} warping {still:5.2f}")
    names = [name for name in METHODS if parsed.slow or name not in SLOW] + (["raft-small"] if parsed.raft else [])
    for name in names:
        error = np.linalg.norm(estimate(*whale, name, weights=parsed.raft) - truth, axis=-1)[known].mean()
        times, warping = [], []
        for pair in pairs:
            begun = time.perf_counter()
            flow = estimate(*pair, name, weights=parsed.raft)
            times.append(1000 * (time.perf_counter() - begun))
            warping.append(warping_error(*pair, flow))
        took = statistics.median(times)
        print(f"{name:18} error {error:6.3f} px, {took:8.0f} ms a 480p pair, warping {statistics.mean(warping):5.2f}")


if __name__ == "__main__":
    main()
