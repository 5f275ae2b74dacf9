"""How fast a data set is checked: frames a second of `fusionseg data check`, headers alone and with --deep, files warm.

    python benchmarks/data_check.py ../shared/data [MANIFEST]

Expected before measuring: at least 3,000 frames a second on headers (frame and masks) on 2 cores.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path

from fusionseg.pipeline.datasets.check import check
from fusionseg.pipeline.datasets.manifest import DataManifest, read_manifest

REPEATS = {False: 5, True: 2}  # of headers alone, of everything
WANTED = 3000  # frames a second on headers


def measure(manifest: DataManifest, root: Path, deep: bool) -> tuple[int, int, float]:
    """Frames, masks, and the median time (s) of a whole check: finding the files and reading them."""
    times = []
    for _ in range(REPEATS[deep]):
        begun = time.perf_counter()
        found = check(manifest, root, deep=deep, workers=os.cpu_count() or 1)
        times.append(time.perf_counter() - begun)
    return sum(one.frames for one in found), sum(one.masks for one in found), statistics.median(times)


def main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    manifest = read_manifest(sys.argv[2] if len(sys.argv) == 3 else "davis2016-small")
    root = Path(sys.argv[1]).resolve()
    measure(manifest, root, deep=True)  # files are in memory from here on
    for deep in (False, True):
        frames, masks, seconds = measure(manifest, root, deep)
        goal = "" if deep else f"; wanted: {WANTED:,}, ratio {frames / seconds / WANTED:.2f}"
        what = "everything decoded" if deep else "headers"
        print(f"{manifest.name}, {what}: {frames} frames, {masks} masks, {frames / seconds:,.0f} frames/s{goal}")


if __name__ == "__main__":
    main()
