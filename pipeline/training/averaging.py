"""The running mean of a model's weights (exponential moving average): smoother than the last weights, and often better.

Polyak averaging with a fixed decay, as in Tarvainen and Valpola, Mean teachers, 2017.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

Tensors = tuple[Tensor, ...] | list[Tensor]  # as PyTorch hands them over


def running_mean(model: nn.Module, decay: float) -> AveragedModel:
    """Running mean of all floating-point weights and buffers of `model`, in eval mode; counters are taken as they are.

    Early on the decay is smaller, (1 + steps) / (10 + steps), or the mean would long remember the random start.
    """

    def mix(means: Tensors, values: Tensors, counted: Tensor | int) -> None:
        steps = int(counted)
        if means[0].is_floating_point():
            get_ema_multi_avg_fn(min(decay, (1 + steps) / (10 + steps)))(means, values, steps)
        else:
            for mean, value in zip(means, values, strict=True):
                mean.copy_(value)

    average = AveragedModel(model, multi_avg_fn=mix, use_buffers=True).eval()
    return counting(average, 0)


def counting(average: AveragedModel, steps: int) -> AveragedModel:
    """`average` itself, which now takes itself to be that of a model and its next `steps` steps."""
    # One more, since the beginning counts too: at 0 the first step's weights would take its place.
    average.n_averaged.fill_(steps + 1)
    return average
