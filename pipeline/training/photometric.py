"""Changes of a training frame's look: colour and blur. Flow images know neither: their colours are directions.

Colours are changed by torchvision's kernels with factors of our own generator, so that a sample stays a function of
its seed and number. Hue is left out (five times the cost of the other three together), and blur is OpenCV's (a
tenth of torchvision's time); `docs/augmentation.md` has the times.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torchvision.transforms.v2 import functional

UInt8 = npt.NDArray[np.uint8]

_SIGMAS = (0.5, 1.5)  # px in the crop: from hardly seen to slightly out of focus
_ADJUSTMENTS = (functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation)


def vary_look(image: UInt8, colour: float, blur: float, rng: np.random.Generator) -> UInt8:
    """A frame (H, W, 3) uint8 RGB with other colours and, a share `blur` of them, slightly blurred.

    `colour`: brightness, contrast and saturation change by random factors of 1 - colour to 1 + colour. With both 0 the
    frame comes back as it is.
    """
    if colour:
        image = vary_colour(image, rng.uniform(1 - colour, 1 + colour, len(_ADJUSTMENTS)))
    if blur and rng.random() < blur:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(*_SIGMAS)), np.uint8)
    return image


def vary_colour(image: UInt8, factors: npt.NDArray[np.float64]) -> UInt8:
    """A frame (H, W, 3) uint8 RGB with brightness, contrast and saturation times the three `factors`."""
    picture = torch.from_numpy(image.copy()).permute(2, 0, 1)  # a copy: PyTorch knows no mirrored views
    for adjust, factor in zip(_ADJUSTMENTS, factors, strict=True):
        picture = adjust(picture, float(factor))
    return picture.permute(1, 2, 0).numpy()
