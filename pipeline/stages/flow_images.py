"""Stage `flow-images`: optical flow as colour pictures."""

from __future__ import annotations

import numpy as np

from fusionseg.pipeline.basics.threads import in_order
from fusionseg.pipeline.datasets.reading import read_frame
from fusionseg.pipeline.flow.colours import paint
from fusionseg.pipeline.flow.videos import each_flow, note_pairs, stored
from fusionseg.pipeline.settings.sections import FlowImages
from fusionseg.pipeline.store.artifact import ArtifactWriter
from fusionseg.pipeline.store.job import Work


def compute(work: Work, writer: ArtifactWriter) -> None:
    """Write `images` (T, H, W, 3) uint8 RGB, and the facts of the optical flow they were made of.

    Where u,v aren't kept (`store = "images"`) the flow is estimated here, and coloured in the same pass.
    """
    if work.has("optical-flow"):
        colour_stored(work, writer)
    else:
        colour_estimated(work, writer)


def colour_stored(work: Work, writer: ArtifactWriter) -> None:
    """Flow images of an optical-flow artifact."""
    settings = work.settings(FlowImages)
    with work.open("optical-flow") as source:
        count, height, width, _ = source.datasets()["flow"].shape
        data = writer.frames("images", count, (height, width, 3), np.uint8)
        coloured = lambda index: data.pack(paint(source.frame("flow", index), settings))  # noqa: E731
        for packed in in_order(coloured, count, work.run.workers):
            data.append(packed)
        writer.facts |= source.facts
        writer.counts["frames"] = count


def colour_estimated(work: Work, writer: ArtifactWriter) -> None:
    """Flow images straight from frames."""
    settings = work.settings(FlowImages)
    height, width = read_frame(work.item, 0).shape[:2]
    data = writer.frames("images", len(work.item.partners), (height, width, 3), np.uint8)
    motions = []
    for packed, motion in each_flow(work, lambda flow: data.pack(paint(stored(flow), settings))):
        data.append(packed)
        motions.append(motion)
    note_pairs(writer, work, motions)
