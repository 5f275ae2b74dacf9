"""Whether the maps of a backbone lie where decoders and interpolation take them to lie: row k on the input's r * k."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fusionseg.models.backbone import AlignedPatches, levels

_STEPS = 4  # of the deepest map, from edge to edge
# Relative difference of a map and its mirror image. Rounding makes some 1e-6, half a step aside 0.1 and more.
_TOLERANCE = 1e-3


def problem(backbone: nn.Module, output_stride: int) -> str | None:
    """What is wrong with the maps of `backbone`, in words, or None. Changes its weights.

    A map of (H - 1) / r + 1 rows whose values lie r apart has its first one on pixel 0 if and only if it looks the same
    from either side. So kernels are made symmetric, and then a mirrored picture must give mirrored maps, to rounding.
    `AlignedPatches` are interpolated to their place, unlike from left and right; there only sizes are compared.
    """
    symmetric(backbone)
    channels, reductions = levels(backbone)
    if max(reductions) != output_stride:
        return f"its deepest map has stride {max(reductions)}"
    size = _STEPS * output_stride + 1
    picture = torch.randn(1, 3, size, size + output_stride, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        maps = list(backbone(picture))
        mirrored = [list(backbone(picture.flip(dimension))) for dimension in (2, 3)]
    found = [tuple(m.shape[1:]) for m in maps]
    expected = [(c, *((n - 1) // r + 1 for n in picture.shape[2:])) for c, r in zip(channels, reductions, strict=True)]
    if found != expected:
        return f"a {size}x{size + output_stride} picture gives maps of {found}, expected {expected}"
    if isinstance(backbone, AlignedPatches):
        return None
    for level, one in enumerate(maps):
        others = [mirrored[dimension - 2][level].flip(dimension) for dimension in (2, 3)]
        if not all(_alike(one, other) for other in others):
            return f"its map of stride {reductions[level]} isn't centred on the picture, and masks would be shifted"
    return None


def symmetric(network: nn.Module) -> None:
    """Make all kernels look the same from either side, and all factors 1, so that no branch is left out."""
    with torch.no_grad():
        for name, parameter in network.eval().named_parameters():
            if parameter.ndim == 4:
                parameter.copy_((parameter + parameter.flip(2)) / 2).copy_((parameter + parameter.flip(3)) / 2)
            elif parameter.ndim == 1 and not name.endswith("bias"):
                parameter.fill_(1)


def _alike(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().max() <= _TOLERANCE * one.abs().max())
