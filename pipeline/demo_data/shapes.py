"""Bodies of the rendered demo data and how one is drawn: outlines in body coordinates, painted by an affine.

A body lives in its own coordinates: x forward, y down, about two units long, centred near the origin.
`phase` (radians) is all that changes in it: it swings legs, turns wheels and deforms contours, so a body
whose phase stands still is itself still. An affine is a float64 (2, 3) array that maps column points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fusionseg.pipeline.demo_data.textures import Colour, Field, Image

Points = NDArray[np.float64]
Affine = NDArray[np.float64]

# Bodies are drawn this much finer and averaged down: smooth edges, and a mask that is exact to half a pixel.
SUPERSAMPLING = 2
# cv2's fixed-point polygon corners: 4 bits are sixteenths of a (supersampled) pixel.
SHIFT = 4
DARK: Colour = (22, 18, 20)
GLASS: Colour = (225, 205, 175)


@dataclass(frozen=True)
class Creature:
    """An animal seen from the side; lengths in body units, angles in radians."""

    girth: float
    leg_length: float
    leg_width: float
    swing: float
    head: float
    neck: float
    tail: float


@dataclass(frozen=True)
class Blob:
    """A soft contour r(angle) = 1 + sum of a_k cos(k angle + p_k + w_k phase), k = 2, 3, ..."""

    amplitudes: tuple[float, ...]
    offsets: tuple[float, ...]
    rates: tuple[float, ...]
    aspect: float


@dataclass(frozen=True)
class Vehicle:
    """A rigid profile on wheels; `profile` are its corners, `axles` the wheels' x."""

    profile: tuple[tuple[float, float], ...]
    axles: tuple[float, ...]
    wheel: float


@dataclass(frozen=True)
class Polygon:
    """A rigid polygon."""

    corners: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Bar:
    """A straight post, `width` body units wide and endless in y: the occluder."""

    width: float


Body = Creature | Blob | Vehicle | Polygon | Bar


@dataclass(frozen=True, eq=False)
class Part:
    """One polygon of a body: its corners (n, 2) in its own coordinates, and where it sits in the body."""

    corners: Points
    to_body: Affine
    tone: float = 1.0
    flat: Colour | None = None


@dataclass(frozen=True, eq=False)
class Skin:
    """What a body wears: a square texture, its texels per body unit, the outline's width in pixels (0: none).

    A `whole` skin ignores parts' tones and colours and lies rigidly over the body: that is camouflage.
    """

    texture: Image
    texels: float
    outline: float
    whole: bool


@dataclass(frozen=True, eq=False)
class Layer:
    """A drawn body: its top-left pixel in the frame, and its colour (h, w, 3) in [0, 255], multiplied by its
    coverage (h, w) in [0, 1] already."""

    x: int
    y: int
    colour: Field
    coverage: Field


def affine(scale_x: float, scale_y: float, angle: float, x: float, y: float) -> Affine:
    """Return the affine that scales, then turns by `angle` radians, then moves by (x, y)."""
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos * scale_x, -sin * scale_y, x], [sin * scale_x, cos * scale_y, y]], np.float64)


def chain(outer: Affine, inner: Affine) -> Affine:
    """Return the affine that applies `inner` first and `outer` second."""
    return np.hstack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2:] + outer[:, 2:]])


