"""Textures of the rendered demo data: muted backgrounds and saturated coats, drawn from a random generator.

Images are uint8 BGR arrays (height, width, 3); fields are float32 arrays (height, width) in [0, 1].
Lengths are pixels of the image being painted; `unit` is that image's pixels per pixel of a 256x160 frame.
"""

from __future__ import annotations

import colorsys
import math
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Field = NDArray[np.float32]
Colour = tuple[int, int, int]

BACKGROUND_FAMILIES = ("noise", "stripes", "checks", "blotches", "pebbles")
COAT_PATTERNS = ("spots", "stripes", "patches")

# Backgrounds stay muted and coats saturated, so that what an object looks like can be learnt from stills.
BACKGROUND_SATURATION = (0.05, 0.42)
COAT_SATURATION = (0.72, 1.0)
COAT_VALUE = (0.62, 1.0)
# Share of fine noise in every background: without it optical flow has nothing to hold on to inside a stripe.
FINE_NOISE_SHARE = 0.38


def colour_of(hue: float, saturation: float, value: float) -> Colour:
    """Return the uint8 BGR triple of an HSV colour; hue wraps at 1, the others lie in [0, 1]."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return round(255 * blue), round(255 * green), round(255 * red)


def noise_field(rng: np.random.Generator, height: int, width: int, cell: float, octaves: int = 4) -> Field:
    """Return smooth noise (height, width) in [0, 1] whose coarsest features are about `cell` pixels wide."""
    total = np.zeros((height, width), np.float32)
    weight = 1.0
    for _ in range(octaves):
        grid_shape = (math.ceil(height / cell) + 1, math.ceil(width / cell) + 1)
        grid = rng.random(grid_shape, dtype=np.float32)
        total += weight * cast(Field, cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC))
        weight *= 0.6
        cell = max(cell / 2, 1.5)
    return _spread(total)


def _spread(field: Field) -> Field:
    """Shift and stretch a field so that two standard deviations either side of its mean fill [0, 1]."""
    spread = max(float(field.std()), 1e-6)
    return cast(Field, np.clip((field - field.mean()) / (4 * spread) + 0.5, 0, 1, dtype=np.float32))


def _axes(height: int, width: int, angle: float) -> tuple[Field, Field]:
    """Return the pixel coordinates (height, width) along and across a direction given in radians."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    along = np.float32(math.cos(angle)) * x + np.float32(math.sin(angle)) * y
    across = np.float32(-math.sin(angle)) * x + np.float32(math.cos(angle)) * y
    return along, across


def _stripes(rng: np.random.Generator, height: int, width: int, unit: float) -> Field:
    along, _ = _axes(height, width, rng.uniform(0, math.pi))
    period = rng.uniform(12, 30) * unit
    warp = noise_field(rng, height, width, 40 * unit, 2)
    wave = np.sin(2 * math.pi * (along / period + rng.uniform(0.3, 1.2) * warp))
    return cast(Field, 0.5 + 0.5 * np.tanh(2.5 * wave))


def _checks(rng: np.random.Generator, height: int, width: int, unit: float) -> Field:
    along, across = _axes(height, width, rng.uniform(0, math.pi / 2))
    side = rng.uniform(10, 24) * unit
    columns = np.floor(along / side).astype(np.int64)
    rows = np.floor(across / (side * rng.uniform(0.6, 1.4))).astype(np.int64)
    # Each tile has a tone of its own: a strictly periodic board would alias the flow by whole tiles.
    tones = rng.random(4096, dtype=np.float32)
    parity = ((columns + rows) % 2).astype(np.float32)
    return cast(Field, 0.55 * parity + 0.45 * tones[(columns * 73 + rows * 151) % 4096])


def _blotches(rng: np.random.Generator, height: int, width: int, unit: float) -> Field:
    field = noise_field(rng, height, width, rng.uniform(14, 30) * unit, 3)
    levels = int(rng.integers(3, 6))
    return cast(Field, np.floor(field * (levels - 1) + 0.5) / np.float32(levels - 1))


def _pebbles(rng: np.random.Generator, height: int, width: int, unit: float) -> Field:
    side = rng.uniform(9, 18) * unit
    count = max(8, int(height * width / side**2))
    seeds = np.full((height, width), 255, np.uint8)
    seeds[rng.integers(0, height, count), rng.integers(0, width, count)] = 0
    distance, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    tones = rng.random(count + 2, dtype=np.float32)
    rounded = np.clip(1 - np.asarray(distance, np.float32) / np.float32(side), 0, 1)
    return cast(Field, 0.65 * tones[labels] + 0.35 * rounded)


def background_field(rng: np.random.Generator, family: str, height: int, width: int, unit: float) -> Field:
    """Return a background pattern (height, width) in [0, 1] of one of `BACKGROUND_FAMILIES`."""
    makers = {"stripes": _stripes, "checks": _checks, "blotches": _blotches, "pebbles": _pebbles}
    fine = noise_field(rng, height, width, 9 * unit, 3)
    if family == "noise":
        coarse = noise_field(rng, height, width, rng.uniform(24, 50) * unit, 5)
    else:
        coarse = makers[family](rng, height, width, unit)
    return cast(Field, (1 - FINE_NOISE_SHARE) * coarse + FINE_NOISE_SHARE * fine)


