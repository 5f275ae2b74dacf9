"""One stream of the two: ImageNet backbone + decoder, giving background and object scores at network stride.

Both streams have this structure (Jain et al., CVPR 2017, section 3): the appearance stream reads an RGB frame,
the motion stream a colour-coded flow image.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusionseg.models.backbone import create_backbone, levels, preprocessing_of
from fusionseg.models.outside.plugins import Plugin, backbones, decoders
from fusionseg.models.preprocessing import Preprocessing

CLASSES = 2  # background, object
RELEASE_DILATIONS = (6, 12, 18, 24)  # the head's four branches, as in the authors' released networks


@dataclass(frozen=True)
class Architecture:
    """What determines a stream's tensors. `backbone`: a name in `BACKBONES`; `decoder`: "parallel-dilated", "skip" or
    "pyramid"; either may be a plug-in's; `output_stride`: of the backbone, 8, 16 or 32; `stride_on`: see
    `create_backbone`; `combine`: of the parallel-dilated head's branches, "sum" (release) or "max". Headers of older
    weights may lack fields: defaults."""

    backbone: str = "efficientnet-lite0"
    decoder: str = "skip"
    output_stride: int = 16
    stride_on: str = "3x3"
    combine: str = "sum"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def shipped(self) -> bool:
        """Whether all of it comes with FusionSeg, so that how its layers hang together is known."""
        return self.backbone in backbones.shipped and self.decoder in decoders.shipped


class ParallelDilated(nn.Module):
    """The paper's head: four parallel dilated 3x3 convolutions on the deepest features; their sum or maximum."""

    def __init__(self, channels: list[int], combine: str = "sum") -> None:
        super().__init__()
        self.combine = combine
        self.branches = nn.ModuleList(
            nn.Conv2d(channels[-1], CLASSES, 3, padding=d, dilation=d) for d in RELEASE_DILATIONS
        )
        for branch in self.branches:
            assert isinstance(branch, nn.Conv2d) and branch.bias is not None
            nn.init.normal_(branch.weight, std=0.01)
            nn.init.zeros_(branch.bias)

    def forward(self, features: list[Tensor]) -> Tensor:
        scores = torch.stack([branch(features[-1]) for branch in self.branches])
        return scores.amax(0) if self.combine == "max" else scores.sum(0)


def _conv(inputs: int, outputs: int, size: int, dilation: int = 1) -> nn.Sequential:
    # GroupNorm, not BatchNorm: batches are small and the backbone's BatchNorm is frozen.
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, padding=dilation * (size // 2), dilation=dilation, bias=False),
        nn.GroupNorm(8, outputs),
        nn.ReLU(inplace=True),
    )


