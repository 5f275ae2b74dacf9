"""The stage `flow-filter`: measurements in, verdicts and labels out."""

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from builders import make_context, make_item, make_work, write_input
from report_fixtures import make_run

import fusionseg
from fusionseg.models.labels import VOID
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.report.verdicts import read_verdicts
from fusionseg.pipeline.run.session import run_job
from fusionseg.pipeline.settings.sections import FlowFilter
from fusionseg.pipeline.stages.flow_filter import compute
from fusionseg.pipeline.store.artifact import Artifact, Record
from fusionseg.pipeline.store.bits import pack_mask, read_plain
from fusionseg.pipeline.weak_labels.verdicts import (
    ACCEPTED,
    BOX,
    FRAME_DROPPED,
    MARKS,
    MOTION,
    NO_BACKGROUND,
    NO_OBJECT,
    REGION,
    SMALL_CONTRAST,
    SMALL_OVERLAP,
    VERDICT_COLUMNS,
)

PREDICTED = np.zeros((6, 8), bool)
PREDICTED[1:4, 1:4] = True
PREDICTED[2:5, 5:7] = True
ROWS = [
    (0, 0, 1, 1, 4, 4, 0, 1, 6, 8, 9, 1, 1.0, 1.0, 1.0, 1.0, 0.9, 1.0),
    (0, 1, 5, 2, 7, 5, 1, 0, 6, 8, 6, 1, 1.0, 0.5, 1.0, 0.5, 0.9, 1.0),
    (2, 0, 1, 1, 4, 4, 1, 1, 6, 8, 9, 1, 1.0, 1.0, 1.0, 1.0, 0.9, 1.0),
    (2, 1, 4, 0, 5, 1, 0, 0, 6, 8, 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    (3, 0, 0, 0, 6, 6, 0, 0, 6, 8, 15, 2, 0.6, 0.9, 0.4, 0.9, 0.9, 1.0),
]
CONTRASTS = [100.0, 0.0, 10.0, 0.0, np.nan]
REASONS = [ACCEPTED, SMALL_OVERLAP, SMALL_CONTRAST, NO_OBJECT, NO_BACKGROUND]


def run(root: Path, rows: list[Any], **settings: Any) -> tuple[Record, Artifact]:
    context = make_context(root)
    table = pd.DataFrame(rows, columns=["frame", "box", *BOX, *MARKS, *REGION])
    table = table.astype({"occluded": np.int8, "generated": np.int8})
    motion = table[["frame", "box"]].assign(**(dict.fromkeys(MOTION, 1.0) | {"unknown": 0.0}))
    motion["contrast"] = CONTRASTS[: len(motion)]
    motion["background"] = np.where(motion["contrast"].isna(), 0.0, 0.5)
    inputs = [
        write_input(
            context, "box-pruning", {"regions": np.stack([pack_mask(PREDICTED)] * 4)}, {"frame_size": [6, 8]},
            {"boxes": table},
        ),
        write_input(context, "box-motion", {}, tables={"motion": motion}),
    ]  # fmt: skip
    values = FlowFilter(**settings).model_dump()
    record = run_job(make_work(context, "flow-filter", make_item(), {"flow-filter": values}, inputs), compute)
    return record, Artifact(root / record.path)


def test_stage(tmp_path: Path) -> None:
    record, artifact = run(tmp_path, ROWS)
    with artifact:
        table = artifact.table("verdicts")
        labels = np.stack([read_plain(artifact, "labels", n) for n in range(4)])
        artifact.verify()
    assert table.columns.tolist() == VERDICT_COLUMNS and set(table["video"]) == {"clip"}
    assert table["reason"].tolist() == REASONS and table["accepted"].tolist() == [1, 0, 0, 0, 0]
    assert table["contrast"].tolist() == pytest.approx(CONTRASTS, nan_ok=True)
    assert table[["frame", "box", *BOX, *MARKS, *REGION]].to_numpy().tolist() == [list(row) for row in ROWS]
    assert table["occluded"].dtype == table["generated"].dtype == np.int8
    assert (labels[0][1:4, 1:4] == 1).all() and (labels[0][2:5, 5:7] == VOID).all() and labels[0][0, 0] == 0
    assert (labels[1:] == VOID).all()
    assert record.counts == {
        "frames": 4, "frames_with_boxes": 3, "boxes": 5, "passed_box_test": 3, "passed_both_tests": 1,
        "labelled_frames": 1,
    }  # fmt: skip


def test_other_thresholds_other_labels(tmp_path: Path) -> None:
    record, artifact = run(tmp_path, ROWS, min_overlap=0.5, min_contrast=10)
    with artifact:
        assert artifact.table("verdicts")["reason"].tolist() == [
            ACCEPTED, SMALL_CONTRAST, ACCEPTED, NO_OBJECT, NO_BACKGROUND,
        ]  # fmt: skip
    assert record.counts["labelled_frames"] == 2


def test_frames_with_a_rejected_box_may_be_dropped(tmp_path: Path) -> None:
    record, artifact = run(tmp_path, ROWS, rejected="drop")
    with artifact:
        assert artifact.table("verdicts")["reason"].tolist() == [FRAME_DROPPED, *REASONS[1:]]
        assert (read_plain(artifact, "labels", 0) == VOID).all()
    assert (record.counts["passed_both_tests"], record.counts["labelled_frames"]) == (1, 0)


def test_a_video_without_boxes(tmp_path: Path) -> None:
    record, artifact = run(tmp_path, [])
    with artifact:
        assert len(artifact.table("verdicts")) == 0
        assert artifact.table("verdicts").columns.tolist() == VERDICT_COLUMNS
        assert all((read_plain(artifact, "labels", n) == VOID).all() for n in range(4))
    assert record.counts["boxes"] == 0 and record.counts["labelled_frames"] == 0


def test_plain_h5py_and_numpy_read_labels(tmp_path: Path) -> None:
    """As docs/weak-labels.md says."""
    record, _ = run(tmp_path, ROWS)
    with h5py.File(tmp_path / record.path) as file:
        width = json.loads(file.attrs["facts"])["frame_size"][1]
        found, void = np.unpackbits(file["labels"][0], axis=-1, count=width)
    label = fusionseg.read_frame(tmp_path / record.path, "labels", 0)
    assert np.array_equal(found == 1, label == 1) and np.array_equal(void == 1, label == VOID) and found.any()


def test_verdicts_of_a_run_by_one_call(tmp_path: Path) -> None:
    tiny = make_run(tmp_path)
    table = read_verdicts(tiny.root, "tiny")
    assert table.columns.tolist() == ["dataset", *VERDICT_COLUMNS] and len(table) == 5
    assert set(table["dataset"]) == {"tiny"} and set(table["video"]) == {"boxed"}
    with pytest.raises(UserError, match="no run 'other'"):
        read_verdicts(tiny.root, "other")
    shutil.rmtree(tiny.root / "artifacts" / "flow-filter")
    with pytest.raises(UserError, match="this artifact of the run is gone"):
        read_verdicts(tiny.root, "tiny")
    del tiny.record["stages"]["flow-filter"]
    tiny.save()
    with pytest.raises(UserError, match="'tiny' has no weak labels: it was made by --only, or stopped"):
        read_verdicts(tiny.root, "tiny")
    tiny.record["profile"]["motion-training"]["weights"] = "mine.safetensors"
    tiny.save()
    assert read_verdicts(tiny.root, "tiny").empty, "it needs none"


def test_verdicts_of_an_older_version_are_refused(tmp_path: Path) -> None:
    tiny = make_run(tmp_path)
    context = make_context(tiny.root)
    write_input(context, "flow-filter", {}, tables={"verdicts": pd.DataFrame({"frame": [0], "area": [3]})})
    tiny.record["stages"]["flow-filter"]["records"][0]["path"] = "artifacts/flow-filter/tiny/clip.h5"
    tiny.save()
    with pytest.raises(UserError, match=r"verdicts without box, .*of an older version; run the same command again"):
        read_verdicts(tiny.root, "tiny")
