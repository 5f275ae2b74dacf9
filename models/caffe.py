"""FusionSeg's released Caffe networks as our tensors: which layer becomes which, and what its numbers mean.

Names of layers: ResNet-101's own, `res{2..5}{a,b1..}_branch{1,2a,2b,2c}` with `bn...` and `scale...`, and the head's
four branches. In the motion network every name ends in `_motion`, the head's too (`fc1_binary_seg_flow_c0_motion`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fusionseg.models.fusion import ReleaseFusion
from fusionseg.models.stream import RELEASE_DILATIONS, Architecture, Stream

Float32 = npt.NDArray[np.float32]

RELEASE = Architecture("resnet101", "parallel-dilated", 8, "1x1", "sum")
KINDS = ("appearance", "motion", "joint")
_BLOCKS = {2: 3, 3: 4, 4: 23, 5: 3}  # of ResNet-101, by Caffe's number of the group
_BRANCHES = {"branch1": "downsample.0", "branch2a": "conv1", "branch2b": "conv2", "branch2c": "conv3"}
_NORMS = {"downsample.0": "downsample.1", "conv1": "bn1", "conv2": "bn2", "conv3": "bn3"}
_JOINT = {"conv1": "both", "conva": "appearance", "convm": "motion", "conv2": "classify"}
_MOTION = "_motion"
_POOL = {"kernel": 3, "stride": 2, "pad": 1}  # timm's and torchvision's
_SHOWN = 3  # names in an error
_EPS = 1e-5  # of our BatchNorm


class CaffeError(ValueError):
    """A network that isn't the one it was taken for; one line says what was found and expected."""


@dataclass(frozen=True)
class Layer:
    """A Caffe layer: its `blobs`, float32, and, where the file says so, `geometry` ("pad", "stride" and "dilation" of a
    convolution; "kernel", "stride" and "pad" of pooling) and BatchNorm's `eps`."""

    name: str
    type: str
    blobs: tuple[Float32, ...]
    geometry: Mapping[str, int]
    eps: float = _EPS


def stream_state(layers: Sequence[Layer], kind: str) -> dict[str, Tensor]:
    """The state dict of a `Stream` of architecture `RELEASE`; `kind`: "appearance" or "motion". Raises `CaffeError`."""
    known = _by_name(layers, kind)
    suffix = _MOTION if kind == "motion" else ""
    head = _head_name(known, suffix)
    convolutions = list(_convolutions())
    expected = {f"{name}{suffix}" for names in convolutions for name in names[:3]}
    expected |= {head.format(index) for index in range(len(RELEASE_DILATIONS))}
    _check_names(known, expected, kind)
    with torch.device("meta"):
        stream = Stream(RELEASE)
    _check_pooling(layers, f"pool1{suffix}")
    state: dict[str, Tensor] = {}
    for conv, norm, scale, ours, our_norm in convolutions:
        state |= _convolution(known[conv + suffix], stream.backbone, ours, "backbone.")
        state |= _batch_norm(known[norm + suffix], known[scale + suffix], stream.backbone, our_norm, "backbone.")
    for index in range(len(RELEASE_DILATIONS)):
        state |= _convolution(known[head.format(index)], stream.decoder, f"branches.{index}", "decoder.")
    return state


def joint_state(layers: Sequence[Layer]) -> dict[str, Tensor]:
    """The state dict of a `ReleaseFusion`. Raises `CaffeError`."""
    known = _by_name(layers, "joint")
    _check_names(known, set(_JOINT), "joint")
    with torch.device("meta"):
        fusion = ReleaseFusion()
    state: dict[str, Tensor] = {}
    for name, ours in _JOINT.items():
        state |= _convolution(known[name], fusion, ours)
    return state


def _convolutions() -> Iterator[tuple[str, str, str, str, str]]:
    """Caffe's convolution, its BatchNorm and Scale; our convolution and norm."""
    yield "conv1", "bn_conv1", "scale_conv1", "conv1", "bn1"
    for group, count in _BLOCKS.items():
        letters = "abc" if count == 3 else ["a", *(f"b{i}" for i in range(1, count))]
        for index, letter in enumerate(letters):
            for branch, ours in _BRANCHES.items():
                if branch != "branch1" or index == 0:
                    name, place = f"{group}{letter}_{branch}", f"layer{group - 1}.{index}"
                    yield f"res{name}", f"bn{name}", f"scale{name}", f"{place}.{ours}", f"{place}.{_NORMS[ours]}"


