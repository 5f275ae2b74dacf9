"""Losses against NumPy; void never counts."""

import numpy as np
import pytest
import torch
from torch import Tensor

from fusionseg.models.labels import VOID
from fusionseg.models.losses import LOSSES, cross_entropy, dice

ALL = {"dice": dice, **LOSSES}


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    """Return logits (3, 2, 5, 6) and labels with void."""
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 1, VOID], (3, 5, 6), p=[0.5, 0.3, 0.2])
    return torch.from_numpy(rng.normal(0, 3, (3, 2, 5, 6))).float(), torch.from_numpy(labels)


def probabilities(logits: Tensor) -> np.ndarray:
    values = np.exp(logits.double().numpy())
    return values / values.sum(1, keepdims=True)


def numpy_cross_entropy(logits: Tensor, labels: Tensor) -> float:
    p, y = probabilities(logits), labels.numpy()
    taken = np.where(y == 1, p[:, 1], p[:, 0])[y != VOID]
    return float(-np.log(taken).mean())


def numpy_dice(logits: Tensor, labels: Tensor) -> float:
    values = []
    for p, y in zip(probabilities(logits)[:, 1], labels.numpy(), strict=True):
        p = p[y != VOID]
        truth = (y == 1)[y != VOID]
        values.append(1 - (2 * (p * truth).sum() + 1) / (p.sum() + truth.sum() + 1))
    return float(np.mean(values))


def test_cross_entropy_equals_numpy(batch: tuple[Tensor, Tensor]) -> None:
    assert cross_entropy(*batch).item() == pytest.approx(numpy_cross_entropy(*batch), rel=1e-5)


def test_cross_entropy_of_one_pixel_by_hand() -> None:
    logits = torch.tensor([0.0, np.log(3.0)]).view(1, 2, 1, 1)  # object with probability 3/4
    assert cross_entropy(logits, torch.ones(1, 1, 1, dtype=torch.long)).item() == pytest.approx(-np.log(0.75))
    assert cross_entropy(logits, torch.zeros(1, 1, 1, dtype=torch.long)).item() == pytest.approx(-np.log(0.25))


def test_dice_equals_numpy(batch: tuple[Tensor, Tensor]) -> None:
    assert dice(*batch).item() == pytest.approx(numpy_dice(*batch), rel=1e-5)


def test_dice_by_hand() -> None:
    # Two pixels of object, both at probability 1/2: 1 - (2 * 1 + 1) / (1 + 2 + 1).
    logits, labels = torch.zeros(1, 2, 1, 2), torch.ones(1, 1, 2, dtype=torch.long)
    assert dice(logits, labels).item() == pytest.approx(1 - 3 / 4)


def test_dice_of_an_empty_image_rightly_called_empty_is_nothing() -> None:
    logits = torch.zeros(1, 2, 4, 4)
    logits[:, 0] = 50
    assert dice(logits, torch.zeros(1, 4, 4, dtype=torch.long)).item() == pytest.approx(0, abs=1e-6)


def test_dice_counts_every_image_alike() -> None:
    # The second image is void but for one pixel; a batch-wise Dice would hardly see it.
    logits = torch.zeros(2, 2, 8, 8)
    logits[0, 1], logits[1, 0] = 30, 30
    labels = torch.full((2, 8, 8), VOID)
    labels[0] = 1
    labels[1, 0, 0] = 1
    assert dice(logits, labels).item() == pytest.approx((0 + (1 - 1 / 2)) / 2, abs=1e-4)


def test_the_sum_is_the_sum(batch: tuple[Tensor, Tensor]) -> None:
    assert LOSSES["cross-entropy"](*batch).item() == cross_entropy(*batch).item()
    expected = cross_entropy(*batch) + dice(*batch)
    assert LOSSES["cross-entropy+dice"](*batch).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("name", ALL)
def test_void_pixels_change_nothing_and_get_no_gradient(name: str, batch: tuple[Tensor, Tensor]) -> None:
    logits, labels = batch
    void = (labels == VOID)[:, None].expand_as(logits)
    logits.requires_grad_()
    loss = ALL[name](logits, labels)
    loss.backward()
    assert logits.grad is not None
    assert not logits.grad[void].any() and bool((logits.grad[~void] != 0).any())
    changed = torch.where(void, torch.randn_like(logits) * 20, logits.detach())
    assert ALL[name](changed, labels).item() == loss.item()


@pytest.mark.parametrize("name", ALL)
def test_a_batch_of_nothing_but_void_is_finite_and_teaches_nothing(name: str) -> None:
    logits = torch.randn(2, 2, 3, 3, requires_grad=True)
    loss = ALL[name](logits, torch.full((2, 3, 3), VOID))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None and not logits.grad.any()
