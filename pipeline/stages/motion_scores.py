"""Stage `motion-scores`: the trained motion stream on every flow image of a video."""

from __future__ import annotations

import functools

from fusionseg.pipeline.flow.videos import open_pictures
from fusionseg.pipeline.networks.scores import write_scores
from fusionseg.pipeline.networks.trained import load_stream
from fusionseg.pipeline.store.artifact import ArtifactWriter
from fusionseg.pipeline.store.job import Work


def compute(work: Work, writer: ArtifactWriter) -> None:
    """Write `scores` of every flow image (none for a video of one frame); see `write_scores`. Where there is flow of
    both directions, the mean of the scores of either: what one hides, the other sees."""
    stream, network = load_stream(work, "motion-training")
    with open_pictures(work) as images:
        reads = [functools.partial(images.image, back=back) for back in ((False, True) if images.both else (False,))]
        write_scores(work, writer, stream, network, reads, images.count, images.size)
