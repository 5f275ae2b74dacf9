"""Scenes of the rendered demo data: who moves how before which camera, and one frame of it with its truth.

A scene is a plain description (`rendering_staging` makes them up); `render_frame` is a pure function of it.
World coordinates are pixels of the scene's background canvas, y down; time counts in frames; speeds are
pixels per frame at 256x160 and are multiplied by `FrameSize.unit` for other sizes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from fusionseg.pipeline.demo_data.shapes import (
    Affine,
    Body,
    Layer,
    Skin,
    affine,
    chain,
    draw_body,
)
from fusionseg.pipeline.demo_data.textures import Field, Image

Mask = NDArray[np.bool_]
Role = Literal["mover", "distractor", "occluder"]

MIN_VISIBLE = 0.001  # share of the frame: a mover that shows less than this is taken as absent
OCCLUDED_BELOW = 0.9  # visible share of its area in the frame below which a mover counts as occluded


@dataclass(frozen=True)
class FrameSize:
    """Frames per video and their size in pixels."""

    frames: int
    width: int
    height: int

    @property
    def unit(self) -> float:
        """Pixels per pixel of a 256x160 frame."""
        return math.sqrt(self.width * self.height / (256 * 160))


@dataclass(frozen=True)
class Camera:
    """A camera over the canvas: where it looks at the middle of the video and how that changes.

    x, y in world pixels; pan in world pixels per frame; zoom in frame pixels per world pixel, changing by
    exp(zoom_rate) per frame; turn in radians and radians per frame; shake amplitude in world pixels.
    """

    x: float
    y: float
    pan_x: float
    pan_y: float
    zoom: float
    zoom_rate: float
    turn: float
    turn_rate: float
    shake: float
    shake_phase: float
    middle: float


@dataclass(frozen=True)
class Track:
    """An arc through the world: at (x, y) at `middle`, `speed` world pixels per frame while it moves.

    heading in radians, bend in radians per frame; it rests while stop <= t < go (stop == go: never).
    """

    x: float
    y: float
    speed: float
    heading: float
    bend: float
    middle: float
    stop: float
    go: float


@dataclass(frozen=True, eq=False)
class Actor:
    """A body in the scene: its size in world pixels per body unit and what its travel does to it.

    phase and spin change by their rates (radians) per frame moved; flip mirrors the body; parallax above 1
    is nearer to the camera than the background.
    """

    role: Role
    family: str
    body: Body
    skin: Skin
    track: Track
    scale: float
    flip: bool
    tilt: float
    spin_rate: float
    phase: float
    phase_rate: float
    parallax: float = 1.0


@dataclass(frozen=True)
class Light:
    """Slow changes of the light: amplitudes as shares of full gain, rate in radians per frame; noise in grey
    levels."""

    gain: float
    slope: float
    direction: float
    rate: float
    phase: float
    noise: float


@dataclass(frozen=True)
class Sway:
    """Background that stirs in place, as leaves and water do: motion that no object makes.

    A wave of `amplitude` world pixels runs along `direction` with `wavelength` world pixels and `rate`
    radians per frame, under a bell of `radius` world pixels around (x, y).
    """

    x: float
    y: float
    radius: float
    amplitude: float
    direction: float
    wavelength: float
    rate: float
    phase: float


@dataclass(frozen=True, eq=False)
class Scene:
    """A video or still: the canvas (H, W, 3) uint8 BGR, its actors back to front, and how it is filmed.

    `seed` is what the sensor noise of each frame is drawn from.
    """

    kind: str
    size: FrameSize
    canvas: Image
    actors: tuple[Actor, ...]
    camera: Camera
    sways: tuple[Sway, ...]
    light: Light
    exposure: float
    seed: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class RenderedFrame:
    """A frame (height, width, 3) uint8 BGR, and per mover its visible mask (height, width) and occlusion."""

    image: Image
    masks: tuple[Mask, ...]
    families: tuple[str, ...]
    occluded: tuple[bool, ...]

    @property
    def truth(self) -> Mask:
        """The union of the movers' visible masks (height, width)."""
        return cast(Mask, np.logical_or.reduce(np.stack(self.masks)))


