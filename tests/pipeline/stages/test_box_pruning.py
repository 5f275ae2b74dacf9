"""The stage box-pruning."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from builders import Box, make_context, make_job, make_work, write_input, write_xml_item

from fusionseg.pipeline.run.session import run_job
from fusionseg.pipeline.settings.sections import BoxPruning
from fusionseg.pipeline.stages.box_pruning import compute
from fusionseg.pipeline.store.artifact import Artifact
from fusionseg.pipeline.store.bits import read_plain
from fusionseg.pipeline.store.job import Work
from fusionseg.pipeline.weak_labels.verdicts import BOX, MARKS, REGION


def picture(*rows: str) -> np.ndarray:
    return np.array([[character == "#" for character in row] for row in rows])


MASK = picture(
    ".......",
    ".##..#.",
    ".###...",
    ".......",
)


ALL = BoxPruning()


SETTINGS = {"box-pruning": ALL.model_dump()}


def scores(mask: np.ndarray) -> np.ndarray:
    """Return logits (2, H, W) whose arg max is `mask`."""
    return np.stack([np.where(mask, -1, 1), np.where(mask, 1, -1)]).astype(np.float16)


P = 1 / (1 + np.exp(-2))  # of a score of 1 for object and -1 for background


CONFIDENCE = [round(n * P / (n + m * (1 - P)), 4) for n, m in ((5, 1), (1, 5), (3, 11))]


def test_stage(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    boxes: list[list[Box]] = [[(1, 1, 4, 3), (5, 1, 7, 4)], [], [(0, 2, 90, 90)]]
    facts = {"stride": 1, "network_size": [4, 7], "frame_size": [4, 7]}
    record = write_input(context, "appearance-scores", {"scores": np.stack([scores(MASK)] * 3)}, facts)
    item = write_xml_item(tmp_path / "data", boxes, occluded=[[0, 1], [], [1]], generated=[[1, 0], [], [1]])
    job = make_job("box-pruning", item, SETTINGS, [record])
    done = run_job(Work(job, context), compute)
    assert done.counts == {"frames": 3, "boxes": 3, "frames_without_boxes": 1}
    with Artifact(tmp_path / done.path) as artifact:
        regions = np.stack([read_plain(artifact, "regions", n) for n in range(3)])
        table = artifact.table("boxes")
        assert artifact.datasets()["regions"].shape == (3, 4, 1)  # eight pixels a byte
        artifact.verify()
    assert np.array_equal(regions[0], MASK) and not regions[1].any()
    assert np.array_equal(regions[2] == 1, MASK & (np.arange(4) >= 2)[:, None])
    expected = pd.DataFrame(
        [
            (0, 0, 1, 1, 4, 3, 0, 1, 4, 7, 5, 1, 1.0, 1.0, 5 / 6, 1.0, CONFIDENCE[0], 1.0),
            (0, 1, 5, 1, 7, 4, 1, 0, 4, 7, 1, 1, 1.0, 1 / 6, 1 / 6, 1 / 6, CONFIDENCE[1], 1.0),
            (2, 0, 0, 2, 7, 4, 1, 1, 4, 7, 3, 1, 1.0, 3 / 14, 3 / 14, 3 / 17, CONFIDENCE[2], 1.0),
        ],
        columns=["frame", "box", *BOX, *MARKS, *REGION],
    ).astype({"occluded": np.int8, "generated": np.int8})
    pd.testing.assert_frame_equal(table, expected)


def test_stage_on_a_video_without_any_box(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    facts = {"stride": 1, "network_size": [4, 7], "frame_size": [4, 7]}
    record = write_input(context, "appearance-scores", {"scores": scores(MASK)[None]}, facts)
    done = run_job(
        make_work(context, "box-pruning", write_xml_item(tmp_path / "data", [[]]), SETTINGS, [record]), compute
    )
    assert done.counts == {"frames": 1, "boxes": 0, "frames_without_boxes": 1}
    with Artifact(tmp_path / done.path) as artifact:
        assert len(artifact.table("boxes")) == 0 and not artifact.frame("regions", 0).any()


def test_frames_that_are_not_annotated_count_as_frames_without_boxes(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    facts = {"stride": 1, "network_size": [4, 7], "frame_size": [4, 7]}
    record = write_input(context, "appearance-scores", {"scores": np.stack([scores(MASK)] * 3)}, facts)
    item = write_xml_item(tmp_path / "data", [[], [(1, 1, 4, 3)], []])
    assert item.boxes is not None
    sparse = replace(item, boxes=replace(item.boxes, paths=(None, item.boxes.paths[1], None)))
    done = run_job(make_work(context, "box-pruning", sparse, SETTINGS, [record]), compute)
    assert done.counts == {"frames": 3, "boxes": 1, "frames_without_boxes": 2}


def test_the_second_round_prunes_the_motion_stream_s_prediction_or_the_mean_of_both(tmp_path: Path) -> None:
    facts = {"stride": 4, "network_size": [12, 16], "frame_size": [12, 16]}
    context = make_context(tmp_path)
    item = write_xml_item(tmp_path / "boxes", [[(0, 0, 16, 12)]])
    inputs = []
    for stage, edge in (("appearance-scores", 4), ("motion-scores-2", 10)):  # object is what lies right of the edge
        line = (np.arange(5) * 4 - (edge - 0.5))[None].repeat(4, 0)
        inputs.append(write_input(context, stage, {"scores": np.stack([-line, line])[None].astype(np.float16)}, facts))
    widths = {}
    for source in ("motion", "fused"):
        settings = {"box-pruning": {}, "weak-labels": {"rounds": 2, "source": source}}
        job = make_job("box-pruning-2", item, settings, inputs)
        with Artifact(tmp_path / run_job(Work(job, context), compute).path) as artifact:
            widths[source] = int(read_plain(artifact, "regions", 0)[0].sum())
    assert widths == {"motion": 6, "fused": 9}
