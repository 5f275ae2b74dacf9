"""The commands that tell what can be set, and which data sets are known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import fails
from tiny import write_profile

from fusionseg.cli import main


def shown(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main([str(word) for word in words]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    return told.out


def test_settings_of_a_profile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "settings", write_profile(tmp_path), "--section", "motion-training")
    assert "motion-training.steps=8  (default 700)\n" in text and "appearance-training" not in text
    assert "motion-training.batch=4  (default 8)\n      integer, 1 or more, 65536 or less; images a step" in text
    assert shown(capsys, "settings", "--find", "checkpoint_seconds").count("\n") == 3


def test_settings_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    found = {one["name"]: one for one in json.loads(shown(capsys, "settings", "davis", "--json"))}
    assert found["motion-training.crop"] == {
        "name": "motion-training.crop", "section": "motion-training", "value": [192, 336], "default": [240, 424],
        "required": False, "values": "list of integer, integer",
        "description": "px, height and width of training crops",
    }  # fmt: skip


def test_what_no_setting_or_data_set_is_called(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no profile 'dvais' (did you mean 'davis'?)" in fails(capsys, tmp_path, "settings", "dvais")
    assert "no section 'x'" in fails(capsys, tmp_path, "settings", "--section", "x")
    assert "no setting has 'xyz'" in fails(capsys, tmp_path, "settings", "--find", "xyz")
    assert "no data set has 'xyz'" in fails(capsys, tmp_path, "data", "list", "--find", "xyz")


def test_data_sets_are_found_by_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "data", "list", "--find", "davis 2017")
    assert text.startswith("davis2017-unsupervised  (videos)\n  DAVIS 2017") and "segtrack" not in text
    assert "JPEGImages/480p/{video}/{frame}.jpg" in text
    assert "ImageNet-Video" in shown(capsys, "data", "list")
