"""Schedules of the learning rate, by hand, and optimisers by name."""

import itertools
from typing import Any

import pytest
import torch
from torch import nn

from fusionseg.pipeline.settings.trainings import Training
from fusionseg.pipeline.training.optimiser import learning_rate_factor, make_optimiser, make_schedule


def settings(**changes: Any) -> Training:
    return Training(**changes)


def test_poly_factor() -> None:
    setting = settings(steps=100, schedule="poly", poly_power=0.9)
    assert learning_rate_factor(0, setting) == 1 and learning_rate_factor(100, setting) == 0
    assert learning_rate_factor(50, setting) == pytest.approx(0.5**0.9)
    assert learning_rate_factor(25, settings(steps=100, schedule="poly", poly_power=2)) == pytest.approx(0.5625)


def test_one_cycle_factor() -> None:
    setting = settings(steps=100, schedule="one-cycle")
    factors = [learning_rate_factor(step, setting) for step in range(101)]
    assert factors[0] == pytest.approx(0.05) and factors[10] == pytest.approx(1) and factors[100] == pytest.approx(0.01)
    assert factors[5] == pytest.approx(0.525) and factors[55] == pytest.approx(0.505)
    assert max(factors) == factors[10]
    assert all(a < b for a, b in itertools.pairwise(factors[:11]))
    assert all(a > b for a, b in itertools.pairwise(factors[10:]))


def test_optimisers_take_their_settings() -> None:
    groups = lambda: [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (0.1, 0.2)]  # noqa: E731
    sgd = make_optimiser(groups(), settings(optimiser="sgd", momentum=0.7, weight_decay=0.03))
    assert isinstance(sgd, torch.optim.SGD)
    assert [(g["lr"], g["momentum"], g["weight_decay"]) for g in sgd.param_groups] == [
        (0.1, 0.7, 0.03),
        (0.2, 0.7, 0.03),
    ]
    adamw = make_optimiser(groups(), settings(optimiser="adamw", weight_decay=0.04))
    assert isinstance(adamw, torch.optim.AdamW) and adamw.param_groups[1]["weight_decay"] == 0.04


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("schedule", ["one-cycle", "poly"])
def test_the_shortest_schedules_stay_above_nothing(steps: int, schedule: str) -> None:
    setting = settings(steps=steps, schedule=schedule)
    assert all(0 < learning_rate_factor(step, setting) <= 1 for step in range(steps))


def test_a_schedule_moves_all_groups_alike() -> None:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (0.1, 0.2)]
    optimiser = make_optimiser(groups, setting := settings(steps=4, schedule="poly", poly_power=1.0))
    schedule = make_schedule(optimiser, setting)
    optimiser.step()
    schedule.step()
    assert schedule.get_last_lr() == pytest.approx([0.075, 0.15])
