"""Augmentation of one training sample, step by step: ours (OpenCV, or torchvision's kernels with our own factors)
against torchvision's v2 functions on tv_tensors, on one core.

    python benchmarks/augmentation.py

Pictures of the `davis` profile's sizes: a still of 425x320 and flow of 425x239, cut to 424x240. torchvision's functions
are given the parameters that we draw; its transform classes would draw them from PyTorch's global generator, and a
killed training couldn't go on with the same samples.

Expected before measuring: geometry alike, colour and blur 2 to 3 times as fast with OpenCV.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import fusionseg  # noqa: F401  sets how threads wait, as in the chain: must come before torch

# isort: split
import cv2
import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from fusionseg.pipeline.training.photometric import vary_colour
from fusionseg.pipeline.training.samples import Augmentation, crop_pair

ROUNDS = 60
CROP = (240, 424)


def milliseconds(work: Callable[[], object]) -> float:
    work()
    times = []
    for _ in range(ROUNDS):
        begun = time.thread_time()
        work()
        times.append(1000 * (time.thread_time() - begun))
    return statistics.median(times)


def torchvision_crop(image: torch.Tensor, label: torch.Tensor, rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
    """What `crop_pair` does, by torchvision."""
    scale = float(np.exp(rng.uniform(*np.log((0.75, 1.5)))))
    size = [max(1, round(n * scale)) for n in label.shape[-2:]]
    image = functional.resize(image, size, antialias=True)
    label = functional.resize(label, size, interpolation=InterpolationMode.NEAREST)
    top, left = (int(rng.integers(0, max(0, n - c) + 1)) for n, c in zip(size, CROP, strict=True))
    parts = [functional.crop(part, top, left, *CROP) for part in (image, label)]
    return tuple(functional.horizontal_flip(part) for part in parts) if rng.random() < 0.5 else tuple(parts)


def main() -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    frame = cv2.GaussianBlur(rng.integers(0, 256, (320, 425, 3), np.uint8), (0, 0), 2)
    flow = cv2.GaussianBlur(rng.normal(0, 5, (239, 425, 2)).astype(np.float32), (0, 0), 5)
    how = Augmentation(CROP, (0.75, 1.5), True)
    planes = lambda array: torch.from_numpy(array).permute(2, 0, 1)  # noqa: E731
    for name, array, tensor in (
        ("frame", frame, tv_tensors.Image(planes(frame))),
        ("flow", flow, planes(flow).contiguous()),
    ):
        label = np.zeros(array.shape[:2], np.uint8)
        mask = tv_tensors.Mask(torch.from_numpy(label))
        ours = milliseconds(lambda array=array, label=label: crop_pair(array, label, how, rng))
        theirs = milliseconds(lambda tensor=tensor, mask=mask: torchvision_crop(tensor, mask, rng))
        print(f"scale, crop, mirror a {name}: OpenCV {ours:.2f} ms, torchvision {theirs:.2f} ms")
    crop = np.ascontiguousarray(cv2.resize(frame, CROP[::-1]))
    factors = np.array([1.2, 0.8, 1.1])
    print(f"brightness, contrast, saturation: torchvision {milliseconds(lambda: vary_colour(crop, factors)):.2f} ms")
    print(f"hue: torchvision {milliseconds(lambda: functional.adjust_hue(planes(crop), 0.03)):.2f} ms")
    blurs = (
        milliseconds(lambda: cv2.GaussianBlur(crop, (7, 7), 1.2)),
        milliseconds(lambda: functional.gaussian_blur(planes(crop), [7, 7], [1.2, 1.2])),
    )
    print(f"blur: OpenCV {blurs[0]:.2f} ms, torchvision {blurs[1]:.2f} ms")


if __name__ == "__main__":
    main()
