"""Optical flow rendered from a still's mask: what DIS might have seen, had object and background moved.

Stills with masks are plenty, videos with masks are few. The idea of such "fake flow" is that of arXiv 2407.11714 (which
makes it of depth); motions, and an estimator's faults, are drawn at random here, after 90 pairs of DAVIS's 30 training
sequences (docs/training.md compares both).

All that is smooth is drawn on a coarse grid and enlarged: DIS's patches blur as much, and it takes a sixteenth of the
time.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

UInt8 = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Size = tuple[int, int]  # height, width
Range = tuple[float, float]

# Lengths are shares of the frame's long side, so that a smaller frame gets the same flow, smaller. Strengths are shares
# of the object's speed, since flow images are scaled by the frame's largest magnitude. Ranges are log-uniform.
_COARSE = 100  # px of the coarse grid's long side: 4 px at 400, the spacing of DIS medium's patches
_SPEEDS = (0.3 / 400, 40 / 400)  # of the long side: a walker seen from afar to a car passing by

# The camera. Compensation (camera.py) leaves little of it in most frames; without, it pans, turns and zooms.
_STABILISED = 0.8  # share of draws
_CAMERA = (0.3, 2.0)  # its speed
_FOLLOWED = 0.3  # share of moving cameras that keep the object in place, so that only the background moves
_BEND = 0.3  # change of its motion from the frame's middle to its edge: rotation, zoom, perspective

# The object.
_STRAIN = (0.03, 0.4)  # change of its motion over its radius: scale, rotation, shear
_LIMBS = (0.05, 0.5)  # of a smooth field of a few control points
_UNEVEN = (0.02, 0.15)  # errors of patches: cloth, limbs too thin, what turns
_PART = 0.4  # share of draws in which a part of it goes its own way
_RESTING = 0.2  # share of draws in which a part of it stands still: a foot on the ground, a plain surface

# What moves behind it: water, leaves, passers-by, far and near grounds.
_MOST_LAYERS = 2
_LAYER = (0.01, 0.5)  # speed
_RIPPLES = (0.1, 2.0)  # how unequally a layer moves, of its speed
_SHADOW = 0.15  # share of draws with a shadow, or a reflection, below the object that moves with it

# The estimator.
_WASH = (0.003, 0.03)  # smooth errors everywhere
_PATCHES = (0.003, 0.04)  # errors of single patches
_AT_OUTLINE = (0.02, 0.3)  # errors of patches that see both motions
_BLUR = (0.7, 2.0)  # of the mask ahead of its outline: deviation, in coarse px
_LEVEL = (0.2, 0.5)  # where the outline lies in the blurred mask; below 0.5 it leaks out
_RAGGED = 0.25  # deviation of that along the outline, of itself
_SOFT = (0.5, 1.0)  # width of the outline's ramp, of the widest that leaves the rest of the frame alone
_LONGEST_HALO = 0.03  # how far ahead of the object the background it is about to cover is taken for it
_UNKNOWN = 0.05  # share of draws with unknown areas


def render_flow(mask: UInt8, rng: np.random.Generator, useless: float = 0.0) -> Floats:
    """Flow (H, W, 2) float32 in pixels, u to the right and v down, of an object (H, W) uint8: 1, else 0, void 255.

    Unknown vectors are NaN. The same mask and state of `rng` always give the same flow. `useless`: share (0..1) of
    draws that tell nothing about the object, since it moves as the background does.
    """
    if not mask.size:
        return np.zeros((*mask.shape, 2), np.float32)
    long_side = max(mask.shape)
    grid = _coarse_size(mask.shape)
    speed = _log_uniform(rng, _SPEEDS) * long_side
    tells = rng.random() >= useless
    background = _camera(rng, grid, speed) + _layers(rng, grid, speed)
    if tells:
        flow = _with_object(mask, background, speed, rng)
    else:
        flow = _enlarge(background + _errors(rng, grid, speed), mask.shape)
    if rng.random() < _UNKNOWN:
        flow[_enlarge(_region(rng, grid), mask.shape) > 0.9] = np.nan
    return flow


def _with_object(mask: UInt8, background: Floats, speed: float, rng: np.random.Generator) -> Floats:
    """Background flow on the coarse grid -> flow at the mask's size, with the object and the estimator's errors."""
    grid = background.shape[:2]
    coarse = np.asarray(cv2.resize(_weights(mask), grid[::-1], interpolation=cv2.INTER_AREA), np.float32)
    velocity, motion = _object(rng, coarse, background, speed)
    if rng.random() < _SHADOW:
        shade = _shadow(rng, coarse)[..., None]
        background = background + shade * (motion - background)
    share = _outline(rng, coarse, velocity / max(mask.shape), mask.shape)
    errors = _errors(rng, grid, speed)
    difference = _enlarge(motion - background, mask.shape)
    at_outline = _enlarge(_noise(rng, grid, 0.025), mask.shape) * np.float32(speed * _log_uniform(rng, _AT_OUTLINE))
    flow = _enlarge(background + errors, mask.shape)
    flow += share[..., None] * difference
    flow += (4 * share * (1 - share))[..., None] * at_outline
    return flow


def _object(
    rng: np.random.Generator, coarse: Floats, background: Floats, speed: float
) -> tuple[npt.NDArray[np.float64], Floats]:
    """The object's velocity against the background, and its flow all over the coarse grid."""
    grid = coarse.shape[:2]
    weights = coarse[..., None] / max(float(coarse.sum()), 1e-6)
    centre = (_places(grid) * weights).sum((0, 1))
    offsets = _places(grid) - centre
    radius = max(1.0, float((offsets**2 * weights).sum()) ** 0.5)
    behind = (background * weights).sum((0, 1))
    velocity = _direction(rng) * speed
    if np.linalg.norm(behind) > speed / 2 and rng.random() < _FOLLOWED:
        velocity = -behind.astype(np.float64)
    strain = rng.normal(0, speed * _log_uniform(rng, _STRAIN), (2, 2)).astype(np.float32)
    own = velocity.astype(np.float32) + offsets @ strain / np.float32(radius)
    own += _noise(rng, grid, max(radius / max(grid), 0.02)) * np.float32(speed * _log_uniform(rng, _LIMBS))
    own += _patches(rng, grid, speed * _log_uniform(rng, _UNEVEN))
    if rng.random() < _PART:
        other = (velocity * rng.uniform(0, 1.5) + _direction(rng) * speed * rng.uniform(0.2, 1)).astype(np.float32)
        own += _part(rng, grid, radius) * (other - own)
    if rng.random() < _RESTING:
        own *= 1 - _part(rng, grid, radius)
    return velocity, behind + own


