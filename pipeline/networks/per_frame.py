"""A model from elsewhere that marks the object in every frame by itself, in the appearance stream's place.

Its soft mask p (0..1) becomes the logits (0, (logit(p) - bias) / temperature) of background and object. What is
"trained" are these two numbers: networks trained to the end say 0.999 where they are right nine times of ten, and a
fusion or an average with the motion stream's logits would hear nobody else.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from fusionseg.models.outside.plugins import PluginError, frame_models
from fusionseg.models.weights import read_header
from fusionseg.pipeline.basics.resizing import fit, resize
from fusionseg.pipeline.basics.spread import spread
from fusionseg.pipeline.basics.threads import in_order
from fusionseg.pipeline.datasets.items import Item, annotated
from fusionseg.pipeline.datasets.reading import read_frame, read_mask_sized
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.networks.scores import object_mask, scored_side, scores_of, upsampled
from fusionseg.pipeline.networks.trained import (
    PER_FRAME,
    check_version,
    load_stream,
    plug_ins_header,
    read_state,
    unusable,
)
from fusionseg.pipeline.scoring.measures import valid_j
from fusionseg.pipeline.settings.sections import Network
from fusionseg.pipeline.settings.trainings import AppearanceTraining
from fusionseg.pipeline.store.artifact import ArtifactWriter
from fusionseg.pipeline.store.artifacts import WeightsWriter
from fusionseg.pipeline.store.job import Work

UInt8 = npt.NDArray[np.uint8]
Float16 = npt.NDArray[np.float16]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Size = tuple[int, int]

_EDGE = 1e-4  # shares are kept this far from 0 and 1: logits from -9.2 to 9.2
_LIMIT = float(np.log((1 - _EDGE) / _EDGE))
_BINS = 2000  # of those logits: a step of 0.009


@dataclass(frozen=True)
class SoftMasks:
    """The model `name` on a device: (H, W, 3) uint8 BGR -> (h, w) float32 in 0..1. Raises UserError."""

    name: str
    segment: Callable[[UInt8], Any]

    @classmethod
    def of(cls, name: str, device: str) -> SoftMasks:
        """Raises UserError."""
        plugin = _told(name, lambda: frame_models.get(name))
        segment = _told(name, lambda: plugin(device))
        return cls(name, lambda frame: plugin.called(segment, frame))

    def __call__(self, frame: UInt8) -> Float32:
        found = np.asarray(_told(self.name, lambda: self.segment(np.ascontiguousarray(frame[..., ::-1]))))
        if found.ndim != 2 or found.dtype.kind != "f":
            raise _refused(self.name, f"gave {found.dtype} of shape {found.shape}, expected floats of (height, width)")
        low, high = float(found.min()), float(found.max())
        if not (low >= -_EDGE and high <= 1 + _EDGE):  # NaN too
            raise _refused(self.name, f"gave values from {low:g} to {high:g}, expected 0 to 1")
        return found.astype(np.float32)


def _told(name: str, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except (PluginError, ValueError) as error:
        raise UserError(f"appearance-training.model = {name}: {error}") from None


def _refused(name: str, why: str) -> UserError:
    return UserError(f"appearance-training.model = {name}: {why}")


class Calibration(NamedTuple):
    """How the logits of soft masks become scores."""

    temperature: float
    bias: float

    def scores(self, soft: Float32, size: Size) -> Float16:
        """A soft mask as scores (2, h, w) at a size."""
        logits = (logits_of(resize(soft, size)) - self.bias) / self.temperature
        return np.stack([np.zeros_like(logits), logits]).astype(np.float16)


def logits_of(soft: Float32) -> Float32:
    """Shares as logits, within what `_EDGE` allows."""
    shares = np.clip(soft, _EDGE, 1 - _EDGE)
    return np.log(shares / (1 - shares))


def stored_size(soft: Float32, frame_size: Size, long_side: int) -> Size:
    """The size of scores: the network input's, never finer than the model's own on either side."""
    wanted = fit(frame_size, long_side)
    return min(soft.shape[0], wanted[0]), min(soft.shape[1], wanted[1])


def facts_of(size: Size, frame_size: Size) -> dict[str, Any]:
    """What the artifact says of scores of `size`, for `upsampled`: they lie as a resized picture does."""
    return {"stride": 1, "network_size": list(size), "frame_size": list(frame_size)}


def write_weights(work: Work, writer: WeightsWriter) -> None:
    """Fit temperature and bias on the stills, by cross-entropy of all pixels that aren't void, and write them; the
    count `best_validation_j` is that of validation frames, as a stream's. Raises UserError."""
    settings = work.settings(AppearanceTraining)
    masks = SoftMasks.of(settings.model, str(work.device))
    long_side = work.settings(Network).long_side
    items = work.items.get("pairs") or work.items["stills"]
    stills = annotated(items)
    if not stills:
        raise UserError(f"{work.stage}: no still has a mask to fit {settings.model} on; name others as data.stills")
    chosen = spread(stills, settings.fit_stills)
    counts = np.zeros((2, _BINS), np.float64)
    with work.context.progress(work.stage, len(chosen), "still") as bar:
        for frame, label in in_order(lambda n: _pair(*chosen[n]), len(chosen), work.run.workers):
            soft = masks(frame)
            counts += histogram(soft, label, stored_size(soft, _size(frame), long_side))
            bar.update()
    found = calibrated(counts, settings.model)
    state = {name: torch.tensor(value) for name, value in found._asdict().items()}
    header = {"kind": PER_FRAME, "reads": "frames", "model": settings.model, **found._asdict()}
    header |= plug_ins_header({work.stage: settings})
    values = [_frame_j(masks, found, frame, label, long_side) for frame, label in _validation(work, settings)]
    measured = {"best_validation_j": round(float(np.mean(values)), 5)} if values else {}
    writer.write(state, header, {"stills": len(chosen), **found._asdict(), **measured})


