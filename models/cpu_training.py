"""The same backbone in fewer passes over memory: how it is computed while it is trained on a CPU.

A training step of EfficientNet-Lite0 spends more time on reading and writing feature maps than on multiplying. Three
things cost most, and none changes a result by more than rounding (`benchmarks/training_step.py` has the times):

- BatchNorm with frozen statistics is a factor and a shift a channel. The factor goes into the convolution's weights,
  which saves a pass forward, two backward and a stored feature map a layer; all parameters still get their gradients.
- For dilated depthwise convolutions oneDNN has no fast gradient of the input. But that gradient is itself such a
  convolution, with the weights turned round, and forward is fast.
- TensorFlow's "same" padding, copied into a larger feature map, is at our sizes (stride * k + 1) nothing but the
  symmetric padding that convolutions do themselves.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, cast

import torch
import torch.nn.functional as F
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from timm.layers.padding import get_same_padding
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

Pair = tuple[int, int]


def speed_up(backbone: nn.Module) -> None:
    """Let a backbone of timm's compute as described above; its parameters, buffers and their names stay.

    Convolutions are paired with the BatchNorm that is registered right after them, as in timm's EfficientNets and
    ResNets. Where BatchNorm learns its statistics, and under autocast, it is computed as ever.
    """
    for module in list(backbone.modules()):
        if isinstance(module, nn.ReLU6):
            module.inplace = False  # in place, its input would have to be copied for the gradient
        for conv, norm in pairwise(module.children()):
            if not isinstance(conv, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d) or conv.bias is not None:
                continue
            vars(conv).update(norm=norm, same=isinstance(conv, Conv2dSame))  # not registered: it has its place
            conv.__class__ = FoldingConv2d
            norm.__class__ = FoldedNormAct2d if isinstance(norm, BatchNormAct2d) else FoldedNorm2d


def is_folded(norm: nn.BatchNorm2d) -> bool:
    """Whether the convolution before computes this BatchNorm now. Not in half precision, whose rounding it would
    add to."""
    assert norm.running_mean is not None
    return not norm.training and not torch.is_autocast_enabled(norm.running_mean.device.type)


class FoldedNorm2d(nn.BatchNorm2d):
    """A BatchNorm that is nothing where it is folded."""

    def forward(self, x: Tensor) -> Tensor:
        return x if is_folded(self) else super().forward(x)


class FoldedNormAct2d(BatchNormAct2d):
    """A BatchNorm with activation that is the activation alone where it is folded."""

    def forward(self, x: Tensor) -> Tensor:
        if not is_folded(self):
            return cast(Tensor, super().forward(x))
        return cast(Tensor, self.act(self.drop(x)))


class FoldingConv2d(nn.Conv2d):
    """A convolution without bias that computes the BatchNorm `norm` after it where that is frozen."""

    norm: nn.BatchNorm2d
    same: bool  # TensorFlow's padding, which depends on the input's size

    def forward(self, x: Tensor) -> Tensor:
        if not is_folded(self.norm):
            return self._convolve(x, self.weight)
        factor, shift = _frozen(self.norm)
        # The shift isn't given as the convolution's bias, whose gradient takes oneDNN longer than all the rest.
        return self._convolve(x, self.weight * factor.view(-1, 1, 1, 1)).add_(shift.view(-1, 1, 1))

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        stride, dilation = cast(Pair, self.stride), cast(Pair, self.dilation)
        padding = cast(Pair, self.padding)
        if self.same:
            x, padding = _padded_same(x, cast(Pair, self.kernel_size), stride, dilation)
        depthwise = self.groups == self.in_channels == self.out_channels
        if depthwise and dilation != (1, 1) and stride == (1, 1):
            if torch.is_autocast_enabled("cpu"):  # knows no functions but its own, and gradients want one type
                x, weight = (tensor.to(torch.get_autocast_dtype("cpu")) for tensor in (x, weight))
            return cast(Tensor, DilatedDepthwise.apply(x, weight, padding, dilation))
        return F.conv2d(x, weight, None, stride, padding, dilation, self.groups)


def _frozen(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """What a BatchNorm with frozen statistics multiplies by and adds, (C,) each."""
    assert norm.running_mean is not None and norm.running_var is not None
    factor = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return factor, norm.bias - norm.running_mean * factor


def _padded_same(x: Tensor, kernel: Pair, stride: Pair, dilation: Pair) -> tuple[Tensor, Pair]:
    """The input, padded where TensorFlow pads the ends unlike, and the padding left to the convolution."""
    bottom, right = (get_same_padding(*sizes) for sizes in zip(x.shape[-2:], kernel, stride, dilation, strict=True))
    if bottom % 2 == right % 2 == 0:
        return x, (bottom // 2, right // 2)
    return F.pad(x, (right // 2, right - right // 2, bottom // 2, bottom - bottom // 2)), (0, 0)


class DilatedDepthwise(torch.autograd.Function):
    """Depthwise convolution of stride 1: (N, C, H, W) with weights (C, 1, h, w)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, padding: Pair, dilation: Pair) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding, ctx.dilation = padding, dilation
        return F.conv2d(x, weight, None, 1, padding, dilation, x.shape[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        channels, around = x.shape[1], zip(ctx.dilation, weight.shape[-2:], ctx.padding, strict=True)
        padding = tuple(d * (n - 1) - p for d, n, p in around)
        of_x = F.conv2d(gradient, weight.flip(2, 3), None, 1, padding, ctx.dilation, channels)
        of_weight = conv2d_weight(x, weight.shape, gradient, 1, ctx.padding, ctx.dilation, channels)
        return of_x, of_weight, None, None
