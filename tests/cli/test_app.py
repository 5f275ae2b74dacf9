"""The command line: exit codes, one line of error with the fix, nothing half-written."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from tiny import PROFILE, write_profile

import fusionseg.data_manifests
from fusionseg.cli import main
from fusionseg.pipeline.demo_data.render import RenderSettings, render


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "data"
    settings = RenderSettings(
        stills=3, boxed_videos=2, fusion_videos=1, validation_videos=1, test_videos=1, frames=4, width=96, height=64
    )
    render(root, settings)
    return root


@pytest.fixture
def data(rendered: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(rendered, tmp_path / "data"))


def fails(capsys: pytest.CaptureFixture[str], out: Path, *arguments: object) -> str:
    """Run a command that must fail with exit code 2, one line of error and no artifact half-written; the line."""
    assert main([str(argument) for argument in arguments]) == 2
    error = capsys.readouterr().err.strip()
    lines = [line for line in error.splitlines() if not line.startswith("  ")]  # progress is indented
    assert len(lines) == 1 and lines[0].startswith("fusionseg: error: "), error
    assert not list(out.rglob("*.part")) if out.exists() else True
    return lines[0]


def run_arguments(tmp_path: Path, data: Path, *more: str) -> list[object]:
    profile = tmp_path / "tiny.toml"
    if not profile.exists():
        write_profile(tmp_path)
    return ["run", profile, "--data", data, "--out", tmp_path / "out", "--plain", *more]


def test_missing_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = fails(capsys, tmp_path, *run_arguments(tmp_path, tmp_path / "nowhere"))
    assert "no folder" in line and "nowhere" in line and "--data" in line


def test_unknown_profile_key_names_the_known_ones(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = fails(capsys, tmp_path, *run_arguments(tmp_path, data, "--set", "motion-training.step=3"))
    assert "unknown key 'motion-training.step'" in line and "steps" in line


def test_wrong_value_names_field_and_value(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = fails(capsys, tmp_path, *run_arguments(tmp_path, data, "--set", "motion-training.batch=0"))
    assert "motion-training.batch" in line and "found 0" in line


def test_manifest_typo(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = tmp_path / "mine.yaml"
    manifest.write_text(
        "name: mine\ntitle: x\nkind: videos\nlicence: x\nframe: a/{video}/{frame}.jpg\nsplits: {train: [a]}\n"
    )
    write_profile(tmp_path, PROFILE.replace('"demo-vid"', f'"{manifest}"'))
    line = fails(capsys, tmp_path, *run_arguments(tmp_path, data))
    assert str(manifest) in line and "frame" in line


@pytest.mark.parametrize("cut", [0, 100, -40])
def test_corrupt_jpeg(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str], cut: int) -> None:
    frame = sorted(data.rglob("fusion-*/00001.jpg"))[0]
    frame.write_bytes(frame.read_bytes()[:cut])
    line = fails(capsys, tmp_path / "out", *run_arguments(tmp_path, data, "--only", "optical-flow"))
    assert str(frame) in line


def test_mask_of_another_size(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mask = sorted(data.rglob("SegmentationClass/*.png"))[0]
    cv2.imwrite(str(mask), np.zeros((10, 12), np.uint8))
    line = fails(capsys, tmp_path / "out", *run_arguments(tmp_path, data, "--only", "appearance-training"))
    assert str(mask) in line and "12x10" in line and "96x64" in line and "allow_mask_resize" in line


def test_wrong_scored_mask_is_found_before_anything_is_computed(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = sorted(data.rglob("Annotations/480p/test-*/00003.png"))[0]
    cv2.imwrite(str(mask), np.zeros((10, 12), np.uint8))
    line = fails(capsys, tmp_path / "out", *run_arguments(tmp_path, data))
    assert str(mask) in line and not (tmp_path / "out" / "artifacts").exists()


def test_scored_files_may_not_train_under_another_name(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "other.yaml"
    shipped = Path(fusionseg.data_manifests.__file__).parent / "demo-davis.yaml"
    manifest.write_text(shipped.read_text().replace("name: demo-davis", "name: other"))
    fusion = f'fusion = {{manifest = "{manifest}", split = "test"}}'
    write_profile(tmp_path, PROFILE.replace('fusion = {manifest = "demo-davis", split = "fusion"}', fusion))
    assert "data.fusion and data.scored share" in fails(capsys, tmp_path, *run_arguments(tmp_path, data))


def test_what_the_system_refuses_is_one_line(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    arguments = [a if a != tmp_path / "out" else blocked for a in run_arguments(tmp_path, data)]
    assert str(blocked) in fails(capsys, tmp_path / "out", *arguments)


def test_video_without_frames(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = sorted((data / "davis" / "JPEGImages" / "480p").glob("test-*"))[0]
    for path in video.iterdir():
        path.unlink()
    line = fails(capsys, tmp_path, *run_arguments(tmp_path, data))
    assert video.name in line and "no frames" in line


def test_no_box_anywhere(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in data.rglob("*.xml"):
        path.write_text("<annotation><folder>x</folder></annotation>")
    line = fails(capsys, tmp_path, *run_arguments(tmp_path, data))
    assert "demo-vid/train has no box" in line


def test_data_set_without_boxes_or_masks_in_a_role_that_needs_them(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxed = 'boxed = {manifest = "demo-davis", split = "fusion"}'
    write_profile(tmp_path, PROFILE.replace('boxed = {manifest = "demo-vid", split = "train"}', boxed))
    assert "has no boxes" in fails(capsys, tmp_path, *run_arguments(tmp_path, data))


def test_scored_video_may_not_train(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fusion = 'fusion = {manifest = "demo-davis", split = "test"}'
    write_profile(tmp_path, PROFILE.replace('fusion = {manifest = "demo-davis", split = "fusion"}', fusion))
    assert "can't be `fusion` too" in fails(capsys, tmp_path, *run_arguments(tmp_path, data))


def test_hdf5_of_another_schema(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        file["x"] = [1]
    assert "another schema" in fails(capsys, tmp_path, "show", path)


def test_unknown_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "known: " in fails(capsys, tmp_path, "run", "nonesuch", "--plain", "--out", tmp_path)
    assert "no stage 'nonesuch'" in fails(
        capsys, tmp_path, "run", "demo", "--plain", "--only", "nonesuch", "--out", tmp_path
    )
    assert "no run 'nonesuch'" in fails(capsys, tmp_path, "export", "nonesuch", "--masks", tmp_path, "--out", tmp_path)
    assert "CUDA devices" in fails(capsys, tmp_path, *run_arguments(tmp_path, tmp_path, "--device", "cuda:99"))
    assert "run name '../x'" in fails(capsys, tmp_path, *run_arguments(tmp_path, tmp_path, "--name", "../x"))
    options = ["--only", "scoring", "--refresh", "prediction"]
    assert "no such stage" in fails(capsys, tmp_path, *run_arguments(tmp_path, tmp_path, *options))
    assert "expected ROOT or NAME=ROOT" in fails(capsys, tmp_path, "run", "davis", "--plain", "--data", "x=")


def test_paper_profile_is_valid_and_names_the_missing_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = fails(capsys, tmp_path, "run", "paper", "--data", tmp_path, "--plain", "--out", tmp_path / "out")
    assert "voc2012-sbd" in line and "VOC2012/ImageSets/Segmentation/train.txt" in line and "--data" in line
    line = fails(capsys, tmp_path, "run", "paper", "--plain", "--out", tmp_path / "out")
    assert "voc2012-sbd" in line and "--data" in line


@pytest.mark.parametrize(
    "command",
    [[], ["demo"], ["run"], ["artifacts"], ["show"], ["export"], ["data"], ["data", "check"], ["data", "convert"]],
)
def test_help_with_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main([*command, "--help"])
    assert exit_info.value.code == 0
    text = capsys.readouterr().out
    assert not command or f"example: fusionseg {' '.join(command)}" in text


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
    with pytest.raises(SystemExit) as exit_info:
        main(["data", "check", "demo-davis"])
    assert exit_info.value.code == 2


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


def test_plain_run_never_imports_prefect(tmp_path: Path, data: Path) -> None:
    code = (
        "import sys; sys.modules['prefect'] = None\n"
        "from fusionseg.cli import main\n"
        f"sys.exit(main({[str(a) for a in run_arguments(tmp_path, data, '--only', 'optical-flow')]!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "optical-flow" in done.stdout


def test_without_prefect_the_way_out_is_named(tmp_path: Path, data: Path) -> None:
    arguments = [str(a) for a in run_arguments(tmp_path, data) if a != "--plain"]
    code = f"import sys; sys.modules['prefect'] = None\nfrom fusionseg.cli import main\nsys.exit(main({arguments!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2 and "--plain" in done.stderr and "Traceback" not in done.stderr
