"""Stage `scoring`: region similarity J and contour accuracy F of every method's mask on every scored frame."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fusionseg.pipeline.artifact import Artifact, Record
from fusionseg.pipeline.images import read_mask_sized
from fusionseg.pipeline.job import Context, Job, in_order
from fusionseg.pipeline.manifest import Item, MaskFiles
from fusionseg.pipeline.metrics import PROTOCOLS, contour_accuracy, region_similarity, scored_frames
from fusionseg.pipeline.store import record_of

COLUMNS = ["method", "sequence", "frame", "J", "F"]


def compute(job: Job, context: Context) -> Record:
    """Write the table `per_frame`: method, sequence, frame, J, F (both 0..1), for the models and baselines of
    `prediction` and the published masks of other methods that the manifest names.

    A video that isn't scored has no rows, and a count says why: `no_truth` (no masks), `no_protocol` (none to score it
    by), `unscored` (too short for its protocol, or no mask on a frame that it scores).
    """
    item = job.item
    frames = protocol_frames(item)
    with job.open(context, "prediction") as masks, job.write(context) as writer:
        tables = in_order(lambda i: score_frame(item, masks, frames[i]), len(frames), context.run.workers)
        rows = [row for table in tables for row in table]
        order = {method: n for n, method in enumerate([*masks.facts["methods"], *item.others])}
        rows.sort(key=lambda row: (order[row[0]], row[2]))
        table = pd.DataFrame(rows, columns=COLUMNS).astype({"frame": np.int64, "J": np.float64, "F": np.float64})
        writer.table("per_frame", table)
        writer.counts |= {"frames": len(item.frames), "scored_frames": len(frames)}
        if not frames:
            writer.counts["no_truth" if not item.masks else "no_protocol" if not item.protocol else "unscored"] = 1
    return record_of(job, context)


def protocol_frames(item: Item) -> list[int]:
    """Indices of the frames that the data set's protocol scores and that have a true mask; none where the video is too
    short, or there is no protocol."""
    if item.protocol is None:
        return []
    try:
        counted = scored_frames(PROTOCOLS[item.protocol], len(item.frames))
    except ValueError:
        return []
    return [index for index in item.annotated if index in counted]


def score_frame(item: Item, masks: Artifact, index: int) -> list[tuple[str, str, int, float, float]]:
    """Rows of one frame."""
    predictions = {method: masks.frame(method, index) > 0 for method in masks.facts["methods"]}
    size = next(iter(predictions.values())).shape
    truth = read_mask_sized(item, index, (size[0], size[1])) == 1
    for method, paths in item.others.items():
        predictions[method] = read_mask_sized(item, index, (size[0], size[1]), MaskFiles((paths[index],))) == 1
    return [
        (method, item.name, index, region_similarity(truth, mask), contour_accuracy(truth, mask))
        for method, mask in predictions.items()
    ]
