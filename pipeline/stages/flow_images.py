"""Stage `flow-images`: optical flow as colour pictures."""

from __future__ import annotations

import numpy as np

from fusionseg.pipeline.basics.threads import in_order
from fusionseg.pipeline.datasets.reading import read_frame
from fusionseg.pipeline.flow.colours import paint
from fusionseg.pipeline.flow.videos import each_flow, note_pairs, stored
from fusionseg.pipeline.settings.sections import FlowImages
from fusionseg.pipeline.store.artifact import Record
from fusionseg.pipeline.store.artifacts import record_of
from fusionseg.pipeline.store.job import Context, Job


def compute(job: Job, context: Context) -> Record:
    """Write `images` (T, H, W, 3) uint8 RGB, and the facts of the optical flow they were made of.

    Where u,v aren't kept (`store = "images"`) the flow is estimated here, and coloured in the same pass.
    """
    if job.has("optical-flow"):
        colour_stored(job, context)
    else:
        colour_estimated(job, context)
    return record_of(job, context)


def colour_stored(job: Job, context: Context) -> None:
    """Flow images of an optical-flow artifact."""
    settings = FlowImages.model_validate(job.settings[job.stage])
    with job.open(context, "optical-flow") as source, job.write(context) as writer:
        count, height, width, _ = source.datasets()["flow"].shape
        data = writer.frames("images", count, (height, width, 3), np.uint8)
        work = lambda index: data.pack(paint(source.frame("flow", index), settings))  # noqa: E731
        for packed in in_order(work, count, context.run.workers):
            data.append(packed)
        writer.facts |= source.facts
        writer.counts["frames"] = count


def colour_estimated(job: Job, context: Context) -> None:
    """Flow images straight from frames."""
    settings = FlowImages.model_validate(job.settings[job.stage])
    height, width = read_frame(job.item, 0).shape[:2]
    with job.write(context) as writer:
        data = writer.frames("images", len(job.item.partners), (height, width, 3), np.uint8)
        motions = []
        for packed, motion in each_flow(job, context, lambda flow: data.pack(paint(stored(flow), settings))):
            data.append(packed)
            motions.append(motion)
        note_pairs(writer, job, motions)
