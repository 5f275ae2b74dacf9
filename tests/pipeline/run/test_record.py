"""The record of a run as it grows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from builders import make_context, make_item
from tiny import Said, request

from fusionseg.pipeline.datasets.digests import LEDGER, Ledger
from fusionseg.pipeline.run.inputs import Inputs
from fusionseg.pipeline.run.record import Journal, notes, still_valid
from fusionseg.pipeline.settings.profile import Profile, read_profile
from fusionseg.pipeline.store.artifact import Record
from fusionseg.pipeline.store.runs import StageRun, read_run

NAMES = ("optical-flow", "flow-filter", "motion-training", "scoring")
STAGES = {name: StageRun("computed") for name in NAMES}


def changed(*overrides: str) -> Profile:
    return read_profile("demo", overrides)


@pytest.mark.parametrize(
    ("overrides", "left"),
    [
        ((), NAMES),
        (("run.workers=9",), NAMES),
        (("flow-filter.min_overlap=0.1",), ("optical-flow",)),
        (("motion-training.steps=9",), ("optical-flow", "flow-filter")),
        (("optical-flow.gap=2",), ()),
        (("render.seed=9",), ()),
        (("flow-images.store=images", "motion-training.mirror=false", "motion-training.scales=[1.0, 1.0]"), ()),
    ],
)
def test_a_changed_setting_leaves_what_it_does_not_concern(overrides: tuple[str, ...], left: tuple[str, ...]) -> None:
    assert tuple(still_valid(STAGES, changed(), changed(*overrides))) == left


def journal(folder: Path, *overrides: str) -> Journal:
    items = {"scored": [make_item("clip")], "boxed": []}
    return Journal(
        request(folder, *overrides), Inputs(items, {"": folder}), make_context(folder), Ledger(folder / LEDGER)
    )


def test_stages_are_added_in_order_and_a_new_run_begins_empty(tmp_path: Path) -> None:
    first = journal(tmp_path)
    for name in NAMES:
        first.add(name, StageRun("computed", 1.5, {"process": 7}))
    run = read_run(tmp_path / "out", "tiny")
    assert tuple(run.stages) == NAMES and run.videos == {"scored": ("tiny/clip",), "boxed": ()}
    assert run.data == {"(default)": str(tmp_path)} and run.finished and run.device == "cpu"
    second = journal(tmp_path)
    second.begin()
    second.add("optical-flow", StageRun("cached"))
    assert tuple(read_run(tmp_path / "out", "tiny").stages) == ("optical-flow",)


@pytest.mark.parametrize(
    ("only", "overrides", "data", "said"),
    [
        (None, (), "a", ""),
        (None, ("run.workers=7",), "a", ""),
        (
            None,
            ("motion-training.steps=9",),
            "a",
            "motion-training.steps 9 (was 8); its record and report are replaced",
        ),
        (None, (), "b", "--data {0}/b (was {0}/a); its record and report are replaced"),
        (
            None,
            ('data.scored=[{manifest="folder", split="all"}]',),
            "a",
            "data.scored.0.manifest folder (was demo-davis), data.scored.0.split all (was test); its record",
        ),
        (
            "motion-training",
            ("motion-training.steps=9",),
            "a",
            "motion-training.steps 9 (was 8); it loses motion-training, scoring (no artifact is); --name NAME keeps",
        ),
        ("optical-flow", ("prediction.baselines=false",), "a", ""),
    ],
)
def test_a_run_that_takes_anothers_name_says_so(
    tmp_path: Path, only: str | None, overrides: tuple[str, ...], data: str, said: str
) -> None:
    def made(root: str, say: Said, *sets: str) -> Journal:
        asked = replace(request(tmp_path, *sets), only=only)
        return Journal(
            asked,
            Inputs({}, {"": tmp_path / root}),
            replace(make_context(tmp_path), say=say),
            Ledger(tmp_path / LEDGER),
        )

    first = made("a", Said())
    first.begin()
    for name in NAMES if overrides != ("prediction.baselines=false",) else NAMES[:1]:
        first.add(name, StageRun("computed"))
    told = Said()
    made(data, told, *overrides).begin()
    assert len(told) == bool(said) and said.format(tmp_path) in "".join(told)
    if said:
        assert told[0].startswith("  run 'tiny' was another: ")


def test_the_device_is_the_one_that_computed(tmp_path: Path) -> None:
    first = journal(tmp_path)
    _ = first._context.device
    first.add("optical-flow", StageRun("computed"))
    again = Journal(request(tmp_path), Inputs({}, {}), make_context(tmp_path, device="auto"), Ledger(tmp_path / LEDGER))
    again.begin()
    again.add("optical-flow", StageRun("cached"))
    assert read_run(tmp_path / "out", "tiny").device == "cpu", "not auto: nothing was computed now"


def test_notes_name_videos_and_count_frames() -> None:
    record = Record("scoring", "set", "clip", "", "", "", {"no_truth": 1, "frames_without_boxes": 2})
    assert notes([record, record]) == [
        "clip: no masks: predicted, not scored", "clip: no masks: predicted, not scored",
        "4 frames without boxes, skipped",
    ]  # fmt: skip
