"""Stage `appearance-scores`: the trained appearance stream, or the model in its place, on every frame of a video."""

from __future__ import annotations

from fusionseg.pipeline.datasets.reading import read_frame
from fusionseg.pipeline.networks.per_frame import reads_soft_masks, write_soft_scores
from fusionseg.pipeline.networks.scores import write_scores
from fusionseg.pipeline.networks.trained import load_stream
from fusionseg.pipeline.store.artifact import ArtifactWriter
from fusionseg.pipeline.store.job import Work


def compute(work: Work, writer: ArtifactWriter) -> None:
    """Write `scores` of every frame; see `write_scores`."""
    if reads_soft_masks(work):
        write_soft_scores(work, writer)
        return
    stream, network = load_stream(work, "appearance-training")
    item = work.item
    size = read_frame(item, 0).shape[:2]
    write_scores(work, writer, stream, network, [lambda i: read_frame(item, i)[..., ::-1]], len(item.frames), size)
