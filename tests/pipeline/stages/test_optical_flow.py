"""The stage optical-flow."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from builders import make_context, make_item, make_work, moving_square, texture, write_png

from fusionseg.pipeline.datasets.imported_flow import find_flow
from fusionseg.pipeline.datasets.pairs import with_partners
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.flow import videos
from fusionseg.pipeline.flow.camera import camera_motion
from fusionseg.pipeline.flow.estimation import estimate
from fusionseg.pipeline.formats.flow import read_flow, write_flow
from fusionseg.pipeline.run.session import run_job
from fusionseg.pipeline.settings.sections import OpticalFlow
from fusionseg.pipeline.stages.optical_flow import compute
from fusionseg.pipeline.store.artifact import Artifact, Record


def shifted(dx: int, dy: int) -> tuple[np.ndarray, np.ndarray]:
    """Return two views of one texture, the second with its content moved by dx, dy."""
    canvas = texture((160, 200), 5)
    return canvas[30:130, 30:170].copy(), canvas[30 - dy : 130 - dy, 30 - dx : 170 - dx].copy()


def run(
    root: Path, frames: list[np.ndarray], stride: int = 1, workers: int = 2, **values: Any
) -> tuple[Record, Artifact]:
    paths = [write_png(root / "data" / f"{n}.png", frame[..., ::-1]) for n, frame in enumerate(frames)]
    settings = OpticalFlow(**values)
    numbers = tuple(range(0, len(paths), stride))
    item = with_partners(make_item(frames=paths[::stride], all_frames=tuple(paths), numbers=numbers), settings)
    if settings.folder:
        names = [path.stem for path in paths]
        item = replace(item, flow=find_flow(settings.folder, "clip", names, settings.gap, settings.direction))
    context = make_context(root, workers=workers)
    record = run_job(make_work(context, "optical-flow", item, {"optical-flow": settings.model_dump()}), compute)
    return record, Artifact(root / record.path)


def test_stage(tmp_path: Path) -> None:
    frames = [frame for frame, _ in moving_square(4)]
    record, artifact = run(tmp_path, frames, workers=3)
    assert record.counts == {"frames": 4}
    with artifact:
        assert artifact.facts == {"frames": [0, 1, 2, 3], "partners": [1, 2, 3, 2]}
        for index, other in enumerate((1, 2, 3, 2)):
            found = artifact.frame("flow", index)
            assert found.dtype == np.float16
            assert np.array_equal(found, estimate(frames[index], frames[other]).astype(np.float16))
        artifact.verify()


def test_stage_keeps_fractions_of_a_pixel(tmp_path: Path) -> None:
    first, second = shifted(12, 7)
    _, artifact = run(tmp_path, [first, second])
    with artifact:
        assert np.abs(artifact.frame("flow", 0).astype(np.float32) - estimate(first, second)).max() <= 1 / 64


def test_a_video_of_one_frame_has_no_pair(tmp_path: Path) -> None:
    record, artifact = run(tmp_path, [texture((24, 40), 0)])
    with artifact:
        assert artifact.length("flow") == 0 and artifact.facts == {"frames": [], "partners": []}
        assert artifact.datasets()["flow"].shape == (0, 24, 40, 2)
    assert record.counts == {"frames": 1, "without_flow": 1}


def test_stage_with_stride_gap_and_direction(tmp_path: Path) -> None:
    frames = [texture((24, 40), 3)] + [frame for frame, _ in moving_square(6)]
    record, artifact = run(tmp_path, frames, stride=3, gap=2, direction="backward")
    with artifact:
        assert record.counts["frames"] == 3
        assert artifact.facts == {"frames": [0, 3, 6], "partners": [2, 1, 4]}
        for place, (index, other) in enumerate([(0, 2), (3, 1), (6, 4)]):
            wanted = estimate(frames[index], frames[other]).astype(np.float16)
            assert np.array_equal(artifact.frame("flow", place), wanted)


@pytest.mark.parametrize("workers", [1, 3])
def test_stage_in_both_directions(tmp_path: Path, workers: int) -> None:
    """The forward flow is that of a run in one direction; the other stands beside it."""
    frames = [frame for frame, _ in moving_square(5)]
    _, forward = run(tmp_path / "one", frames, stride=2, stabilise="homography")
    settings = {"direction": "both", "stabilise": "homography"}
    record, artifact = run(tmp_path / "both", frames, stride=2, workers=workers, **settings)
    with artifact, forward:
        assert artifact.facts == {"frames": [0, 2, 4], "partners": [1, 3, 3], "partners_back": [1, 1, 3]}
        assert artifact.tables() == ["camera", "camera_back"] and record.counts["frames"] == 3
        assert artifact.table("camera").equals(forward.table("camera"))
        assert all(np.array_equal(artifact.frame("flow", n), forward.frame("flow", n)) for n in range(3))
        ends = [np.array_equal(artifact.frame("flow", n), artifact.frame("flow_back", n)) for n in range(3)]
        assert ends == [True, False, True]  # the first and the last frame have one neighbour
        artifact.verify()
    _, plain = run(tmp_path / "plain", frames, direction="both")
    with plain:
        wanted = estimate(frames[2], frames[1]).astype(np.float16)
        assert np.array_equal(plain.frame("flow_back", 2), wanted)


def test_a_frame_whose_camera_is_unknown_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(videos, "camera_motion", lambda flow: replace(camera_motion(flow), reason="unsure"))
    frames = [frame for frame, _ in moving_square(3)]
    record, _ = run(tmp_path, frames, direction="both", stabilise="homography")
    assert record.counts == {"frames": 3, "not_stabilised": 3}


def test_a_frame_of_another_size_is_named_in_either_direction(tmp_path: Path) -> None:
    frames = [texture((24, 40), 3), texture((24, 40), 3), texture((20, 40), 3)]
    with pytest.raises(UserError, match=r"1\.png: frame is 40x24, 2\.png 40x20"):
        run(tmp_path, frames, stride=2, direction="both")


def test_flow_made_elsewhere_goes_one_way(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='flow made elsewhere goes one way; give direction = "forward"'):
        OpticalFlow(method="import", folder=tmp_path, direction="both")


def test_stage_on_a_video_of_identical_frames(tmp_path: Path) -> None:
    _, artifact = run(tmp_path, [texture((24, 40), 0)] * 3)
    with artifact:
        assert all((artifact.frame("flow", n) == 0).all() for n in range(3))


@pytest.mark.real
@pytest.mark.parametrize(("method", "most"), [("dis-medium", 0.25), ("raft-small", 0.35)])
def test_end_point_error_on_rubberwhale(real_data: Path, tmp_path: Path, method: str, most: float) -> None:
    """Measured through the stage: read, estimated, stored in half precision."""
    folder, weights = real_data / "rubberwhale", real_data.parent / "weights" / "raft-small.pth"
    frames = [cv2.imread(str(folder / f"frame{n}.png")) for n in (10, 11)]
    if method == "raft-small" and not weights.exists():
        pytest.skip(f"no weights at {weights}")
    given = {"raft_weights": weights} if method == "raft-small" else {}
    _, artifact = run(tmp_path, frames, method=method, **given)
    truth = read_flow(folder / "flow10.flo")
    with artifact:
        error = np.linalg.norm(artifact.frame("flow", 0).astype(np.float32) - truth, axis=-1)
    found = float(error[np.isfinite(error)].mean())
    print(f"end-point error of {method}: {found:.3f} px")
    assert found <= most


def import_run(root: Path, frames: list[np.ndarray], **values: Any) -> tuple[Record, Artifact]:
    """Run the stage on flow that lies in root/flow/clip."""
    return run(root, frames, method="import", folder=root / "flow", **values)


def moving() -> list[np.ndarray]:
    """Return frames that all move by (4, 1) px, textured enough to tell the direction."""
    canvas = texture((140, 200), 5)
    return [canvas[40 - n : 120 - n, 40 - 4 * n : 160 - 4 * n].copy() for n in range(6)]


@pytest.mark.parametrize("lacking", [0, 1])
def test_flow_made_elsewhere_comes_in(tmp_path: Path, lacking: int) -> None:
    frames = moving()
    _, own = run(tmp_path / "own", frames)
    with own:
        for index in range(6 - lacking):
            write_flow(tmp_path / "flow/clip" / f"{index}.flo", own.frame("flow", index).astype(np.float32))
        record, artifact = import_run(tmp_path, frames)
        with artifact:
            assert artifact.facts == own.facts
            for index in range(6 - lacking):
                assert np.array_equal(artifact.frame("flow", index), own.frame("flow", index))
            if lacking:  # most tools end with the last pair
                assert record.counts["filled_flow"] == 1
                assert np.array_equal(artifact.frame("flow", 5), -own.frame("flow", 4))
            else:
                assert record.content == own.header["content"]


def test_reversed_flow_is_refused(tmp_path: Path) -> None:
    frames = moving()
    for index in range(6):
        flow = estimate(frames[index], frames[max(0, index - 1)])
        write_flow(tmp_path / "flow/clip" / f"{index}.flo", flow)
    with pytest.raises(UserError, match=r"looks like that from frame t to t-1, not to t\+1"):
        import_run(tmp_path, frames)
    assert not list(tmp_path.rglob("*.h5"))


def test_flow_of_another_size_is_refused(tmp_path: Path) -> None:
    for index in range(6):
        write_flow(tmp_path / "flow/clip" / f"{index}.flo", np.zeros((40, 60, 2), np.float32))
    with pytest.raises(UserError, match="flow of 60x40, its frames are 120x80"):
        import_run(tmp_path, moving())


def test_unknown_vectors_stay_unknown(tmp_path: Path) -> None:
    flow = np.zeros((80, 120, 2), np.float32)
    flow[3, 4] = np.nan
    for index in range(6):
        write_flow(tmp_path / "flow/clip" / f"{index}.flo", flow)
    _, artifact = import_run(tmp_path, moving())
    with artifact:
        found = artifact.frame("flow", 2)
        assert np.isnan(found[3, 4]).all() and np.isfinite(found).sum() == found.size - 2


def test_the_camera_is_subtracted_and_what_it_did_is_kept(tmp_path: Path) -> None:
    """A picture that moves as a whole, and a square in it that moves otherwise."""
    canvas, patch = texture((220, 300), 5), texture((40, 40), 6)
    frames = []
    for n in range(3):
        frame = canvas[40 - 2 * n : 200 - 2 * n, 40 - 5 * n : 260 - 5 * n].copy()
        frame[60:100, 80 - 4 * n : 120 - 4 * n] = patch
        frames.append(frame)
    record, artifact = run(tmp_path, frames, stabilise="homography")
    with artifact:
        flow, camera = artifact.frame("flow", 0).astype(np.float32), artifact.table("camera")
    assert np.abs(np.median(flow[10:50, 10:200], axis=(0, 1))).max() < 0.2
    assert np.abs(np.median(flow[70:90, 90:110], axis=(0, 1)) - [-9, -2]).max() < 0.5
    assert camera["frame"].tolist() == [0, 1, 2] and (camera["reason"] == "").all()
    assert camera.loc[0, "h02"] == pytest.approx(5, abs=0.3) and camera.loc[2, "h02"] == pytest.approx(-5, abs=0.3)
    assert record.counts["not_stabilised"] == 0
