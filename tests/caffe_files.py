"""Caffe's networks for tests: files written byte by byte, and FusionSeg's streams computed from their blobs alone."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

Float32 = npt.NDArray[np.float32]
Blobs = dict[str, tuple[Float32, ...]]
FACTOR = 999.98  # what Caffe's running sums are to be divided by, near 1 / (1 - 0.999)


def varint(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def field(number: int, content: bytes | int) -> bytes:
    """Return a field as it stands in a file: a number, or bytes with their length before them."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def blob(values: Float32, layout: str = "shape") -> bytes:
    """Return an array as today's Caffe writes it; "legacy": with four named sizes; "double": in 64 bits."""
    data = field(8, values.astype("<f8").tobytes()) if layout == "double" else field(5, values.astype("<f4").tobytes())
    if layout == "legacy":
        sizes = (1,) * (4 - values.ndim) + values.shape
        return b"".join(field(number, size) for number, size in enumerate(sizes, 1)) + data
    return field(7, field(1, b"".join(map(varint, values.shape)))) + data


def layer(name: str, kind: str, blobs: Iterable[Float32] = (), parameters: bytes = b"", layout: str = "shape") -> bytes:
    content = field(1, name.encode()) + field(2, kind.encode()) + field(3, b"below") + field(4, name.encode())
    return field(100, content + b"".join(field(7, blob(values, layout)) for values in blobs) + parameters)


def convolution(pad: int, stride: int = 1, dilation: int = 1) -> bytes:
    """Return the parameters of a convolution, 1s left out as Caffe does."""
    numbers = field(3, pad) + (field(6, stride) if stride > 1 else b"") + (field(18, dilation) if dilation > 1 else b"")
    return field(106, field(1, 64) + numbers)


def pooling(pad: int) -> bytes:
    return field(121, field(1, 0) + field(2, 3) + field(3, 2) + field(4, pad))


def batch_norm(eps: float) -> bytes:
    return field(139, varint(3 << 3 | 5) + struct.pack("<f", eps))


def net(*layers: bytes, name: str = "resnet") -> bytes:
    return field(1, name.encode()) + b"".join(layers)


def blocks() -> list[tuple[str, int, int, int, int]]:
    """Return ResNet-101's blocks: name, channels in and within, stride, dilation."""
    found, inputs = [], 64
    for group, count, stride, dilation in ((2, 3, 1, 1), (3, 4, 2, 1), (4, 23, 1, 2), (5, 3, 1, 4)):
        width = 64 * 2 ** (group - 2)
        names = ["a", "b", "c"] if count == 3 else ["a"] + [f"b{i}" for i in range(1, count)]
        for index, name in enumerate(names):
            found.append((f"{group}{name}", inputs, width, stride if index == 0 else 1, dilation))
            inputs = 4 * width
    return found


def stream_blobs(seed: int) -> Blobs:
    """Return random weights of the appearance network, by layer."""
    generator = np.random.default_rng(seed)

    def uniform(low: float, high: float, *shape: int) -> Float32:
        return (low + (high - low) * generator.random(shape, np.float32)).astype(np.float32)

    found: Blobs = {}

    def add(name: str, outputs: int, inputs: int, size: int, gain: float) -> None:
        bound = (6 / (inputs * size * size)) ** 0.5
        conv, norm, scale = (("res" + name, "bn" + name, "scale" + name) if name[0].isdigit() else
                             (name, "bn_" + name, "scale_" + name))  # fmt: skip
        found[conv] = (uniform(-bound, bound, outputs, inputs, size, size),)
        moments = (uniform(-0.3, 0.3, outputs), uniform(0.5, 1.5, outputs))
        found[norm] = (*(m * np.float32(FACTOR) for m in moments), np.array([FACTOR], np.float32))
        found[scale] = (uniform(0.6 * gain, gain, outputs), uniform(-0.2, 0.2, outputs))

    add("conv1", 64, 3, 7, 0.02)  # grey levels, not standard deviations, come in
    for index, (name, inputs, width, _, _) in enumerate(blocks()):
        if index == 0 or name[1:] == "a":
            add(f"{name}_branch1", 4 * width, inputs, 1, 1.0)
        add(f"{name}_branch2a", width, inputs, 1, 1.0)
        add(f"{name}_branch2b", width, width, 3, 1.0)
        add(f"{name}_branch2c", 4 * width, width, 1, 0.5)
    for branch in range(4):
        found[f"fc1_binary_seg_c{branch}"] = (uniform(-0.01, 0.01, 2, 2048, 3, 3), uniform(-1, 1, 2))
    return found