def _pair(item: Item, index: int) -> tuple[UInt8, UInt8]:
    frame = read_frame(item, index)
    return frame, read_mask_sized(item, index, _size(frame))


def _size(frame: UInt8) -> Size:
    return frame.shape[0], frame.shape[1]


def _validation(work: Work, settings: AppearanceTraining) -> Iterator[tuple[UInt8, UInt8]]:
    for video in work.items["validation"]:
        for index in spread(video.annotated, settings.validate_frames):
            yield _pair(video, index)


def _frame_j(masks: SoftMasks, found: Calibration, frame: UInt8, label: UInt8, long_side: int) -> float:
    soft, whole = masks(frame), _size(frame)
    size = stored_size(soft, whole, long_side)
    return valid_j(label, object_mask(upsampled(found.scores(soft, size), facts_of(size, whole))))


def histogram(soft: Float32, label: UInt8, size: Size) -> Float64:
    """Pixels of background and of object, (2, bins), by the soft mask's logit; void ones don't count."""
    logits, labels = logits_of(resize(soft, size)), resize(label, size, nearest=True)
    bins = np.clip((logits + _LIMIT) * (_BINS / (2 * _LIMIT)), 0, _BINS - 1).astype(np.int64)
    return np.stack([np.bincount(bins[labels == value], minlength=_BINS) for value in (0, 1)]).astype(np.float64)


def calibrated(counts: Float64, model: str) -> Calibration:
    """The calibration of least cross-entropy for pixels counted by `histogram`. Raises UserError where soft masks and
    masks don't go together."""
    from scipy.optimize import minimize

    x = (np.arange(_BINS) + 0.5) * (2 * _LIMIT / _BINS) - _LIMIT
    counts = counts.copy()
    counts[:, [0, -1]] += 1  # one pixel of either kind at both ends: masks without a fault have a fit, too
    total, objects = counts.sum(0), counts[1]

    def loss(line: Float64) -> tuple[float, Float64]:
        z = line[0] * x + line[1]
        value = total * np.logaddexp(0, z) - objects * z
        error = total * np.exp(-np.logaddexp(0, -z)) - objects
        return value.sum() / total.sum(), np.array([error @ x, error.sum()]) / total.sum()

    slope, offset = minimize(loss, np.array([1.0, 0.0]), jac=True, method="BFGS").x
    if slope <= 0:
        raise _refused(model, "its soft masks don't go with the stills' masks; look at data.stills, or take another")
    return Calibration(float(np.float32(1 / slope)), float(np.float32(-offset / slope)))


def reads_soft_masks(work: Work) -> bool:
    """Whether what `appearance-training` made, or was given for it, is a per-frame model."""
    return read_header(work.context.root / work.input("appearance-training").path).get("kind") == PER_FRAME


def frame_scorer(work: Work) -> Callable[[UInt8], tuple[Float16, dict[str, Any]]]:
    """What gives the scores of one frame (H, W, 3) uint8 BGR, as `appearance-scores` would store them, and their facts:
    by the stream, or the model in its place."""
    if reads_soft_masks(work):
        masks, calibration = _loaded_for(work)
        return lambda frame: _soft_scores(work, masks, calibration, frame)
    stream, network = load_stream(work, "appearance-training")
    return lambda frame: scores_of(work, stream, network, np.ascontiguousarray(frame[..., ::-1]))


def _soft_scores(
    work: Work, masks: SoftMasks, calibration: Calibration, frame: UInt8
) -> tuple[Float16, dict[str, Any]]:
    soft = masks(frame)
    size = stored_size(soft, _size(frame), scored_side(work, work.settings(Network)))
    return calibration.scores(soft, size), facts_of(size, _size(frame))


def write_soft_scores(work: Work, writer: ArtifactWriter) -> None:
    """As `write_scores`, of a per-frame model on every frame."""
    item, (masks, calibration) = work.item, _loaded_for(work)
    data = None
    for frame in in_order(lambda index: read_frame(item, index), len(item.frames), work.run.workers):
        scores, facts = _soft_scores(work, masks, calibration, frame)
        if data is None:
            data = writer.frames("scores", len(item.frames), scores.shape, np.float16)
            writer.facts |= facts
        data.append(scores)
    writer.counts["frames"] = len(item.frames)


def _loaded_for(work: Work) -> tuple[SoftMasks, Calibration]:
    """The model that `work` reads. Raises UserError, DamagedArtifact."""
    record = work.input("appearance-training")
    return _loaded(work.context.root / record.path, record.content, str(work.device), not record.key)


@functools.lru_cache(maxsize=1)  # a session takes seconds to make: kept for the videos to come
def _loaded(path: Path, content: str, device: str, given: bool) -> tuple[SoftMasks, Calibration]:
    state, header = read_state(path, given)
    check_version(header, path)
    if state.keys() != set(Calibration._fields):
        raise unusable(path, f"{path}: its tensors are {sorted(state)}, not temperature and bias", given)
    return SoftMasks.of(header["model"], device), Calibration(*(float(state[n]) for n in Calibration._fields))
