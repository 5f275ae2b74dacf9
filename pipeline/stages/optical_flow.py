"""Stage `optical-flow`: dense optical flow of each pair of frames."""

from __future__ import annotations

import numpy as np

from fusionseg.pipeline.datasets.reading import read_frame
from fusionseg.pipeline.flow.videos import each_flow, note_pairs, stored
from fusionseg.pipeline.store.artifact import ArtifactWriter
from fusionseg.pipeline.store.job import Work


def compute(work: Work, writer: ArtifactWriter) -> None:
    """Write `flow` (T, H, W, 2) float16, u and v in pixels, NaN where unknown, and the facts `frames`, the number of
    each in the whole video, and `partners`, the number of the frame that its flow goes to; with stabilisation also the
    table `camera`, a row a frame.

    A video of one frame has no pair: T is 0.
    """
    item = work.item
    height, width = read_frame(item, 0).shape[:2]
    data = writer.frames("flow", len(item.partners), (height, width, 2), np.float16)
    motions = []
    for packed, motion in each_flow(work, lambda flow: data.pack(stored(flow))):
        data.append(packed)
        motions.append(motion)
    note_pairs(writer, work, motions)