def move_points(matrix: Affine, points: Points) -> Points:
    """Return points (n, 2) mapped by an affine."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def _ellipse(radius_x: float, radius_y: float, corners: int = 28) -> Points:
    angles = np.linspace(0, 2 * math.pi, corners, endpoint=False)
    return np.stack([radius_x * np.cos(angles), radius_y * np.sin(angles)], axis=1)


def _limb(length: float, width: float) -> Points:
    """Return a rounded limb that hangs from the origin along +y."""
    half = width / 2
    return np.array(
        [[-half, -half], [half, -half], [0.8 * half, length], [0.4 * half, length + half],
         [-0.4 * half, length + half], [-0.8 * half, length]]
    )  # fmt: skip


def _creature_parts(body: Creature, phase: float) -> list[Part]:
    legs = []
    for number, (x, beat) in enumerate([(-0.72, 0.0), (0.62, math.pi), (-0.5, math.pi), (0.8, 0.0)]):
        angle = body.swing * math.sin(phase + beat)
        corners = _limb(body.leg_length, body.leg_width)
        legs.append(Part(corners, affine(1, 1, angle, x, 0.55 * body.girth), 0.62 if number < 2 else 0.85))
    nod = 0.12 * math.sin(2 * phase)
    tail = Part(_limb(body.tail, 0.16), affine(1, 1, 1.1 + 0.35 * math.sin(phase), -0.92, -0.15), 0.8)
    reach_x, reach_y = 0.85 + 0.7 * body.neck, -0.3 - body.neck
    neck = Part(_limb(1.1 * body.neck, 1.25 * body.head), affine(1, 1, -2.53 + nod, 0.75, -0.1), 0.95)
    head = Part(_ellipse(1.35 * body.head, body.head), affine(1, 1, 0.25 + nod, reach_x, reach_y))
    eye = Part(
        _ellipse(0.2 * body.head, 0.22 * body.head, 10),
        affine(1, 1, 0, reach_x + 0.45 * body.head, reach_y - 0.2 * body.head), flat=DARK,
    )  # fmt: skip
    trunk = Part(_ellipse(1.0, body.girth), affine(1, 1, 0, 0, 0.03 * math.sin(2 * phase)))
    return [*legs[:2], tail, *legs[2:], neck, trunk, head, eye]


def _blob_parts(body: Blob, phase: float) -> list[Part]:
    angles = np.linspace(0, 2 * math.pi, 72, endpoint=False)
    radius = np.ones_like(angles)
    waves = zip(body.amplitudes, body.offsets, body.rates, strict=True)
    for k, (amplitude, offset, rate) in enumerate(waves, 2):
        radius += amplitude * np.cos(k * angles + offset + rate * phase)
    corners = np.stack([body.aspect * radius * np.cos(angles), radius * np.sin(angles)], axis=1)
    eyes = [Part(_ellipse(0.11, 0.15, 12), affine(1, 1, 0, x * body.aspect, -0.25), flat=DARK) for x in (0.2, 0.5)]
    return [Part(corners, affine(1, 1, 0, 0, 0)), *eyes]


def _vehicle_parts(body: Vehicle, phase: float) -> list[Part]:
    profile = np.array(body.profile, np.float64)
    base = float(profile[:, 1].max())
    window = profile.mean(axis=0) + 0.36 * (profile - profile.mean(axis=0))
    window[:, 1] -= 0.12
    parts = [Part(profile, affine(1, 1, 0, 0, 0)), Part(window, affine(1, 1, 0, 0, 0), flat=GLASS)]
    for x in body.axles:
        turn = affine(1, 1, phase, x, base)
        parts.append(Part(_ellipse(body.wheel, body.wheel, 20), turn, flat=DARK))
        # The hub is a square so that the wheel's turning shows.
        hub = body.wheel * 0.55 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float64)
        parts.append(Part(hub, turn))
    return parts


def body_parts(body: Body, phase: float) -> list[Part]:
    """Return a body's parts at a phase, back to front."""
    match body:
        case Creature():
            return _creature_parts(body, phase)
        case Blob():
            return _blob_parts(body, phase)
        case Vehicle():
            return _vehicle_parts(body, phase)
        case Polygon():
            return [Part(np.array(body.corners, np.float64), affine(1, 1, 0, 0, 0))]
        case Bar():
            half, far = body.width / 2, 1e3
            corners = np.array([[-half, -far], [half, -far], [half, far], [-half, far]])
            return [Part(corners, affine(1, 1, 0, 0, 0))]


def random_body(rng: np.random.Generator, family: str) -> Body:
    """Return a random body of the family "creature", "blob", "vehicle" or "polygon"."""
    if family == "creature":
        return Creature(
            girth=rng.uniform(0.42, 0.62), leg_length=rng.uniform(0.45, 0.85),
            leg_width=rng.uniform(0.24, 0.34), swing=rng.uniform(0.3, 0.6), head=rng.uniform(0.24, 0.34),
            neck=rng.uniform(0.2, 0.55), tail=rng.uniform(0.4, 0.8),
        )  # fmt: skip
    if family == "blob":
        waves = range(2, 6)
        return Blob(
            tuple(float(rng.uniform(0.05, 0.32) / (k - 0.8)) for k in waves),
            tuple(float(rng.uniform(0, 2 * math.pi)) for _ in waves),
            tuple(float(rng.choice([-1, 1]) * rng.uniform(0.5, 1.2)) for _ in waves),
            float(rng.uniform(1.0, 1.4)),
        )
    if family == "vehicle":
        return _random_vehicle(rng)
    count = int(rng.integers(5, 9))
    angles = (np.arange(count) + rng.uniform(-0.28, 0.28, count)) * 2 * math.pi / count
    radii = rng.uniform(0.62, 1.2, count)
    corners = zip((radii * np.cos(angles)).tolist(), (radii * np.sin(angles)).tolist(), strict=True)
    return Polygon(tuple(corners))


