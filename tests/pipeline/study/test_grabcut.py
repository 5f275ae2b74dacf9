"""GrabCut from a box: finds what differs in colour, stays in its box, and never fails."""

from __future__ import annotations

import numpy as np
import pytest
from builders import moving_square

from fusionseg.pipeline.study.grabcut import grabcut


def scene() -> tuple[np.ndarray, np.ndarray]:
    """A red disk on noisy green, and where it is."""
    y, x = np.mgrid[:60, :80]
    disk = (y - 30) ** 2 + (x - 40) ** 2 < 15**2
    noise = np.random.default_rng(0).integers(0, 30, (60, 80, 3))
    return (noise + np.where(disk[..., None], [20, 20, 200], [20, 160, 20])).astype(np.uint8), disk


def test_a_disk_in_its_box_is_found_and_the_same_again() -> None:
    frame, disk = scene()
    found = grabcut(frame, np.array([20, 10, 60, 50]))
    assert (found & disk).sum() / (found | disk).sum() > 0.95
    assert (grabcut(frame, np.array([20, 10, 60, 50])) == found).all()


def test_nothing_is_found_outside_the_box() -> None:
    frame, disk = scene()
    assert disk[:, 53:].any()
    found = grabcut(frame, np.array([20, 10, 53, 50]))
    assert found.sum() > 600 and not found[:, 53:].any() and not found[:10].any()


@pytest.mark.parametrize("box", [(0, 0, 80, 60), (79, 59, 80, 60)])
def test_a_box_without_background_or_too_small_to_see_is_taken_whole(box: tuple[int, int, int, int]) -> None:
    frame = np.kron(scene()[0], np.ones((10, 10, 1), np.uint8))
    x0, y0, x1, y1 = box if box[0] else (0, 0, 800, 600)
    found = grabcut(frame, np.array([x0, y0, x1, y1]))
    assert found.sum() == (x1 - x0) * (y1 - y0)


def test_a_real_size_smaller_than_the_working_size_is_not_enlarged() -> None:
    frame, mask = moving_square(1)[0]
    assert grabcut(frame, np.array([4, 6, 12, 14])).shape == mask.shape
