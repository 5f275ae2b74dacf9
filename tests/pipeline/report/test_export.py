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


def test_exports_indexed_masks_named_like_the_frames(tiny: TinyRun, tmp_path: Path) -> None:
    assert export_masks(tiny.root, "tiny", "joint", tmp_path / "masks") == 11
    assert sorted(p.name for p in (tmp_path / "masks").iterdir()) == ["spin", "still", "walk"]
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
    assert export_masks(tiny.root, "tiny", "motion", tmp_path / "masks") == 10
    assert capsys.readouterr().out == "still: has no motion masks; left out\n"
    assert not (tmp_path / "masks/still").exists()


def test_export_of_what_is_not_there(tiny: TinyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"no method 'best' in run 'tiny'; it has: appearance, .*joint, motion"):
        export_masks(tiny.root, "tiny", "best", tmp_path / "masks")
    with pytest.raises(UserError, match="no run 'nobody'"):
        export_masks(tiny.root, "nobody", "joint", tmp_path / "masks")
    del tiny.record["stages"]["prediction"]
    tiny.save()
    with pytest.raises(UserError, match="run 'tiny' has no predictions yet"):
        export_masks(tiny.root, "tiny", "joint", tmp_path / "masks")
    assert not (tmp_path / "masks").exists()
    assert capsys.readouterr().out == ""


def test_exporting_again_is_harmless_but_overwrites_nothing(tiny: TinyRun, tmp_path: Path) -> None:
    folder = tiny.data / "Annotations/480p"
    before = {path: path.read_bytes() for path in folder.rglob("*.png")}
    with pytest.raises(UserError, match=r"480p/\w+: there already, with other content"):
        export_masks(tiny.root, "tiny", "joint", folder)
    assert {path: path.read_bytes() for path in folder.rglob("*.png")} == before
    assert list(folder.rglob(".*")) == [], "no temporary folder is left"
    assert export_masks(tiny.root, "tiny", "joint", tmp_path / "masks") == 11
    assert export_masks(tiny.root, "tiny", "joint", tmp_path / "masks") == 11


def test_sequence_of_a_damaged_artifact_never_appears_half_written(tiny: TinyRun, tmp_path: Path) -> None:
    path = tiny.path("prediction", "spin")
    damage(path, "joint", 4)
    with pytest.raises(DamagedArtifact, match=r"joint\[4\]"):
        export_masks(tiny.root, "tiny", "joint", tmp_path / "masks")
    assert [p.name for p in (tmp_path / "masks").iterdir()] == ["walk"]


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
    assert export_flow(context.root, "tiny", form, folder) == 3
    assert (folder / names).exists()
    source = find_flow(folder, "clip", ["00000", "00001", "00002"])
    for wanted, found in zip(flow.astype(np.float32), source.read(range(3)), strict=True):
        assert found is not None and np.array_equal(np.isnan(wanted), np.isnan(found))
        assert np.nanmax(np.abs(wanted - found)) <= (1 / 128 if form == "kitti" else 0)
    if form in ("npz", "hdf5"):
        assert source.metadata.partners == (1, 2, 1)
    with pytest.raises(UserError, match="there already"):
        export_flow(context.root, "tiny", form, folder)


def test_a_run_without_flow_has_none_to_export(tmp_path: Path) -> None:
    write_run(tmp_path, RunRecord("tiny", "", {}, read_profile("demo"), {}))
    with pytest.raises(UserError, match="has no optical flow"):
        export_flow(tmp_path, "tiny", "flo", tmp_path / "flow")
