"""Stage `optical-flow`: dense optical flow of each pair of frames.

Pairs go from frame t to t+1; the last frame has no successor and goes to t-1, as in FusionSeg's release. Gap,
direction, method and the size at which flow is estimated are settings.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from fusionseg.pipeline.basics.half import to_float16
from fusionseg.pipeline.datasets.imported_flow import check_flow
from fusionseg.pipeline.datasets.items import Item
from fusionseg.pipeline.datasets.pairs import Pair, PairReader, all_partners, partner, partner_numbers
from fusionseg.pipeline.datasets.reading import read_frame
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.flow.camera import CameraMotion, camera_motion, residual
from fusionseg.pipeline.settings.profile import OpticalFlow
from fusionseg.pipeline.store.artifact import ArtifactWriter, Record
from fusionseg.pipeline.store.artifacts import record_of
from fusionseg.pipeline.store.job import Context, Job, batches, in_order
from fusionseg.pipeline.training.samples import fit, resize

UInt8 = npt.NDArray[np.uint8]
Flow = npt.NDArray[np.float32]
T = TypeVar("T")

# Smaller frames are padded to this many pixels a side: below, DIS's coarsest scale is empty, and with 9 x 300 px its
# fast presets crash the process.
_SMALLEST = 32
_SMALLEST_MATCHED = 128  # px; with smaller frames those that match corners crash the process
# Half precision keeps 1/16 px at 100 px; what lies beyond this is no displacement.
_LARGEST = 6e4


class _DenseFlow(Protocol):
    def calc(self, first: UInt8, second: UInt8, flow: Any, /) -> npt.NDArray[Any]: ...


@dataclass(frozen=True)
class Method:
    """An estimator of OpenCV's: how to make it, whether it wants grey frames, and whether it starts from matches of
    corners, of which a plain picture has none."""

    make: Callable[[], _DenseFlow]
    grey: bool = True
    matches: bool = False
    smallest: int = _SMALLEST


def _dis(preset: int) -> Method:
    return Method(lambda: cast(_DenseFlow, cv2.DISOpticalFlow.create(preset)))


def _contrib(name: str, **more: Any) -> Method:
    def make() -> _DenseFlow:
        if not hasattr(cv2, "optflow"):
            raise UserError(
                "this build of OpenCV lacks the contrib modules, and the optical flow method needs them; install "
                "opencv-contrib-python (and uninstall other builds), or choose a dis method"
            )
        return cast(_DenseFlow, getattr(cv2.optflow, name)())

    return Method(make, **more)


METHODS = {
    "dis-ultrafast": _dis(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST),
    "dis-fast": _dis(cv2.DISOPTICAL_FLOW_PRESET_FAST),
    "dis-medium": _dis(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM),
    "farneback": Method(lambda: cast(_DenseFlow, cv2.FarnebackOpticalFlow.create())),
    "deepflow": _contrib("createOptFlow_DeepFlow"),
    "tvl1": _contrib("DualTVL1OpticalFlow_create"),
    "pcaflow": _contrib("createOptFlow_PCAFlow", matches=True, smallest=_SMALLEST_MATCHED),
    "sparse-to-dense": _contrib("createOptFlow_SparseToDense", grey=False, matches=True, smallest=_SMALLEST_MATCHED),
}
RAFT = ("raft-small", "raft-large")
# An estimator keeps buffers and may not be shared by threads; making one anew each pair wastes them.
_LOCAL = threading.local()


def estimate(
    first: UInt8,
    second: UInt8,
    method: str = "dis-medium",
    *,
    long_side: int = 0,
    weights: Path | None = None,
    device: str = "cpu",
) -> Flow:
    """Optical flow from `first` to `second`, both (H, W, 3) uint8 BGR: (H, W, 2) float32 u, v in pixels.

    `long_side`: size in px at which it is estimated (0: the frames' own); `weights`, `device`: of RAFT. Raises
    ValueError for an unknown method and for frames of another kind or of different sizes, UserError for weights that
    can't be used.
    """
    if method not in METHODS and method not in RAFT:
        raise ValueError(f"unknown optical flow method {method!r}; known: {', '.join([*METHODS, *RAFT])}")
    for frame in (first, second):
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise ValueError(f"a frame of shape {frame.shape} and type {frame.dtype}, expected (H, W, 3) uint8")
    return estimate_pairs([(first, second)], method, long_side, weights, device)[0]


def estimate_pairs(
    pairs: Sequence[Pair], method: str, long_side: int = 0, weights: Path | None = None, device: str = "cpu"
) -> list[Flow]:
    """`estimate` of several pairs, all of one size; RAFT takes them as one batch."""
    for first, second in pairs:
        if first.shape != second.shape:
            raise ValueError(f"frames differ in size: {first.shape} and {second.shape}")
    full = (pairs[0][0].shape[0], pairs[0][0].shape[1])
    size = fit(full, long_side)
    small = [(resize(first, size), resize(second, size)) for first, second in pairs]
    moving = [pair for pair in small if not identical(*pair)]  # not every method sees by itself that nothing moves
    estimated = iter(_raft(moving, method, weights, device) if method in RAFT else [_dense(*p, method) for p in moving])
    flows = [np.zeros((*size, 2), np.float32) if identical(*pair) else next(estimated) for pair in small]
    return [scale_flow(flow, full) for flow in flows]


def scale_flow(flow: Flow, size: tuple[int, int]) -> Flow:
    """(H, W, 2) flow to (height, width): u and v grow with the picture."""
    if flow.shape[:2] == size:
        return flow
    factors = np.array([size[1] / flow.shape[1], size[0] / flow.shape[0]], np.float32)
    return np.asarray(resize(flow, size) * factors, np.float32)


def _dense(first: UInt8, second: UInt8, method: str) -> Flow:
    height, width = first.shape[:2]
    frames = [first, second]
    if METHODS[method].grey:
        frames = [np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), np.uint8) for frame in frames]
    bottom, right = (max(0, METHODS[method].smallest - side) for side in (height, width))
    if bottom or right:
        pad = lambda frame: cv2.copyMakeBorder(frame, 0, bottom, 0, right, cv2.BORDER_REPLICATE)  # noqa: E731
        frames = [np.asarray(pad(frame), np.uint8) for frame in frames]
    calculate = _calculate_from_matches if METHODS[method].matches else _calculate
    return np.ascontiguousarray(calculate(frames[0], frames[1], method)[:height, :width], np.float32)


def identical(first: UInt8, second: UInt8) -> bool:
    """Whether two frames are the same; a glance at the first row tells nearly all that aren't."""
    return np.array_equal(first[:1], second[:1]) and np.array_equal(first, second)


def _calculate(first: UInt8, second: UInt8, method: str) -> npt.NDArray[Any]:
    return _estimator(method).calc(first, second, None)


def _calculate_from_matches(first: UInt8, second: UInt8, method: str) -> npt.NDArray[Any]:
    """Where there is nothing to match, nothing is seen to move."""
    try:
        return np.nan_to_num(_calculate(first, second, method), nan=0.0, posinf=0.0, neginf=0.0)
    except cv2.error:
        return np.zeros((*first.shape[:2], 2), np.float32)


def _estimator(method: str) -> _DenseFlow:
    estimators = _LOCAL.__dict__
    if method not in estimators:
        estimator = METHODS[method].make()
        finest = estimator.getFinestScale() if isinstance(estimator, cv2.DISOpticalFlow) else 0
        estimators[method] = estimator, finest
    estimator, finest = estimators[method]
    if isinstance(estimator, cv2.DISOpticalFlow):
        estimator.setFinestScale(finest)  # OpenCV lowers it for tiny frames, for good
    return cast(_DenseFlow, estimator)


def _raft(pairs: Sequence[Pair], method: str, weights: Path | None, device: str) -> list[Flow]:
    import torch

    from fusionseg.models.raft import estimate_flow

    if not pairs:
        return []
    changed = weights.stat().st_mtime_ns if weights and weights.is_file() else 0
    stack = lambda n: np.stack([pair[n][..., ::-1].transpose(2, 0, 1) for pair in pairs])  # noqa: E731
    first, second = (torch.from_numpy(np.ascontiguousarray(stack(n))).to(device) for n in (0, 1))
    flow = estimate_flow(_raft_model(method, weights, changed, device), first, second)
    return list(np.ascontiguousarray(flow.permute(0, 2, 3, 1).cpu().numpy()))


@functools.lru_cache(maxsize=1)
def _raft_model(method: str, weights: Path | None, changed: int, device: str) -> Any:
    """`changed`: the time stamp of the weights, so that a file that takes another's place is read."""
    from fusionseg.models.backbone import WeightsUnavailable
    from fusionseg.models.raft import create_raft
    from fusionseg.models.weights import WeightsError

    try:
        return create_raft(method, weights).to(device)
    except (WeightsError, WeightsUnavailable) as error:
        raise UserError(f"optical-flow.raft_weights: {error}") from None


def flow_settings(job: Job) -> OpticalFlow:
    """The settings of a job that estimates flow."""
    return OpticalFlow.model_validate({**job.settings["optical-flow"], **job.files})


def each_flow(job: Job, context: Context, finish: Callable[[Flow], T]) -> Iterator[tuple[T, CameraMotion | None]]:
    """`finish` of the flow of every frame of a video, in order, and the camera's motion where it was subtracted.

    Threads work a little ahead; memory doesn't grow with the video.
    """
    item, settings = job.item, flow_settings(job)
    reader = PairReader(item, context.run.workers, settings.gap)

    def complete(flow: Flow) -> tuple[T, CameraMotion | None]:
        if settings.stabilise == "none":
            return finish(flow), None
        motion = camera_motion(flow)
        return finish(residual(flow, motion)), motion

    def flows(pairs: Sequence[Pair]) -> list[Flow]:
        return estimate_pairs(pairs, settings.method, settings.long_side, settings.raft_weights, str(context.device))

    count = len(item.partners)
    if settings.method in RAFT:  # one batch at a time fills the device; threads only read
        groups = list(batches(count, context.run.batch))
        for pairs in in_order(lambda n: [reader.pair(i) for i in groups[n]], len(groups), context.run.workers):
            yield from map(complete, flows(pairs))
    elif settings.method == "import":
        yield from map(complete, imported(item, settings))
    else:
        with opencv_threads(1 if context.run.workers > 1 else None):
            yield from in_order(lambda i: complete(flows([reader.pair(i)])[0]), count, context.run.workers)


@contextmanager
def opencv_threads(count: int | None) -> Iterator[None]:
    """OpenCV's own threads, for a while (None: as they are): where ours keep the cores busy, its are in the way (16.4
    against 17.4 ms a 480p pair)."""
    before = cv2.getNumThreads()
    try:
        if count is not None:
            cv2.setNumThreads(count)
        yield
    finally:
        cv2.setNumThreads(before)


def imported(item: Item, settings: OpticalFlow) -> Iterator[Flow]:
    """The flow of a video's frames that was made elsewhere, after checking that it is what the settings say. A frame
    without any gets the flow of its partner, negated: most tools end with the last pair. Raises UserError, BadFile."""
    source, count = item.flow, len(item.all_frames)
    if source is None or count < 2:
        return
    whole = replace(item, frames=item.all_frames)
    decode = lambda number: read_frame(whole, number)  # noqa: E731
    first = decode(0)
    check_flow(source, (first.shape[0], first.shape[1]), all_partners(item, settings), decode)
    for number, flow in zip(item.numbers, source.read(item.numbers), strict=True):
        if flow is None:
            (back,) = source.read([partner(number, count, settings.gap, settings.direction)])
            flow = np.zeros((*source.size, 2), np.float32) if back is None else -back
        yield flow


def stored(flow: Flow) -> npt.NDArray[np.float16]:
    """Flow as it is kept: float16 px. What lies beyond its range is no displacement, and unknown (NaN)."""
    inside = not flow.size or cv2.norm(flow, cv2.NORM_INF) < _LARGEST
    return to_float16(flow if inside else np.where(np.abs(flow) < _LARGEST, flow, np.float32(np.nan)))


def compute(job: Job, context: Context) -> Record:
    """Write `flow` (T, H, W, 2) float16, u and v in pixels, NaN where unknown, and the facts `frames`, the number of
    each in the whole video, and `partners`, the number of the frame that its flow goes to; with stabilisation also the
    table `camera`, a row a frame.

    A video of one frame has no pair: T is 0.
    """
    item = job.item
    height, width = read_frame(item, 0).shape[:2]
    with job.write(context) as writer:
        data = writer.frames("flow", len(item.partners), (height, width, 2), np.float16)
        motions = []
        for packed, motion in each_flow(job, context, lambda flow: data.pack(stored(flow))):
            data.append(packed)
            motions.append(motion)
        note_pairs(writer, job, motions)
    return record_of(job, context)


def note_pairs(writer: ArtifactWriter, job: Job, motions: Sequence[CameraMotion | None]) -> None:
    """What an artifact made of flow says of its pairs and of stabilisation."""
    item, settings = job.item, flow_settings(job)
    writer.facts |= {
        "frames": list(item.numbers)[: len(item.partners)],
        "partners": partner_numbers(item, settings),
    }
    writer.counts["frames"] = len(item.frames)
    if not item.partners:
        writer.counts["without_flow"] = 1
    if item.flow and (filled := sum(item.flow.places[n] is None for n in item.numbers)):
        writer.counts["filled_flow"] = filled
    rows = [{"frame": n, **motion.as_row()} for n, motion in enumerate(motions) if motion]
    if rows:
        writer.table("camera", pd.DataFrame(rows))
        writer.counts["not_stabilised"] = sum(1 for motion in motions if motion and motion.reason)
