"""A folder in which what the docs show can be run: the run `davis` and its data, all of it tiny."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from builders import moving_square, write_davis, write_lines, write_png
from tiny import PROFILE, Said
from videos import write_video

from fusionseg.cli import main, runs
from fusionseg.pipeline.datasets.manifest import read_manifest
from fusionseg.pipeline.report.export import export_flow
from fusionseg.pipeline.run.request import Request
from fusionseg.pipeline.run.runner import run_plain
from fusionseg.pipeline.settings import profile

# What the docs call the artifact of a video, by stage.
BEAR = "bear-0123456789ab.h5"
SHOWN = ("optical-flow", "flow-filter")


def prepare(finished: Path, folder: Path) -> Path:
    """The folder to stand in, below `folder`, made of the finished tiny run."""
    work = folder / "work"
    (rendered,) = (finished / "out" / "rendered").iterdir()
    shutil.copytree(finished / "out", work / "out")
    shutil.copytree(rendered, folder / "data")
    (work / "profiles").mkdir()
    for name in ("davis", "demo"):
        (work / "profiles" / f"{name}.toml").write_text(PROFILE.replace('"tiny"', f'"{name}"'))
    shutil.copy(profile.shipped_profiles()["segment"], work / "profiles")  # as it is, with the weights that are shipped
    asked = Request(work / "profiles/davis.toml", folder / "data", work / "out", device="cpu")
    for run_name in ("davis", "longer"):
        run_plain(replace(asked, name=run_name), Said())
    _write_data(folder / "data")
    _write_artifacts(work / "out" / "artifacts")
    _write_masks(work, folder / "data")
    export_flow(work / "out", "davis", "flo", work / "FLOW")
    write_video(work / "my-clip.mp4", [frame for frame, _ in moving_square(5, (64, 96), 16)])
    return work


def _write_data(data: Path) -> None:
    """The sequences of `davis2016-small`, two frames each."""
    splits = read_manifest("davis2016-small").splits.values()
    names = dict.fromkeys(name for split in splits if isinstance(split, list) for name in split)
    write_davis(data / "davis2016_train", dict.fromkeys(names, 2))
    for path in sorted((data / "davis2016_train" / "Annotations").rglob("*.png")):
        other = data / "fseg_masks_train30" / path.parent.name / path.name
        other.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, other)


def _write_artifacts(artifacts: Path) -> None:
    for stage in SHOWN:
        one = min((artifacts / stage / "demo-vid").glob("*.h5"))
        (artifacts / stage / "davis2016-small").mkdir()
        shutil.copy(one, artifacts / stage / "davis2016-small" / BEAR)
    shutil.copy(
        next((artifacts / "appearance-training").rglob("*.safetensors")), artifacts.parents[1] / "mine.safetensors"
    )


def _write_masks(work: Path, data: Path) -> None:
    """Truth and masks of the scored sequences, and a frame."""
    every = sorted((data / "davis" / "Annotations" / "480p").glob("test-*"))
    for truth in every:
        for place in (work / "truth", work / "fseg", work / "DAVIS" / "Annotations" / "480p"):
            shutil.copytree(truth, place / truth.name)
        for path in truth.iterdir():
            mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            write_png(work / "maps" / truth.name / path.name, np.where(mask > 0, 200, 30).astype(np.uint8))
    write_lines(work / "val.txt", [truth.name for truth in every])
    shutil.copy(min((data / "davis" / "JPEGImages").rglob("*.jpg")), work / "00000.jpg")


def names(work: Path) -> dict[str, Any]:
    """What the Python of the docs takes for granted."""
    (first, _), (second, _) = moving_square(2)
    return {"first": first, "second": second, "path": work / "out/artifacts/flow-filter/davis2016-small" / BEAR}


def enter(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in the folder, where the profiles `davis` and `demo` are tiny and runs need no Prefect."""
    monkeypatch.chdir(work)
    monkeypatch.setattr(profile, "shipped_profiles", lambda: {p.stem: p for p in (work / "profiles").glob("*.toml")})
    monkeypatch.setattr(runs, "_prefect_runner", lambda: lambda request: run_plain(request, Said()))


def run_command(words: Sequence[str]) -> int:
    """Run a command in this process, patterns expanded as a shell does; its exit code."""
    return main([name for word in words for name in (sorted(map(str, Path().glob(word))) if "*" in word else [word])])
