"""A run so small that tests can afford the whole chain: rendered pictures of 96x64, a few steps of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fusionseg.pipeline.run.request import Request
from fusionseg.pipeline.run.runner import run_plain

PROFILE = """
name = "tiny"

[render]
stills = 12
boxed_videos = 4
fusion_videos = 2
validation_videos = 1
test_videos = 2
frames = 5
width = 96
height = 64

[data]
stills = {manifest = "demo-stills", split = "train"}
boxed = {manifest = "demo-vid", split = "train"}
fusion = {manifest = "demo-davis", split = "fusion"}
validation = {manifest = "demo-davis", split = "validation"}
scored = [{manifest = "demo-davis", split = "test"}]

[network]
long_side = 0

[appearance-training]
steps = 30
batch = 4
crop = [64, 96]
lr_head = 1e-2
validate_every = 15

[flow-filter]
# Networks this little trained fill no box well.
min_overlap = 0.0
min_contrast = 0.0

[motion-training]
steps = 8
batch = 4
crop = [64, 96]
validate_every = 4

[fusion-training]
steps = 4
batch = 4
crop = [64, 96]
validate_every = 2
"""


def write_profile(folder: Path, text: str = PROFILE) -> Path:
    """The profile as a file."""
    path = folder / "tiny.toml"
    path.write_text(text)
    return path


def request(
    folder: Path, *overrides: str, name: str | None = None, out: str = "out", data: Sequence[str] = ()
) -> Request:
    """A request for the tiny run, all of it below `folder`."""
    profile = folder / "tiny.toml"
    if not profile.exists():
        write_profile(folder)
    return Request(str(profile), tuple(data), str(folder / out), name, overrides, "cpu")


class Said(list[str]):
    """Collects what a run says."""

    def __call__(self, text: str) -> None:
        self.append(text)

    def states(self) -> dict[str, str]:
        """The state each stage ended in, by stage: "computed", "cached", "given", or "3 computed, 1 cached"."""
        found = {}
        for line in self:
            if line.startswith("[") and "/" in line[:7]:
                words = line[line.index("]") + 1 :].split()
                found[words[0]] = " ".join(words[3:-2])
        return found


def run(asked: Request, only: str | None = None, refresh: Sequence[str] = (), say: Said | None = None) -> Said:
    """Run it plainly, or one stage of it; what was said."""
    said = Said() if say is None else say
    run_plain(replace(asked, only=only, refresh=tuple(refresh)), said)
    return said