def _random_vehicle(rng: np.random.Generator) -> Vehicle:
    roof, hood = float(rng.uniform(-0.75, -0.5)), float(rng.uniform(-0.25, -0.05))
    back, front = float(rng.uniform(-0.95, -0.5)), float(rng.uniform(0.2, 0.6))
    profile = (
        (-1.1, 0.35), (-1.1, hood), (back, roof), (front, roof),
        (front + 0.3, hood), (1.15, hood + 0.1), (1.15, 0.35),
    )  # fmt: skip
    return Vehicle(profile, (-0.65, 0.65), float(rng.uniform(0.24, 0.34)))


def silhouette_area(body: Body, phase: float) -> float:
    """Return the area that a body covers, in squared body units, from a coarse drawing of it."""
    scale, side = 20.0, 140
    mask = np.zeros((side, side), np.uint8)
    to_mask = affine(scale, scale, 0, side / 2, side / 2)
    for part in body_parts(body, phase):
        _fill(mask, move_points(chain(to_mask, part.to_body), part.corners), 255)
    return float(np.count_nonzero(mask)) / scale**2


def _fill(mask: Image, corners: Points, value: int) -> None:
    cv2.fillPoly(mask, [_fixed(corners)], value, shift=SHIFT)


def _fixed(corners: Points) -> NDArray[np.int32]:
    # cv2 counts from pixel centres, so a continuous coordinate c is its fixed-point (c - 0.5).
    return np.round(np.clip(corners - 0.5, -3e4, 3e4) * (1 << SHIFT)).astype(np.int32)


def draw_body(body: Body, phase: float, skin: Skin, to_frame: Affine, height: int, width: int) -> Layer | None:
    """Return the body drawn into a frame of (height, width) pixels, or None where none of it would be in it.

    `to_frame` maps body coordinates to continuous frame coordinates, pixel (row, column) covering
    [column, column + 1) x [row, row + 1).
    """
    parts = body_parts(body, phase)
    outlines = [move_points(chain(to_frame, part.to_body), part.corners) for part in parts]
    pad = skin.outline + 1
    box = _clip_box(outlines, pad, height, width)
    if box is None:
        return None
    left, top, right, bottom = box
    s = SUPERSAMPLING
    to_fine = chain(affine(s, s, 0, -s * left, -s * top), to_frame)
    fine = np.zeros(((bottom - top) * s, (right - left) * s, 3), np.uint8)
    cover = np.zeros(fine.shape[:2], np.uint8)
    for part in parts:
        _paint_part(fine, cover, part, skin, to_fine)
    size = (right - left, bottom - top)
    colour = np.asarray(cv2.resize(fine, size, interpolation=cv2.INTER_AREA), np.float32)
    coverage = np.asarray(cv2.resize(cover, size, interpolation=cv2.INTER_AREA), np.float32)
    return Layer(left, top, colour, coverage / np.float32(255))


def _clip_box(outlines: Sequence[Points], pad: float, height: int, width: int) -> tuple[int, int, int, int] | None:
    points = np.concatenate(outlines)
    low, high = points.min(axis=0) - pad, points.max(axis=0) + pad
    left, top = max(0, math.floor(low[0])), max(0, math.floor(low[1]))
    right, bottom = min(width, math.ceil(high[0])), min(height, math.ceil(high[1]))
    return (left, top, right, bottom) if left < right and top < bottom else None


def _paint_part(fine: Image, cover: Image, part: Part, skin: Skin, to_fine: Affine) -> None:
    """Paint one part over the supersampled colour and coverage, in place."""
    matrix = chain(to_fine, part.to_body)
    corners = move_points(matrix, part.corners)
    mask = np.zeros(cover.shape, np.uint8)
    _fill(mask, corners, 255)
    if part.flat is not None and not skin.whole:
        fine[mask > 0] = part.flat
    else:
        carrier = to_fine if skin.whole else matrix
        # Texture coordinates start at its middle: the coat lies centred on the part it covers.
        middle = skin.texture.shape[0] / 2
        step = 1 / skin.texels
        from_texture = chain(carrier, affine(step, step, 0, -middle * step, -middle * step))
        size = (cover.shape[1], cover.shape[0])
        paint = cv2.warpAffine(
            skin.texture, from_texture, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )
        if part.tone != 1 and not skin.whole:
            paint = cv2.convertScaleAbs(paint, alpha=part.tone)
        cv2.copyTo(paint, mask, fine)
    np.maximum(cover, mask, out=cover)
    if skin.outline > 0:
        thickness = max(1, round(skin.outline * SUPERSAMPLING))
        for target, value in ((fine, DARK), (cover, 255)):
            cv2.polylines(target, [_fixed(corners)], True, value, thickness, shift=SHIFT)
