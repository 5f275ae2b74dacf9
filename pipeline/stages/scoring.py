"""Stage `scoring`: region similarity J and contour accuracy F of every method's mask on every scored frame.

What it computes with, `fusionseg score` uses too: see `frame_scores`.
"""

from __future__ import annotations

from fusionseg.pipeline.basics.threads import in_order
from fusionseg.pipeline.datasets.items import Item, MaskFiles
from fusionseg.pipeline.datasets.reading import read_mask_sized, read_objects_sized
from fusionseg.pipeline.formats.planes import Raw
from fusionseg.pipeline.scoring.frames import frame_scores, joined, sequence_rows
from fusionseg.pipeline.scoring.measures import LabelScores
from fusionseg.pipeline.scoring.protocols import PROTOCOLS, Protocol, scored_frames
from fusionseg.pipeline.store.artifact import Artifact, ArtifactWriter
from fusionseg.pipeline.store.job import Work


def compute(work: Work, writer: ArtifactWriter) -> None:
    """Write the table `per_frame`: method, sequence, frame, J, F (both 0..1), for the models and baselines of
    `prediction` and the published masks of other methods that the manifest names; and object, the label of the true
    object, where the protocol tells objects apart. The models' masks are one proposal then.

    A video that isn't scored has no rows, and a count says why: `no_truth` (no masks), `no_protocol` (none to score it
    by), `unscored` (too short for its protocol, or no mask on a frame that it scores).
    """
    item = work.item
    frames = protocol_frames(item)
    with work.open("prediction") as masks:
        found = list(in_order(lambda i: score_frame(item, masks, frames[i]), len(frames), work.run.workers))
        methods = [*masks.facts["methods"], *item.others]
        protocol = PROTOCOLS[item.protocol] if item.protocol else None
        tables = [
            sequence_rows(protocol, method, item.name, frames, [scores[method] for scores in found])
            for method in methods
            if protocol and found
        ]
        writer.table("per_frame", joined(tables))
        writer.counts |= {"frames": len(item.frames), "scored_frames": len(frames)}
        if not frames:
            writer.counts["no_truth" if not item.masks else "no_protocol" if not item.protocol else "unscored"] = 1


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


def score_frame(item: Item, masks: Artifact, index: int) -> dict[str, LabelScores]:
    """`frame_scores` of one frame of a video."""
    assert item.protocol is not None
    protocol = PROTOCOLS[item.protocol]
    predictions: dict[str, Raw] = {method: masks.frame(method, index) > 0 for method in masks.facts["methods"]}
    height, width = next(iter(predictions.values())).shape
    truth = _read(item, protocol, index, (height, width), item.masks[index])
    for method, paths in item.others.items():
        predictions[method] = _read(item, protocol, index, (height, width), MaskFiles((paths[index],)))
    return frame_scores(protocol, truth, predictions)


def _read(item: Item, protocol: Protocol, index: int, size: tuple[int, int], files: MaskFiles) -> Raw:
    if protocol.objects:
        return read_objects_sized(item, index, size, files)
    return read_mask_sized(item, index, size, files) == 1
