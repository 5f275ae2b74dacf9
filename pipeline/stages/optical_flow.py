"""Stage `optical-flow`: dense optical flow of each pair of frames."""

from __future__ import annotations

import numpy as np

from fusionseg.pipeline.datasets.reading import read_frame
from fusionseg.pipeline.flow.videos import each_flow, note_pairs, stored
from fusionseg.pipeline.store.artifact import Record
from fusionseg.pipeline.store.artifacts import record_of
from fusionseg.pipeline.store.job import Context, Job


def compute(job: Job, context: Context) -> Record:
    """Write `flow` (T, H, W, 2) float16, u and v in pixels, NaN where unknown, and the facts `frames`, the number of
    each in the whole video, and `partners`, the number of the frame that its flow goes to; with stabilisation also the
    table `camera`, a row a frame.

    A video of one frame has no pair: T is 0.
    """
    item = job.item
    height, width = read_frame(item, 0).shape[:2]
    with job.write(context) as writer:
        data = writer.frames("flow", len(item.partners), (height, width, 2), np.float16)
        motions = []
        for packed, motion in each_flow(job, context, lambda flow: data.pack(stored(flow))):
            data.append(packed)
            motions.append(motion)
        note_pairs(writer, job, motions)
    return record_of(job, context)
