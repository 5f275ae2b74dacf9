"""What one waits for before anything is computed: time, peak memory and loaded modules of help, of a table of artifacts
and of a run that finds everything cached, plain and under Prefect. Prints a Markdown table.

    python benchmarks/startup.py OUT [--rounds 5]
    python benchmarks/startup.py OUT --against VENV/bin [--against-out OUT]

OUT holds a finished `fusionseg demo`; it is copied, since a run rewrites its record. The installation measured is that
of the Python in use. `--against`: another one's bin folder, whose commands take turns with ours, so that a slow minute
hits both alike; its finished demo, where it can't use ours, is `--against-out`. Prefect keeps its database in a folder
of its own. A first round warms up and counts the modules that the command's own process loads. Memory is that of the
largest process, which may be Prefect's server, and no less than the benchmark's own 15 MB, which it is forked from.

Expected before measuring: help 0.3 s and 50 MB, since it loads no numpy; the table of artifacts 1 s (pandas); the plain
cached run 2 s, without PyTorch; under Prefect 8 s more. Before the rooms, which loaded PyTorch in each run: plain 2 to
3 times as long and as large, help the same.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

COMMANDS = ("--help", "run --help", "artifacts --out OUT", "demo --plain --out OUT", "demo --out OUT")


@dataclass
class Found:
    """Of one command: seconds and MB of each round, modules."""

    modules: int
    seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)


class Installation:
    """A bin folder, and a copy of a finished demo for it."""

    def __init__(self, folder: Path, out: Path, room: Path) -> None:
        self.folder, self.room = folder.absolute(), room
        shutil.copytree(out, room / "out")
        self.environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self.environment["PREFECT_HOME"] = str(room / "prefect")
        self.found = {command: Found(self.modules(command)) for command in COMMANDS}

    def run(self, command: str, options: Sequence[str] = ()) -> tuple[float, float, str]:
        """Seconds, MB, and all it said; an error, or a run that isn't cached, ends the benchmark."""
        words = command.replace("OUT", str(self.room / "out")).split()
        line = [str(self.folder / "python"), *options, str(self.folder / "fusionseg"), *words]
        with (self.room / "said").open("w+") as said:
            files = [(os.POSIX_SPAWN_DUP2, said.fileno(), number) for number in (1, 2)]
            begun = time.perf_counter()
            process = os.posix_spawn(line[0], line, self.environment, file_actions=files)
            _, status, usage = os.wait4(process, 0)
            seconds = time.perf_counter() - begun
            said.seek(0)
            text = said.read()
        if status or re.search(r"^\[.* computed ", text, re.MULTILINE):
            sys.exit(f"{' '.join(line)}: {'failed' if status else 'found not everything cached'}\n{text[-2000:]}")
        return seconds, usage.ru_maxrss / 1000, text

    def modules(self, command: str) -> int:
        """How many modules are loaded, which takes longer."""
        return self.run(command, ("-X", "importtime"))[2].count("import time:") - 1  # the first line is a title

    def measure(self, command: str) -> None:
        seconds, megabytes, _ = self.run(command)
        self.found[command].seconds.append(seconds)
        self.found[command].megabytes.append(megabytes)


def row(command: str, found: Sequence[Found]) -> str:
    """One line of the table; of two installations, also how many times as much the other takes."""
    figures = [
        [f"{min(f.seconds):.2f} s", f"{statistics.median(f.seconds):.2f} s", f"{max(f.megabytes):.0f} MB", f.modules]
        for f in found
    ]
    if len(found) > 1:
        ours, other = found
        pairs = zip(other.seconds, ours.seconds, strict=True)
        ratios = (
            min(other.seconds) / min(ours.seconds),
            statistics.median(a / b for a, b in pairs),
            max(other.megabytes) / max(ours.megabytes),
            other.modules / ours.modules,
        )
        cells = [f"{a}, {b}, {r:.2f}" for a, b, r in zip(*figures, ratios, strict=True)]
    else:
        cells = [str(value) for value in figures[0]]
    return f"| `fusionseg {command}` | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", type=Path, metavar="BIN")
    parser.add_argument("--against-out", type=Path, metavar="OUT")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as room:
        sides = [Installation(Path(sys.executable).parent, options.out, Path(room) / "ours")]
        if options.against:
            sides.append(Installation(options.against, options.against_out or options.out, Path(room) / "other"))
        for _ in range(options.rounds):
            for command in COMMANDS:
                for side in sides:
                    side.measure(command)
    what = "; cells: ours, the other's, other / ours" if options.against else ""
    print(f"{options.rounds} rounds{what}\n")
    print("| command | best | median | peak memory | modules |\n| --- | --- | --- | --- | --- |")
    for command in COMMANDS:
        print(row(command, [side.found[command] for side in sides]))


if __name__ == "__main__":
    main()
