"""Stage `box-motion`: what optical flow shows of each annotated box."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict

import numpy as np
import pandas as pd

from fusionseg.pipeline.basics.half import to_float32
from fusionseg.pipeline.basics.threads import in_order
from fusionseg.pipeline.datasets.reading import read_boxes
from fusionseg.pipeline.flow.videos import open_pictures
from fusionseg.pipeline.store.artifact import ArtifactWriter
from fusionseg.pipeline.store.job import Work
from fusionseg.pipeline.weak_labels.motion import Motion, measure
from fusionseg.pipeline.weak_labels.regions import clip_boxes
from fusionseg.pipeline.weak_labels.verdicts import MOTION


def compute(work: Work, writer: ArtifactWriter) -> None:
    """Write the table `motion`: frame, box and the fields of `Motion`, a row a box. Frames without boxes are passed
    over."""
    item = work.item
    with ExitStack() as stack:
        images = stack.enter_context(open_pictures(work))
        flows = stack.enter_context(work.open("optical-flow")) if work.has("optical-flow") else None

        def one(index: int) -> list[Motion]:
            boxes = clip_boxes(read_boxes(item, index).boxes, images.size)
            if not len(boxes) or index >= images.count:  # a video of one frame has no flow
                return measure(boxes, images.size)
            flow = to_float32(flows.frame("flow", index)) if flows else None
            return measure(boxes, images.size, images.image(index), flow)

        count = len(item.frames)
        rows = [
            {"frame": frame, "box": number, **asdict(motion)}
            for frame, found in enumerate(in_order(one, count, work.run.workers))
            for number, motion in enumerate(found)
        ]
    table = pd.DataFrame(rows, columns=["frame", "box", *MOTION])
    writer.table("motion", table.astype({"frame": np.int64, "box": np.int64} | dict.fromkeys(MOTION, np.float64)))
    writer.counts |= {"frames": count, "boxes": len(table)}
