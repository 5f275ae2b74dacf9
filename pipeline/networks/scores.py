"""Stages `appearance-scores` and `motion-scores`: a trained stream on every frame or flow image of a video.

Scores are stored once, before upsampling, and serve weak labels, fusion training and prediction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fusionseg.models.stream import Stream, to_frame
from fusionseg.pipeline.basics.resizing import fit, resize
from fusionseg.pipeline.basics.threads import batches, in_order
from fusionseg.pipeline.settings.sections import Network, Scores
from fusionseg.pipeline.store.artifact import Artifact, ArtifactWriter
from fusionseg.pipeline.store.job import Work

UInt8 = npt.NDArray[np.uint8]


def write_scores(
    work: Work,
    writer: ArtifactWriter,
    stream: Stream,
    network: Network,
    reads: Sequence[Callable[[int], UInt8]],
    count: int,
    frame_size: tuple[int, int],
) -> None:
    """`scores` (T, 2, h, w) float16, logits of background and object at the network's stride, the mean over what
    `reads` give of a frame; facts `stride`, `network_size` (what the frames were resized to) and `frame_size`, both
    height and width."""
    size = fit((frame_size[0], frame_size[1]), scored_side(work, network))
    groups = list(batches(count, work.run.batch))

    def load(group: int) -> torch.Tensor:
        images = np.stack([resize(np.ascontiguousarray(read(n)), size) for n in groups[group] for read in reads])
        return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))

    padded = stream.prepare(torch.zeros((1, 3, *size), dtype=torch.uint8, device=work.device)).shape[-2:]
    shape = tuple((n - 1) // stream.score_stride + 1 for n in padded)
    autocast = torch.autocast(work.device.type, torch.bfloat16, enabled=network.bf16)
    with torch.inference_mode(), autocast:
        data = writer.frames("scores", count, (2, *shape), np.float16)
        for images in in_order(load, len(groups), work.run.workers):
            scores = stream_scores(stream, images, work.device).unflatten(0, (-1, len(reads))).mean(1)
            for frame in scores.half().cpu().numpy():
                data.append(frame)
        writer.facts |= _facts(stream, size, frame_size)
        writer.counts["frames"] = count


def scores_of(
    work: Work, stream: Stream, network: Network, image: UInt8
) -> tuple[npt.NDArray[np.float16], dict[str, Any]]:
    """What `write_scores` would store of one image (H, W, 3) uint8 RGB: scores (2, h, w), and the facts."""
    size = fit((image.shape[0], image.shape[1]), scored_side(work, network))
    images = torch.from_numpy(np.ascontiguousarray(resize(image, size).transpose(2, 0, 1)))[None]
    with torch.inference_mode(), torch.autocast(work.device.type, torch.bfloat16, enabled=network.bf16):
        found = stream_scores(stream, images, work.device).half().cpu().numpy()[0]
    return found, _facts(stream, size, (image.shape[0], image.shape[1]))


def scored_side(work: Work, network: Network) -> int:
    """Longer side that frames are resized to, px; 0: as they are."""
    own = work.settings(Scores).long_side
    return network.long_side if own is None else own


def _facts(stream: Stream, size: tuple[int, int], frame_size: tuple[int, int]) -> dict[str, Any]:
    """What must be known to enlarge stored scores again."""
    return {"stride": stream.score_stride, "network_size": list(size), "frame_size": list(frame_size[:2])}


def full_scores(artifact: Artifact, index: int, size: tuple[int, int] | None = None) -> Tensor:
    """Stored scores of one frame, upsampled to the frame's size, or to `size`: (1, 2, H, W) float32."""
    facts = artifact.facts if size is None else {**artifact.facts, "frame_size": size}
    return upsampled(artifact.frame("scores", index), facts)


def upsampled(scores: npt.NDArray[np.float16], facts: Mapping[str, Any]) -> Tensor:
    """Scores (2, h, w) of an artifact with these `facts`, upsampled to the frame's size: (1, 2, H, W) float32."""
    stored = torch.from_numpy(scores.astype(np.float32))[None]  # a copy: scores kept in memory are read-only
    return to_frame(stored, facts["stride"], tuple(facts["network_size"]), tuple(facts["frame_size"]))


def as_tensor(frame: UInt8) -> Tensor:
    """A frame (H, W, 3) as (1, 3, H, W), in the same order of channels."""
    return torch.from_numpy(np.ascontiguousarray(frame.transpose(2, 0, 1)))[None]


def object_mask(logits: Tensor) -> npt.NDArray[np.bool_]:
    """Arg max of (1, 2, H, W) logits: (H, W) bool, True where object."""
    # PyTorch's arg max takes 35 ms of a 480p frame, this comparison 0.2.
    return np.asarray((logits[0, 1] > logits[0, 0]).cpu().numpy())


def stream_scores(stream: Stream, images: Tensor, device: torch.device) -> Tensor:
    """(N, 3, H, W) uint8 RGB on any device -> scores at the stream's stride."""
    prepared = stream.prepare(images.to(device)).contiguous(memory_format=torch.channels_last)
    scores: Tensor = stream(prepared)
    return scores
