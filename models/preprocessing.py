"""What is done to pixels before a network sees them. It belongs to the weights, not to the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Channels = Literal["rgb", "bgr"]
Pad = Literal["after", "before"]
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Preprocessing:
    """How the weights' pictures were prepared.

    `channels`: order in which the network takes them; `mean`, `std`: in that order, grey levels 0..255; `pad`: pixels
    beyond the picture are 0 "after" normalisation (the mean colour), or "before" it (black, as with Caffe).
    """

    channels: Channels
    mean: Triple
    std: Triple
    pad: Pad = "after"

    def as_dict(self) -> dict[str, Any]:
        """As JSON-able values, for the header of weights."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """The converse of `as_dict`; `pad` may be missing (weights of version 0.1). Raises ValueError."""
        channels: Any = values.get("channels")
        pad: Any = values.get("pad", "after")
        for name, found, known in (("channels", channels, get_args(Channels)), ("pad", pad, get_args(Pad))):
            if found not in known:
                raise ValueError(f"preprocessing: {name} {found!r}; expected {' or '.join(known)}")
        mean, std = (_triple(name, values.get(name)) for name in ("mean", "std"))
        if min(std) <= 0:
            raise ValueError(f"preprocessing: std {std}; expected positive numbers")
        return cls(channels, mean, std, pad)


def _triple(name: str, values: Any) -> Triple:
    try:
        red, green, blue = (float(value) for value in values)
    except (TypeError, ValueError):
        raise ValueError(f"preprocessing: {name} {values!r}; expected three numbers") from None
    return red, green, blue


# torchvision's ImageNet statistics, in grey levels; timm's ConvNeXt has the same.
TORCHVISION = Preprocessing("rgb", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
# All sizes of EfficientNet-Lite alike (the builder in TensorFlow's own repository).
EFFICIENTNET_LITE = Preprocessing("rgb", (127.0,) * 3, (128.0,) * 3)
# FusionSeg's released networks, for frames and flow images alike.
CAFFE = Preprocessing("bgr", (104.008, 116.669, 122.675), (1.0,) * 3, "before")
