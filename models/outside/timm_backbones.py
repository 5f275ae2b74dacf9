"""Any model of timm's as a backbone, if it gives maps of the strides that are asked for."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import timm
from timm.models import model_entrypoint
from torch import nn

from fusionseg.models.backbone import AlignedPatches, BackboneSpec, WeightsUnavailable, download
from fusionseg.models.preprocessing import Preprocessing, Triple


@dataclass(frozen=True)
class TimmBackbone:
    """A model by its full name, "MODEL.WEIGHTS" (or "MODEL", of which timm has no weights): which weights a plain name
    means, timm may change."""

    name: str

    @classmethod
    def of(cls, name: str) -> TimmBackbone:
        """By the name that a user gives. Raises ValueError for one that timm doesn't know."""
        config = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
        if config is None:
            near = difflib.get_close_matches(name, timm.list_models(), 3)
            raise ValueError(f"timm knows no model {name!r}" + (f"; near: {', '.join(near)}" if near else ""))
        return cls(f"{config.architecture}.{config.tag}" if config.tag else name)

    @property
    def preprocessing(self) -> Preprocessing:
        """Of the pretrained weights, as timm says."""
        return Preprocessing("rgb", _grey_levels(self._config.mean), _grey_levels(self._config.std))

    @property
    def _config(self) -> Any:
        return timm.get_pretrained_cfg(self.name)

    def __call__(self, output_stride: int, pretrained: bool) -> nn.Module:
        """The features. Raises `WeightsUnavailable`, and whatever timm does where the model can't do that."""
        if pretrained and not self._config.has_weights:
            raise WeightsUnavailable(f"timm has no weights of {self.name}; set network.pretrained=false")
        spec = BackboneSpec(self.name, self.preprocessing)
        model = download(spec, output_stride) if pretrained else features(self.name, output_stride)
        return AlignedPatches(model) if self._patches(model) else model

    def _patches(self, model: nn.Module) -> bool:
        """Whether it is a ConvNeXt whose first convolution cuts the picture into patches, not one that overlaps."""
        first = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
        convnext = model_entrypoint(self.name.partition(".")[0]).__module__ == "timm.models.convnext"
        return convnext and first.kernel_size == first.stride == (4, 4)


def _grey_levels(shares: Sequence[float]) -> Triple:
    red, green, blue = (255 * share for share in shares)
    return red, green, blue


def features(name: str, output_stride: int) -> nn.Module:
    """The model without weights."""
    model: nn.Module = timm.create_model(name, pretrained=False, features_only=True, output_stride=output_stride)
    return model
