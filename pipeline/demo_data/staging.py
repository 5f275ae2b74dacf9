"""Making up the scenes of the rendered demo data: everything that is left to chance, and within which bounds.

Each scene is drawn from a random generator of its own, so that no scene depends on another. Coordinates and
units are those of `rendering_scenes`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import cv2
import numpy as np

from fusionseg.pipeline.demo_data.scenes import (
    Actor,
    Camera,
    FrameSize,
    Light,
    Role,
    Scene,
    Sway,
    Track,
    camera_matrix,
    track_position,
)
from fusionseg.pipeline.demo_data.shapes import (
    Bar,
    Body,
    Points,
    Skin,
    move_points,
    random_body,
    silhouette_area,
)
from fusionseg.pipeline.demo_data.textures import (
    Image,
    add_clutter,
    join_regions,
    noise_field,
    paint_background,
    paint_coat,
)

VideoKind = Literal["distractor", "camouflage", "stops", "plain"]

# The share of each kind among a split's videos: the two that break appearance make up half.
KIND_SHARES: dict[VideoKind, float] = {"distractor": 0.25, "camouflage": 0.25, "stops": 0.20, "plain": 0.30}
FAMILIES = ("creature", "blob", "vehicle", "polygon")
FAMILY_SHARES = (0.4, 0.25, 0.2, 0.15)

CANVAS_FACTOR = 2.0  # canvas side per frame side: room for the pan, the zoom-out and the turn
COAT_TEXELS = 44.0  # texels per body unit, about an object's largest scale in pixels
COAT_SIDE = 200  # texels: 4.5 body units, more than any body's length
OUTLINE = 1.3  # pixels: the dark rim of a coated object
CREATURE_REACH = 1.5  # body units from its middle to its farthest end, for keeping objects apart

OBJECT_AREA = (0.04, 0.20)  # share of the frame, drawn log-uniformly
CAMOUFLAGE_AREA = (0.06, 0.20)  # a smaller one is lost in the flow's own smoothness
SECOND_AREA = (0.03, 0.08)  # where two objects share the frame
SPEED = (2.5, 7.5)  # pixels per frame over the background
CAMOUFLAGE_SPEED = (3.5, 7.5)

SECOND_MOVER_CHANCE = 0.2
OCCLUDER_CHANCE = 0.25
SWAY_CHANCE = 0.4  # not in camouflage, where motion is all there is to go by
CLUTTER_CHANCE = 0.5
HORIZON_CHANCE = 0.5
EXPOSURE = (0.1, 0.6)  # share of the frame interval: how long the shutter is open
SENSOR_NOISE = (1.5, 5.0)  # grey levels, standard deviation
STOPPED_SHARE = (0.34, 0.5)  # of a "stops" video's frames
NEVER = (0.0, 0.0)  # the (stop, go) of what does not rest
REFERENCE_FRAMES = 16  # camera rates below are for videos this long; longer ones move more slowly


def _log_uniform(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    return math.exp(rng.uniform(math.log(bounds[0]), math.log(bounds[1])))


def _sign(rng: np.random.Generator) -> int:
    return 1 if rng.random() < 0.5 else -1


def random_canvas(rng: np.random.Generator, size: FrameSize, one_texture: bool, clutter: int) -> Image:
    """Return a background canvas, uint8 BGR, `CANVAS_FACTOR` times the frame on each side."""
    height, width = round(size.height * CANVAS_FACTOR), round(size.width * CANVAS_FACTOR)
    canvas = paint_background(rng, height, width, size.unit)
    if not one_texture and rng.random() < HORIZON_CHANCE:
        canvas = join_regions(rng, canvas, paint_background(rng, height, width, size.unit), size.unit)
    canvas = add_clutter(rng, canvas, clutter, size.unit)
    # A slow change of brightness over the canvas: real ground is never lit evenly.
    shade = 1 + 0.35 * (noise_field(rng, height, width, 120 * size.unit, 2) - 0.5)
    return np.clip(canvas * shade[..., None], 0, 255).astype(np.uint8)


def random_camera(rng: np.random.Generator, size: FrameSize) -> Camera:
    """Return a camera near the canvas's middle: static, panning, zooming, turning, or all three."""
    mode = str(rng.choice(["static", "pan", "zoom", "turn", "mixed"], p=[0.08, 0.3, 0.2, 0.14, 0.28]))
    rate = min(1.0, REFERENCE_FRAMES / size.frames)
    pan = rng.uniform(2.0, 5.0) * size.unit * rate if mode in ("pan", "mixed") else 0.0
    direction = rng.uniform(0, 2 * math.pi)
    zoom_rate = _sign(rng) * rng.uniform(0.01, 0.025) * rate if mode in ("zoom", "mixed") else 0.0
    turn_rate = _sign(rng) * rng.uniform(0.01, 0.025) * rate if mode in ("turn", "mixed") else 0.0
    return Camera(
        x=size.width * CANVAS_FACTOR / 2, y=size.height * CANVAS_FACTOR / 2,
        pan_x=pan * math.cos(direction), pan_y=0.6 * pan * math.sin(direction),
        zoom=rng.uniform(1.0, 1.25), zoom_rate=zoom_rate, turn=rng.uniform(-0.15, 0.15), turn_rate=turn_rate,
        shake=0.0 if mode == "static" else rng.uniform(0.1, 0.6) * size.unit,
        shake_phase=rng.uniform(0, 2 * math.pi), middle=(size.frames - 1) / 2,
    )  # fmt: skip


