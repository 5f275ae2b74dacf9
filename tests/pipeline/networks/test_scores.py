"""Scores of a stream on a video, and masks from logits."""

import numpy as np
import pytest
import torch

from fusionseg.pipeline.networks.scores import object_mask, upsampled


def test_masks_are_the_arg_max_ties_included() -> None:
    logits = torch.randint(-2, 3, (1, 2, 20, 30), generator=torch.Generator().manual_seed(0)).float()
    assert bool((logits[0, 0] == logits[0, 1]).any())
    assert np.array_equal(object_mask(logits), logits.argmax(1)[0].numpy() == 1)


@pytest.mark.filterwarnings("error")
def test_scores_kept_in_memory_are_read_only() -> None:
    scores = np.arange(12, dtype=np.float16).reshape(2, 2, 3)
    scores.flags.writeable = False
    found = upsampled(scores, {"stride": 4, "network_size": [5, 9], "frame_size": [5, 9]})
    assert torch.equal(found[0, :, ::4, ::4], torch.from_numpy(scores.astype(np.float32)))
