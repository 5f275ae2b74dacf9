"""Changes of a frame's look: by the factors asked for, repeatable, and none where none is asked for."""

import numpy as np
import pytest
import torch

from fusionseg.pipeline.training.photometric import vary_colour, vary_look
from fusionseg.pipeline.training.samples import sample_generator

IMAGE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def test_a_look_repeats_and_leaves_the_global_generators_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    looks = [vary_look(IMAGE, 0.3, 0.5, sample_generator(0, 0, n)) for n in range(20)]
    assert torch.equal(torch.rand(1), expected)
    assert all(look.dtype == np.uint8 and look.shape == IMAGE.shape for look in looks)
    assert np.array_equal(looks[3], vary_look(IMAGE, 0.3, 0.5, sample_generator(0, 0, 3)))
    means = [look.mean() for look in looks]
    assert min(means) < 0.9 * IMAGE.mean() and max(means) > 1.1 * IMAGE.mean()


def test_nothing_asked_for_changes_nothing_and_draws_nothing() -> None:
    rng = sample_generator(0, 0, 0)
    assert vary_look(IMAGE, 0.0, 0.0, rng) is IMAGE
    assert rng.random() == sample_generator(0, 0, 0).random()


@pytest.mark.parametrize("mirrored", [False, True])
def test_factors_of_one_keep_a_frame_and_the_original_stays(mirrored: bool) -> None:
    image = IMAGE[:, ::-1] if mirrored else IMAGE
    before = image.copy()
    assert np.array_equal(vary_colour(image, np.ones(3)), before)
    vary_colour(image, np.array([0.5, 1.5, 0.2]))
    assert np.array_equal(image, before)


def test_each_factor_does_what_it_is_called() -> None:
    darker = vary_colour(IMAGE, np.array([0.5, 1, 1])).astype(int)
    assert np.abs(darker - IMAGE * 0.5).max() <= 1
    flat = vary_colour(IMAGE, np.array([1, 0, 1]))
    assert len(np.unique(flat)) == 1 and abs(int(flat[0, 0, 0]) - IMAGE.mean()) < 10
    grey = vary_colour(IMAGE, np.array([1, 1, 0])).astype(int)
    assert np.ptp(grey, axis=-1).max() == 0 and grey.std() > 10


def test_a_share_of_frames_is_blurred() -> None:
    roughness = [np.abs(np.diff(vary_look(IMAGE, 0, 0.4, sample_generator(0, 1, n)).astype(int))).mean()
                 for n in range(100)]  # fmt: skip
    sharp = np.abs(np.diff(IMAGE.astype(int))).mean()
    blurred = sum(r < sharp for r in roughness)
    assert 25 <= blurred <= 55 and roughness.count(sharp) == 100 - blurred
