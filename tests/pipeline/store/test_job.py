"""Jobs: what changes a key and what doesn't; what a stage is given."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import make_context, make_item, make_job, make_work, write_input

from fusionseg.pipeline.settings.sections import FlowFilter, Network
from fusionseg.pipeline.store.artifact import Record
from fusionseg.pipeline.store.job import Job, Work

INPUT = Record("optical-flow", "tiny", "clip", "key", "a/b.h5", "content", {"frames": 3}, "today", 1.0)
SOURCES = (("video", "tiny/clip", "frames", "digest"),)
SETTINGS = {"flow-filter": {"min_overlap": 0.75, "min_contrast": 20.0}}


def job(**changes: Any) -> Job:
    values: dict[str, Any] = {"item": make_item(), "settings": SETTINGS, "inputs": (INPUT,), "sources": SOURCES}
    stage = changes.pop("stage", "flow-filter")
    return make_job(stage, **(values | changes))


def test_key_is_the_same_for_the_same_work() -> None:
    assert job().key == job().key and len(job().key) == 40


@pytest.mark.parametrize(
    "changes",
    [
        {"stage": "box-pruning"},
        {"stage_version": 2},
        {"dataset": "other"},
        {"video": "other"},
        {"settings": {"flow-filter": {"min_overlap": 0.7, "min_contrast": 20.0}}},
        {"settings": {"flow-filter": {"min_overlap": 0.75, "min_contrast": 30.0}}},
        {"settings": {**SETTINGS, "network": {}}},
        {"settings": {}},
        {"sources": ()},
        {"sources": (("video", "tiny/clip", "frames", "other"),)},
        {"sources": (("video", "tiny/clip", "masks", "digest"),)},
        {"sources": SOURCES * 2},
        {"inputs": ()},
        {"inputs": (replace(INPUT, content="other"),)},
        {"inputs": (replace(INPUT, stage="flow-images"),)},
        {"inputs": (INPUT, replace(INPUT, video="two"))},
    ],
)
def test_key_changes_with_all_that_the_result_depends_on(changes: dict[str, Any]) -> None:
    assert job(**changes).key != job().key


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs": (replace(INPUT, key="other", path="c.h5", made="later", seconds=9.0, cached=True, counts={}),)},
        {"settings": {"flow-filter": {"min_contrast": 20.0, "min_overlap": 0.75}}},
        {"item": make_item(frames=[Path("/elsewhere/0.png")])},
    ],
)
def test_key_does_not_change_with_places_times_and_order(changes: dict[str, Any]) -> None:
    assert job(**changes).key == job().key


def test_how_to_compute_is_no_part_of_a_job(tmp_path: Path) -> None:
    """The section `run` lives in the context, and nothing of the context is in a job."""
    assert not {"run", "root", "device"} & job().__dict__.keys()
    assert make_context(tmp_path, workers=7).run.workers == 7


def test_a_setting_that_came_later_enters_the_key_once_it_is_used() -> None:
    """Keys of what was made before it stay what they were."""
    old = make_job("fusion-training", settings={"fusion-training": {"fusion": "gated"}})
    assert "drop" not in old.settings["fusion-training"] and old.settings["fusion-training"]["mirror"] is True
    same = make_job("fusion-training", settings={"fusion-training": {"fusion": "gated", "drop": 0.0}})
    other = make_job("fusion-training", settings={"fusion-training": {"fusion": "gated", "drop": 0.25}})
    assert old.key == same.key != other.key and other.settings["fusion-training"]["drop"] == 0.25


def test_identity_says_where_the_result_comes_from() -> None:
    identity = job().identity()
    assert identity["inputs"] == [
        {"stage": "optical-flow", "dataset": "tiny", "video": "clip", "content": "content"},
        {"role": "video", "item": "tiny/clip", "kind": "frames", "digest": "digest"},
    ]
    assert identity["settings"] == job().settings and identity["key"] == job().key


def test_input_of_a_stage_or_of_one_of_its_videos(tmp_path: Path) -> None:
    one, two = make_item("one"), make_item("two")
    records = [
        replace(INPUT, video="one"),
        replace(INPUT, video="two"),
        replace(INPUT, stage="flow-images", video="one"),
    ]
    work = make_work(make_context(tmp_path), "motion-training", inputs=records)
    assert work.input("optical-flow", two) == records[1] and work.input("flow-images") == records[2]
    with pytest.raises(RuntimeError, match="2 artifacts of optical-flow"):
        work.input("optical-flow")
    with pytest.raises(RuntimeError, match="0 artifacts of scoring for one, expected one"):
        work.input("scoring", one)


def test_open_finds_the_artifact_below_the_root(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    record = write_input(context, "optical-flow", {}, {"answer": 42})
    with Work(job(inputs=(record,)), context).open("optical-flow") as artifact:
        assert artifact.facts["answer"] == 42


def test_path_carries_stage_data_set_video_and_key() -> None:
    work = job()
    assert work.path == Path(f"artifacts/flow-filter/tiny/clip-{work.key[:12]}.h5")


def test_item_is_the_only_one() -> None:
    item = make_item("x")
    context = make_context(Path())
    assert make_work(context, "optical-flow", item).item == item
    with pytest.raises(ValueError):
        _ = make_work(context, "motion-training", items={"boxed": (item,), "validation": ()}).item


def test_settings_are_objects_found_by_their_kind(tmp_path: Path) -> None:
    work = make_work(make_context(tmp_path), "flow-filter", settings=SETTINGS)
    assert work.settings(FlowFilter) == FlowFilter(min_overlap=0.75, min_contrast=20.0)
    assert work.has_settings(FlowFilter) and not work.has_settings(Network)
    with pytest.raises(ValueError):
        work.settings(Network)


def test_settings_that_name_files_are_no_part_of_a_key(tmp_path: Path) -> None:
    plain, named = ({"optical-flow": {"method": "raft-small", **files}} for files in ({}, {"raft_weights": "a.pth"}))
    assert job(settings=plain).key == job(settings=named).key
    assert "raft_weights" not in job(settings=named).settings["optical-flow"]
