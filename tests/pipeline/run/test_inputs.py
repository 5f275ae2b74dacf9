"""The outside data of a run: what is named wrongly is told before anything is rendered or extracted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny import PROFILE, request, write_profile

from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.run.inputs import given_roots
from fusionseg.pipeline.run.runner import open_session
from fusionseg.pipeline.settings.profile import Profile
from fusionseg.pipeline.settings.sections import OUTSIDE

OWN = PROFILE.replace("scored = [", 'scored = [{manifest = "folder", split = "all"}, ')


def refused(folder: Path, *overrides: str, data: tuple[str, ...] = ()) -> str:
    """What is said of a request that can't be; nothing was rendered."""
    with pytest.raises(UserError) as caught:
        open_session(request(folder, *overrides, data=data))
    assert not (folder / "out" / "rendered").exists() and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("folder=WRONG",), "--data folder=WRONG: there is no folder"),
        (("folder=~/wrong",), "wrong; give the path of one"),
        (("WRONG",), "--data WRONG: there is no folder"),
        (("demo-davis=file.mp4",), "--data demo-davis=file.mp4: that is no folder"),
        (("folder=here", "folder=here"), "the folder of the data set folder is given twice"),
        (("here", "here"), "the folder of all data sets is given twice"),
        (("davis2016=here",), "uses no data set 'davis2016'; it uses: demo-davis"),
        (("folder=",), "expected ROOT or NAME=ROOT"),
        ((" ",), "expected ROOT or NAME=ROOT"),
    ],
)
def test_wrong_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: tuple[str, ...], said: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "here").mkdir()
    (tmp_path / "file.mp4").touch()
    write_profile(tmp_path, OWN)
    assert said in refused(tmp_path, data=given)


def test_folders_are_where_people_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("a=b", "my data", "caf\u00e9"):
        (tmp_path / name).mkdir()
    (tmp_path / "clip.mp4").touch()
    write_profile(tmp_path, OWN)
    for text, name, path in (
        ("folder=~/my data/", "folder", "my data"),
        ('folder="my data"', "folder", "my data"),
        ("folder=clip.mp4", "folder", "clip.mp4"),
        ("clip.mp4", "", "clip.mp4"),
        ("./a=b", "", "a=b"),
        ("demo-vid=./a=b", "demo-vid", "a=b"),
        ("cafe\u0301", "", "caf\u00e9"),
    ):
        assert given_roots(request(tmp_path, data=[text])) == {name: tmp_path / path}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["optical-flow.method=import", "optical-flow.folder=WRONG"],
            "optical-flow.folder = WRONG: there is no folder",
        ),
        (["optical-flow.raft_weights=~/w.pth"], "w.pth: there is no file"),
        (["motion-training.weights=w.safetensors"], "motion-training.weights: w.safetensors"),
        (["data.fusion.split=tset"], "demo-davis has no split 'tset'; it has: fusion, validation, test"),
        (["data.boxed.manifest=demo-davis", "data.boxed.split=fusion"], "demo-davis has no boxes"),
        (["data.stills.manifest=demo-davis", "data.stills.split=fusion"], "holds videos, expected stills"),
        (["data.stills.manifest=nonesuch"], "no data manifest 'nonesuch'"),
    ],
)
def test_wrong_settings_are_told_before_anything_is_rendered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in refused(tmp_path, *overrides)


def test_a_data_set_without_a_folder_is_told_before_another_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write_profile(tmp_path, OWN[OWN.index("[data]") :])
    asked = replace(request(tmp_path), data=(f"demo-stills={tmp_path / 'empty'}",))
    with pytest.raises(UserError, match=r"no folder for the data set demo-vid; give it with --data"):
        open_session(asked)


def test_every_setting_that_is_a_path_is_checked() -> None:
    sections = [info.annotation for info in Profile.model_fields.values()]
    fields = {name: info for section in sections for name, info in getattr(section, "model_fields", {}).items()}
    assert {name for name, info in fields.items() if "Path" in str(info.annotation)} == OUTSIDE
