"""Stage `motion-scores`: the trained motion stream on every flow image of a video."""

from __future__ import annotations

from fusionseg.pipeline.flow.videos import open_pictures
from fusionseg.pipeline.networks.scores import write_scores
from fusionseg.pipeline.networks.trained import load_stream
from fusionseg.pipeline.store.artifact import Record
from fusionseg.pipeline.store.artifacts import record_of
from fusionseg.pipeline.store.job import Context, Job


def compute_motion(job: Job, context: Context) -> Record:
    """Write `scores` of every flow image (none for a video of one frame); see `write_scores`."""
    stream, network = load_stream(job, context, "motion-training")
    with open_pictures(job, context) as images:
        write_scores(job, context, stream, network, images.image, images.count, images.size)
    return record_of(job, context)
