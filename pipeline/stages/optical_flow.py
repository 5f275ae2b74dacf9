"""Stage `optical-flow`: dense optical flow of each pair of frames."""

from __future__ import annotations

from fusionseg.pipeline.flow.videos import stored, write_each
from fusionseg.pipeline.store.artifact import ArtifactWriter
from fusionseg.pipeline.store.job import Work


def compute(work: Work, writer: ArtifactWriter) -> None:
    """Write `flow` (T, H, W, 2) float16, u and v in pixels, NaN where unknown, and the facts `frames`, the number of
    each in the whole video, and `partners`, the number of the frame that its flow goes to; with stabilisation also the
    table `camera`, a row a frame. With `direction = "both"` that is forward flow; `flow_back`, `partners_back` and
    `camera_back` are the same of backward flow.

    A video of one frame has no pair: T is 0.
    """
    write_each(work, writer, "flow", 2, stored)
