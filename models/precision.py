"""Which layers of a network stay in float32 where the rest computes in bfloat16."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from fusionseg.models.outside.plugins import backbones
from fusionseg.models.stream import Stream

# EfficientNet-Lite's first layers are so narrow (16 to 40 channels) that the rounding of their weights doesn't average
# out. Masks of trained streams, bfloat16 against float32, agreed in J by 0.970 (motion) and 0.992 (appearance); with
# these layers exact, by 0.996 and 0.997, for half the time saved (27, 41 and 73 ms of one core a 288x512 frame).
_SENSITIVE_FAMILY = "efficientnet-lite"
# A ResNet isn't spoilt, but its first layer, which rounds the picture too, makes up to half of all error for 1 % of
# its time.
_EXACT_LAYERS = {
    _SENSITIVE_FAMILY: ("conv_stem", "blocks.0", "blocks.1", "blocks.2"),
    "resnet": ("conv1",),
}


class FullPrecision(nn.Module):
    """A module that computes in float32, autocast or not."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return cast(Tensor, self.inner(x.float()))


def is_sensitive(stream: Stream) -> bool:
    """Whether bfloat16 in all layers would spoil the masks of `stream`."""
    return _known_name(stream).startswith(_SENSITIVE_FAMILY)


def _known_name(stream: Stream) -> str:
    """The name of a backbone whose layers are known; "" of another."""
    name = stream.architecture.backbone
    if name.startswith(("timm:efficientnet_lite", "timm:tf_efficientnet_lite")):
        return _SENSITIVE_FAMILY
    return name if name in backbones.shipped else ""


def protect(stream: Stream) -> Stream:
    """`stream` itself, whose layers of `_EXACT_LAYERS` now stay in float32 under autocast. For inference: names of
    parameters change. Without autocast nothing changes."""
    name = _known_name(stream)
    for path in next((layers for family, layers in _EXACT_LAYERS.items() if name.startswith(family)), ()):
        stream.backbone.set_submodule(path, FullPrecision(stream.backbone.get_submodule(path)))
    return stream
