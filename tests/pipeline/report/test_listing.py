"""What the commands `artifacts`, `show` and `export` print and write."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from report_fixtures import SIZE, TinyRun, damage, joint_mask, make_run, pixels, write_artifact, write_frames

from fusionseg.pipeline.errors import DamagedArtifact, UserError
from fusionseg.pipeline.flow.colours import colour
from fusionseg.pipeline.report.listing import describe, human_size, print_artifacts, probability


@pytest.fixture
def tiny(tmp_path: Path) -> TinyRun:
    return make_run(tmp_path)


def test_table_of_artifacts(tiny: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    print_artifacts(tiny.root, csv=tiny.root / "all.csv")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        "stage",
        "data",
        "set",
        "video",
        "frames",
        "size",
        "key",
        "made",
        "from",
        "state",
        "path",
    ]
    (walk,) = (line for line in lines if "prediction/tiny/walk" in line)
    path = tiny.path("prediction", "walk")
    assert walk.split()[:4] == ["prediction", "tiny", "walk", "5"]
    assert human_size(path.stat().st_size) in walk
    assert f" {path.stem.rpartition('-')[2]} " in walk
    (model,) = (line for line in lines if "motion-training" in line)
    assert model.split()[3] == "-", "a model has no frames"
    table = pd.read_csv(tiny.root / "all.csv")
    assert len(table) == 13
    assert lines[-1] == f"13 artifacts, {human_size(int(table['bytes'].sum()))}"
    assert set(table["state"]) == {"intact"}
    assert table.set_index("path").loc[path.relative_to(tiny.root).as_posix(), "from"] == "frames"


def test_table_of_one_stage_verified(tiny: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    print_artifacts(tiny.root, "flow-images", verify=True)
    out = capsys.readouterr().out
    assert out.count("flow-images/tiny/") == 3
    assert "prediction" not in out
    assert out.splitlines()[-1].endswith("all verified")


def test_damage_is_named_after_the_table(tiny: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    path = tiny.path("prediction", "spin")
    damage(path, "joint", 0)
    assert print_artifacts(tiny.root, "prediction") == 0
    assert "DAMAGED" not in capsys.readouterr().out, "the quick check reads headers alone"
    assert print_artifacts(tiny.root, "prediction", verify=True) == 1
    out = capsys.readouterr().out
    assert "1 of 3 artifacts can't be used" in out
    assert out.count("DAMAGED") == 1
    assert f"{path}: damaged artifact" in out


def test_truncated_artifact_shows_without_verifying(tiny: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    path = tiny.path("scoring", "walk")
    path.write_bytes(path.read_bytes()[:-1])
    assert print_artifacts(tiny.root, "scoring", csv=tiny.root / "all.csv") == 1
    assert "expected" in capsys.readouterr().out
    assert len(pd.read_csv(tiny.root / "all.csv")) == 3


def test_no_artifacts_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_artifacts(tmp_path)
    assert capsys.readouterr().out == f"no artifacts under {tmp_path}\n"
    with pytest.raises(UserError, match="nothing: no such folder; expected the folder that runs"):
        print_artifacts(tmp_path / "nothing")
    print_artifacts(tmp_path, "scoring")
    assert capsys.readouterr().out == f"no artifacts of scoring under {tmp_path}\n"


def test_unknown_stage_and_bad_csv_path(tiny: TinyRun) -> None:
    with pytest.raises(UserError, match="no stage 'scores'; the stages are: optical-flow"):
        print_artifacts(tiny.root, "scores")
    with pytest.raises(UserError, match="can't be written"):
        print_artifacts(tiny.root, csv=tiny.root)


def test_describes_an_artifact(tiny: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    describe(tiny.path("flow-filter", "boxed"))
    out = capsys.readouterr().out
    fields = {line.split()[0]: line.split(maxsplit=1)[1] for line in out.splitlines() if len(line.split()) > 1}
    assert fields["stage"] == "flow-filter"
    assert fields["flow-filter"] == '{"number": 3}'
    assert "role video, item tiny/boxed, kind frames, digest d" in out
    assert fields["labels"].split("  ") == ["6 x 2 x 24 x 5", "uint8", "1 x 2 x 24 x 5", "gzip"]
    assert "table verdicts: 5 rows" in out
    assert "overlap too small" in out


def test_describes_weights(tiny: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    describe(tiny.path("appearance-training", "model"), tiny.root / "png")
    out = capsys.readouterr().out
    assert "tensors: 1, 6 numbers" in out
    assert 'history: 3 rows; last: {"J": 0.6, "loss": 0.4, "step": 300}' in out
    assert "no pictures written" in out
    assert not (tiny.root / "png").exists()


def test_pictures_of_masks_labels_and_flow_images(tiny: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    describe(tiny.path("prediction", "walk"), tiny.root / "png")
    assert "30 pictures written" in capsys.readouterr().out
    mask = tiny.root / "png/joint/00003.png"
    with Image.open(mask) as image:
        assert image.mode == "P"
    assert (pixels(mask) == joint_mask(3)).all()
    describe(tiny.path("flow-filter", "boxed"), tiny.root / "png")
    with Image.open(tiny.root / "png/labels/00005.png") as image:
        assert image.mode == "P"
        assert np.asarray(image)[0, [0, 10, 20]].tolist() == [0, 1, 255]
        assert np.asarray(image.convert("RGB"))[0, [0, 10, 20]].tolist() == [[0, 0, 0], [128, 0, 0], [224, 224, 192]]
    describe(tiny.path("flow-images", "walk"), tiny.root / "png")
    assert (pixels(tiny.root / "png/images/00004.png") == (255, 255, 0)).all()


def test_pictures_of_flow_and_scores(tmp_path: Path) -> None:
    flow = np.zeros((*SIZE, 2), np.float16)
    flow[..., 0], flow[:, 20:, 1] = 3, -1
    scores = np.zeros((2, 3, 4), np.float16)
    scores[1, 0], scores[0, 1] = 20, 20

    def fill(writer):  # type: ignore[no-untyped-def]
        writer.frames("flow", 1, flow.shape, np.float16).append(flow)
        writer.frames("scores", 1, scores.shape, np.float16).append(scores)

    record = write_artifact(tmp_path, "optical-flow", "v", fill)
    describe(tmp_path / record["path"], tmp_path / "png")
    assert (pixels(tmp_path / "png/flow/00000.png") == colour(flow)).all()
    assert pixels(tmp_path / "png/scores/00000.png")[:, 0].tolist() == [255, 0, 128]
    assert probability(np.array([[[-60000.0]], [[60000.0]]], np.float16)).item() == 255


def test_at_most_fifty_pictures_evenly_spread(tmp_path: Path) -> None:
    frames = [np.full((2, 2), index % 2, np.uint8) for index in range(120)]
    record = write_artifact(tmp_path, "prediction", "long", lambda w: write_frames(w, "joint", frames))
    describe(tmp_path / record["path"], tmp_path / "png")
    indices = sorted(int(path.stem) for path in (tmp_path / "png/joint").iterdir())
    assert (len(indices), indices[0], indices[-1]) == (50, 0, 119)
    assert set(np.diff(indices)) == {2, 3}


def test_files_that_cannot_be_shown(tiny: TinyRun, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.h5"
    with h5py.File(foreign, "w") as file:
        file["x"] = 1
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "bad.safetensors").write_bytes(b"hello")
    (tmp_path / "empty.h5").touch()
    cut = tiny.path("prediction", "walk")
    cut.write_bytes(cut.read_bytes()[:5000])
    for name, words in {
        "none.h5": "no such file", "": "a folder", "text.txt": "expected an artifact", "foreign.h5": "another schema",
        "bad.safetensors": "not a whole safetensors file", "empty.h5": "no HDF5 file",
        str(cut): "damaged artifact .*5000 bytes, expected",
    }.items():  # fmt: skip
        with pytest.raises(UserError, match=words) as caught:
            describe(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_damaged_structure_is_no_traceback(tiny: TinyRun) -> None:
    path = tiny.path("scoring", "walk")
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\0" * 64)
    with pytest.raises(DamagedArtifact):
        describe(path)


def test_pictures_into_a_file_is_one_line(tiny: TinyRun, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file"):
        describe(tiny.path("prediction", "walk"), tmp_path / "file")


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2_500_000, "2.5 MB"), (3e13, "30.0 TB")]
)
def test_human_size(size: float, text: str) -> None:
    assert human_size(size) == text
