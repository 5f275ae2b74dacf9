"""Commands that run the chain, and hand on what it made: one line of error with the fix, nothing half-written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import fails, run_arguments
from report_fixtures import make_run
from tiny import PROFILE, write_profile

import fusionseg.data_manifests
from fusionseg.cli import main


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


@pytest.mark.parametrize("wanted", [[], ["--masks", "masks", "--flow", "flow"]])
def test_export_wants_one_of_masks_and_flow(
    wanted: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "give one of --masks and --flow" in fails(capsys, tmp_path, "export", "davis", *wanted)


def test_dry_run_computes_nothing(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(a) for a in run_arguments(tmp_path, data, "--dry-run") if a != "--plain"]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "[ 1/12] optical-flow" in text and "would be computed: never computed\n" in text
    assert text.splitlines()[-1].startswith("nothing was computed; 12 of 12 stages would be")
    assert not (tmp_path / "out").exists()
    assert main(["demo", "--dry-run", "--out", str(tmp_path / "out")]) == 0
    assert "first the built-in data is rendered" in capsys.readouterr().out and not (tmp_path / "out").exists()


def test_dry_run_loads_no_engine(tmp_path: Path, data: Path) -> None:
    arguments = [str(a) for a in run_arguments(tmp_path, data, "--dry-run")]
    code = (
        f"import sys; from fusionseg.cli import main; main({arguments!r})\n"
        "print([name for name in ('torch', 'prefect', 'timm') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.endswith("\n[]\n"), done.stderr


def test_export_says_what_it_replaces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = make_run(tmp_path)
    export = ["export", "tiny", "--out", str(tiny.root), "--masks", str(tmp_path / "masks")]
    assert main(export) == 0
    assert capsys.readouterr().out == f"11 masks written to {tmp_path / 'masks'}\n"
    assert main(export) == 0
    assert capsys.readouterr().out == f"11 masks written to {tmp_path / 'masks'}; 11 of 11 files replaced\n"
    assert "--overwrite" in fails(capsys, tiny.root, *export, "--method", "appearance")
    assert main([*export, "--method", "appearance", "--overwrite"]) == 0
