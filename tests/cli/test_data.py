"""The commands that check and convert data sets."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import fails

from fusionseg.cli import main


def test_data_check_exit_codes(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["data", "check", "demo-davis", "--data", str(data), "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert "demo-davis: all well" in capsys.readouterr().out
    mask = sorted(data.rglob("Annotations/480p/test-*/00003.png"))[0]
    mask.unlink()
    csv = tmp_path / "problems.csv"
    assert main([*arguments, "--split", "test", "--deep", "--csv", str(csv)]) == 1
    text = capsys.readouterr()
    assert f"missing: {mask}" in text.out and "Traceback" not in text.err and str(mask) in csv.read_text()
    assert main([*arguments, "--split", "fusion"]) == 0


def test_data_check_of_what_is_not_there(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check = ["data", "check", "demo-davis", "--out", tmp_path / "out", "--data"]
    assert "nowhere" in fails(capsys, tmp_path, *check, tmp_path / "nowhere")
    assert "it has: fusion, validation, test" in fails(capsys, tmp_path, *check, data, "--split", "train")
    assert "no data manifest 'own'" in fails(capsys, tmp_path, "data", "check", "own", "--data", data)
    assert "missing option '--data'" in fails(capsys, tmp_path, "data", "check", "demo-davis")


def test_data_convert_then_check(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = tmp_path / "boxes"
    convert = [
        "data",
        "convert",
        "demo-davis",
        "--data",
        str(data),
        "--store",
        str(tmp_path / "out"),
        "--out",
        str(new),
    ]
    assert main([*convert, "--split", "fusion", "--name", "mine"]) == 0
    assert "1 videos" in capsys.readouterr().out
    assert main(["data", "check", str(new / "manifest.yaml"), "--data", str(new), "--out", str(tmp_path / "out")]) == 0
    assert "mine: all well" in capsys.readouterr().out
    assert "with other content" in fails(capsys, tmp_path, *convert, "--split", "test")
    assert "demo-stills: stills; expected videos" in fails(
        capsys, tmp_path, "data", "convert", "demo-stills", "--data", data, "--out", tmp_path / "new"
    )
    assert not (tmp_path / "new").exists()