def _camera(rng: np.random.Generator, grid: Size, speed: float) -> Floats:
    """Flow of a plane that the camera moves against: of second order, as a homography's for small motions."""
    if rng.random() < _STABILISED:
        return np.zeros((*grid, 2), np.float32)
    speed *= _log_uniform(rng, _CAMERA)
    places = (_places(grid) - np.array(grid[::-1], np.float32) / 2) / np.float32(max(grid))
    linear = rng.normal(0, speed * _BEND * 2, (2, 2)).astype(np.float32)
    bent = places @ rng.normal(0, speed * _BEND, 2).astype(np.float32)
    return np.asarray((_direction(rng) * speed).astype(np.float32) + places @ linear + places * bent[..., None])


def _layers(rng: np.random.Generator, grid: Size, speed: float) -> Floats:
    """What moves against the plane: parts of the background, in motions of their own, more or less rippled."""
    flow = np.zeros((*grid, 2), np.float32)
    for _ in range(rng.integers(_MOST_LAYERS + 1)):
        strength = speed * _log_uniform(rng, _LAYER)
        ripples = _noise(rng, grid, rng.uniform(0.02, 0.06)) * np.float32(strength * _log_uniform(rng, _RIPPLES))
        flow += _region(rng, grid)[..., None] * ((_direction(rng) * strength).astype(np.float32) + ripples)
    return flow


def _errors(rng: np.random.Generator, grid: Size, speed: float) -> Floats:
    """An estimator's errors all over the coarse grid."""
    wash = _noise(rng, grid, rng.uniform(0.1, 0.4)) * np.float32(speed * _log_uniform(rng, _WASH))
    return wash + _patches(rng, grid, speed * _log_uniform(rng, _PATCHES))


def _patches(rng: np.random.Generator, grid: Size, strength: float) -> Floats:
    """Errors of single patches, many where there is little to see, few elsewhere."""
    plainness = _noise(rng, grid, rng.uniform(0.05, 0.2), 1) ** 2
    return _noise(rng, grid, rng.uniform(0.03, 0.08)) * plainness[..., None] * np.float32(strength)


