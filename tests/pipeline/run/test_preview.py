"""What a run says that it would do, against what it then does; and that nothing is touched meanwhile."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import write_png
from tiny import Said, request, run
from videos import write_video

from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.graph import NAMES, STAGES
from fusionseg.pipeline.run.preview import preview
from fusionseg.pipeline.run.request import Request

ALL = [stage.name for stage in STAGES]


@pytest.fixture
def chain(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be changed at will."""
    return Path(shutil.copytree(finished, tmp_path / "chain"))


def files(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}


def told(asked: Request) -> tuple[dict[str, str], Said]:
    """What is said of each stage, and all that is said; nothing below the folder changes by that."""
    said, before = Said(), files(Path(asked.out).parent)
    preview(asked, said)
    assert files(Path(asked.out).parent) == before
    lines = [line[7:].split(maxsplit=3) for line in said if line[7:].split() and line[7:].split()[0] in NAMES]
    return {words[0]: words[3] for words in lines}, said


def test_a_finished_run_is_all_cached(chain: Path) -> None:
    stages, said = told(request(chain))
    assert stages == dict.fromkeys(ALL, "cached")
    assert said[-1] == "nothing was computed; 0 of 12 stages would be" and len(said) == 13


def test_nothing_is_rendered_or_computed_for_it(tmp_path: Path) -> None:
    asked = request(tmp_path)
    stages, said = told(asked)
    assert not Path(asked.out).exists() and not stages
    assert said[0].startswith("first the built-in data is rendered") and all(name in said[1] for name in ALL)


def test_frames_of_video_files_are_not_extracted_for_it(chain: Path) -> None:
    write_video(chain / "clip.mp4", [np.full((64, 96, 3), 20 * n, np.uint8) for n in range(4)])
    asked = request(chain, 'data.scored=[{manifest="folder", split="all"}]', data=[f"folder={chain / 'clip.mp4'}"])
    said = told(asked)[1]
    assert said[0].startswith("first the frames of clip.mp4 are extracted")
    assert not (chain / "out" / "frames").exists()


@pytest.mark.parametrize(
    ("overrides", "more", "expected"),
    [
        (
            ["motion-training.steps=9", "run.batch=2"],
            {},
            {
                "motion-training": "would be computed: motion-training.steps 9 (was 8)",
                "motion-scores": "would be computed: what it reads is computed anew (motion-training)",
                "fusion-training": "would be computed: what it reads is computed anew (motion-scores)",
                "prediction": "would be computed: what it reads is computed anew (motion-scores, fusion-training)",
                "scoring": "would be computed: what it reads is computed anew (prediction)",
            },
        ),
        (
            ["prediction.baselines=false"],
            {},
            {
                "prediction": "would be computed: prediction.baselines False (was True)",
                "scoring": "would be computed: what it reads is computed anew (prediction)",
            },
        ),
        (
            [],
            {"refresh": ["scoring"]},
            {"scoring": "would be computed: --refresh"},
        ),
    ],
)
def test_it_says_what_changed_and_what_follows(
    chain: Path, overrides: list[str], more: Mapping[str, Any], expected: dict[str, str]
) -> None:
    asked = replace(request(chain, *overrides), **more)
    stages, said = told(asked)
    assert stages == dict.fromkeys(ALL, "cached") | expected
    assert f"{len(expected)} of 12 stages would be, in whole or in part" in said[-1]
    assert any("run 'tiny' was another" in line for line in said) == bool(overrides)
    done = run(asked, refresh=asked.refresh)
    assert {name for name, state in done.states().items() if state != "cached"} <= set(expected)
    assert done.states()[next(iter(expected))] == "computed", "as it was said"


def video(chain: Path, stage: str, name: str) -> Path:
    (found,) = (chain / "out" / "artifacts" / stage).rglob(f"{name}-*.h5")
    return found


def test_single_artifacts_that_are_damaged_or_gone(chain: Path) -> None:
    names = sorted(path.name.rpartition("-")[0] for path in (chain / "out/artifacts/scoring").rglob("*.h5"))
    damaged = video(chain, "prediction", names[0])
    damaged.write_bytes(damaged.read_bytes()[:-1])
    video(chain, "scoring", names[1]).unlink()
    stages, _ = told(request(chain))
    assert damaged.exists(), "it is looked at, not deleted"
    assert stages == dict.fromkeys(ALL, "cached") | {
        "prediction": "1 would be computed: damaged",
        "scoring": "would be computed: 1 its artifact is gone; 1 what it reads is computed anew (prediction)",
    }
    shutil.rmtree(chain / "out" / "runs")
    assert "1 never computed" in told(request(chain))[0]["scoring"]


def test_other_versions_of_a_stage_and_other_files(chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fusionseg.pipeline import graph

    monkeypatch.setitem(graph._FIRST, "scoring", graph._FIRST["scoring"])
    newer = tuple(replace(one, version=99) if one.name == "scoring" else one for one in graph.EVERY)
    monkeypatch.setattr(graph, "EVERY", newer)
    assert told(request(chain))[0]["scoring"] == "would be computed: version 99 of the stage (was 2)"
    monkeypatch.undo()
    mask = min((chain / "out" / "rendered").rglob("Annotations/480p/test-*/00002.png"))
    write_png(mask, np.zeros((64, 96), np.uint8))
    stages, _ = told(request(chain))
    assert stages.pop("scoring") == f"1 would be computed: other masks of demo-davis/{mask.parent.name}"
    assert set(stages.values()) == {"cached"}


def test_a_stage_alone(chain: Path) -> None:
    asked = replace(request(chain, "flow-filter.min_overlap=0.5"), only="flow-filter")
    assert told(asked)[0] == {"flow-filter": "would be computed: flow-filter.min_overlap 0.5 (was 0.0)"}
    with pytest.raises(UserError, match=r"--only scoring would stop: flow-filter isn't all there .*`fusionseg run .*`"):
        told(replace(asked, only="scoring"))
    part = replace(asked, shard="1/2")
    assert "videos" in told(part)[1][-2] and not told(part)[1][0].startswith("  run")


def test_what_would_stop_the_run_stops_it(chain: Path) -> None:
    with pytest.raises(UserError, match="no folder"):
        told(request(chain, data=[str(chain / "nowhere")]))
    with pytest.raises(UserError, match="this run has no such stage"):
        told(replace(request(chain), refresh=["motion-training-2"]))
