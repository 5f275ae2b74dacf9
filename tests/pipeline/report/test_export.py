"""Masks and flow of a run as files."""

from pathlib import Path

import numpy as np
import pytest
from builders import make_context, write_input
from PIL import Image
from report_fixtures import TinyRun, damage, joint_mask, make_run, pixels, true_mask

from fusionseg.pipeline.datasets.imported_flow import find_flow
from fusionseg.pipeline.errors import DamagedArtifact, UserError
from fusionseg.pipeline.report.export import export_flow, export_masks
from fusionseg.pipeline.settings.profile import read_profile
from fusionseg.pipeline.store.runs import RunRecord, StageRun, write_run


@pytest.fixture
def tiny(tmp_path: Path) -> TinyRun:
    return make_run(tmp_path)


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_exports_indexed_masks_named_like_the_frames(tiny: TinyRun, tmp_path: Path) -> None:
    assert export_masks(tiny.root, "tiny", "joint", tmp_path / "masks").count == 11
    assert visible(tmp_path / "masks") == ["spin", "still", "walk"]
    assert sorted(p.name for p in (tmp_path / "masks/walk").iterdir()) == [f"{n:05}.png" for n in range(10, 15)]
    for index in range(5):
        with Image.open(tmp_path / f"masks/walk/{10 + index:05}.png") as image:
            assert image.mode == "P"
            assert (np.asarray(image) == joint_mask(index)).all()
            assert set(np.unique(np.asarray(image))) == {0, 1}


def test_export_without_the_data_numbers_the_frames(tiny: TinyRun, tmp_path: Path) -> None:
    tiny.record["data"] = {}
    tiny.save()
    export_masks(tiny.root, "tiny", "appearance", tmp_path / "masks")
    assert sorted(p.name for p in (tmp_path / "masks/spin").iterdir()) == [f"{n:05}.png" for n in range(5)]
    assert (pixels(tmp_path / "masks/spin/00004.png") == true_mask(4)).all()