def random_light(rng: np.random.Generator) -> Light:
    """Return a slow change of light and a sensor's noise."""
    return Light(
        gain=rng.uniform(0, 0.12), slope=rng.uniform(0, 0.14), direction=rng.uniform(0, 2 * math.pi),
        rate=rng.uniform(0.1, 0.35), phase=rng.uniform(0, 2 * math.pi), noise=rng.uniform(*SENSOR_NOISE),
    )  # fmt: skip


def random_sway(rng: np.random.Generator, size: FrameSize) -> Sway:
    """Return a patch of stirring background in view at mid-video, as fast at its peak as a slow mover."""
    rate = rng.uniform(0.45, 0.9)
    peak = rng.uniform(2.0, 4.0) * size.unit
    return Sway(
        x=size.width * (CANVAS_FACTOR / 2 + rng.uniform(-0.35, 0.35)),
        y=size.height * (CANVAS_FACTOR / 2 + rng.uniform(-0.35, 0.35)),
        radius=rng.uniform(20, 34) * size.unit, amplitude=peak / rate, direction=rng.uniform(0, 2 * math.pi),
        wavelength=rng.uniform(70, 140) * size.unit, rate=_sign(rng) * rate,
        phase=rng.uniform(0, 2 * math.pi),
    )  # fmt: skip


def coat_skin(rng: np.random.Generator, unit: float) -> Skin:
    """Return the object family's look: a saturated patterned coat with a dark outline."""
    return Skin(paint_coat(rng, COAT_SIDE), COAT_TEXELS, max(0.5, OUTLINE * unit), False)


