"""How surely the frames tell which pair a flow belongs to: the measurements behind the content test of imported flow
(`fusionseg.pipeline.datasets.imported_flow`).

    python benchmarks/flow_direction.py DATA

For each sequence, flow is estimated from t to t+step; then, for each other step that could be declared in its place,
the warping error of the right step is divided by the other's. Printed: the largest of these ratios (the weakest case)
with the other step, and what the test says. Expected before measuring: below 0.8 for all that move.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import cv2

from fusionseg.pipeline.datasets.imported_flow import NOISE, better_step, evenly, warping_errors
from fusionseg.pipeline.datasets.reading import UInt8
from fusionseg.pipeline.flow.estimation import estimate
from fusionseg.pipeline.formats.pictures import decode_frame

STEPS = (1, -1, 2, -2, 5)
OTHERS = (-5, -2, -1, 1, 2, 5)


def farneback(first: UInt8, second: UInt8) -> object:
    grey = [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in (first, second)]
    return cv2.calcOpticalFlowFarneback(*grey, None, 0.5, 5, 15, 3, 5, 1.2, 0)  # type: ignore[call-overload]


METHODS = {"dis-medium": estimate, "farneback": farneback}


def measure(frames: list[Path], method: str, step: int) -> tuple[float, int, list[int], bool]:
    """The weakest ratio and its step, the wrong declarations that pass, and whether the right one is refused."""
    errors = []
    for t in evenly(range(max(OTHERS), len(frames) - max(OTHERS))):
        near = {n: decode_frame(frames[t + n].read_bytes()) for n in (0, *OTHERS)}
        first = near.pop(0)
        errors.append(warping_errors(METHODS[method](first, near[step]), first, near))
    ratios = {
        other: statistics.median((e[step] + NOISE) / (e[other] + NOISE) for e in errors if e)
        for other in OTHERS
        if other != step and any(errors)
    }
    weakest = max(ratios, key=lambda other: ratios[other], default=0)
    passing = [other for other in OTHERS if other != step and better_step(errors, other) is None]
    return ratios.get(weakest, float("nan")), weakest, passing, better_step(errors, step) is not None


def main(root: Path) -> None:
    cv2.setNumThreads(1)
    for method in METHODS:
        for step in STEPS:
            results = {}
            for folder in sorted((root / "JPEGImages" / "480p").iterdir()):
                results[folder.name] = measure(sorted(folder.iterdir()), method, step)
            worst = max(results, key=lambda name: results[name][0])
            passing = {name: found[2] for name, found in results.items() if found[2]}
            refused = [name for name, found in results.items() if found[3]]
            print(
                f"{method}, t to t{step:+d}: {len(results)} sequences; weakest ratio {results[worst][0]:.2f} ({worst}, "
                f"against {results[worst][1]:+d}); wrong steps that pass: {passing or 'none'}; right flow refused: "
                f"{refused or 'none'}",
                flush=True,
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]) / "davis2016_train")