def _head_name(known: Mapping[str, Layer], suffix: str) -> str:
    """Pattern of the head's names. The release ends the motion network's in `_motion` as well; without it they are as
    plain."""
    if not suffix:
        return "fc1_binary_seg_c{}"
    plain = "fc1_binary_seg_flow_c{}"
    return plain if plain.format(0) in known else plain + suffix


def _by_name(layers: Sequence[Layer], kind: str) -> dict[str, Layer]:
    """Layers with weights, if they look like those of `kind`."""
    known = {layer.name: layer for layer in layers if layer.blobs}
    looks = _looks_like(known)
    if looks not in (kind, None):
        raise CaffeError(f"this is FusionSeg's {looks} network, not its {kind} network; give --as {looks}")
    return known


def _looks_like(known: Mapping[str, Layer]) -> str | None:
    if "conva" in known and "convm" in known:
        return "joint"
    if any(name.endswith(_MOTION) for name in known):
        return "motion"
    return "appearance" if "fc1_binary_seg_c0" in known else None


def _check_names(known: Mapping[str, Layer], expected: set[str], kind: str) -> None:
    missing, surplus = sorted(expected - known.keys()), sorted(known.keys() - expected)
    if missing or surplus:
        parts = [_some(names, what) for names, what in ((missing, "missing"), (surplus, "unknown")) if names]
        raise CaffeError(
            f"not FusionSeg's {kind} network: of its {len(expected)} layers with weights {' and '.join(parts)}; "
            f"expected the authors' {kind} weights"
        )


def _some(names: Sequence[str], what: str) -> str:
    return f"{len(names)} {what} ({', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''})"


def _check_pooling(layers: Sequence[Layer], name: str) -> None:
    for layer in layers:
        if layer.name == name and layer.geometry and dict(layer.geometry) != _POOL:
            raise CaffeError(f"layer {name} has {dict(layer.geometry)}, expected {_POOL}: another network")


def _convolution(layer: Layer, module: nn.Module, ours: str, prefix: str = "") -> dict[str, Tensor]:
    conv: Any = module.get_submodule(ours)
    expected = {"pad": conv.padding[0], "stride": conv.stride[0], "dilation": conv.dilation[0]}
    if layer.geometry and dict(layer.geometry) != expected:
        raise CaffeError(f"layer {layer.name} has {dict(layer.geometry)}, expected {expected}: another network")
    names = ("weight",) if conv.bias is None else ("weight", "bias")
    shapes = [tuple(getattr(conv, name).shape) for name in names]
    return {f"{prefix}{ours}.{n}": torch.from_numpy(b) for n, b in zip(names, _blobs(layer, shapes), strict=True)}


def _batch_norm(norm: Layer, scale: Layer, module: nn.Module, ours: str, prefix: str) -> dict[str, Tensor]:
    """Caffe keeps sums of means and variances, and in its third blob what to divide them by (0: they count as 0)."""
    shape = tuple(module.get_submodule(ours).get_parameter("weight").shape)
    mean, variance, total = _blobs(norm, [shape, shape, (1,)])
    gamma, beta = _blobs(scale, [shape, shape])
    share = np.float32(1 / float(total[0]) if total[0] else 0.0)
    values = {"weight": gamma, "bias": beta, "running_mean": mean * share}
    # What Caffe adds to the variance under the root, less what our layer will add.
    values["running_var"] = (variance * share + np.float32(norm.eps - _EPS)).astype(np.float32)
    state = {f"{prefix}{ours}.{name}": torch.from_numpy(value) for name, value in values.items()}
    return state | {f"{prefix}{ours}.num_batches_tracked": torch.tensor(0)}


def _blobs(layer: Layer, shapes: Sequence[tuple[int, ...]]) -> list[Float32]:
    """The layer's blobs in the shapes they must have (old files put 1s before a vector's length), all finite."""
    found = [blob.shape for blob in layer.blobs]
    if len(found) != len(shapes) or any(_stripped(f) != _stripped(s) for f, s in zip(found, shapes, strict=True)):
        raise CaffeError(
            f"layer {layer.name} has {len(found)} blobs {[list(s) for s in found]}, "
            f"expected {[list(s) for s in shapes]}"
        )
    if not all(np.isfinite(blob).all() for blob in layer.blobs):
        raise CaffeError(f"layer {layer.name} holds numbers that aren't finite; download the file again")
    return [np.array(blob, np.float32).reshape(shape) for blob, shape in zip(layer.blobs, shapes, strict=True)]


def _stripped(shape: Sequence[int]) -> tuple[int, ...]:
    """Without leading 1s."""
    sizes = list(shape)
    while sizes and sizes[0] == 1:
        del sizes[0]
    return tuple(sizes)
