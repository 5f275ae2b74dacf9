"""Stage `flow-images`: optical flow as colour pictures."""

from __future__ import annotations

import functools

import numpy as np

from fusionseg.pipeline.basics.threads import in_order
from fusionseg.pipeline.flow.colours import paint
from fusionseg.pipeline.flow.videos import BACK, stored, write_each
from fusionseg.pipeline.settings.sections import FlowImages
from fusionseg.pipeline.store.artifact import Artifact, ArtifactWriter, FrameWriter, Packed
from fusionseg.pipeline.store.job import Work


def compute(work: Work, writer: ArtifactWriter) -> None:
    """Write `images` (T, H, W, 3) uint8 RGB, `images_back` where there is flow of both directions, and the facts of the
    optical flow they were made of.

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
        for suffix in ("", BACK) if "flow" + BACK in source else ("",):
            data = writer.frames("images" + suffix, count, (height, width, 3), np.uint8)
            coloured = functools.partial(_coloured, source, "flow" + suffix, settings, data)
            for packed in in_order(coloured, count, work.run.workers):
                data.append(packed)
        writer.facts |= source.facts
        writer.counts["frames"] = count


def colour_estimated(work: Work, writer: ArtifactWriter) -> None:
    """Flow images straight from frames."""
    settings = work.settings(FlowImages)
    write_each(work, writer, "images", 3, lambda flow: paint(stored(flow), settings))


def _coloured(source: Artifact, name: str, settings: FlowImages, data: FrameWriter, index: int) -> Packed:
    return data.pack(paint(source.frame(name, index), settings))
