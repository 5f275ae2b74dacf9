"""Samples of a fusion: scores, frame and label always cut alike, whatever source they come from."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fusionseg.models.labels import VOID
from fusionseg.pipeline.settings.trainings import FusionTraining
from fusionseg.pipeline.training.pairs import StoredPair, augmented, batch_of, fuse_batch, silenced
from fusionseg.pipeline.training.samples import sample_generator

SIZE = (33, 49)
FACTS = {"stride": 4, "network_size": list(SIZE), "frame_size": list(SIZE)}
CROP = {"crop": (16, 24), "batch": 4}


def pair(framed: bool = True, seed: int = 0) -> StoredPair:
    """A pair whose frame holds columns and rows, and whose label tells both."""
    generator = np.random.default_rng(seed)
    a, m = generator.normal(0, 4, (2, 2, 9, 13)).astype(np.float16)
    columns, rows = np.meshgrid(np.arange(SIZE[1], dtype=np.uint8), np.arange(SIZE[0], dtype=np.uint8))
    label = ((columns.astype(int) * 7 + rows * 3) % 2).astype(np.uint8)
    return StoredPair(a, FACTS, m, FACTS, label, np.dstack([columns, rows, label]) if framed else None)


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_scores_frame_and_label_are_cut_alike(number: int) -> None:
    whole = pair()
    found = augmented(whole, FusionTraining(**CROP), sample_generator(0, 0, number))
    assert found.frame is not None and found.frame.dtype == np.uint8
    columns, rows = found.frame[..., 0].astype(int), found.frame[..., 1].astype(int)
    assert np.array_equal(found.label, whole.label[rows, columns]) and np.array_equal(found.label, found.frame[..., 2])
    scores = torch.cat(whole.upsampled(), 1)[0].permute(1, 2, 0).numpy()
    assert np.array_equal(found.scores, scores[rows, columns])


@pytest.mark.parametrize("scale", [0.5, 1.5])
def test_frames_are_scaled_with_scores_and_stay_pictures(scale: float) -> None:
    """A grey frame stays grey, up to the picture's edge; what lies beyond is void."""
    grey = pair()._replace(frame=np.full((*SIZE, 3), 201, np.uint8))
    found = augmented(grey, FusionTraining(**CROP, scales=(scale, scale)), sample_generator(0, 0, 1))
    assert found.frame is not None and found.scores.shape == (16, 24, 4)
    assert set(np.unique(found.frame[found.label != VOID])) == {201}


def test_colours_vary_where_asked_for_and_scores_do_not() -> None:
    plain, coloured = (
        augmented(pair(), FusionTraining(**CROP, colour=colour), sample_generator(0, 0, 5)) for colour in (0.0, 0.5)
    )
    assert plain.frame is not None and coloured.frame is not None
    assert not np.array_equal(plain.frame, coloured.frame) and np.array_equal(plain.scores, coloured.scores)


def test_a_frame_changes_nothing_of_the_samples_of_fusions_without() -> None:
    one, other = (
        augmented(pair(framed), FusionTraining(**CROP), sample_generator(0, 0, 2)) for framed in (True, False)
    )
    assert other.frame is None and np.array_equal(one.scores, other.scores) and np.array_equal(one.label, other.label)


def test_either_stream_is_silenced_in_the_share_that_is_asked_for() -> None:
    scores = np.ones((2, 3, 4), np.float32)
    kept = np.stack([silenced(scores, 0.4, sample_generator(0, 0, n))[0, 0] for n in range(1000)])
    assert {tuple(one) for one in kept} == {(1, 1, 1, 1), (0, 0, 1, 1), (1, 1, 0, 0)}
    appearance, motion = (kept == 0).mean(0)[[0, 2]]
    assert appearance == pytest.approx(0.2, abs=0.04) and motion == pytest.approx(0.2, abs=0.04)
    rng = sample_generator(0, 0, 0)
    assert silenced(scores, 0.0, rng) is scores
    assert rng.random() == sample_generator(0, 0, 0).random(), "draws nothing: samples stay what they were"


@pytest.mark.parametrize("framed", [True, False])
def test_batches_of_any_source_repeat(framed: bool) -> None:
    drawn: list[int] = []

    def make(number: int, rng: np.random.Generator) -> StoredPair:
        drawn.append(number)
        return pair(framed, seed=int(rng.integers(9)))  # a source may be random itself

    batch = batch_of(make, 3, FusionTraining(**CROP, drop=0.3, colour=0.2))
    first, second = batch(7, range(4)), batch(7, range(4))
    assert first.keys() == {"scores", "labels"} | ({"frames"} if framed else set()) and set(drawn) == {0, 1, 2}
    assert all(torch.equal(first[name], second[name]) for name in first)
    part = batch(7, range(1, 3))
    assert all(torch.equal(part[name], first[name][1:3]) for name in first)
    assert (first["scores"].shape, first["scores"].dtype) == ((4, 4, 16, 24), torch.float32)
    assert first["labels"].shape == (4, 16, 24)
    if framed:
        assert (first["frames"].shape, first["frames"].dtype) == ((4, 3, 16, 24), torch.uint8)


def test_streams_and_frames_reach_the_fusion_in_order() -> None:
    class Taken(nn.Module):
        reads_frame = True

        def forward(self, appearance: Tensor, motion: Tensor, frame: Tensor) -> Tensor:
            self.taken = appearance, motion, frame
            return appearance

    tensors = batch_of(lambda number, rng: pair(), 1, FusionTraining(**CROP))(0, range(2))
    model = Taken()
    _, labels = fuse_batch(model, tensors, torch.device("cpu"))
    appearance, motion, frame = model.taken
    assert torch.equal(torch.cat([appearance, motion], 1), tensors["scores"]) and labels.dtype == torch.int64
    assert torch.equal(frame[:, 2], tensors["labels"])
    logits = pair().fused(model, torch.device("cpu"))
    assert logits.shape == (1, 2, *SIZE) and model.taken[2].shape == (1, 3, *SIZE)