def frames_moved(track: Track, time: float) -> float:
    """Return how many frames of travel lie between the track's middle and `time`, its rest taken out."""

    def since_start(t: float) -> float:
        return t - min(max(t - track.stop, 0.0), track.go - track.stop)

    return since_start(time) - since_start(track.middle)


def track_position(track: Track, time: float) -> tuple[float, float]:
    """Return the world position (x, y) at a time in frames."""
    moved = frames_moved(track, time)
    half = 0.5 * track.bend * moved
    chord = track.speed * moved * float(np.sinc(half / math.pi))
    return track.x + chord * math.cos(track.heading + half), track.y + chord * math.sin(track.heading + half)


def camera_matrix(camera: Camera, size: FrameSize, time: float, parallax: float = 1.0) -> Affine:
    """Return the affine from world to frame coordinates at a time in frames."""
    elapsed = time - camera.middle
    sway = camera.shake * math.sin(1.1 * time + camera.shake_phase)
    bob = camera.shake * math.sin(1.7 * time + 2 * camera.shake_phase)
    x = camera.x + parallax * (camera.pan_x * elapsed + sway)
    y = camera.y + parallax * (camera.pan_y * elapsed + bob)
    zoom = camera.zoom * math.exp(camera.zoom_rate * elapsed)
    look = affine(zoom, zoom, camera.turn + camera.turn_rate * elapsed, 0, 0)
    look[:, 2] = (size.width / 2, size.height / 2) - look[:, :2] @ (x, y)
    return look


def actor_matrix(scene: Scene, actor: Actor, time: float) -> Affine:
    """Return the affine from the actor's body to frame coordinates at a time in frames."""
    x, y = track_position(actor.track, time)
    angle = actor.tilt + actor.spin_rate * frames_moved(actor.track, time)
    pose = affine(-actor.scale if actor.flip else actor.scale, actor.scale, angle, x, y)
    return chain(camera_matrix(scene.camera, scene.size, time, actor.parallax), pose)


def draw_actors(scene: Scene, time: float) -> list[Layer | None]:
    """Return every actor's layer at a time in frames, in the scene's order."""
    height, width = scene.size.height, scene.size.width
    layers = []
    for actor in scene.actors:
        phase = actor.phase + actor.phase_rate * frames_moved(actor.track, time)
        to_frame = actor_matrix(scene, actor, time)
        layers.append(draw_body(actor.body, phase, actor.skin, to_frame, height, width))
    return layers


