"""Stage `flow-filter`: weak labels for the motion stream, of what passes the box test and the flow test.

All thresholds are applied here, on stored measurements, so that another threshold costs seconds. One verdict a frame
and box.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from fusionseg.pipeline.basics.threads import in_order
from fusionseg.pipeline.settings.sections import FlowFilter
from fusionseg.pipeline.store.artifact import Artifact, ArtifactWriter, Packed
from fusionseg.pipeline.store.bits import FRAME_SIZE, pack_label, packed_width, read_plain
from fusionseg.pipeline.store.job import Work
from fusionseg.pipeline.weak_labels.verdicts import ACCEPTED, BOX, VERDICT_COLUMNS, summary, verdicts, weak_label


def compute(work: Work, writer: ArtifactWriter) -> None:
    """Write `labels` (T, 2, H, W / 8) uint8, the bits of 0, 1 and void (see `bit_masks`), and the table `verdicts`, a
    row a box: video, frame, box, what `box-pruning` and `box-motion` measured, accepted (0 or 1), reason."""
    settings = work.settings(FlowFilter)
    with work.open("box-pruning") as pruned, work.open("box-motion") as moved:
        table = judged(pruned.table("boxes"), moved.table("motion"), settings)
        table.insert(0, "video", work.job.video)
        height, width = pruned.facts[FRAME_SIZE]
        count = pruned.length("regions")
        data = writer.frames("labels", count, (2, height, packed_width(width)), np.uint8)
        rows_of = dict(list(table.groupby("frame")))

        def one(index: int) -> Packed:
            return data.pack(pack_label(label_of(pruned, index, rows_of.get(index, table.iloc[:0]))))

        for packed in in_order(one, count, work.run.workers):
            data.append(packed)
        writer.table("verdicts", table[VERDICT_COLUMNS])
        writer.facts[FRAME_SIZE] = [height, width]
        writer.counts |= summary(table, count)


def judged(boxes: pd.DataFrame, motion: pd.DataFrame, settings: FlowFilter) -> pd.DataFrame:
    """The tables of `box-pruning` and `box-motion` of one video, joined, with `reason` and `accepted`."""
    table = boxes.merge(motion, on=["frame", "box"], how="left", validate="one_to_one")
    table["reason"] = verdicts(table, settings)
    table["accepted"] = (table["reason"] == ACCEPTED).astype(np.int8)
    return table


def label_of(pruned: Artifact, index: int, rows: pd.DataFrame) -> np.ndarray:
    """The weak label (H, W) of one frame, `rows` its judged boxes."""
    return weak_label(read_plain(pruned, "regions", index), rows[BOX].to_numpy(), rows["accepted"].to_numpy() == 1)
