"""Jobs: what changes a key and what doesn't; work in order by threads."""

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import make_context, make_item, make_job, write_input

from fusionseg.pipeline.basics.device import resolve_device
from fusionseg.pipeline.basics.threads import batches, in_order
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.store.artifact import Record
from fusionseg.pipeline.store.job import Context, Job

INPUT = Record("optical-flow", "tiny", "clip", "key", "a/b.h5", "content", {"frames": 3}, "today", 1.0)
SOURCES = (("video", "tiny/clip", "frames", "digest"),)
SETTINGS = {"flow-filter": {"min_overlap": 0.75, "scales": [1.0, 2.0]}}


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
        {"settings": {"flow-filter": {"min_overlap": 0.7, "scales": [1.0, 2.0]}}},
        {"settings": {"flow-filter": {"min_overlap": 0.75, "scales": [2.0, 1.0]}}},
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
        {"settings": {"flow-filter": {"scales": [1.0, 2.0], "min_overlap": 0.75}}},
        {"item": make_item(frames=[Path("/elsewhere/0.png")])},
    ],
)
def test_key_does_not_change_with_places_times_and_order(changes: dict[str, Any]) -> None:
    assert job(**changes).key == job().key


def test_how_to_compute_is_no_part_of_a_job(tmp_path: Path) -> None:
    """The section `run` lives in the context, and nothing of the context is in a job."""
    assert not {"run", "root", "device"} & job().__dict__.keys()
    assert make_context(tmp_path, workers=7).run.workers == 7


def test_identity_says_where_the_result_comes_from() -> None:
    identity = job().identity()
    assert identity["inputs"] == [
        {"stage": "optical-flow", "dataset": "tiny", "video": "clip", "content": "content"},
        {"role": "video", "item": "tiny/clip", "kind": "frames", "digest": "digest"},
    ]
    assert identity["settings"] == SETTINGS and identity["key"] == job().key


def test_input_of_a_stage_or_of_one_of_its_videos(tmp_path: Path) -> None:
    one, two = make_item("one"), make_item("two")
    records = [
        replace(INPUT, video="one"),
        replace(INPUT, video="two"),
        replace(INPUT, stage="flow-images", video="one"),
    ]
    work = make_job("motion-training", inputs=records)
    assert work.input("optical-flow", two) == records[1] and work.input("flow-images") == records[2]
    with pytest.raises(RuntimeError, match="2 artifacts of optical-flow"):
        work.input("optical-flow")
    with pytest.raises(RuntimeError, match="0 artifacts of scoring for one, expected one"):
        work.input("scoring", one)


def test_open_finds_the_artifact_below_the_root(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    record = write_input(context, "optical-flow", {}, {"answer": 42})
    with job(inputs=(record,)).open(context, "optical-flow") as artifact:
        assert artifact.facts["answer"] == 42


def test_path_carries_stage_data_set_video_and_key() -> None:
    work = job()
    assert work.path() == Path(f"artifacts/flow-filter/tiny/clip-{work.key[:12]}.h5")


def test_item_is_the_only_one() -> None:
    item = make_item("x")
    assert make_job("optical-flow", item).item == item
    with pytest.raises(ValueError):
        _ = make_job("motion-training", items={"boxed": (item,), "validation": ()}).item


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(UserError, match="--device tpu9: unknown"):
        resolve_device("tpu9")
    with pytest.raises(UserError, match="--device meta: not supported"):
        resolve_device("meta")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")
    for count, asked in ((0, "cuda"), (1, "cuda:1")):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        with pytest.raises(UserError, match=f"--device {asked}: this machine's torch sees {count} CUDA devices"):
            resolve_device(asked)
    assert resolve_device("cuda:0") == torch.device("cuda:0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == torch.device("cuda")


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize(("count", "start"), [(0, 0), (1, 0), (17, 0), (17, 12), (5, 5), (5, 9)])
def test_in_order_gives_every_result_in_order(workers: int, count: int, start: int) -> None:
    def slow_if_even(index: int) -> int:
        time.sleep(0.004 * (index % 2 == 0))
        return index * index

    assert list(in_order(slow_if_even, count, workers, start)) == [n * n for n in range(start, count)]


def test_in_order_works_only_a_little_ahead() -> None:
    begun: list[int] = []
    workers = 2
    results = in_order(lambda index: begun.append(index), 1000, workers)
    for taken in range(1, 20):
        next(results)
        assert len(begun) <= taken + 2 * workers
    results.close()  # type: ignore[attr-defined]
    assert len(begun) <= 20 + 2 * workers


def test_in_order_really_uses_threads() -> None:
    both = threading.Barrier(2, timeout=20)
    assert list(in_order(lambda index: both.wait() >= 0, 2, 2)) == [True, True]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_in_order_gives_what_came_before_an_error_then_the_error(error: type[BaseException]) -> None:
    begun: list[int] = []

    def work(index: int) -> int:
        begun.append(index)
        if index == 3:
            raise error(index)
        return index

    taken = []
    with pytest.raises(error):
        for value in in_order(work, 1000, 2):
            taken.append(value)
    assert taken == [0, 1, 2] and len(begun) < 20


def test_batches_cover_all() -> None:
    assert [list(b) for b in batches(7, 3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batches(0, 3)) == []


def test_progress_writes_no_carriage_returns_where_nobody_watches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    context: Context = make_context(tmp_path)
    with context.progress("training", 5, "step") as bar:
        for _ in range(5):
            bar.update()
    assert "\r" not in capsys.readouterr().err
