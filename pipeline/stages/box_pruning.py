"""Stage `box-pruning`: what is predicted in the annotated boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd

from fusionseg.models.fusion import AverageFusion
from fusionseg.pipeline.basics.threads import in_order
from fusionseg.pipeline.datasets.reading import read_boxes, read_frame
from fusionseg.pipeline.networks.scores import full_scores
from fusionseg.pipeline.settings.sections import BoxPruning, WeakLabels
from fusionseg.pipeline.store.artifact import Artifact, ArtifactWriter, Packed
from fusionseg.pipeline.store.bits import FRAME_SIZE, pack_mask, packed_width
from fusionseg.pipeline.store.job import Work
from fusionseg.pipeline.weak_labels.regions import Scores, clip_boxes, margin_of, measure
from fusionseg.pipeline.weak_labels.verdicts import BOX, MARKS, REGION

_TYPES = {
    **dict.fromkeys(("frame", "box", *BOX, "height", "width", "area", "components"), np.int64),
    **dict.fromkeys(("largest_share", "overlap", "coverage", "uncut_overlap", "confidence", "agreement"), np.float64),
    **dict.fromkeys(("occluded", "generated"), np.int8),
}


@contextmanager
def open_predictions(work: Work) -> Iterator[tuple[Artifact, Callable[[int], Scores]]]:
    """The appearance stream's scores, and the function that gives the `margin_of` a frame."""
    with work.open("appearance-scores") as appearance:
        if not work.has("motion-scores"):
            yield appearance, lambda index: margin_of(full_scores(appearance, index))
            return
        with work.open("motion-scores") as motion:
            alone = motion.length("scores") == 0  # a video of one frame, whose boxes no flow will accept
            fused = work.settings(WeakLabels).source == "fused"

            def predicted(index: int) -> Scores:
                if alone:
                    return margin_of(full_scores(appearance, index))
                scores = full_scores(motion, index)
                return margin_of(AverageFusion()(full_scores(appearance, index), scores) if fused else scores)

            yield appearance, predicted


def compute(work: Work, writer: ArtifactWriter) -> None:
    """Prune the appearance stream's predictions or, in the second round of weak labels, what `weak-labels.source` says.

    Write `regions` (T, H, W / 8) uint8, the bits of what is kept (see `bit_masks`), and the table `boxes`: frame,
    box, x0, y0, x1, y1 (px, exclusive ends), occluded, generated (0 or 1), height and width of the frame (px), and the
    fields of `Region`."""
    item, rows = work.item, []
    settings = work.settings(BoxPruning)
    with open_predictions(work) as (scores, predicted):
        height, width = size = tuple(scores.facts[FRAME_SIZE])
        count = scores.length("scores")
        data = writer.frames("regions", count, (height, packed_width(width)), np.uint8)

        def one(index: int) -> tuple[Packed, list[tuple[float, ...]]]:
            found = read_boxes(item, index)
            boxes = clip_boxes(found.boxes, size)
            frame = read_frame(item, index) if settings.refine == "grabcut" and len(boxes) else None
            region, measured = measure(predicted(index), boxes, settings, frame)
            marks = zip(found.occluded, found.generated, strict=True)
            parts = enumerate(zip(boxes, marks, measured, strict=True))
            return data.pack(pack_mask(region)), [(index, n, *b, *m, height, width, *r) for n, (b, m, r) in parts]

        for packed, of_frame in in_order(one, count, work.run.workers):
            data.append(packed)
            rows += of_frame
        table = pd.DataFrame(rows, columns=["frame", "box", *BOX, *MARKS, *REGION]).astype(_TYPES)
        writer.table("boxes", table)
        writer.facts[FRAME_SIZE] = [height, width]
        writer.counts |= {
            "frames": count,
            "boxes": len(rows),
            "frames_without_boxes": count - int(table["frame"].nunique()),
        }
