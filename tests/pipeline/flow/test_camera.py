"""Camera compensation: the camera's motion is found and subtracted, objects keep theirs, doubt means a still camera."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionseg.pipeline.flow import camera as module
from fusionseg.pipeline.flow.camera import camera_motion, doubt, residual
from fusionseg.pipeline.flow.estimation import estimate
from fusionseg.pipeline.formats.masks import decode_mask
from fusionseg.pipeline.formats.pictures import decode_frame

SIZE = (120, 160)


def homography(angle: float, zoom: float, dx: float, dy: float, px: float, py: float) -> np.ndarray:
    """Return a camera's homography about the middle of the frame."""
    middle = np.array([[1, 0, SIZE[1] / 2], [0, 1, SIZE[0] / 2], [0, 0, 1]])
    turn = np.array(
        [
            [zoom * np.cos(angle), -zoom * np.sin(angle), dx],
            [zoom * np.sin(angle), zoom * np.cos(angle), dy],
            [px, py, 1],
        ]
    )
    return np.asarray(middle @ turn @ np.linalg.inv(middle))


def field(matrix: np.ndarray, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Return the flow (H, W, 2) of pixels that a homography moves, by the definition."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float64)
    moved = np.stack([x, y, np.ones(size)], -1) @ matrix.T
    return (moved[..., :2] / moved[..., 2:] - np.stack([x, y], -1)).astype(np.float32)


cameras = st.builds(
    homography,
    angle=st.floats(-0.1, 0.1),
    zoom=st.floats(0.9, 1.1),
    dx=st.floats(-30, 30),
    dy=st.floats(-30, 30),
    px=st.floats(-3e-4, 3e-4),
    py=st.floats(-3e-4, 3e-4),
)


@settings(max_examples=40, deadline=None)
@given(matrix=cameras, angle=st.floats(0, 6.28), speed=st.floats(4, 40), seed=st.integers(0, 99))
def test_the_background_rests_and_the_object_keeps_its_motion(
    matrix: np.ndarray, angle: float, speed: float, seed: int
) -> None:
    """A square of a fifth of the frame moves over a background moved by the camera, with an estimator's noise."""
    own = np.array([np.cos(angle), np.sin(angle)], np.float32) * np.float32(speed)
    rng = np.random.default_rng(seed)
    square = np.zeros(SIZE, bool)
    y, x = rng.integers(0, 60), rng.integers(0, 96)
    square[y : y + 60, x : x + 64] = True
    flow = field(matrix) + rng.normal(0, 0.15, (*SIZE, 2)).astype(np.float32) + square[..., None] * own
    motion = camera_motion(flow)
    assert motion.reason == "" and 0.7 < motion.share < 0.9
    rest = residual(flow, motion)
    assert rest.dtype == np.float32 and rest.shape == flow.shape
    assert np.linalg.norm(rest[~square].mean(0)) < 0.15
    assert np.abs(np.median(rest[~square], 0)).max() < 0.1 and rest[~square].std() < 0.3
    assert np.linalg.norm(rest[square] - own, axis=-1).mean() < 0.6


@settings(max_examples=20, deadline=None)
@given(matrix=cameras)
def test_camera_motion_alone_leaves_nothing(matrix: np.ndarray) -> None:
    flow = field(matrix)
    motion = camera_motion(flow)
    assert motion.share > 0.99
    assert np.abs(residual(flow, motion)).max() < 0.01
    assert np.abs(field(motion.matrix) - flow).max() < 0.01


@pytest.mark.parametrize("vector", [(0, 0), (7.25, -3.5), (-300, 1000)])
@pytest.mark.parametrize("size", [(16, 16), (24, 40), (1080, 1920)])
def test_uniform_flow_leaves_exactly_nothing(size: tuple[int, int], vector: tuple[float, float]) -> None:
    """A flow image of rounding errors would have full colours."""
    flow = np.full((*size, 2), vector, np.float32)
    motion = camera_motion(flow)
    assert motion.reason == "" and motion.share == 1
    np.testing.assert_allclose(motion.matrix, [[1, 0, vector[0]], [0, 1, vector[1]], [0, 0, 1]], atol=1e-3)
    assert not residual(flow, motion).any()


def test_unknown_vectors_stay_unknown_and_are_not_fitted() -> None:
    matrix = homography(0.02, 1.03, 5, -4, 1e-4, 0)
    flow = field(matrix)
    flow[:50, :, 0] = np.nan
    flow[50:60] = 1e10
    flow[100] = np.inf
    motion = camera_motion(flow)
    assert motion.reason == "" and motion.share > 0.99
    rest = residual(flow, motion)
    assert np.isnan(rest[:50, :, 0]).all() and (rest[50:60] > 1e9).all()
    assert np.abs(rest[60:100]).max() < 0.01


def test_as_row() -> None:
    row = camera_motion(np.full((*SIZE, 2), (3, 4), np.float32)).as_row()
    assert list(row) == [*(f"h{r}{c}" for r in range(3) for c in range(3)), "share", "reason"]
    assert abs(row["h02"] - 3) < 1e-3 and abs(row["h12"] - 4) < 1e-3 and (row["share"], row["reason"]) == (1, "")


def crowd() -> np.ndarray:
    """Return flow in which every vector goes its own way."""
    return np.random.default_rng(0).normal(0, 30, (*SIZE, 2)).astype(np.float32)


def patches() -> np.ndarray:
    """Return flow of 48 patches that move each in its own way, as when objects fill the frame."""
    coarse = np.random.default_rng(1).integers(-40, 40, (6, 8, 2)).astype(np.float32)
    return coarse.repeat(20, 0).repeat(20, 1)


def strip(columns: int) -> np.ndarray:
    """Return flow that is known in the first columns only."""
    flow = field(homography(0.02, 1.01, 3, 2, 0, 0))
    flow[:, columns:] = np.nan
    return flow


@pytest.mark.parametrize(
    ("flow", "reason"),
    [
        (np.zeros((1, 1, 2), np.float32), module.TOO_SMALL),
        (np.zeros((15, 900, 2), np.float32), module.TOO_SMALL),
        (np.zeros((0, 0, 2), np.float32), module.TOO_SMALL),
        (np.full((*SIZE, 2), np.nan, np.float32), module.TOO_FEW),
        (strip(6), module.TOO_FEW),
        (strip(30), module.ONE_PART),
        (crowd(), module.NO_AGREEMENT),
        (patches(), module.NO_AGREEMENT),
        (field(homography(0, 2.5, 0, 0, 0, 0)), module.IMPLAUSIBLE),
        (field(homography(0, 0.4, 0, 0, 0, 0)), module.IMPLAUSIBLE),
        (field(homography(0, 1, 0, 0, 9e-3, 0)), module.IMPLAUSIBLE),
        (field(homography(0, 1, 0, 0, 3e-2, 0)), module.FOLDED),
        (field(np.array([[-1.0, 0, 159], [0, 1, 0], [0, 0, 1]])), module.NO_FIT),  # mirrored
    ],
)
def test_doubt_means_a_still_camera(flow: np.ndarray, reason: str) -> None:
    motion = camera_motion(flow)
    assert motion.reason == reason and np.array_equal(motion.matrix, np.eye(3))
    assert residual(flow, motion) is flow


@pytest.mark.parametrize("found", [None, np.full((3, 3), np.nan)])
def test_no_homography(monkeypatch: pytest.MonkeyPatch, found: np.ndarray | None) -> None:
    monkeypatch.setattr(cv2, "findHomography", lambda *arguments, **options: (found, None))
    assert camera_motion(crowd()).reason == module.NO_FIT


def test_doubt() -> None:
    assert doubt(homography(0.3, 1.2, 40, -30, 1e-4, 1e-4), SIZE) == ""
    assert doubt(-homography(0.3, 1.2, 40, -30, 1e-4, 1e-4), SIZE) == ""  # the same homography
    assert doubt(np.diag([1.0, -1.0, 1.0]), SIZE) == module.FOLDED
    assert doubt(np.zeros((3, 3)), SIZE) == module.FOLDED
    assert doubt(np.array([[1.0, 0, 0], [0, 1, 0], [-1 / 80, 0, 1]]), SIZE) == module.FOLDED  # vanishes at x = 80
    assert doubt(np.array([[1.0, 0, 0], [0, 1, 0], [-1 / 159, 0, 1]]), SIZE) == module.FOLDED  # at the edge
    assert doubt(np.diag([2.1, 2.1, 1]), SIZE) == module.IMPLAUSIBLE


def test_it_repeats_itself_in_any_thread() -> None:
    flows = [crowd() / 20 + field(homography(0.01, 1.01, n, 2, 0, 0)) for n in range(6)]
    alone = [camera_motion(flow).matrix for flow in flows]
    with ThreadPoolExecutor(3) as pool:
        together = [motion.matrix for motion in pool.map(camera_motion, flows * 3)]
    assert all(np.array_equal(found, alone[n % 6]) for n, found in enumerate(together))


@pytest.mark.real
@pytest.mark.parametrize("name", ["rhino", "scooter-gray", "lucia"])
def test_objects_stand_out_in_real_video(real_data: Path, name: str) -> None:
    """The camera follows them, so the background moves more; benchmarks/stabilisation.py measures all sequences."""
    root = real_data / "davis2016_train"
    flow = estimate(*(decode_frame((root / f"JPEGImages/480p/{name}/{n:05}.jpg").read_bytes()) for n in (20, 21)))
    mask = decode_mask(root / f"Annotations/480p/{name}/00020.png")[0] > 0
    motion = camera_motion(flow)
    speed = [np.linalg.norm(f, axis=-1) for f in (flow, residual(flow, motion))]
    inside, outside = ([np.median(s[part]) for s in speed] for part in (mask, ~mask))
    assert motion.reason == "" and motion.share > 0.4
    assert inside[0] < outside[0] and inside[1] > 5 * outside[1]