class Skip(nn.Module):
    """Context on the deepest features, then features of stride 8 and 4 added on the way up; scores at stride 4."""

    WIDTH = 96

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        stride4, stride8, deepest = channels
        self.deep = _conv(deepest, self.WIDTH, 1)
        self.context = nn.ModuleList(_conv(self.WIDTH, self.WIDTH, 3, dilation) for dilation in (2, 4))
        self.pool = _conv(self.WIDTH, self.WIDTH, 1)
        self.lateral8 = _conv(stride8, self.WIDTH, 1)
        self.merge8 = _conv(self.WIDTH, self.WIDTH // 2, 3)
        self.lateral4 = _conv(stride4, self.WIDTH // 2, 1)
        self.merge4 = _conv(self.WIDTH // 2, self.WIDTH // 2, 3)
        self.classify = nn.Conv2d(self.WIDTH // 2, CLASSES, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        stride4, stride8, deepest = features
        x = self.deep(deepest)
        x = x + self.pool(x.mean((2, 3), keepdim=True)) + self.context[0](x) + self.context[1](x)
        x = self.merge8(_resize(x, stride8) + self.lateral8(stride8))
        x = self.merge4(_resize(x, stride4) + self.lateral4(stride4))
        return self.classify(x)


class Pyramid(nn.Module):
    """A feature pyramid (Lin et al., CVPR 2017): from the deepest map, with context, step by step up to stride 4, each
    finer map added on the way and mixed by a 3x3 convolution.

    Unlike `Skip` it reads every map, so that the backbone can keep its own strides (output stride 32), which sees
    further and costs two thirds of the time.
    """

    WIDTHS = (32, 48, 64, 96)  # of the stages at stride 4, 8, 16, 32: finer maps are larger, and need less

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        widths = [self.WIDTHS[min(i, len(self.WIDTHS) - 1)] for i in range(len(channels))]
        self.deep = _conv(channels[-1], widths[-1], 1)
        self.context = nn.ModuleList(_conv(widths[-1], widths[-1], 3, dilation) for dilation in (1, 2))
        self.pool = _conv(widths[-1], widths[-1], 1)
        finer = range(len(channels) - 2, -1, -1)
        self.lateral = nn.ModuleList(_conv(channels[i], widths[i + 1], 1) for i in finer)
        self.merge = nn.ModuleList(_conv(widths[i + 1], widths[i], 3) for i in finer)
        self.classify = nn.Conv2d(widths[0], CLASSES, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        *finer, deepest = features
        x = self.deep(deepest)
        x = x + self.pool(x.mean((2, 3), keepdim=True)) + self.context[0](x) + self.context[1](x)
        for feature, lateral, merge in zip(reversed(finer), self.lateral, self.merge, strict=True):
            x = merge(_resize(x, feature) + lateral(feature))
        return self.classify(x)


DECODERS = ("parallel-dilated", "skip", "pyramid")
COMBINATIONS = ("sum", "max")


def _resize(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=True)


class Stream(nn.Module):
    """Backbone + decoder.

    `forward` takes (N, 3, H, W) float images from `prepare` and gives (N, 2, h, w) float scores (logits of
    background and object) at `score_stride`: h = (H - 1) / score_stride + 1. `preprocessing`: of the weights that it
    will hold; None: the backbone's ImageNet weights'. Raises ValueError for an architecture that isn't there.
    """

    def __init__(
        self, architecture: Architecture, pretrained: bool = False, preprocessing: Preprocessing | None = None
    ) -> None:
        super().__init__()
        _check(architecture)
        self.architecture = architecture
        self.batch_norm_trained = False  # see `train`
        self.backbone = create_backbone(
            architecture.backbone, architecture.output_stride, pretrained, architecture.stride_on
        )
        channels, reductions = levels(self.backbone)
        self.pad_stride: int = max(reductions)
        self._levels = _levels_read(architecture.decoder, reductions)
        self.decoder = _decoder(architecture, [channels[i] for i in self._levels], reductions)
        plugin = decoders.find(architecture.decoder)
        self.score_stride: int = (
            _score_stride(plugin, self.decoder, channels, reductions) if plugin else reductions[self._levels[0]]
        )
        self.preprocessing = preprocessing or preprocessing_of(architecture.backbone)
        self.register_buffer("mean", torch.tensor(self.preprocessing.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(self.preprocessing.std).view(1, 3, 1, 1), persistent=False)

    def prepare(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) uint8 RGB -> what the network takes, padded right and below to `pad_stride` * k + 1.

        Channels, normalisation and what lies beyond the picture are those of `preprocessing`.

        Only at such sizes do the corners of all feature maps and of the input coincide, which the align-corners
        upsampling takes for granted; at others masks shift by up to 5 pixels.
        """
        height, width = (padded_size(n, self.pad_stride) for n in images.shape[-2:])
        margins = (0, width - images.shape[-1], 0, height - images.shape[-2])
        x = images.flip(1) if self.preprocessing.channels == "bgr" else images
        if self.preprocessing.pad == "before":
            x = F.pad(x, margins)
        x = (x.float() - self.get_buffer("mean")) / self.get_buffer("std")
        return F.pad(x, margins) if self.preprocessing.pad == "after" else x

    def forward(self, x: Tensor) -> Tensor:
        features = self.backbone(x)
        scores: Tensor = self.decoder([features[i] for i in self._levels])
        return scores

    def freeze_batch_norm(self) -> None:
        """Take scale and shift of the backbone's BatchNorm out of the training, as the released networks do."""
        for module in self.backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.requires_grad_(False)

    def train(self, mode: bool = True) -> Stream:
        """As usual, but the backbone's BatchNorm keeps its ImageNet statistics [released network] unless
        `batch_norm_trained` says that it learns those of the pictures it sees."""
        super().train(mode)
        if self.batch_norm_trained:
            return self
        for module in self.backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


def _check(architecture: Architecture) -> None:
    if architecture.decoder not in DECODERS:
        decoders.get(architecture.decoder)
    if architecture.combine not in COMBINATIONS:
        raise ValueError(f"unknown combine {architecture.combine!r}; known: {', '.join(COMBINATIONS)}")


def _levels_read(decoder: str, reductions: list[int]) -> list[int]:
    """Numbers of the maps that a decoder reads; a plug-in's reads all. Raises ValueError where there is no such map."""
    last = len(reductions) - 1
    if decoder == "parallel-dilated":
        return [last]
    if decoder not in ("skip", "pyramid"):
        return list(range(len(reductions)))
    if missing := {4, 8}.difference(reductions):
        raise ValueError(f"the decoder {decoder} needs a map of stride {min(missing)}, the backbone has {reductions}")
    first = reductions.index(4)
    return list(range(first, last + 1)) if decoder == "pyramid" else [first, reductions.index(8), last]


def _decoder(architecture: Architecture, widths: list[int], reductions: list[int]) -> nn.Module:
    """The decoder of maps of `widths` channels."""
    if architecture.decoder == "skip":
        return Skip(widths)
    if architecture.decoder == "pyramid":
        return Pyramid(widths)
    if architecture.decoder == "parallel-dilated":
        return ParallelDilated(widths, architecture.combine)
    made: nn.Module = decoders.get(architecture.decoder)(widths, reductions)
    return made


def _score_stride(plugin: Plugin, decoder: nn.Module, channels: list[int], reductions: list[int]) -> int:
    """Stride of the scores that a plug-in's decoder gives, as its scores of blank maps show. Raises `PluginError`."""
    steps = 2 * max(reductions)
    maps = [torch.zeros(1, c, steps // r + 1, steps // r + 1) for c, r in zip(channels, reductions, strict=True)]
    with torch.inference_mode():
        shape = tuple(plugin.called(decoder.eval(), maps).shape)
    if shape[:2] != (1, CLASSES) or shape[2:] not in {(steps // r + 1,) * 2 for r in (1, *reductions)}:
        raise plugin.refused(f"gives scores of shape {shape}; expected (1, {CLASSES}, n, n), n that of one of its maps")
    decoder.train()
    return steps // (shape[2] - 1)


register_decoder = decoders.register


def padded_size(size: int, stride: int) -> int:
    """The smallest stride * k + 1 that is at least `size`.

    >>> padded_size(480, 8), padded_size(481, 8), padded_size(1, 8)
    (481, 481, 1)
    """
    # Of no negative number: ONNX rounds the division of one up where Python rounds it down.
    return (size + stride - 2) // stride * stride + 1


def upsample(scores: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
    """(N, C, h, w) scores at `stride` -> (N, C, H, W) at the network input's own `size`, bilinear, align-corners.

    Raises ValueError if the scores don't cover `size`.
    """
    full = ((scores.shape[-2] - 1) * stride + 1, (scores.shape[-1] - 1) * stride + 1)
    if full[0] < size[0] or full[1] < size[1]:
        raise ValueError(f"scores cover {full} pixels, less than the input's {size}")
    enlarged = F.interpolate(scores, size=full, mode="bilinear", align_corners=True)
    return enlarged[..., : size[0], : size[1]]


def to_frame(scores: Tensor, stride: int, network_size: tuple[int, int], frame_size: tuple[int, int]) -> Tensor:
    """Stored scores (N, C, h, w) -> (N, C, H, W) at the frame's size: upsampled to the network input's size, then
    resized as images are (half-pixel centres) where the frame was resized for the network."""
    x = upsample(scores, stride, network_size)
    if network_size == frame_size:
        return x
    return F.interpolate(x, size=frame_size, mode="bilinear", align_corners=False)
