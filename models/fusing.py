"""Networks made ready for inference on a CPU: oneDNN's convolutions do what follows them (activations, the
sums of residual blocks) while a result is at hand, and keep their weights in the layout they compute with.

PyTorch's eager mode casts and rearranges all weights at every call and passes over each result again for what follows.
The operators used here are those that `torch.compile` puts in place of these; it would need a compiler at the user's.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from timm.models.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn

from fusionseg.models.folding import following
from fusionseg.models.stream import ParallelDilated, Stream, padded_size

_PROBE = 64  # px; a picture on which convolutions show their types and what follows them
_OPERATORS: Any = torch.ops.mkldnn


def can_fuse(device: torch.device, bf16: bool) -> bool:
    """Whether this PyTorch has the operators, and for `bf16` this processor the instructions."""
    names = (
        "_convolution_pointwise", "_convolution_pointwise_", "_reorder_convolution_weight", "_is_mkldnn_bf16_supported",
        "_is_mkldnn_acl_supported",
    )  # fmt: skip
    return (
        device.type == "cpu"
        and bool(torch.backends.mkldnn.enabled)
        and all(hasattr(_OPERATORS, name) for name in names)
        and not _OPERATORS._is_mkldnn_acl_supported()  # Arm's library can't fuse
        and (not bf16 or bool(_OPERATORS._is_mkldnn_bf16_supported()))
    )


def fuse(stream: Stream, bf16: bool) -> Stream:
    """`stream` itself, folded before, for inference; `bf16`: under bfloat16 autocast. Scores change by rounding only.
    Parameters of what is fused are gone. Call it where `can_fuse` only."""
    _fuse_convolutions(stream, bf16)
    for path, block in list(stream.backbone.named_modules()):
        if type(block) in (BasicBlock, Bottleneck):
            stream.backbone.set_submodule(path, ResidualBlock(cast(BasicBlock | Bottleneck, block)))
    if isinstance(stream.decoder, ParallelDilated):
        stream.decoder = ShiftedSums(stream.decoder)
    return stream


class FusedConv(nn.Module):
    """A convolution with bias and activation, in `dtype` whatever its input's.

    `forward`: (N, C, H, W) -> (N, D, h, w), channels last. `plus` (N, D, h, w), of which nothing else may need the
    values: relu(convolution + plus), written over it.
    """

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype) -> None:
        super().__init__()
        assert not isinstance(conv.padding, str)  # no network here has such
        self.dilation, self.groups = conv.dilation, conv.groups
        # as the operators take it
        self.geometry = (list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups)
        weight = conv.weight.detach().to(dtype, memory_format=torch.channels_last)
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", None if conv.bias is None else conv.bias.detach().to(dtype), persistent=False)
        self.activation: tuple[str, list[float]] = ("none", [])
        self._packed: tuple[list[int], Tensor] = ([], weight)

    def pack(self, size: list[int]) -> Tensor:
        """Weights in the layout for inputs of `size`; another size may take another one. The last is kept: frames of a
        video have one size."""
        if self._packed[0] != size:
            self._packed = size, _OPERATORS._reorder_convolution_weight(self.weight, *self.geometry, size)
        return self._packed[1]

    def forward(self, x: Tensor, plus: Tensor | None = None) -> Tensor:
        weight: Tensor = self.get_buffer("weight")
        x = x.to(weight.dtype, memory_format=torch.channels_last)
        given = (self.pack(list(x.shape)), self.bias, *self.geometry)
        if plus is None:
            return cast(Tensor, _OPERATORS._convolution_pointwise(x, *given, *self.activation, ""))
        plus = plus.to(weight.dtype, memory_format=torch.channels_last)  # itself, unless another layer's type differs
        return cast(Tensor, _OPERATORS._convolution_pointwise_.binary(plus, x, *given, "add", 1.0, "relu", [], ""))


def _fuse_convolutions(stream: Stream, bf16: bool) -> None:
    """Replace each convolution, and a ReLU that follows it. Which type each computes in and what follows it is seen in
    a forward pass, not guessed from names."""
    size = padded_size(_PROBE, stream.pad_stride)
    picture = torch.zeros(1, 3, size, size)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        found = following(stream, picture, (nn.ReLU, nn.ReLU6))
    fused = {conv: FusedConv(conv, dtype) for conv, dtype in found.convolutions.items() if type(conv) is nn.Conv2d}
    for path, conv in found.pairs:
        if conv in fused:
            six = isinstance(stream.get_submodule(path), nn.ReLU6)
            fused[conv].activation = ("hardtanh", [0.0, 6.0]) if six else ("relu", [])
            stream.set_submodule(path, nn.Identity())
    for path, module in list(stream.named_modules()):
        if module in fused:
            stream.set_submodule(path, fused[cast(nn.Conv2d, module)])


class ResidualBlock(nn.Module):
    """relu(branch(x) + shortcut(x)), the sum and the ReLU done by the branch's last convolution. Writes over `x` if the
    shortcut has no convolution."""

    def __init__(self, block: BasicBlock | Bottleneck) -> None:
        super().__init__()
        names = ("conv1", "conv2", "conv3") if isinstance(block, Bottleneck) else ("conv1", "conv2")
        self.branch = nn.ModuleList(getattr(block, name) for name in names)
        self.shortcut = block.downsample

    def forward(self, x: Tensor) -> Tensor:
        *first, last = self.branch  # the last one's own activation is the sum's: timm adds in place
        y = x
        for conv in first:
            y = conv(y)
        return cast(Tensor, last(y, x if self.shortcut is None else self.shortcut(x)))


class ShiftedSums(nn.Module):
    """The four dilated branches as one 1x1 convolution to (branch, tap, class) channels, which are shifted and summed.

    A convolution to two channels fills an eighth of the vectors it computes with: as four of them, the head took 8 % of
    a ResNet-101's time for 0.3 % of its work.
    """

    def __init__(self, head: ParallelDilated) -> None:
        super().__init__()
        branches = [cast(FusedConv, branch) for branch in head.branches]
        self.dilations = [branch.dilation[0] for branch in branches]
        self.combine = head.combine
        weights = torch.stack([branch.get_buffer("weight") for branch in branches])  # branch, class, channel, 3, 3
        taps = weights.permute(0, 3, 4, 1, 2).flatten(0, 3)[..., None, None]
        conv = nn.Conv2d(taps.shape[1], taps.shape[0], 1, bias=False, device="meta")
        conv.weight = nn.Parameter(taps, requires_grad=False)
        self.taps = FusedConv(conv, taps.dtype)
        self.register_buffer("bias", torch.stack([branch.get_buffer("bias").float() for branch in branches]))

    def forward(self, features: list[Tensor]) -> Tensor:
        x = features[-1]
        height, width = x.shape[-2:]
        taps = self.taps(x).float().unflatten(1, (len(self.dilations), 3, 3, -1))
        scores = [
            sum(
                F.pad(taps[:, branch, row, column], _shift((1 - row) * d, (1 - column) * d, height, width))
                for row in range(3)
                for column in range(3)
            )
            for branch, d in enumerate(self.dilations)
        ]
        total = torch.stack(cast(list[Tensor], scores)) + self.get_buffer("bias")[:, None, :, None, None]
        return total.amax(0) if self.combine == "max" else total.sum(0)


def _shift(down: int, right: int, height: int, width: int) -> tuple[int, int, int, int]:
    """Margins for `F.pad` that move a map and fill with zeros; at most out of the picture."""
    down, right = max(-height, min(down, height)), max(-width, min(right, width))
    return right, -right, down, -down
