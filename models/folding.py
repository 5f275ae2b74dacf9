"""Networks made ready for inference: frozen BatchNorm folded into convolutions, padding fixed in advance. Both save
passes over memory, and change results by rounding only."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from fusionseg.models.stream import Stream, padded_size

_ROUNDING = 1e-4  # of the largest score
_PROBE = 64  # px; a picture on which convolutions and BatchNorms show how they hang together


def fold(stream: Stream) -> Stream:
    """A copy of `stream` for inference, in eval mode: same inputs (of `prepare`) and outputs, equal to rounding.

    Networks without BatchNorm or "same" padding come back as they are, copied; so do those that don't come with
    FusionSeg and can't be folded.
    """
    folded = copy.deepcopy(stream).eval()
    fix_padding(folded.backbone)
    fold_batch_norms(folded.backbone, padded_size(_PROBE, stream.pad_stride))
    return folded if stream.architecture.shipped or _alike(stream, folded) else copy.deepcopy(stream).eval()


def _alike(stream: Stream, folded: Stream) -> bool:
    """Whether both give the same scores of a picture of noise, to rounding."""
    generator = torch.Generator().manual_seed(0)
    picture = torch.randint(0, 256, (1, 3, _PROBE, 2 * _PROBE), dtype=torch.uint8, generator=generator)
    device, training = next(stream.parameters()).device, stream.training
    with torch.inference_mode():
        expected, found = (s(s.prepare(picture.to(device))) for s in (stream.eval(), folded))
    stream.train(training)
    return bool((found - expected).abs().max() <= _ROUNDING * expected.abs().max())


def fix_padding(network: nn.Module) -> None:
    """Give convolutions with TensorFlow's "same" padding, which is worked out from each input, the padding that this is
    at the sizes a stream uses.

    Of stride * k + 1 values a kernel that strides needs dilation * (kernel - 1) more, half of them on either side. An
    odd number (ConvNeXt's 2x2 patches) has no such half, and stays as it is.
    """
    for owner in list(network.modules()):
        for name, child in owner.named_children():
            if isinstance(child, Conv2dSame) and not any(_missing(child) % 2):
                setattr(owner, name, _evenly_padded(child))


def _missing(conv: Conv2dSame) -> npt.NDArray[np.int64]:
    """What a kernel needs beside the values it stands on, vertically and horizontally."""
    return np.array(conv.dilation) * (np.array(conv.kernel_size) - 1)


def _evenly_padded(conv: Conv2dSame) -> nn.Conv2d:
    height, width = (int(n) // 2 for n in _missing(conv))
    options: Any = {
        "kernel_size": conv.kernel_size,
        "stride": conv.stride,
        "dilation": conv.dilation,
        "groups": conv.groups,
    }
    with torch.device("meta"):  # its own tensors are replaced at once
        plain = nn.Conv2d(conv.in_channels, conv.out_channels, padding=(height, width), **options)
    plain.weight, plain.bias = conv.weight, conv.bias
    return plain


def fold_batch_norms(network: nn.Module, size: int) -> None:
    """Fold each BatchNorm whose input is a convolution's output into that convolution.

    Which those are is seen in a forward pass of a (size, size) picture, not guessed from names.
    """
    picture = torch.zeros(1, 3, size, size, device=next(network.parameters()).device)
    with torch.inference_mode():
        pairs = following(network, picture, (nn.BatchNorm2d,)).pairs
    for path, conv in pairs:
        norm = network.get_submodule(path)
        assert isinstance(norm, nn.BatchNorm2d)
        _fold_pair(conv, norm)
        network.set_submodule(path, getattr(norm, "act", nn.Identity()))  # timm's may end in one


@dataclass(frozen=True)
class Following:
    """What a forward pass showed: each convolution with its result's type, and paths of the modules that were looked
    for, each with the convolution before it."""

    convolutions: dict[nn.Conv2d, torch.dtype]
    pairs: list[tuple[str, nn.Conv2d]]


def following(network: nn.Module, picture: Tensor, kinds: tuple[type[nn.Module], ...]) -> Following:
    """Run `network` on `picture`, noting modules of these kinds whose input is a convolution's output."""
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # the tensor is kept, so that no other gets its id
    found = Following({}, [])

    def note(conv: nn.Module, _: object, output: Tensor) -> None:
        assert isinstance(conv, nn.Conv2d)
        made[id(output)] = conv, output
        found.convolutions[conv] = output.dtype

    def pair(path: str, inputs: tuple[Tensor, ...]) -> None:
        if id(inputs[0]) in made:
            found.pairs.append((path, made[id(inputs[0])][0]))

    hooks = [m.register_forward_hook(note) for m in network.modules() if isinstance(m, nn.Conv2d)]
    for path, module in network.named_modules():
        if isinstance(module, kinds):
            hooks.append(module.register_forward_pre_hook(lambda _, inputs, path=path: pair(path, inputs)))
    try:
        network(picture)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _fold_pair(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """norm(conv(x)) = (w x + b - mean) * scale + shift = (w * scale) x + (b - mean) * scale + shift.

    `torch.nn.utils.fusion` rounds otherwise, in the last bit, and scores are kept: stored ones would no longer be those
    that are computed.
    """
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None
    with torch.no_grad():
        scale = norm.weight / torch.sqrt(variance + norm.eps)
        before = conv.bias if conv.bias is not None else torch.zeros_like(mean)
        conv.bias = nn.Parameter((before - mean) * scale + norm.bias)
        conv.weight = nn.Parameter(conv.weight * scale.view(-1, 1, 1, 1))
