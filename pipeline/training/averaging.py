"""The running mean of a model's weights (exponential moving average): smoother than the last weights, and often better.

Polyak averaging with a fixed decay, as in Tarvainen and Valpola, Mean teachers, 2017.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

State = dict[str, Tensor]


class Average:
    """Running mean of all floating-point weights and buffers; counters are taken as they are."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state: State = copied(model.state_dict())

    def update(self, model: nn.Module, steps: int) -> None:
        """Take in the weights after `steps` steps.

        Early on the decay is smaller, (1 + steps) / (10 + steps), or the mean would long remember the random start.
        """
        decay = min(self.decay, (1 + steps) / (10 + steps))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value, 1 - decay)
            else:
                self.state[name].copy_(value)


def copied(state: Mapping[str, Tensor]) -> State:
    """A copy that later training doesn't change."""
    return {name: value.detach().clone() for name, value in state.items()}


def put(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Set the values of a model's weights and buffers, in place."""
    with torch.no_grad():
        for name, value in model.state_dict().items():
            value.copy_(state[name])


@contextmanager
def applied(model: nn.Module, average: Average | None) -> Iterator[None]:
    """`model` with its average's weights, and its own ones back at the end."""
    if average is None:
        yield
        return
    own = copied(model.state_dict())
    put(model, average.state)
    try:
        yield
    finally:
        put(model, own)
