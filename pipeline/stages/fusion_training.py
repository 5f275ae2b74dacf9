"""Stage `fusion-training`: the fusion alone, on stored scores of both streams (and frames, if it reads them), on few
videos with true masks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from fusionseg.models.fusion import create_fusion, reads_frame
from fusionseg.pipeline.basics.spread import spread
from fusionseg.pipeline.datasets.items import Item, annotated
from fusionseg.pipeline.datasets.reading import read_frame, read_mask_sized
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.networks.scores import object_mask
from fusionseg.pipeline.networks.trained import plug_ins_header
from fusionseg.pipeline.scoring.measures import valid_j
from fusionseg.pipeline.settings.trainings import FusionTraining
from fusionseg.pipeline.store.artifacts import WeightsWriter
from fusionseg.pipeline.store.job import Work
from fusionseg.pipeline.training.cache import SampleCache
from fusionseg.pipeline.training.loop import seed_of, train
from fusionseg.pipeline.training.pairs import StoredPair, batch_of, fuse_batch
from fusionseg.pipeline.training.samples import mixed
from fusionseg.pipeline.training.step import Task
from fusionseg.pipeline.training.still_pairs import StillPairs


def compute(work: Work, writer: WeightsWriter) -> None:
    """Write the fusion's weights; a fusion without parameters is written untrained."""
    settings = work.settings(FusionTraining)
    torch.manual_seed(seed_of(work.stage, settings))
    header = {"kind": "fusion", "fusion": settings.fusion, **plug_ins_header({"fusion-training": settings})}
    if settings.long_side:
        header["long_side"] = settings.long_side
    fusion = _fresh(settings.fusion).to(work.device)
    if not list(fusion.parameters()):
        writer.write(fusion.state_dict(), header, {"steps": 0})
        return
    task = Task(
        fusion,
        make_batch(work, settings, reads_frame(fusion)),
        lambda model, tensors: fuse_batch(model, tensors, work.device),
        make_validation(work, settings, reads_frame(fusion)),
        [{"params": list(fusion.parameters()), "lr": settings.lr_head}],
    )
    train(task, settings, work, writer, header)


def _fresh(name: str) -> nn.Module:
    """A fusion, untrained. Raises UserError."""
    try:
        return create_fusion(name)
    except ValueError as error:
        raise UserError(f"fusion-training.fusion: {error}") from None


def frames_with_flow(work: Work, video: Item, wanted: int) -> list[tuple[Item, int]]:
    """Evenly spread frames of a video that have motion scores and a true mask."""
    with work.open("motion-scores", video) as motion:
        count = motion.length("scores")
    return [(video, index) for index in spread([i for i in video.annotated if i < count], wanted)]


def load_pair(work: Work, video: Item, index: int, framed: bool) -> StoredPair:
    """Scores and label of one frame and, if `framed`, the frame itself; at the size that is fused at."""
    frame = np.ascontiguousarray(read_frame(video, index)[..., ::-1]) if framed else None
    with work.open("appearance-scores", video) as a, work.open("motion-scores", video) as m:
        height, width = a.facts["frame_size"]
        label = read_mask_sized(video, index, (height, width))
        pair = StoredPair(a.frame("scores", index), a.facts, m.frame("scores", index), m.facts, label, frame)
    return pair.resized(work.settings(FusionTraining).long_side)


def make_batch(work: Work, settings: FusionTraining, framed: bool) -> Callable[[int, range], dict[str, Tensor]]:
    """`batch_of` the frames of `data.fusion` and, where there are, the pairs of `data.pairs`. Raises UserError if no
    frame of the former has flow."""
    frames = [f for video in work.items["fusion"] for f in frames_with_flow(work, video, settings.frames_a_video)]
    if not frames:
        raise UserError("fusion-training: no frame of data.fusion has optical flow; give videos of two frames or more")
    # Stored scores are kept, not upsampled ones: those take some 100 times the memory.
    loaded = SampleCache(lambda number: load_pair(work, *frames[number], framed), work.run.cache_mb)
    stills = annotated(work.items.get("pairs", ()))
    if not stills:
        return batch_of(lambda number, rng: loaded(number), len(frames), settings)
    rendered = StillPairs(work, stills, framed)
    numbers = mixed(range(len(frames)), range(-len(stills), 0), settings.pairs_share)  # below 0: a still's
    return batch_of(
        lambda n, rng: loaded(numbers[n]) if numbers[n] >= 0 else rendered(numbers[n], rng), len(numbers), settings
    )


def make_validation(work: Work, settings: FusionTraining, framed: bool) -> Callable[[nn.Module], float] | None:
    """The function that gives the mean J on the validation videos, or None without any."""
    frames = [f for v in work.items["validation"] for f in frames_with_flow(work, v, settings.validate_frames)]
    if not frames:
        return None
    pairs = [load_pair(work, *frame, framed) for frame in frames]

    def validate(model: nn.Module) -> float:
        with torch.inference_mode():
            return float(np.mean([valid_j(p.label, object_mask(p.fused(model, work.device))) for p in pairs]))

    return validate
