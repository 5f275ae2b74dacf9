"""The running mean of weights, by hand."""

import pytest
import torch
from torch import nn

from fusionseg.pipeline.training.averaging import Average, applied, put


def model(value: float, counted: int = 0) -> nn.BatchNorm2d:
    found = nn.BatchNorm2d(1)
    put(found, {name: torch.full_like(tensor, value) for name, tensor in found.state_dict().items()})
    found.num_batches_tracked = torch.tensor(counted)
    return found


def test_early_steps_count_more_and_later_ones_the_decay() -> None:
    average = Average(model(0.0), 0.5)
    average.update(model(1.0, 3), 1)  # decay 2 / 11
    assert average.state["running_mean"].item() == pytest.approx(9 / 11)
    average.update(model(0.0, 4), 1000)  # decay 0.5
    for name in ("weight", "bias", "running_mean", "running_var"):
        assert average.state[name].item() == pytest.approx(9 / 22)
    assert average.state["num_batches_tracked"].item() == 4


def test_applied_for_a_while() -> None:
    average, trained = Average(model(1.0), 0.5), model(3.0)
    with pytest.raises(KeyboardInterrupt), applied(trained, average):
        assert trained.weight.item() == 1.0
        raise KeyboardInterrupt
    assert trained.weight.item() == 3.0
    with applied(trained, None):
        assert trained.weight.item() == 3.0