def test_export_names_videos_that_lack_the_method(
    tiny: TinyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export_masks(tiny.root, "tiny", "motion", tmp_path / "masks").count == 10
    assert capsys.readouterr().out == "still: has no motion masks; left out\n"
    assert not (tmp_path / "masks/still").exists()


def test_export_of_what_is_not_there(tiny: TinyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"no method 'best' in run 'tiny'; it has: appearance, .*joint, motion"):
        export_masks(tiny.root, "tiny", "best", tmp_path / "masks")
    with pytest.raises(UserError, match="no run 'nobody'"):
        export_masks(tiny.root, "nobody", "joint", tmp_path / "masks")
    del tiny.record["stages"]["prediction"]
    tiny.save()
    with pytest.raises(UserError, match=r"run 'tiny' has no masks: .*lacks .*, prediction; `fusionseg run`"):
        export_masks(tiny.root, "tiny", "joint", tmp_path / "masks")
    assert not (tmp_path / "masks").exists()
    assert capsys.readouterr().out == ""


def test_what_is_somebody_elses_is_never_overwritten_unasked(tiny: TinyRun, tmp_path: Path) -> None:
    folder = tiny.data / "Annotations/480p"
    before = {path: path.read_bytes() for path in folder.rglob("*.png")}
    with pytest.raises(
        UserError, match=r"480p: holds 3 files that fusionseg didn't export, e\.g\. spin; .*--overwrite"
    ):
        export_masks(tiny.root, "tiny", "joint", folder)
    assert {path: path.read_bytes() for path in folder.rglob("*.png")} == before
    assert list(folder.rglob(".*")) == [], "nothing is left"
    (folder / "walk" / "notes.txt").touch()
    done = export_masks(tiny.root, "tiny", "joint", folder, overwrite=True)
    assert (done.count, done.replaced, done.removed) == (11, 11, 0)
    assert (pixels(folder / "walk/00010.png") == joint_mask(0)).all() and (folder / "walk/notes.txt").exists()


def test_the_same_again_says_what_it_replaces(tiny: TinyRun, tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    assert export_masks(tiny.root, "tiny", "joint", folder).words == ""
    (folder / "walk/00010.png").unlink()
    assert export_masks(tiny.root, "tiny", "joint", folder).words == "10 of 11 files replaced"
    mine = folder / "other/00000.png"  # in nobody's way
    mine.parent.mkdir()
    mine.touch()
    tiny.record["stages"]["prediction"]["records"] = [
        record for record in tiny.record["stages"]["prediction"]["records"] if record["video"] != "spin"
    ]
    tiny.save()
    done = export_masks(tiny.root, "tiny", "joint", folder)
    assert done.words == "6 of 6 files replaced, 5 others of the earlier export removed"
    assert visible(folder) == ["other", "still", "walk"] and mine.exists()


def test_another_run_or_method_is_another_export(tiny: TinyRun, tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    export_masks(tiny.root, "tiny", "joint", folder)
    with pytest.raises(UserError, match=r"holds masks of run 'tiny', method joint, not .*method motion; .*--overwrite"):
        export_masks(tiny.root, "tiny", "motion", folder)
    tiny.record["name"] = "other"
    tiny.save()
    with pytest.raises(UserError, match=r"holds masks of run 'tiny', method joint, not masks of run 'other'"):
        export_masks(tiny.root, "other", "joint", folder)
    done = export_masks(tiny.root, "tiny", "motion", folder, overwrite=True)
    assert (done.count, done.replaced, done.removed) == (10, 10, 1) and visible(folder) == ["spin", "walk"]


def test_a_file_of_ones_own_within_an_export_is_kept(tiny: TinyRun, tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    stages = tiny.record["stages"]["prediction"]
    every, stages["records"] = stages["records"], [r for r in stages["records"] if r["video"] == "walk"]
    tiny.save()
    export_masks(tiny.root, "tiny", "joint", folder)
    stages["records"] = every
    tiny.save()
    name = min((tiny.data / "Annotations/480p/spin").iterdir()).name
    mine = folder / "spin" / name
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(UserError, match=rf"holds a file that fusionseg didn't export, e\.g\. spin/{name};"):
        export_masks(tiny.root, "tiny", "joint", folder)
    assert mine.read_text() == "mine"


def test_an_export_that_was_stopped_goes_on(tiny: TinyRun, tmp_path: Path) -> None:
    good = tiny.path("prediction", "spin").read_bytes()
    damage(tiny.path("prediction", "spin"), "joint", 4)
    with pytest.raises(DamagedArtifact):
        export_masks(tiny.root, "tiny", "joint", tmp_path / "masks")
    tiny.path("prediction", "spin").write_bytes(good)
    assert export_masks(tiny.root, "tiny", "joint", tmp_path / "masks").words == "5 of 11 files replaced"


def test_a_file_in_the_folders_place(tiny: TinyRun, tmp_path: Path) -> None:
    (tmp_path / "masks").touch()
    with pytest.raises(UserError, match="masks: a file; expected a folder"):
        export_masks(tiny.root, "tiny", "joint", tmp_path / "masks", overwrite=True)


def test_sequence_of_a_damaged_artifact_never_appears_half_written(tiny: TinyRun, tmp_path: Path) -> None:
    path = tiny.path("prediction", "spin")
    damage(path, "joint", 4)
    with pytest.raises(DamagedArtifact, match=r"joint\[4\]"):
        export_masks(tiny.root, "tiny", "joint", tmp_path / "masks")
    assert visible(tmp_path / "masks") == ["walk"]


@pytest.mark.parametrize(
    ("form", "names"),
    [("flo", "clip/00000.flo"), ("kitti", "clip/00000.png"), ("npz", "clip.npz"), ("hdf5", "clip.h5")],
)
def test_flow_goes_out_and_comes_in_again(tmp_path: Path, form: str, names: str) -> None:
    flow = np.random.default_rng(0).normal(0, 5, (3, 12, 16, 2)).astype(np.float16)
    flow[1, 2, 3] = np.nan
    context = make_context(tmp_path / "out")
    record = write_input(context, "optical-flow", {"flow": flow}, {"frames": [0, 1, 2], "partners": [1, 2, 1]})
    stages = {"optical-flow": StageRun("computed", records=(record,))}
    write_run(context.root, RunRecord("tiny", "", stages, read_profile("demo"), {}))
    folder = tmp_path / "flow"
    assert export_flow(context.root, "tiny", form, folder).count == 3
    assert (folder / names).exists()
    source = find_flow(folder, "clip", ["00000", "00001", "00002"])
    for wanted, found in zip(flow.astype(np.float32), source.read(range(3)), strict=True):
        assert found is not None and np.array_equal(np.isnan(wanted), np.isnan(found))
        assert np.nanmax(np.abs(wanted - found)) <= (1 / 128 if form == "kitti" else 0)
    if form in ("npz", "hdf5"):
        assert source.metadata.partners == (1, 2, 1)
    again = export_flow(context.root, "tiny", form, folder)
    assert again.words == f"{again.files} of {again.files} files replaced"
    other = "kitti" if form != "kitti" else "flo"
    with pytest.raises(UserError, match=f"holds optical flow of run 'tiny', format {form}, not .*--overwrite"):
        export_flow(context.root, "tiny", other, folder)
    export_flow(context.root, "tiny", other, folder, overwrite=True)
    assert not (folder / names).exists(), "two formats side by side are read as neither"


def test_a_run_without_flow_has_none_to_export(tmp_path: Path) -> None:
    write_run(tmp_path, RunRecord("tiny", "", {}, read_profile("demo"), {}))
    with pytest.raises(UserError, match=r"has no optical flow: .*lacks optical-flow;"):
        export_flow(tmp_path, "tiny", "flo", tmp_path / "flow")
