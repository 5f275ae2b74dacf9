"""Inputs that were read wrongly once, as they were handed in: each gives what is right, or is refused in words."""

from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path

import pandas as pd
import pytest

from fusionseg.cli import main

pytestmark = pytest.mark.real


@pytest.fixture
def cases(real_data: Path, tmp_path: Path) -> Path:
    """A copy, in which links can be made."""
    if not (real_data / "cases").is_dir():
        pytest.skip(f"no cases in {real_data}")
    return Path(shutil.copytree(real_data / "cases", tmp_path / "cases"))


def score(folder: Path, *more: str, truth: str = "truth", **methods: str) -> dict[str, float]:
    """J of each method, per cent."""
    masks = [part for name, path in methods.items() for part in ("--masks", f"{name}={folder / path}")]
    out = folder / "scores"
    options = ["--protocol", "davis2016", "--truth", str(folder / truth), *masks, "--out", str(out), *more]
    assert main(["score", *options]) == 0
    table = pd.read_csv(out / "overall.csv").set_index("method")
    return {name: round(100 * table.loc[name, "J"], 1) for name in methods}


def check(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    code = main(["data", "check", "folder", "--data", str(folder / "d"), "--out", str(folder / "out")])
    return code, capsys.readouterr().out


def test_masks_in_alpha_or_palette(cases: Path) -> None:
    names = ("rgb", "pal_web", "rgba_alpha", "rgba_cut", "rgba_black_in_alpha", "pal_white0")
    found = score(cases / "masks-in-alpha-or-palette", **{name: name for name in names})
    assert found == dict.fromkeys(names, 66.0)


def test_smooth_edges(cases: Path) -> None:
    folder = cases / "smooth-edges"
    assert score(folder, m="m") == {"m": 97.7}
    # `m2` are the discs before they were smoothed: at half they are a little larger.
    assert score(folder, truth="truth3", m2="m2", m3="m3")["m2"] == 88.8
    assert score(folder, truth="truth3", m3="m3")["m3"] > 99


def test_links_to_themselves(cases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = cases / "masks-in-alpha-or-palette"
    for name in ("latest", "current"):
        (folder / "rgb" / name).symlink_to(".")
    assert score(folder, m="rgb") == {"m": 66.0}
    assert "left out" not in capsys.readouterr().out


@pytest.mark.parametrize(("case", "sequences"), [("list-with-bom", 2), ("names-with-spaces", 2)])
def test_lists(cases: Path, case: str, sequences: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert score(cases / case, "--list", str(cases / case / "list.txt"), m="m")
    assert f"davis2016: {sequences} sequences" in capsys.readouterr().out


def test_one_name_in_two_forms(cases: Path) -> None:
    folder = cases / "masks-in-alpha-or-palette"
    for tree, form in (("truth", "NFC"), ("rgb", "NFD")):
        (folder / tree / "ball").rename(folder / tree / unicodedata.normalize(form, "café"))
    assert score(folder, m="rgb") == {"m": 66.0}


@pytest.mark.parametrize(
    ("case", "counts"),
    [
        ("videos-in-deeper-folders", ["2", "10", "0"]), ("masks-a-folder-an-object", ["1", "5", "5"]),
        ("masks-in-a-folder-for-one-video", ["1", "5", "5"]), ("masks-folder-in-capitals", ["1", "5", "5"]),
    ],
)  # fmt: skip
def test_arrangements(cases: Path, case: str, counts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, said = check(cases / case, capsys)
    assert code == 0 and said.splitlines()[1].split()[1:4] == counts


def test_frames_of_other_kinds(cases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JPEG 2000 is read; v3.vob and v4.flv hold words."""
    code, said = check(cases / "frames-of-other-kinds", capsys)
    assert code == 1 and said.count("not a video, or damaged") == 2
    assert (
        said.splitlines()[1].split()[1:3] == ["2", "10"] and "left out, neither frames nor masks (1): notes.txt" in said
    )


def test_masks_as_a_video(cases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What lies there as masks is a copy of the frames; cut at half, all the same."""
    code, said = check(cases / "masks-as-a-video", capsys)
    assert code == 0 and said.splitlines()[1].split()[1:4] == ["1", "8", "8"]