def palette(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a muted colour ramp (256, 3) in BGR, dark to light, through three or four random stops."""
    stops = int(rng.integers(3, 5))
    hue = rng.random()
    dark, light = rng.uniform(0.12, 0.32), rng.uniform(0.68, 0.95)
    values = np.linspace(dark, light, stops)
    if rng.random() < 0.4:  # not every palette runs monotonically: stone and bark do not
        values = rng.permutation(values)
    colours = [
        colour_of(hue + rng.uniform(-0.12, 0.12), rng.uniform(*BACKGROUND_SATURATION), value) for value in values
    ]
    at = np.linspace(0, 255, stops)
    ramp = [np.interp(np.arange(256), at, [colour[channel] for colour in colours]) for channel in range(3)]
    return np.stack(ramp, axis=1).round().astype(np.uint8)


def paint_background(rng: np.random.Generator, height: int, width: int, unit: float) -> Image:
    """Return one muted texture (height, width, 3) of a random family and palette."""
    family = str(rng.choice(BACKGROUND_FAMILIES))
    field = background_field(rng, family, height, width, unit)
    return palette(rng)[(field * 255).astype(np.uint8)]


def join_regions(rng: np.random.Generator, upper: Image, lower: Image, unit: float) -> Image:
    """Return `upper` above and `lower` below a wavy, slightly tilted horizon; all (height, width, 3)."""
    height, width = upper.shape[:2]
    _, across = _axes(height, width, rng.uniform(-0.25, 0.25))
    wave = noise_field(rng, 1, width, 60 * unit, 2)
    level = rng.uniform(0.35, 0.6) * height + (wave - 0.5) * 24 * unit
    return np.where((across > level)[..., None], lower, upper)


def add_clutter(rng: np.random.Generator, canvas: Image, count: int, unit: float) -> Image:
    """Return the canvas with `count` plain rectangles and ellipses of other background textures on it.

    They are negatives: compact shapes with an edge that still are no objects, since they wear no coat.
    """
    height, width = canvas.shape[:2]
    result = canvas.copy()
    for _ in range(count):
        mask = np.zeros((height, width), np.uint8)
        centre = (float(rng.uniform(0.2, 0.8) * width), float(rng.uniform(0.2, 0.8) * height))
        size = (float(rng.uniform(18, 70) * unit), float(rng.uniform(18, 60) * unit))
        tilt = float(rng.uniform(0, 180))
        if rng.random() < 0.5:
            corners = cv2.boxPoints((centre, size, tilt))
            cv2.fillPoly(mask, [np.round(corners).astype(np.int32)], 255)
        else:
            cv2.ellipse(mask, cast(Any, (centre, size, tilt)), 255, -1)
        patch = paint_background(rng, height, width, unit)
        result[mask > 0] = patch[mask > 0]
    return result


def paint_coat(rng: np.random.Generator, side: int) -> Image:
    """Return a saturated, patterned coat (side, side, 3), lit from above; any two coats are one family."""
    hue = rng.random()
    base = colour_of(hue, rng.uniform(*COAT_SATURATION), rng.uniform(*COAT_VALUE))
    other_hue = hue + rng.uniform(0.18, 0.5)
    pattern = colour_of(other_hue, rng.uniform(*COAT_SATURATION), rng.uniform(*COAT_VALUE))
    if rng.random() < 0.35:  # white or near-black markings, as many animals have
        pattern = colour_of(hue, 0.12, 0.97) if rng.random() < 0.5 else colour_of(hue, 0.5, 0.15)
    mask = _coat_mask(rng, side)
    coat = np.where(mask[..., None] > 0, np.array(pattern, np.float32), np.array(base, np.float32))
    light = np.linspace(1.2, 0.62, side, dtype=np.float32)[:, None]
    grain = 1 + 0.16 * (noise_field(rng, side, side, side / 24, 2) - 0.5)
    lit: Image = np.clip(coat * (light * grain)[..., None], 0, 255).astype(np.uint8)
    return lit


def _as_mask(where: NDArray[np.bool_]) -> Image:
    return np.where(where, np.uint8(255), np.uint8(0))


def _coat_mask(rng: np.random.Generator, side: int) -> Image:
    """Return the markings of a coat (side, side): 255 where its second colour lies."""
    kind = str(rng.choice(COAT_PATTERNS))
    if kind == "patches":
        return _as_mask(noise_field(rng, side, side, side / 10, 2) > 0.56)
    if kind == "stripes":
        along, _ = _axes(side, side, rng.uniform(-0.5, 0.5))
        warp = noise_field(rng, side, side, side / 8, 2)
        wave = np.sin(2 * math.pi * (along / (side * rng.uniform(0.055, 0.1)) + 0.7 * warp))
        return _as_mask(wave > rng.uniform(0.0, 0.4))
    mask = np.zeros((side, side), np.uint8)
    for _ in range(int(rng.integers(90, 150))):
        centre = (int(rng.integers(0, side)), int(rng.integers(0, side)))
        cv2.circle(mask, centre, max(1, round(side * rng.uniform(0.012, 0.034))), 255, -1)
    return mask