def _view_background(scene: Scene, time: float) -> Image:
    """Return what the camera sees of the canvas (height, width, 3), stirred by the scene's sways."""
    view = camera_matrix(scene.camera, scene.size, time)
    width, height = scene.size.width, scene.size.height
    if not scene.sways:
        seen = cv2.warpAffine(
            scene.canvas, view, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )
        return cast(Image, seen)
    back = np.asarray(cv2.invertAffineTransform(view), np.float32)
    columns, rows = np.arange(width, dtype=np.float32)[None, :], np.arange(height, dtype=np.float32)[:, None]
    x = back[0, 0] * columns + back[0, 1] * rows + back[0, 2]
    y = back[1, 0] * columns + back[1, 1] * rows + back[1, 2]
    move_x, move_y = np.zeros_like(x), np.zeros_like(y)
    for sway in scene.sways:
        along_x, along_y = math.cos(sway.direction), math.sin(sway.direction)
        bell = np.exp(((x - sway.x) ** 2 + (y - sway.y) ** 2) * np.float32(-0.5 / sway.radius**2))
        wave = np.float32(2 * math.pi / sway.wavelength) * (np.float32(along_x) * x + np.float32(along_y) * y)
        shift = np.float32(sway.amplitude) * bell * np.sin(wave + np.float32(sway.rate * time + sway.phase))
        move_x += np.float32(along_x) * shift
        move_y += np.float32(along_y) * shift
    seen = cv2.remap(scene.canvas, x + move_x, y + move_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return cast(Image, seen)


def _compose(scene: Scene, layers: list[Layer | None], time: float) -> Field:
    """Return background and layers as one float32 image (height, width, 3)."""
    image = _view_background(scene, time).astype(np.float32)
    for layer in layers:
        if layer is not None:
            rows, columns = layer.coverage.shape
            region = image[layer.y : layer.y + rows, layer.x : layer.x + columns]
            region *= (1 - layer.coverage)[..., None]
            region += layer.colour
    return image


def owner_of_pixels(size: FrameSize, layers: list[Layer | None]) -> tuple[NDArray[np.int16], list[int]]:
    """Return which layer shows at each pixel (-1: none), and each layer's own area in pixels."""
    owner = np.full((size.height, size.width), -1, np.int16)
    areas = []
    for number, layer in enumerate(layers):
        if layer is None:
            areas.append(0)
            continue
        solid = layer.coverage > 0.5
        rows, columns = solid.shape
        owner[layer.y : layer.y + rows, layer.x : layer.x + columns][solid] = number
        areas.append(int(np.count_nonzero(solid)))
    return owner, areas


def shutter_times(scene: Scene, time: float) -> list[float]:
    """Return the odd number of instants, `time` in their middle, whose average is the exposed frame."""
    speeds = [actor.track.speed for actor in scene.actors]
    pan = math.hypot(scene.camera.pan_x, scene.camera.pan_y)
    travel = scene.exposure * scene.camera.zoom * (max(speeds, default=0.0) + pan)
    count = 1 if travel < 0.8 else 3 if travel < 3.5 else 5
    return [time + scene.exposure * (step / count) for step in range(-(count // 2), count // 2 + 1)]


def _lit(scene: Scene, image: Field, number: int) -> Image:
    """Return the frame after light and sensor, uint8."""
    light, size = scene.light, scene.size
    swing = math.sin(light.rate * number + light.phase)
    x = np.linspace(-1, 1, size.width, dtype=np.float32)[None, :] * np.float32(math.cos(light.direction))
    y = np.linspace(-1, 1, size.height, dtype=np.float32)[:, None] * np.float32(math.sin(light.direction))
    gain = np.float32(1 + light.gain * swing) + np.float32(light.slope * (0.6 + 0.4 * swing)) * (x + y)
    rng = np.random.default_rng([*scene.seed, number])
    noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(light.noise)
    lit = np.rint(image * gain[..., None] + noise)
    exposed: Image = np.clip(lit, 0, 255).astype(np.uint8)
    return exposed


def render_frame(scene: Scene, number: int) -> RenderedFrame:
    """Return frame `number` (from 0) of a scene with the visible mask of every mover at mid-exposure."""
    total: Field | None = None
    times = shutter_times(scene, float(number))
    layers: list[Layer | None] = []
    for instant in times:
        drawn = draw_actors(scene, instant)
        image = _compose(scene, drawn, instant)
        total = image if total is None else total + image
        if instant == float(number):
            layers = drawn
    assert total is not None
    owner, areas = owner_of_pixels(scene.size, layers)
    movers = [n for n, actor in enumerate(scene.actors) if actor.role == "mover"]
    least = MIN_VISIBLE * scene.size.width * scene.size.height
    masks, occluded = [], []
    for n in movers:
        mask = owner == n
        seen = int(np.count_nonzero(mask))
        masks.append(mask if seen >= least else np.zeros_like(mask))
        occluded.append(0 < seen < OCCLUDED_BELOW * areas[n])
    families = tuple(scene.actors[n].family for n in movers)
    lit = _lit(scene, total / np.float32(len(times)), number)
    return RenderedFrame(lit, tuple(masks), families, tuple(occluded))
