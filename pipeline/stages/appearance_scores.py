"""Stage `appearance-scores`: the trained appearance stream on every frame of a video."""

from __future__ import annotations

from fusionseg.pipeline.datasets.reading import read_frame
from fusionseg.pipeline.networks.scores import write_scores
from fusionseg.pipeline.networks.trained import load_stream
from fusionseg.pipeline.store.artifact import Record
from fusionseg.pipeline.store.artifacts import record_of
from fusionseg.pipeline.store.job import Context, Job


def compute_appearance(job: Job, context: Context) -> Record:
    """Write `scores` of every frame; see `write_scores`."""
    stream, network = load_stream(job, context, "appearance-training")
    item = job.item
    size = read_frame(item, 0).shape[:2]
    write_scores(job, context, stream, network, lambda i: read_frame(item, i)[..., ::-1], len(item.frames), size)
    return record_of(job, context)