def camouflage_skin(canvas: Image, x: float, y: float, scale: float) -> Skin:
    """Return the canvas around a world position as a skin: mirrored, so that it never melts in exactly.

    One texel is one world pixel, so the mover's texture is as fine as what it passes.
    """
    half = min(math.ceil(2.6 * scale), canvas.shape[0] // 2 - 1, canvas.shape[1] // 2 - 1)
    left = min(max(round(x) - half, 0), canvas.shape[1] - 2 * half)
    top = min(max(round(y) - half, 0), canvas.shape[0] - 2 * half)
    patch = canvas[top : top + 2 * half, left : left + 2 * half, :]
    return Skin(np.ascontiguousarray(patch[:, ::-1]), scale, 0.0, True)


def _frame_path(camera: Camera, size: FrameSize, track: Track) -> Points:
    """Return the track's frame coordinates (frames, 2)."""
    path = [
        move_points(camera_matrix(camera, size, float(t)), np.array([track_position(track, float(t))]))
        for t in range(size.frames)
    ]
    return np.concatenate(path)


def _inside(size: FrameSize, path: Points) -> float:
    """Return by how much of the frame a path stays clear of its margin; negative where it leaves it."""
    x, y = path[:, 0] / size.width, path[:, 1] / size.height
    return float(np.minimum(np.minimum(x, 1 - x), np.minimum(y, 1 - y)).min())


def _random_track(
    rng: np.random.Generator, camera: Camera, size: FrameSize, speed: float, level: bool,
    rest: tuple[float, float],
) -> Track:  # fmt: skip
    middle = (size.frames - 1) / 2
    at_frame = np.array([[rng.uniform(0.16, 0.84) * size.width, rng.uniform(0.2, 0.8) * size.height]])
    to_world = cv2.invertAffineTransform(camera_matrix(camera, size, middle))
    x, y = move_points(np.asarray(to_world, np.float64), at_frame)[0]
    slant = rng.uniform(-0.45, 0.45) if level else rng.uniform(-math.pi / 2, math.pi / 2)
    heading = slant + (0.0 if rng.random() < 0.5 else math.pi)
    bend = rng.uniform(-0.04, 0.04) if level else rng.uniform(-0.09, 0.09)
    return Track(float(x), float(y), speed, heading, bend, middle, *rest)


def moving_track(
    rng: np.random.Generator, camera: Camera, size: FrameSize, speeds: tuple[float, float], level: bool,
    rest: tuple[float, float], others: list[Points],
) -> Track:  # fmt: skip
    """Return a track that stays in view, away from the other movers' paths where it can.

    `level` keeps walkers and wheels near the horizontal; `rest` is (stop, go) in frames.
    """
    best, best_score = None, -math.inf
    for _ in range(40):
        speed = rng.uniform(*speeds) * size.unit / camera.zoom
        track = _random_track(rng, camera, size, speed, level, rest)
        path = _frame_path(camera, size, track)
        apart = min((float(np.linalg.norm(path - other, axis=1).min()) for other in others), default=math.inf)
        score = min(_inside(size, path) - 0.1, apart / size.width - 0.25)
        if score > best_score:
            best, best_score = track, score
        if score >= 0:
            break
    assert best is not None
    return best


def leaving_track(rng: np.random.Generator, camera: Camera, size: FrameSize, track: Track, reach: float) -> Track:
    """Return a track on which an object is wholly in view at first and out of it in the last frames.

    `reach` is the object's half length in world pixels; the camera must neither pan nor zoom.
    """
    side = 1 if math.cos(track.heading) > 0 else -1
    border = camera.x + side * (size.width / 2) / camera.zoom
    # Its own length in 70 % of the time; the arc's middle is where it starts.
    speed = 2.2 * reach / (0.7 * size.frames)
    heading = rng.uniform(-0.15, 0.15) + (0.0 if side > 0 else math.pi)
    return replace(track, x=border - side * 1.1 * reach, heading=heading, bend=0.0, speed=speed, middle=0.0)


def rest_of(rng: np.random.Generator, kind: str, frames: int) -> tuple[float, float]:
    """Return (stop, go) in frames; halves, so that no shutter is open across a stop's first or last frame."""
    if kind != "stops":
        return NEVER
    length = max(1, round(rng.uniform(*STOPPED_SHARE) * frames))
    first = int(rng.integers(max(1, frames // 4), max(2, frames - length + 1)))
    return first - 0.5, first + length - 0.5


def _pose(rng: np.random.Generator, family: str, track: Track) -> tuple[bool, float, float, float]:
    """Return (flip, tilt, spin_rate, phase_rate) that suit a family's way of moving."""
    flip = math.cos(track.heading) < 0
    if family in ("creature", "vehicle"):
        slope = math.atan2(math.sin(track.heading), abs(math.cos(track.heading)))
        tilt = 0.4 * slope * (-1 if flip else 1)
        return flip, tilt, 0.0, rng.uniform(0.6, 1.1)
    spin = _sign(rng) * rng.uniform(0.02, 0.1) if family == "polygon" else 0.0
    return flip, rng.uniform(-0.6, 0.6), spin, rng.uniform(0.25, 0.6)


def _actor(
    rng: np.random.Generator, role: Role, family: str, body: Body, skin: Skin, track: Track, scale: float
) -> Actor:  # fmt: skip
    flip, tilt, spin, rate = _pose(rng, family, track)
    if family == "vehicle":  # wheels that roll: what they cover is what the vehicle travels
        rate = track.speed / (0.3 * scale)
    return Actor(role, family, body, skin, track, scale, flip, tilt, spin, rng.uniform(0, 2 * math.pi), rate)


def _random_family(rng: np.random.Generator) -> str:
    return str(rng.choice(FAMILIES, p=FAMILY_SHARES))


def _scale_for(body: Body, area: float, size: FrameSize, camera: Camera) -> float:
    """Return the world pixels per body unit at which a body fills `area` of the frame at mid-video."""
    pixels = area * size.width * size.height
    return math.sqrt(pixels / silhouette_area(body, 0.0)) / camera.zoom


def _mover(
    rng: np.random.Generator, kind: str, size: FrameSize, camera: Camera, canvas: Image,
    area: tuple[float, float], others: list[Points],
) -> Actor:  # fmt: skip
    family = _random_family(rng)
    body = random_body(rng, family)
    scale = _scale_for(body, _log_uniform(rng, area), size, camera)
    speeds = CAMOUFLAGE_SPEED if kind == "camouflage" else SPEED
    rest = rest_of(rng, kind, size.frames)
    track = moving_track(rng, camera, size, speeds, family in ("creature", "vehicle"), rest, others)
    skin = coat_skin(rng, size.unit)
    if kind == "camouflage":
        skin = camouflage_skin(canvas, track.x, track.y, scale)
    return _actor(rng, "mover", family, body, skin, track, scale)


def _distractor(
    rng: np.random.Generator, size: FrameSize, camera: Camera, area: tuple[float, float], paths: list[Points]
) -> Actor:
    """Return an object that stands still in the world, in view and clear of the paths where it can."""
    family = _random_family(rng)
    body = random_body(rng, family)
    scale = _scale_for(body, _log_uniform(rng, area), size, camera)
    best, best_score = None, -math.inf
    for _ in range(24):
        track = _random_track(rng, camera, size, 0.0, True, NEVER)
        path = _frame_path(camera, size, track)
        apart = min(float(np.linalg.norm(path - other, axis=1).min()) for other in paths)
        score = min(apart / (2 * CREATURE_REACH * scale * camera.zoom) - 1, 2 * (_inside(size, path) - 0.08))
        if score > best_score:
            best, best_score = track, score
        if score >= 0:
            break
    assert best is not None
    return _actor(rng, "distractor", family, body, coat_skin(rng, size.unit), best, scale)


def _occluder(rng: np.random.Generator, size: FrameSize, mover: Actor) -> Actor:
    """Return a standing post across the mover's way, narrower than it and nearer than the background."""
    width = rng.uniform(0.35, 0.7) * mover.scale
    time = rng.uniform(0.25, 0.75) * (size.frames - 1)
    x, y = track_position(mover.track, time)
    side = 2 * max(16, round(CANVAS_FACTOR * size.height / 2))
    skin = Skin(paint_background(rng, side, side, size.unit), 1.0, 0.0, True)
    track = Track(x, y, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    tilt = rng.uniform(-0.2, 0.2)
    return Actor("occluder", "bar", Bar(width), skin, track, 1.0, False, tilt, 0.0, 0.0, 0.0, parallax=1.15)


def video_scene(kind: VideoKind, size: FrameSize, seed: tuple[int, ...], leaves: bool = False) -> Scene:
    """Return a video's scene; with `leaves` its one mover goes out of view before the end."""
    rng = np.random.default_rng(seed)
    clutter = int(rng.integers(1, 4)) if rng.random() < CLUTTER_CHANCE and kind != "camouflage" else 0
    canvas = random_canvas(rng, size, kind == "camouflage", clutter)
    camera = random_camera(rng, size)
    if leaves:  # a camera that followed would keep it in view
        camera = replace(camera, pan_x=0.0, pan_y=0.0, zoom_rate=0.0)
    pair = kind in ("plain", "distractor") and not leaves and rng.random() < SECOND_MOVER_CHANCE
    crowded = pair or leaves or kind == "distractor"
    area = CAMOUFLAGE_AREA if kind == "camouflage" else (SECOND_AREA[0], 0.11) if crowded else OBJECT_AREA
    movers = [_mover(rng, kind, size, camera, canvas, area, [])]
    if leaves:
        first = movers[0]
        track = leaving_track(rng, camera, size, first.track, CREATURE_REACH * first.scale)
        flip, tilt, spin, _ = _pose(rng, first.family, track)
        movers = [replace(first, track=track, flip=flip, tilt=tilt, spin_rate=spin)]
    paths = [_frame_path(camera, size, movers[0].track)]
    if pair:
        movers.append(_mover(rng, kind, size, camera, canvas, SECOND_AREA, paths))
        paths.append(_frame_path(camera, size, movers[1].track))
    standing: list[Actor] = []
    for _ in range(int(rng.integers(1, 3)) if kind == "distractor" else 0):
        standing.append(_distractor(rng, size, camera, area, paths))
        paths.append(_frame_path(camera, size, standing[-1].track))
    actors = [*standing, *movers]
    if rng.random() < 0.4:  # now and then a mover passes behind what stands
        actors = [*movers, *standing]
    if rng.random() < OCCLUDER_CHANCE:
        actors.append(_occluder(rng, size, movers[0]))
    stirred = kind != "camouflage" and rng.random() < SWAY_CHANCE
    sways = tuple(random_sway(rng, size) for _ in range(int(rng.integers(1, 3)) if stirred else 0))
    exposure = rng.uniform(*EXPOSURE)
    return Scene(kind, size, canvas, tuple(actors), camera, sways, random_light(rng), exposure, seed)


def still_scene(width: int, height: int, seed: tuple[int, ...]) -> Scene:
    """Return a still: one or two coated objects, all of them truth, over a background with clutter on it."""
    rng = np.random.default_rng(seed)
    size = FrameSize(1, width, height)
    clutter = int(rng.integers(1, 5)) if rng.random() < CLUTTER_CHANCE else 0
    canvas = random_canvas(rng, size, False, clutter)
    camera = replace(random_camera(rng, size), shake=0.0, zoom_rate=0.0, turn_rate=0.0)
    actors: list[Actor] = []
    paths: list[Points] = []
    count = 2 if rng.random() < 0.35 else 1
    for _ in range(count):
        area = OBJECT_AREA if count == 1 else (SECOND_AREA[0], 0.11)
        actors.append(_mover(rng, "still", size, camera, canvas, area, paths))
        paths.append(_frame_path(camera, size, actors[-1].track))
    if rng.random() < 0.5 * OCCLUDER_CHANCE:
        actors.append(_occluder(rng, size, actors[0]))
    exposure = rng.uniform(*EXPOSURE) if rng.random() < 0.5 else 0.0
    return Scene("still", size, canvas, tuple(actors), camera, (), random_light(rng), exposure, seed)
