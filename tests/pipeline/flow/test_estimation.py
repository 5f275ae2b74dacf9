"""Optical flow: real accuracy, direction, the last frame, tiny frames."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from builders import make_item, texture, write_png
from torchvision.models.optical_flow import raft_small

from fusionseg.pipeline.datasets.imported_flow import find_flow
from fusionseg.pipeline.datasets.pairs import with_partners
from fusionseg.pipeline.errors import BadFile, UserError
from fusionseg.pipeline.flow import estimation as optical_flow
from fusionseg.pipeline.flow.estimation import METHODS, estimate, estimate_pairs, scale_flow
from fusionseg.pipeline.flow.videos import imported, stored
from fusionseg.pipeline.formats.flow import write_flow
from fusionseg.pipeline.settings.sections import OpticalFlow


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


# TV-L1 takes seconds.
@pytest.mark.parametrize("method", [method for method in METHODS if method != "tvl1"])
def test_every_method_repeats_itself(method: str) -> None:
    first, second = shifted(4, 1)
    flow = estimate(first, second, method)
    estimate(second, first, method)  # leaves its buffers behind
    assert np.array_equal(estimate(first, second, method), flow)
    assert np.abs(np.median(flow, axis=(0, 1)) - [4, 1]).max() < 0.6
    assert (estimate(first, first.copy(), method) == 0).all()


def test_tvl1() -> None:
    flow = estimate(*(frame[20:60, 20:60] for frame in shifted(2, 1)), "tvl1")
    assert np.abs(np.median(flow, axis=(0, 1)) - [2, 1]).max() < 0.3


@pytest.mark.parametrize("method", ["pcaflow", "sparse-to-dense"])
def test_methods_that_match_corners_see_no_motion_in_a_plain_picture(method: str) -> None:
    plain = np.full((140, 150, 3), 90, np.uint8)
    assert (estimate(plain, plain, method) == 0).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 60), (60, 1), (2, 3), (15, 17), (16, 16), (9, 300), (33, 200)])
@pytest.mark.parametrize("method", [method for method in METHODS if method != "tvl1"])
def test_tiny_frames_have_flow_too(size: tuple[int, int], method: str) -> None:
    """Several of OpenCV's methods crash the process if they are given such frames as they are."""
    first, second = (np.random.default_rng(n).integers(0, 256, (*size, 3), np.uint8) for n in range(2))
    assert estimate(first, second, method).shape == (*size, 2)
    assert (estimate(first, first.copy(), method) == 0).all()


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
    with pytest.raises(ValueError, match=r"unknown optical flow method 'raft'; known: dis-ultrafast.*raft-large"):
        estimate(frame, frame, "raft")
    with pytest.raises(ValueError, match=r"shape \(20, 20\) and type uint8, expected \(H, W, 3\) uint8"):
        estimate(frame[..., 0], frame[..., 0])
    with pytest.raises(ValueError, match=r"type float32, expected \(H, W, 3\) uint8"):
        estimate(frame, frame.astype(np.float32))


def test_without_contrib_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "optflow")
    monkeypatch.setattr(optical_flow, "_LOCAL", threading.local())
    with pytest.raises(UserError, match="opencv-contrib-python"):
        estimate(*shifted(1, 0), "deepflow")
    assert estimate(*shifted(1, 0)).shape == (100, 140, 2)


def test_estimated_smaller_and_scaled_back() -> None:
    """u and v are in pixels of the frame, whatever the size they were found at."""
    flow = estimate(*shifted(6, -4), long_side=70)
    assert flow.shape == (100, 140, 2) and flow.dtype == np.float32
    assert np.abs(np.median(flow, axis=(0, 1)) - [6, -4]).max() < 0.3


def test_scaling_flow_scales_its_vectors_by_each_side() -> None:
    flow = np.zeros((10, 20, 2), np.float32) + np.array([2, 3], np.float32)
    scaled = scale_flow(flow, (5, 60))
    assert scaled.shape == (5, 60, 2) and np.allclose(scaled, [6, 1.5])


def test_what_is_no_displacement_is_stored_as_unknown() -> None:
    flow = np.zeros((2, 3, 2), np.float32)
    flow[0, 0], flow[0, 1], flow[1, 2] = (1e9, 1), (np.inf, 0), (np.nan, 2)
    kept = stored(flow)
    assert kept.dtype == np.float16
    assert np.isnan(kept).any(-1).tolist() == [[True, True, False], [False, False, True]]
    assert (stored(np.full((2, 2, 2), 5e4, np.float32)) == 5e4).all()


def moving() -> list[np.ndarray]:
    """Return frames that all move by (4, 1) px, textured enough to tell the direction."""
    canvas = texture((140, 200), 5)
    return [canvas[40 - n : 120 - n, 40 - 4 * n : 160 - 4 * n].copy() for n in range(6)]


def test_a_frame_that_only_the_check_of_imported_flow_reads_is_named_if_bad(tmp_path: Path) -> None:
    paths = [write_png(tmp_path / f"{n}.png", texture((24, 40), 0)) for n in range(12)]
    for path in paths:
        write_flow(tmp_path / "flow/clip" / f"{path.stem}.flo", np.full((24, 40, 2), 2, np.float32))
    settings = OpticalFlow(method="import", folder=tmp_path / "flow")
    numbers = tuple(range(0, len(paths), 11))
    item = with_partners(make_item(frames=paths[::11], all_frames=tuple(paths), numbers=numbers), settings)
    item = replace(item, flow=find_flow(tmp_path / "flow", "clip", [path.stem for path in paths]))
    paths[4].write_bytes(b"no picture")
    with pytest.raises(BadFile, match=r"4\.png: not a picture"):
        list(imported(item, settings))


def test_raft_weights_that_can_t_be_used_are_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"no weights")
    with pytest.raises(UserError, match=r"optical-flow\.raft_weights: .*weights\.pth"):
        estimate(*shifted(1, 0), "raft-small", weights=path)


@pytest.fixture
def random_raft(tmp_path: Path) -> Path:
    """Weights of raft-small that say nothing, as a file."""
    torch.manual_seed(0)
    torch.save(raft_small(weights=None).state_dict(), tmp_path / "raft.pth")
    return tmp_path / "raft.pth"


def test_raft_sees_no_motion_between_identical_frames(random_raft: Path) -> None:
    """By itself it sees some; a video of identical frames would get a colourful flow image."""
    first, second = shifted(3, 0)
    still, moving = estimate_pairs([(first, first.copy()), (first, second)], "raft-small", weights=random_raft)
    assert (still == 0).all() and (moving != 0).any()
    assert np.allclose(moving, estimate(first, second, "raft-small", weights=random_raft), atol=1e-3)


def test_raft_weights_that_take_the_place_of_others_are_read(random_raft: Path) -> None:
    before = estimate(*shifted(3, 0), "raft-small", weights=random_raft)
    torch.save(raft_small(weights=None).state_dict(), random_raft)
    assert not np.allclose(estimate(*shifted(3, 0), "raft-small", weights=random_raft), before)
