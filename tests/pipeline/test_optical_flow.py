"""Optical flow: real accuracy, direction, the last frame, tiny frames."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from builders import make_context, make_item, make_job, moving_square, texture, write_png

from fusionseg.pipeline.artifact import Artifact, Record
from fusionseg.pipeline.flow_pairs import with_partners
from fusionseg.pipeline.optical_flow import METHODS, compute, estimate
from fusionseg.pipeline.profile import OpticalFlow


def shifted(dx: int, dy: int) -> tuple[np.ndarray, np.ndarray]:
    """Return two views of one texture, the second with its content moved by dx, dy."""
    canvas = texture((160, 200), 5)
    return canvas[30:130, 30:170].copy(), canvas[30 - dy : 130 - dy, 30 - dx : 170 - dx].copy()


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (5, 0), (0, -4), (-3, 2), (12, 7)])
def test_a_translation_is_found(dx: int, dy: int) -> None:
    flow = estimate(*shifted(dx, dy))
    assert flow.shape == (100, 140, 2) and flow.dtype == np.float32
    error = np.linalg.norm(flow[20:-20, 20:-20] - [dx, dy], axis=-1)
    assert np.median(error) < 0.2 and error.mean() < 0.5


@pytest.mark.parametrize("method", ["dis-ultrafast", "dis-fast", "dis-medium"])
def test_every_method_repeats_itself(method: str) -> None:
    first, second = shifted(4, 1)
    flow = estimate(first, second, method)
    estimate(second, first, method)  # leaves its buffers behind
    assert np.array_equal(estimate(first, second, method), flow)
    assert abs(np.median(flow[..., 0]) - 4) < 0.6


@pytest.mark.parametrize("size", [(1, 1), (1, 60), (60, 1), (2, 3), (15, 17), (16, 16), (9, 300)])
def test_tiny_frames_have_flow_too(size: tuple[int, int]) -> None:
    first, second = (np.random.default_rng(n).integers(0, 256, (*size, 3), np.uint8) for n in range(2))
    flow = estimate(first, second)
    assert flow.shape == (*size, 2) and np.isfinite(flow).all()
    assert np.abs(estimate(first, first)).max() < 0.1


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (16, 40), (24, 40), (40, 24)])
@pytest.mark.parametrize("method", ["dis-ultrafast", "dis-fast", "dis-medium"])
def test_a_tiny_frame_leaves_no_trace_in_the_flow_of_others(size: tuple[int, int], method: str) -> None:
    """OpenCV's estimator lowers its finest scale for tiny frames, and would keep it so for all that follow."""
    pair, tiny = shifted(4, 1), (texture(size, 1), texture(size, 2))
    with ThreadPoolExecutor(1) as pool:  # a new thread, so a new estimator
        before = pool.submit(estimate, *pair, method).result()
        first = pool.submit(estimate, *tiny, method).result()
        assert np.array_equal(pool.submit(estimate, *tiny, method).result(), first)
        assert np.array_equal(pool.submit(estimate, *pair, method).result(), before)


def test_wrong_arguments() -> None:
    frame = np.zeros((20, 20, 3), np.uint8)
    with pytest.raises(ValueError, match=r"frames differ in size: \(20, 20, 3\) and \(20, 21, 3\)"):
        estimate(frame, np.zeros((20, 21, 3), np.uint8))
    with pytest.raises(ValueError, match="unknown optical flow method 'raft'; known: dis-ultrafast"):
        estimate(frame, frame, "raft")


def run(root: Path, frames: list[np.ndarray], stride: int = 1, workers: int = 2, **values: Any) -> tuple[Record, Artifact]:
    paths = [write_png(root / "data" / f"{n}.png", frame[..., ::-1]) for n, frame in enumerate(frames)]
    settings = OpticalFlow(**values)
    item = with_partners(make_item(frames=paths[::stride], all_frames=tuple(paths), stride=stride), settings)
    job = make_job("optical-flow", item, {"optical-flow": settings.model_dump(mode="json")})
    record = compute(job, make_context(root, workers=workers))
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


def read_flo(path: Path) -> np.ndarray:
    """Return the flow (H, W, 2) of a Middlebury .flo file."""
    assert np.fromfile(path, np.float32, 1)[0] == np.float32(202021.25)
    width, height = np.fromfile(path, np.int32, 2, offset=4)
    return np.fromfile(path, np.float32, offset=12).reshape(height, width, 2)


@pytest.mark.real
def test_end_point_error_on_rubberwhale(real_data: Path) -> None:
    folder = real_data / "rubberwhale"
    first, second = (cv2.imread(str(folder / f"frame{n}.png")) for n in (10, 11))
    truth = read_flo(folder / "flow10.flo")
    known = (np.abs(truth) <= 1e9).all(-1)
    error = np.linalg.norm(estimate(first, second) - truth, axis=-1)[known].mean()
    print(f"end-point error: {error:.3f} px")
    assert error <= 0.25
