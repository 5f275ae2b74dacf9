"""The stage box-motion."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import Box, make_context, make_work, write_input, write_xml_item

from fusionseg.pipeline.run.session import run_job
from fusionseg.pipeline.stages.box_motion import compute
from fusionseg.pipeline.store.artifact import Artifact
from fusionseg.pipeline.weak_labels.verdicts import MOTION

ROWS: list[list[Box]] = [[(4, 6, 12, 14), (20, 6, 99, 99)], [], [(4, 6, 12, 14)]]


def boxes(*rows: Box) -> np.ndarray:
    return np.array(rows, np.int32).reshape(-1, 4)


def run(root: Path, rows: list[list[Box]], images: int = 3, flow: bool = True, **more: Any) -> Any:
    context = make_context(root)
    pictures = np.full((images, 24, 40, 3), 255, np.uint8)
    pictures[:, 6:14, 4:12] = (155, 255, 255)
    flows = np.zeros((images, 24, 40, 2), np.float16)
    flows[:, 6:14, 4:12] = (3, 4)
    inputs = [write_input(context, "flow-images", {"images": pictures})] if more.get("pictures", True) else []
    inputs += [write_input(context, "optical-flow", {"flow": flows})] if flow else []
    settings = {"flow-images": {"scaling": "max"}}
    record = run_job(make_work(context, "box-motion", write_xml_item(root / "data", rows), settings, inputs), compute)
    with Artifact(root / record.path) as artifact:
        artifact.verify()
        return record, artifact.table("motion")


def test_stage(tmp_path: Path) -> None:
    record, table = run(tmp_path, ROWS)
    assert table.columns.tolist() == ["frame", "box", *MOTION] and record.counts == {"frames": 3, "boxes": 3}
    assert table[["frame", "box"]].to_numpy().tolist() == [[0, 0], [0, 1], [2, 0]]
    assert table["contrast"].tolist() == pytest.approx([100, 0, 100])
    assert table["magnitude_in"].tolist() == pytest.approx([5, 0, 5])
    assert table["background"].tolist() == pytest.approx([1 - (64 + 360) / 960] * 2 + [1 - 64 / 960])


def test_stage_without_u_and_v(tmp_path: Path) -> None:
    _, table = run(tmp_path, ROWS, flow=False)
    assert table["contrast"].tolist() == pytest.approx([100, 0, 100])
    assert table[[name for name in MOTION if name not in ("background", "contrast")]].isna().all(axis=None)


def test_stage_that_colours_flow_itself(tmp_path: Path) -> None:
    _, table = run(tmp_path, ROWS, pictures=False)
    assert table["contrast"].iloc[0] > 100 and table["magnitude_in"].iloc[0] == pytest.approx(5)


def test_a_video_of_one_frame_has_no_flow(tmp_path: Path) -> None:
    _, table = run(tmp_path, ROWS[:1], images=0)
    assert len(table) == 2 and (table["background"] > 0).all()
    assert table[[name for name in MOTION if name != "background"]].isna().all(axis=None)


def test_a_video_without_boxes(tmp_path: Path) -> None:
    record, table = run(tmp_path, [[], []])
    assert record.counts == {"frames": 2, "boxes": 0}
    assert table.empty and table.columns.tolist() == ["frame", "box", *MOTION]
