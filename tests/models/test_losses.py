"""Losses against NumPy; void never counts."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fusionseg.models.labels import VOID
from fusionseg.models.losses import LOSSES, balanced_cross_entropy, boundary, count, cross_entropy, dice, loss

ALL = [(name, balance) for name in LOSSES for balance in (False, True)]


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


def test_balanced_cross_entropy_equals_numpy(batch: tuple[Tensor, Tensor]) -> None:
    logits, labels = batch
    p, y = probabilities(logits), labels.numpy()
    means = [-np.log(p[:, 0][y == 0]).mean(), -np.log(p[:, 1][y == 1]).mean()]
    assert balanced_cross_entropy(logits, labels).item() == pytest.approx(np.mean(means), rel=1e-5)


@pytest.mark.parametrize("present", [0, 1])
def test_balanced_cross_entropy_of_one_class_is_the_plain_one(present: int, batch: tuple[Tensor, Tensor]) -> None:
    logits, labels = batch
    labels = torch.where(labels == VOID, VOID, present)
    expected = cross_entropy(logits, labels).item()
    assert balanced_cross_entropy(logits, labels).item() == pytest.approx(expected, rel=1e-6)


def test_the_boundary_s_pixels_weigh_five_times() -> None:
    """Object left of column 10, void in the first row: columns 6 to 13 are within 4 px of both."""
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(1, 2, 6, 30, generator=generator), torch.zeros(1, 6, 30, dtype=torch.long)
    labels[..., :10], labels[:, 0] = 1, VOID
    weights = torch.ones(6, 30)
    weights[:, 6:14] = 5
    values = F.cross_entropy(logits, labels, ignore_index=VOID, reduction="none")[0]
    found = cross_entropy(logits, labels) + boundary(logits, labels)
    assert found.item() == pytest.approx(((weights * values).sum() / 150).item(), rel=1e-5)
    assert boundary(logits, torch.ones_like(labels)).item() == 0  # an object without outline


def test_a_loss_of_two_is_their_sum(batch: tuple[Tensor, Tensor]) -> None:
    assert loss("cross-entropy", False, *batch).item() == cross_entropy(*batch).item()
    assert loss("dice", False, *batch).item() == loss("dice", True, *batch).item() == dice(*batch).item()
    expected = balanced_cross_entropy(*batch) + dice(*batch)
    assert loss("cross-entropy+dice", True, *batch).item() == pytest.approx(expected.item())


def test_an_unknown_loss_is_named(batch: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(ValueError, match="unknown loss 'focal'; known: cross-entropy, dice"):
        loss("focal", False, *batch)


def test_counts_by_hand() -> None:
    labels = torch.tensor([[[0, 0, 1]], [[VOID, VOID, VOID]]])
    assert count(labels).tolist() == [2, 1, 2]


@pytest.mark.parametrize(("name", "balance"), ALL)
@pytest.mark.parametrize("cut", [1, 2])
def test_parts_of_a_batch_add_up_to_the_whole(name: str, balance: bool, cut: int, batch: tuple[Tensor, Tensor]) -> None:
    """Parts of unlike sizes, unlike shares of void and of object."""
    logits, labels = batch
    labels[:cut, 1:] = VOID
    logits.requires_grad_()
    whole = loss(name, balance, logits, labels)
    (wanted,) = torch.autograd.grad(whole, logits)
    pieces = [(logits[:cut], labels[:cut]), (logits[cut:], labels[cut:])]
    counts = torch.stack([count(piece[1]) for piece in pieces]).sum(0)
    shares = torch.stack([loss(name, balance, *piece, counts) for piece in pieces])
    (found,) = torch.autograd.grad(shares.sum(), logits)
    assert shares.sum().item() == pytest.approx(whole.item(), rel=1e-6)
    assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(("name", "balance"), ALL)
def test_void_pixels_change_nothing_and_get_no_gradient(name: str, balance: bool, batch: tuple[Tensor, Tensor]) -> None:
    logits, labels = batch
    void = (labels == VOID)[:, None].expand_as(logits)
    logits.requires_grad_()
    value = loss(name, balance, logits, labels)
    value.backward()
    assert logits.grad is not None
    assert not logits.grad[void].any() and bool((logits.grad[~void] != 0).any())
    changed = torch.where(void, torch.randn_like(logits) * 20, logits.detach())
    assert loss(name, balance, changed, labels).item() == value.item()


@pytest.mark.parametrize(("name", "balance"), ALL)
def test_a_batch_of_nothing_but_void_is_finite_and_teaches_nothing(name: str, balance: bool) -> None:
    logits = torch.randn(2, 2, 3, 3, requires_grad=True)
    value = loss(name, balance, logits, torch.full((2, 3, 3), VOID))
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None and not logits.grad.any()
