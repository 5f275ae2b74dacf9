"""Training samples: random crops of frames, flow and masks, each determined by a seed and a number alone.

A sample depends on nothing that happened before it, so a training that was killed goes on with exactly the samples it
would have seen.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TypeVar

import numpy as np

from fusionseg.models.labels import VOID
from fusionseg.pipeline.basics.resizing import Array, resize

T = TypeVar("T")


@dataclass(frozen=True)
class Augmentation:
    """`crop` (height, width) in pixels; `scales` range of the random scale; `mirror`: whether half are mirrored. What
    changes a frame's look, not its geometry, is in `photometric`."""

    crop: tuple[int, int]
    scales: tuple[float, float]
    mirror: bool


def mixed(first: Sequence[T], second: Sequence[T], share: float) -> list[T]:
    """All of both, that of which there is too little repeated until `second` makes this share (0..1); at 0 and 1, and
    where `second` is empty, one of them alone.

    >>> mixed(["a", "b", "c"], ["x", "y"], 0.5), mixed(["a"], ["x", "y", "z"], 0.75), mixed(["a"], [], 0.5)
    (['a', 'b', 'c', 'x', 'y', 'x'], ['a', 'x', 'y', 'z'], ['a'])
    """
    if not second or share in (0, 1):
        return list(second if second and share else first)
    total = math.ceil(max(len(first) / (1 - share), len(second) / share))
    wanted = round(total * share)
    return [*islice(cycle(first), total - wanted), *islice(cycle(second), wanted)]


def draw(count: int, batch: int, step: int, seed: int) -> list[int]:
    """Indices of the samples of one step: a new shuffle of all `count` every epoch, read on in order."""
    first = step * batch
    picked = []
    for position in range(first, first + batch):
        epoch, offset = divmod(position, count)
        picked.append(int(_shuffle(count, seed, epoch)[offset]))
    return picked


@functools.lru_cache(maxsize=2)  # more than two epochs at a time are only touched by tiny data
def _shuffle(count: int, seed: int, epoch: int) -> Array:
    return np.random.default_rng([seed, epoch]).permutation(count)


def sample_generator(seed: int, step: int, position: int) -> np.random.Generator:
    """The source of randomness of one sample."""
    return np.random.default_rng([seed, step, position, 1])


@dataclass(frozen=True)
class Moved:
    """What `crop_pair` did: `scale` and whether it mirrored. The caller does the same to flow vectors."""

    scale: float
    mirrored: bool

    def vectors(self, flow: Array) -> Array:
        """(H, W, 2) flow, cut along with its picture: u and v grow with the scale, and a mirror turns u round."""
        return np.asarray(flow * np.array([-self.scale if self.mirrored else self.scale, self.scale], np.float32))


def crop_pair(
    image: Array, label: Array, augmentation: Augmentation, rng: np.random.Generator
) -> tuple[Array, Array, Moved]:
    """Scale, crop and perhaps mirror `image` (H, W, C) and `label` (H, W) alike; past the picture's edge the image is
    0 and the label void. Values aren't changed: see `Moved`."""
    height, width = augmentation.crop
    scale = float(np.exp(rng.uniform(*np.log(augmentation.scales))))
    size = tuple(max(1, round(n * scale)) for n in label.shape)
    image, label = resize(image, (size[0], size[1])), resize(label, (size[0], size[1]), nearest=True)
    top, left = (int(rng.integers(0, max(0, n - c) + 1)) for n, c in zip(size, (height, width), strict=True))
    image, label = (
        image[top : top + height, left : left + width],
        label[top : top + height, left : left + width],
    )
    mirrored = augmentation.mirror and bool(rng.random() < 0.5)
    if mirrored:
        image, label = image[:, ::-1], label[:, ::-1]
    short = (height - label.shape[0], width - label.shape[1])
    if any(short):
        image = np.pad(image, ((0, short[0]), (0, short[1]), (0, 0)))
        label = np.pad(label, ((0, short[0]), (0, short[1])), constant_values=VOID)
    return image, label, Moved(scale, mirrored)
