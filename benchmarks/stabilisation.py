"""What camera compensation does to the contrast between object and background, on real frames.

    python benchmarks/stabilisation.py DATA

Per sequence, over a few frames with DIS medium flow, without ("none") and with compensation ("homography"): AUC, the
chance that a pixel of the object moves faster than one of the background, and the distance of the mean colours of the
flow image in and out of the object's box as the flow filter measures it (0..441 grey levels), with the paper's scaling
(max) and with the 99th percentile's. Then times. Expected before measuring: AUC clearly higher where the camera moves.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from fusionseg.pipeline.flow.camera import Flow, camera_motion, residual
from fusionseg.pipeline.flow.colours import colour
from fusionseg.pipeline.flow.estimation import estimate
from fusionseg.pipeline.formats.boxes import tight_box
from fusionseg.pipeline.formats.masks import decode_mask
from fusionseg.pipeline.formats.pictures import decode_frame
from fusionseg.pipeline.weak_labels.motion import colour_contrast
from fusionseg.pipeline.weak_labels.regions import inside

FRAMES = 6  # a sequence


def auc(magnitude: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]) -> float:
    """Area under the ROC curve of magnitude as a test for the object (Mann and Whitney), ties counted half."""
    ranks = pd.Series(magnitude.reshape(-1)).rank().to_numpy()[mask.reshape(-1)]
    inside, outside = mask.sum(), (~mask).sum()
    return float((ranks.sum() - inside * (inside + 1) / 2) / (inside * outside))


def contrasts(flow: Flow, mask: npt.NDArray[np.bool_]) -> list[float]:
    """AUC and the two distances of colour."""
    magnitude = np.linalg.norm(flow, axis=-1)
    boxes = np.array([tight_box(mask)])
    images = [colour(flow), colour(flow, float(np.percentile(magnitude, 99)))]
    background = ~inside(boxes, (mask.shape[0], mask.shape[1]))
    return [auc(magnitude, mask), *(colour_contrast(image, boxes, background)[0] for image in images)]


def measure(root: Path, name: str) -> tuple[list[list[float]], list[float], list[str]]:
    """A row (none's figures, homography's figures, share of vectors that agree) a frame; times in ms; reasons."""
    paths = sorted((root / "JPEGImages" / "480p" / name).iterdir())
    rows, times, reasons = [], [], []
    for t in np.linspace(0, len(paths) - 2, FRAMES).round().astype(int):
        mask = decode_mask(root / "Annotations" / "480p" / name / f"{paths[t].stem}.png")[0] > 0
        if not mask.any():
            continue
        flow = estimate(*(decode_frame(paths[n].read_bytes()) for n in (t, t + 1)))
        begun = time.perf_counter()
        motion = camera_motion(flow)
        rest = residual(flow, motion)
        times.append((time.perf_counter() - begun) * 1000)
        rows.append([*contrasts(flow, mask), *contrasts(rest, mask), motion.share])
        reasons += [motion.reason] if motion.reason else []
    return rows, times, reasons


def main(root: Path) -> None:
    cv2.setNumThreads(1)
    print(f"{'':18}{'AUC':^16}{'colour (max)':^16}{'colour (99 %)':^16}")
    print(f"{'sequence':18}" + f"{'none':>7}{'homogr.':>8} " * 3 + " agree  taken as still")
    means, all_times = [], []
    for folder in sorted((root / "JPEGImages" / "480p").iterdir()):
        rows, times, reasons = measure(root, folder.name)
        mean = np.nanmean(rows, axis=0)
        shown = "".join(f"{mean[n]:7.{digits}f}{mean[n + 3]:8.{digits}f} " for n, digits in ((0, 3), (1, 1), (2, 1)))
        print(
            f"{folder.name:18}{shown}{mean[6]:6.2f}  {len(reasons) or ''} {'; '.join(sorted(set(reasons)))}", flush=True
        )
        means.append(mean)
        all_times += times[1:]  # the first makes the table of pixels
    mean = np.mean(means, axis=0)
    shown = "".join(f"{mean[n]:7.{digits}f}{mean[n + 3]:8.{digits}f} " for n, digits in ((0, 3), (1, 1), (2, 1)))
    print(f"{'mean':18}{shown}{mean[6]:6.2f}")
    print(f"time a frame: median {statistics.median(all_times):.1f} ms, largest {max(all_times):.1f} ms")


if __name__ == "__main__":
    main(Path(sys.argv[1]) / "davis2016_train")
