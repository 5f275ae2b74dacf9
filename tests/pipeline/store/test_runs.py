"""Records of runs: written, read again, and what is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.settings.profile import read_profile
from fusionseg.pipeline.store.artifact import Record
from fusionseg.pipeline.store.runs import RunRecord, StageRun, read_run, run_path, write_run

RECORD = Record("scoring", "tiny", "walk", "key", "a/b.h5", "content", {"frames": 3, "share": 0.5}, "today", 1.25)
RUN = RunRecord(
    "own", "yesterday", {"scoring": StageRun("computed", 2.5, {"process": 10}, (RECORD,))}, read_profile("davis"),
    {"scored": ("tiny/walk", "tiny/a/b")}, ("tiny/bad",), {"torch": "2"}, "cpu", {"(default)": "/data"}, "today",
)  # fmt: skip


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_run(tmp_path, RUN)
    found = read_run(tmp_path, "own")
    assert found == RUN
    assert [type(value) for value in found.records("scoring")[0].counts.values()] == [int, float]
    assert found.records("prediction") == () and found.state("scoring") == "computed" and found.state("x") is None
    assert found.by_unit("scoring") == {("tiny", "walk"): RECORD}
    assert found.units("scored") == [("tiny", "walk"), ("tiny", "a/b")]


def test_the_file_is_the_one_that_was_always_written(tmp_path: Path) -> None:
    """What others read, and what was written before, has these names."""
    write_run(tmp_path, RUN)
    values = json.loads(run_path(tmp_path, "own").read_text())
    assert list(values) == [
        "name", "started", "stages", "profile", "videos", "left_out", "software", "device", "data", "finished",
        "request", "passed_over", "read",
    ]  # fmt: skip
    assert values["profile"] == RUN.profile.as_dict()
    assert list(values["stages"]["scoring"]) == ["state", "seconds", "peak_memory", "records"]
    assert values["stages"]["scoring"]["records"][0]["counts"] == {"frames": 3, "share": 0.5}


def test_settings_that_came_later_have_their_defaults(tmp_path: Path) -> None:
    write_run(tmp_path, RUN)
    path = run_path(tmp_path, "own")
    values = json.loads(path.read_text())
    del values["profile"]["weak-labels"], values["stages"]["scoring"]["peak_memory"]
    path.write_text(json.dumps(values))
    assert read_run(tmp_path, "own").profile.weak_labels.rounds == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"stages": {}}',
        '{"stages": 3}',
        '{"name": 1e999}',
        "\x00",
        '{"stages": {"scoring": {"records": 1}}}',
    ],
)
def test_what_is_no_record_is_one_line(tmp_path: Path, text: str) -> None:
    path = run_path(tmp_path, "own")
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(UserError, match=r"own\.json: not a run's record; run the same command again"):
        read_run(tmp_path, "own")


def test_an_unknown_run_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="known: none yet"):
        read_run(tmp_path, "other")
    write_run(tmp_path, RUN)
    with pytest.raises(UserError, match=r"no run 'other' .* known: own"):
        read_run(tmp_path, "other")
