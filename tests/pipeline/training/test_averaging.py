"""The running mean of weights, by hand."""

import pytest
import torch
from torch import nn

from fusionseg.pipeline.training.averaging import counting, running_mean


def model(value: float, counted: int = 0) -> nn.BatchNorm2d:
    found = nn.BatchNorm2d(1)
    found.load_state_dict({name: torch.full_like(tensor, value) for name, tensor in found.state_dict().items()})
    found.num_batches_tracked = torch.tensor(counted)
    return found


def test_early_steps_count_more_and_later_ones_the_decay() -> None:
    average = running_mean(model(0.0), 0.5)
    average.update_parameters(model(1.0, 3))  # decay 2 / 11
    state = average.module.state_dict()
    assert state["running_mean"].item() == pytest.approx(9 / 11)
    counting(average, 999).update_parameters(model(0.0, 4))  # decay 0.5
    for name in ("weight", "bias", "running_mean", "running_var"):
        assert state[name].item() == pytest.approx(9 / 22)
    assert state["num_batches_tracked"].item() == 4
    assert not average.module.training


def test_every_bit_is_that_of_a_mean_tensor_by_tensor() -> None:
    torch.manual_seed(0)
    trained = nn.Sequential(nn.Conv2d(3, 50, 3), nn.BatchNorm2d(50)).to(memory_format=torch.channels_last)
    average = running_mean(trained, 0.9)
    expected = {name: value.clone() for name, value in trained.state_dict().items()}
    for step in range(1, 200):
        for value in trained.state_dict().values():
            value.add_(torch.randn_like(value) if value.is_floating_point() else 1)
        average.update_parameters(trained)
        for name, value in trained.state_dict().items():
            if value.is_floating_point():
                expected[name].lerp_(value, 1 - min(0.9, (1 + step) / (10 + step)))
            else:
                expected[name].copy_(value)
    assert all(torch.equal(value, expected[name]) for name, value in average.module.state_dict().items())


def test_the_model_itself_and_its_mean_share_nothing() -> None:
    trained = model(3.0)
    average = running_mean(trained, 0.5)
    trained.weight.data.fill_(1.0)
    assert average.module.weight.item() == 3.0 and trained.training
