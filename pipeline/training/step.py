"""One step of a training: gradients of its whole batch, worked off in parts and by several processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fusionseg.models.losses import loss
from fusionseg.pipeline.basics.processes import Processes
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.settings.trainings import Training
from fusionseg.pipeline.store.job import Context

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Task:
    """What a training consists of.

    `batch(step, positions)` gives the tensors of some positions of a step's batch, prepared by threads ahead of time;
    images come first in each tensor's shape, and `labels` (N, H, W) in {0, 1, 255} are among them. What stands at a
    position depends on seed, step and position alone. `logits(model, tensors)` gives logits (N, 2, H, W) and labels
    (N, H, W) int64 on the same device; `validate(model)` gives the mean J on the validation frames (None: there are
    none); `groups` are the optimiser's parameter groups.
    """

    model: nn.Module
    batch: Callable[[int, range], Tensors]
    logits: Callable[[nn.Module, Tensors], tuple[Tensor, Tensor]]
    validate: Callable[[nn.Module], float] | None
    groups: list[dict[str, Any]]


def backpropagate(task: Task, tensors: Tensors, counts: Tensor, settings: Training, context: Context) -> float:
    """Set the gradients of a whole batch, clipped; its loss. `tensors`: this process's share; `counts`: of the whole
    batch. Raises UserError if loss or gradients are no numbers."""
    task.model.train()
    task.model.zero_grad(set_to_none=True)
    counts = counts.to(context.device)
    total = torch.zeros((), device=context.device)
    for part in parts(tensors, settings.accumulate):
        with torch.autocast(context.device.type, torch.bfloat16, enabled=settings.bf16):
            logits, labels = task.logits(task.model, part)
        value = loss(settings.loss, settings.balance, logits.float(), labels, counts)
        value.backward()
        total += value.detach()
    add_up_gradients(task.model, context.processes)
    average_statistics(task.model, context.processes)
    found = float(context.processes.add_up(total))
    _check("loss", found, settings)
    # Without a limit the norm is still worth its cost: an update by nan would ruin the weights for good.
    norm = nn.utils.clip_grad_norm_(task.model.parameters(), settings.clip_norm or math.inf)
    _check("gradients' norm", float(norm), settings)
    return found


def parts(tensors: Tensors, count: int) -> Iterator[dict[str, Tensor]]:
    """A batch cut into at most `count` parts of almost equal size."""
    images = len(tensors["labels"])
    cut = {name: tensor.tensor_split(min(count, images)) for name, tensor in tensors.items()}
    for number in range(min(count, images)):
        yield {name: pieces[number] for name, pieces in cut.items()}


def _check(what: str, value: float, settings: Training) -> None:
    if not math.isfinite(value):
        raise UserError(
            f"the {what} became {value}: lower the learning rates (lr_head is {settings.lr_head:g}) with --set; the "
            "last checkpoint is kept"
        )


def add_up_gradients(model: nn.Module, processes: Processes) -> None:
    """Each gradient becomes the sum over all processes: losses of shares add up to the batch's."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    if not processes.alone:
        _write_back(gradients, processes.add_up(_flat(gradients)))


def average_statistics(model: nn.Module, processes: Processes) -> None:
    """Running statistics of trained BatchNorm become the mean over all processes, so that all hold equal weights."""
    found = [
        buffer
        for module in trained_norms(model)
        for buffer in (module.running_mean, module.running_var)
        if buffer is not None
    ]
    if found and not processes.alone:
        _write_back(found, processes.add_up(_flat(found)) / processes.count)


def trained_norms(model: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """The layers whose running statistics a forward pass changes."""
    found = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    return [module for module in found if module.training and module.track_running_stats]


def _flat(tensors: list[Tensor]) -> Tensor:
    """All values in one tensor: one message instead of hundreds."""
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def _write_back(tensors: list[Tensor], flat: Tensor) -> None:
    for tensor, values in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(values.view(tensor.shape))
