"""Stage `optical-flow`: dense optical flow of each pair of frames.

Pairs go from frame t to t+1; the last frame has no successor and goes to t-1, as in FusionSeg's release. Gap,
direction, method and the size at which flow is estimated are settings.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import cv2
import numpy as np
import numpy.typing as npt

from fusionseg.models.outside.plugins import PluginError
from fusionseg.pipeline.basics.digests import Stamp, stamp
from fusionseg.pipeline.basics.paths import AnyPath, as_path
from fusionseg.pipeline.basics.resizing import fit, resize
from fusionseg.pipeline.basics.threads import opencv_threads
from fusionseg.pipeline.datasets.pairs import Pair
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.names import flow_methods
from fusionseg.pipeline.settings.sections import OpticalFlow

UInt8 = npt.NDArray[np.uint8]
Flow = npt.NDArray[np.float32]
T = TypeVar("T")

# Smaller frames are padded to this many pixels a side: below, DIS's coarsest scale is empty, and with 9 x 300 px its
# fast presets crash the process.
_SMALLEST = 32
_SMALLEST_MATCHED = 128  # px; with smaller frames those that match corners crash the process


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
DEFAULT = OpticalFlow()
register_flow_method = flow_methods.register
# An estimator keeps buffers and may not be shared by threads; making one anew each pair wastes them.
_LOCAL = threading.local()


def estimate(
    first: UInt8,
    second: UInt8,
    method: str = DEFAULT.method,
    *,
    long_side: int = DEFAULT.long_side,
    weights: AnyPath | None = None,
    device: str = "cpu",
) -> Flow:
    """Optical flow from `first` to `second`, both (H, W, 3) uint8 BGR: (H, W, 2) float32 u, v in pixels.

    `long_side`: size in px at which it is estimated (0: the frames' own); `weights`, `device`: of RAFT. Raises
    ValueError for an unknown method and for frames of another kind or of different sizes, UserError for weights that
    can't be used.
    """
    if method not in METHODS and method not in RAFT:
        flow_methods.get(method)
    for frame in (first, second):
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise ValueError(f"a frame of shape {frame.shape} and type {frame.dtype}, expected (H, W, 3) uint8")
    given = None if weights is None else as_path(weights)
    return estimate_pairs([(first, second)], method, long_side, given, device)[0]


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
    estimate_one = _dense if method in METHODS else _plugged_in
    estimated = iter(
        _raft(moving, method, weights, device) if method in RAFT else [estimate_one(*p, method) for p in moving]
    )
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


def _plugged_in(first: UInt8, second: UInt8, method: str) -> Flow:
    """Flow by a plug-in's function, which gets copies: it may do with them what it likes. Raises UserError."""
    try:
        plugin = flow_methods.get(method)
        flow = np.ascontiguousarray(plugin(first.copy(), second.copy()), np.float32)
        if flow.shape != (*first.shape[:2], 2):
            raise plugin.refused(f"gave flow of shape {flow.shape} of frames of {first.shape}")
    except PluginError as error:
        raise UserError(f"optical-flow.method: {error}") from error
    return flow


def identical(first: UInt8, second: UInt8) -> bool:
    """Whether two frames are the same; a glance at the first row tells nearly all that aren't."""
    return np.array_equal(first[:1], second[:1]) and np.array_equal(first, second)


def _calculate(first: UInt8, second: UInt8, method: str) -> npt.NDArray[Any]:
    return _estimator(method).calc(first, second, None)


def _calculate_from_matches(first: UInt8, second: UInt8, method: str) -> npt.NDArray[Any]:
    """Where there is nothing to match, nothing is seen to move.

    Without OpenCV's own threads: shared by them, sparse-to-dense crashes the process once in a few thousand frames.
    """
    try:
        with opencv_threads(1):
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
    changed = stamp(weights.stat()) if weights and weights.is_file() else None
    stack = lambda n: np.stack([pair[n][..., ::-1].transpose(2, 0, 1) for pair in pairs])  # noqa: E731
    first, second = (torch.from_numpy(np.ascontiguousarray(stack(n))).to(device) for n in (0, 1))
    flow = estimate_flow(_raft_model(method, weights, changed, device), first, second)
    return list(np.ascontiguousarray(flow.permute(0, 2, 3, 1).cpu().numpy()))


@functools.lru_cache(maxsize=1)
def _raft_model(method: str, weights: Path | None, changed: Stamp | None, device: str) -> Any:
    """`changed`: the stamp of the weights, so that a file that takes another's place is read."""
    from fusionseg.models.backbone import WeightsUnavailable
    from fusionseg.models.raft import create_raft
    from fusionseg.models.weights import WeightsError

    try:
        return create_raft(method, weights).to(device)
    except (WeightsError, WeightsUnavailable) as error:
        raise UserError(f"optical-flow.raft_weights: {error}") from None