def stream_file(blobs: Blobs, motion: bool = False, head_suffix: bool = True) -> bytes:
    """Return the file of a stream's network; the motion network's names end in "_motion"."""
    layers = [layer("data", "ImageSegData"), layer("pool1" + "_motion" * motion, "Pooling", parameters=pooling(1))]
    for name, values in blobs.items():
        kind = "BatchNorm" if name.startswith("bn") else "Scale" if name.startswith("scale") else "Convolution"
        head = name.startswith("fc1")
        if motion:
            name = name.replace("seg_c", "seg_flow_c") + "_motion" * (head_suffix or not head)
        layers.append(layer(name, kind, values))
    return net(*layers, name="resnet_motion" if motion else "resnet")


def caffe_scores(blobs: Blobs, image: npt.NDArray[np.uint8]) -> Tensor:
    """Scores (1, 2, h, w) float64 of an (H, W, 3) RGB picture, H and W of any size, as Caffe computes them: black up to
    8k + 1, BGR, means subtracted; maxima over windows cut at the border."""
    height, width = (-(-(n - 1) // 8) * 8 + 1 for n in image.shape[:2])
    black = np.zeros((height, width, 3), np.float64)
    black[: image.shape[0], : image.shape[1]] = image
    x = torch.from_numpy((black[..., ::-1] - (104.008, 116.669, 122.675)).transpose(2, 0, 1).copy())[None]

    def double(name: str) -> list[Tensor]:
        return [torch.from_numpy(values).double() for values in blobs[name]]

    def conv(x: Tensor, name: str, stride: int = 1, pad: int = 0, dilation: int = 1) -> Tensor:
        names = ("res" + name, "bn" + name, "scale" + name) if name[0].isdigit() else (name, "bn_conv1", "scale_conv1")
        x = F.conv2d(x, double(names[0])[0], stride=stride, padding=pad, dilation=dilation)
        (mean, variance, factor), (gamma, beta) = double(names[1]), double(names[2])
        root = (variance / factor + 1e-5).sqrt()
        column = (slice(None), None, None)
        return (x - (mean / factor)[column]) / root[column] * gamma[column] + beta[column]

    x = pooled(conv(x, "conv1", 2, 3).relu())
    for name, _, _, stride, dilation in blocks():
        shortcut = conv(x, f"{name}_branch1", stride) if f"res{name}_branch1" in blobs else x
        y = conv(x, f"{name}_branch2a", stride).relu()
        y = conv(y, f"{name}_branch2b", 1, dilation, dilation).relu()
        x = (shortcut + conv(y, f"{name}_branch2c")).relu()
    heads: Sequence[Tensor] = [
        F.conv2d(x, *double(f"fc1_binary_seg_c{i}"), padding=d, dilation=d) for i, d in enumerate((6, 12, 18, 24))
    ]
    return heads[0] + heads[1] + heads[2] + heads[3]


def pooled(x: Tensor) -> Tensor:
    """Caffe's maximum over 3x3 at stride 2 with a margin of 1: as many windows as begin before the far margin."""
    height, width = x.shape[-2:]
    rows, columns = (-(-(n + 2 - 3) // 2) + 1 for n in (height, width))
    out = torch.empty(*x.shape[:2], rows, columns, dtype=x.dtype)
    for i, j in np.ndindex(rows, columns):
        window = x[..., max(2 * i - 1, 0) : min(2 * i + 2, height), max(2 * j - 1, 0) : min(2 * j + 2, width)]
        out[..., i, j] = window.amax((-2, -1))
    return out


def upsampled(scores: Tensor) -> npt.NDArray[np.float64]:
    """DeepLab's Interp layer with zoom factor 8: (C, h, w) -> (C, 8 (h - 1) + 1, 8 (w - 1) + 1), corners kept."""
    values = scores[0].double().numpy()
    for axis in (1, 2):
        n = values.shape[axis]
        places = np.arange(8 * (n - 1) + 1) / 8
        below = np.minimum(places.astype(int), n - 2)
        shape = [1, 1, 1]
        shape[axis] = -1
        share = (places - below).reshape(shape)
        values = np.take(values, below, axis) * (1 - share) + np.take(values, below + 1, axis) * share
    return np.asarray(values)
