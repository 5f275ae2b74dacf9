"""A fusion that sees the frame as well: a small U-Net over both streams' scores and the colours."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusionseg.models.stream import CLASSES

_GREY, _SPREAD = 127.5, 64.0  # grey levels: middle and rough deviation of a frame's colours


class GuidedFusion(nn.Module):
    """A weighted sum of both streams' logits and of its own, weights and logits being set for every place by a network
    that sees what both say, whether they agree, and the frame; beyond the paper.

    It begins as the plain mean of the streams; with a weight of 0 for both it overrules them, however sure they are.
    Evidence goes from 1/4 of the frame's size down to 1/32 and, with what
    the whole frame has in the mean, back up: whether the object is one connected thing, and whether motion says
    anything in this frame at all. At 1/2 the frame's colours lead the outline. 194,131 parameters.
    """

    reads_frame = True
    SURE = 4.0  # logits beyond this say no more: streams differ in how far theirs go
    WIDTHS = (16, 32, 48, 64)  # channels at 1/4, 1/8, 1/16, 1/32
    FINE = 16  # channels at 1/2

    def __init__(self) -> None:
        super().__init__()
        widths, fine = self.WIDTHS, self.FINE
        self.down = nn.ModuleList(_two(before, after) for before, after in pairwise((8, *widths)))
        self.whole = nn.Conv2d(widths[-1], widths[-1], 1)
        self.widen = nn.ModuleList(nn.Conv2d(deep, own, 1) for own, deep in pairwise((fine, *widths)))
        self.up = nn.ModuleList(_two(own, own) for own in widths[:-1])
        self.see = nn.Conv2d(5, fine, 3, padding=1)
        self.refine = nn.Conv2d(fine, fine, 3, padding=1)
        self.judge = nn.Conv2d(fine, 3, 1)  # weights of both streams, and own logits
        for conv in (m for m in self.modules() if isinstance(m, nn.Conv2d)):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.judge.weight)
        self.register_buffer("sides", torch.tensor([-0.5, 0.5]).view(1, CLASSES, 1, 1), persistent=False)

    def forward(self, appearance: Tensor, motion: Tensor, frame: Tensor) -> Tensor:
        """(N, 2, H, W) logits of both streams and (N, 3, H, W) RGB, 0 to 255, uint8 or float -> (N, 2, H, W) logits."""
        half = torch.cat([_sure(appearance, self.SURE), _sure(motion, self.SURE), _colours(frame)], 1)
        half = half.contiguous(memory_format=torch.channels_last)
        seen = (self.see(half) + self._widened(0, self._context(_halved(half)), half)).relu()
        verdict = self.judge(self.refine(seen).relu()).float()  # of bfloat16 training
        weights = verdict[:, :2].sigmoid()  # 1/2 each to begin with
        for_a, for_m, lean = _doubled(torch.cat([weights, verdict[:, 2:]], 1), appearance).split(1, 1)
        mixed = torch.addcmul(for_a * appearance, for_m, motion)
        return torch.addcmul(mixed, lean, self.get_buffer("sides"))

    def _context(self, quarter: Tensor) -> Tensor:
        """(N, 5, h, w) evidence of both streams and colours, at 1/4 -> (N, 16, h, w)."""
        a, m = quarter[:, :1], quarter[:, 1:2]
        x = torch.cat([quarter, a * m, a.abs(), m.abs()], 1)
        maps = []
        for level, block in enumerate(self.down):
            x = block(_halved(x) if level else x)
            maps.append(x)
        x = x + self.whole(x.mean((2, 3), keepdim=True)).relu()
        for level in reversed(range(len(self.up))):
            x = self.up[level](maps[level] + self._widened(level + 1, x, maps[level]))
        return x

    def _widened(self, level: int, x: Tensor, like: Tensor) -> Tensor:
        """A map in the channels of the next finer one, at its size."""
        return _doubled(self.widen[level](x), like)


def _two(before: int, after: int) -> nn.Sequential:
    """Two 3x3 convolutions, each with ReLU."""
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1), nn.ReLU(True), nn.Conv2d(after, after, 3, padding=1), nn.ReLU(True)
    )


def _sure(scores: Tensor, sure: float) -> Tensor:
    """(N, 2, H, W) logits -> (N, 1, ~H/2, ~W/2), -1 surely background to 1 surely object."""
    assert scores.shape[1] == CLASSES
    return torch.tanh(_halved(scores[:, 1:] - scores[:, :1]) / sure)


def _colours(frame: Tensor) -> Tensor:
    """(N, 3, H, W) RGB, 0 to 255 -> (N, 3, ~H/2, ~W/2), about -2 to 2."""
    return (_halved(frame.float()) - _GREY) / _SPREAD


def _halved(x: Tensor) -> Tensor:
    """Means of 2x2; where a side is odd, its last ones are of what is there."""
    return F.avg_pool2d(x, 2, ceil_mode=True)


def _doubled(x: Tensor, like: Tensor) -> Tensor:
    """Twice the size, bilinear, cut to that of `like`: exactly where `_halved` took it from."""
    doubled = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
    return doubled[..., : like.shape[-2], : like.shape[-1]]
