"""Scoring: the right frames, methods and masks meet the measures."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from builders import (
    SIZE,
    make_context,
    make_item,
    make_work,
    write_davis,
    write_davis2017,
    write_indexed,
    write_input,
    write_png,
)

from fusionseg.pipeline.datasets.finding import load_items
from fusionseg.pipeline.datasets.items import Item, MaskFiles
from fusionseg.pipeline.datasets.manifest import read_manifest
from fusionseg.pipeline.datasets.reading import read_mask, read_objects_sized
from fusionseg.pipeline.errors import BadFile
from fusionseg.pipeline.run.session import run_job
from fusionseg.pipeline.scoring.measures import contour_accuracy, region_similarity
from fusionseg.pipeline.scoring.statistics import per_sequence_table
from fusionseg.pipeline.stages.scoring import compute, protocol_frames
from fusionseg.pipeline.store.artifact import Artifact, Record


def video(root: Path, frames: int) -> Item:
    (item,) = load_items(write_davis(root / "data", {"bear": frames}), "train", root / "data")
    return item


def run(root: Path, item: Item, masks: dict[str, np.ndarray]) -> tuple[Record, pd.DataFrame]:
    context = make_context(root)
    given = write_input(context, "prediction", masks, {"methods": list(masks)}, video=item.name)
    record = run_job(make_work(context, "scoring", item, inputs=[given]), compute)
    with Artifact(root / record.path) as artifact:
        artifact.verify()
        return record, artifact.table("per_frame")


def truths(item: Item) -> np.ndarray:
    return np.stack([read_mask(item, n) for n in range(len(item.frames))])


def test_stage(tmp_path: Path) -> None:
    item = video(tmp_path, 5)
    truth = truths(item)
    late = np.roll(truth, 1, 0)  # each frame gets the mask of the one before
    record, table = run(tmp_path, item, {"joint": truth, "late": late, "nothing": np.zeros_like(truth)})
    assert record.counts == {"frames": 5, "scored_frames": 3}
    assert table.columns.tolist() == ["method", "sequence", "frame", "J", "F"] and set(table["sequence"]) == {"bear"}
    # Without the first and the last frame, method by method, in order.
    assert list(zip(table["method"], table["frame"], strict=True)) == [
        (method, frame) for method in ("joint", "late", "nothing") for frame in (1, 2, 3)
    ]
    by = table.set_index(["method", "frame"])
    assert (by.loc["joint", ["J", "F"]] == 1).all().all() and (by.loc["nothing", ["J", "F"]] == 0).all().all()
    # An 8x8 square 2 px off: 6 of 10 columns are shared.
    assert by.loc["late", "J"].tolist() == pytest.approx([0.6] * 3)
    assert by.loc[("late", 2), "F"] == contour_accuracy(truth[2] == 1, late[2] == 1)


def test_published_masks_of_others_are_scored_alike(tmp_path: Path) -> None:
    item = video(tmp_path, 4)
    truth = truths(item)
    shifted = np.roll(truth, 2, 2)
    paths = tuple(write_png(tmp_path / f"fseg/{n}.png", shifted[n].astype(bool)) for n in range(4))
    _, table = run(tmp_path, replace(item, others={"FSEG": paths}), {"joint": shifted})
    ours, theirs = (
        table[table["method"] == m].drop(columns="method").reset_index(drop=True) for m in ("joint", "FSEG")
    )
    pd.testing.assert_frame_equal(ours, theirs)
    assert table["method"].unique().tolist() == ["joint", "FSEG"] and ours["J"].tolist() == pytest.approx([0.6, 0.6])


def test_void_is_no_object(tmp_path: Path) -> None:
    item = video(tmp_path, 3)
    label = (truths(item)[1] * 255).astype(np.uint8)
    label[20:, :] = 7
    write_png(item.files("masks")[1], label)
    _, table = run(tmp_path, replace(item, void=7), {"joint": truths(item)})
    merged = region_similarity(label > 0, truths(item)[1] == 1)
    assert table["J"].tolist() == [pytest.approx(region_similarity(label == 255, label > 0))] and merged == 1


@pytest.mark.parametrize("frames", [1, 2])
def test_a_video_too_short_for_its_protocol_is_told(tmp_path: Path, frames: int) -> None:
    item = video(tmp_path, frames)
    record, table = run(tmp_path, item, {"joint": truths(item)})
    assert len(table) == 0 and table.columns.tolist() == ["method", "sequence", "frame", "J", "F"]
    assert record.counts == {"frames": frames, "scored_frames": 0, "unscored": 1}


def test_frames_that_a_protocol_scores() -> None:
    frames = [Path(f"{n}.png") for n in range(4)]
    truth = tuple(MaskFiles((path,)) for path in frames)
    assert protocol_frames(make_item(frames=frames, masks=truth, protocol="davis2016")) == [1, 2]
    assert protocol_frames(make_item(frames=frames, masks=truth)) == []
    assert protocol_frames(make_item(frames=frames, protocol="davis2016")) == []


@pytest.mark.parametrize(
    ("changes", "count"), [({"masks": (), "protocol": None}, "no_truth"), ({"protocol": None}, "no_protocol")]
)
def test_a_video_without_truth_or_protocol_is_told(tmp_path: Path, changes: dict[str, Any], count: str) -> None:
    item = video(tmp_path, 4)
    record, table = run(tmp_path, replace(item, **changes), {"joint": truths(item)})
    assert len(table) == 0 and table.columns.tolist() == ["method", "sequence", "frame", "J", "F"]
    assert record.counts == {"frames": 4, "scored_frames": 0, count: 1}


def test_only_annotated_frames_are_scored(tmp_path: Path) -> None:
    item = video(tmp_path, 6)
    truth = truths(item)
    masks = tuple(MaskFiles(()) if index in (0, 2, 3) else mask for index, mask in enumerate(item.masks))
    record, table = run(tmp_path, replace(item, masks=masks), {"joint": truth})
    assert table["frame"].tolist() == [1, 4]  # 5 has truth, but the protocol leaves out the last
    assert record.counts == {"frames": 6, "scored_frames": 2}


def test_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    item = video(tmp_path, 3)
    masks = truths(item)
    write_png(item.files("masks")[1], np.zeros((12, 20), np.uint8))
    with pytest.raises(BadFile, match=r"00001\.png: mask is 20x12, its frame 40x24"):
        run(tmp_path, item, {"joint": masks})


def test_objects_are_told_apart_and_our_masks_are_one_proposal(tmp_path: Path) -> None:
    write_davis2017(tmp_path / "data", {"dogs": 3})
    (item,) = load_items(read_manifest("davis2017-unsupervised"), "val", tmp_path / "data")
    paths = tuple(
        write_indexed(tmp_path / f"others/{n}.png", np.array([0, 2, 1], np.uint8)[label])
        for n, label in enumerate(objects(item))
    )
    square = np.stack([label == 1 for label in objects(item)]).astype(np.uint8)
    record, table = run(tmp_path, replace(item, others={"swapped": paths}), {"joint": square})
    assert table.columns.tolist() == ["method", "sequence", "frame", "J", "F", "object"]
    assert record.counts == {"frames": 3, "scored_frames": 3}
    by = table.groupby(["method", "object"])[["J", "F"]].mean()
    assert (by.loc["swapped"] == 1).all(axis=None)
    assert by.loc[("joint", 1)].tolist() == [1, 1] and by.loc[("joint", 2)].tolist() == [0, 0]
    assert per_sequence_table(table)["object"].tolist() == [1, 2, 1, 2]


def objects(item: Item) -> list[np.ndarray]:
    """The true objects of each frame, 1 and 2; void, 255, is background here."""
    labels = [read_objects_sized(item, n, SIZE) for n in range(len(item.frames))]
    return [np.where(label == 255, 0, label).astype(np.uint8) for label in labels]


@pytest.mark.real
def test_published_masks_get_their_published_scores(tmp_path: Path, real_data: Path) -> None:
    """FusionSeg's masks through this stage, against the benchmark's own figures (3 decimals) of one sequence."""
    official = json.loads((real_data / "fseg_masks_train30_official_scores.json").read_text())["soccerball"]
    items = load_items(read_manifest("davis2016-small"), "test", real_data)
    item = next(i for i in items if i.name == "soccerball")
    _, table = run(tmp_path, item, {"truth": truths(item)})
    assert (table.loc[table["method"] == "truth", ["J", "F"]] == 1).all().all()
    fseg = table[table["method"] == "FSEG (published masks)"]
    for measure in ("J", "F"):
        np.testing.assert_allclose(fseg[measure], np.array(official[measure], float), atol=6e-4)