def _outline(rng: np.random.Generator, coarse: Floats, velocity: npt.NDArray[np.float64], size: Size) -> Floats:
    """How far each pixel moves with the object, (H, W) in 0..1: outlines are blurred and ragged, and leak.

    `velocity`: against the background, in long sides.
    """
    grid = coarse.shape[:2]
    step = float(np.linalg.norm(velocity))
    ahead = velocity * (min(1.0, _LONGEST_HALO / step) if step else 0) * rng.random() * max(grid)
    covered = cv2.warpAffine(coarse, np.array([[1, 0, ahead[0]], [0, 1, ahead[1]]]), grid[::-1])
    coarse = np.maximum(coarse, covered * (_noise(rng, grid, 0.05, 1) > 0))
    deviation = _log_uniform(rng, _BLUR)
    blurred = cv2.GaussianBlur(coarse, (0, 0), deviation, borderType=cv2.BORDER_REPLICATE)
    level = _log_uniform(rng, _LEVEL) * (1 + _RAGGED * _noise(rng, grid, rng.uniform(0.02, 0.06), 1))
    level = np.clip(level, 0.05, 0.6)
    ramp = 2 * np.minimum(level, 1 - level) * rng.uniform(*_SOFT)
    return np.clip(_enlarge(((blurred - level) / ramp).astype(np.float32), size) + np.float32(0.5), 0, 1)


def _shadow(rng: np.random.Generator, coarse: Floats) -> Floats:
    """The mask flattened, slanted and laid at the object's feet, (h, w) in 0..1."""
    rows = np.flatnonzero(coarse.max(1) > 0.5)
    foot = float(rows[-1]) if rows.size else 0.0
    flat, slant = rng.uniform(-0.6, -0.1), rng.uniform(-0.5, 0.5)
    matrix = np.array([[1, slant, -slant * foot], [0, flat, foot - flat * foot]])
    strength = np.float32(rng.uniform(0.3, 1))
    return np.asarray(cv2.warpAffine(coarse, matrix, coarse.shape[::-1]) * strength)


def _region(rng: np.random.Generator, grid: Size) -> Floats:
    """A part of the frame, (h, w) in 0..1: above or below a line, stripes, blobs, as many cells as are drawn."""
    return _above(rng, _enlarge(rng.standard_normal(rng.integers(1, 9, 2)).astype(np.float32), grid), (0.05, 0.5))


def _part(rng: np.random.Generator, grid: Size, radius: float) -> Floats:
    """A part of an object, (h, w, 1) in 0..1, some half a radius wide."""
    return _above(rng, _noise(rng, grid, max(0.02, radius / max(grid)), 1), (0.05, 0.3))[..., None]


def _above(rng: np.random.Generator, field: Floats, shares: Range) -> Floats:
    """Where a field is among its largest, a share of the frame, with soft edges."""
    level = np.quantile(field, 1 - rng.uniform(*shares))
    return np.clip((field - np.float32(level)) * np.float32(rng.uniform(3, 10)) + np.float32(0.5), 0, 1)


def _noise(rng: np.random.Generator, grid: Size, cell: float, channels: int = 2) -> Floats:
    """Smooth noise of deviation 1, in cells of that share of the long side: (h, w, channels), (h, w) of one."""
    height, width = (max(2, round(side / max(grid) / cell)) for side in grid)
    shape = (height, width, channels) if channels > 1 else (height, width)
    return _enlarge(rng.standard_normal(shape, np.float32), grid)


def _enlarge(field: Floats, size: Size) -> Floats:
    return np.asarray(cv2.resize(field, size[::-1], interpolation=cv2.INTER_CUBIC), np.float32)


def _weights(mask: UInt8) -> Floats:
    """How much of a pixel is the object's: void is half of it."""
    return np.where(mask == 1, np.float32(1), np.where(mask == 0, np.float32(0), np.float32(0.5)))


def _coarse_size(size: Size) -> Size:
    shrink = min(1.0, _COARSE / max(size))
    return max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink))


def _places(grid: Size) -> Floats:
    """x and y of the coarse grid's cells, (h, w, 2)."""
    x, y = np.meshgrid(np.arange(grid[1], dtype=np.float32), np.arange(grid[0], dtype=np.float32))
    return np.stack([x, y], -1)


def _direction(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.cos(angle), np.sin(angle)])


def _log_uniform(rng: np.random.Generator, limits: Range) -> float:
    return float(np.exp(rng.uniform(*np.log(limits))))
