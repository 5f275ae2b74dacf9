"""Golden content digests of deterministic stages on tiny inputs.

A digest that changes means that the stage computes something else: raise its version in `pipeline/graph.py` (so that
nobody gets stale artifacts), then write the new digest here. Trainings and optical flow are left out: their last bits
depend on the processor.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from builders import make_context, make_item, make_work, write_davis, write_input, write_xml_item

from fusionseg.models.fusion import create_fusion
from fusionseg.models.weights import pack_weights
from fusionseg.pipeline.datasets.finding import load_items
from fusionseg.pipeline.datasets.reading import read_frame
from fusionseg.pipeline.graph import BY_NAME
from fusionseg.pipeline.run.session import run_job
from fusionseg.pipeline.stages import box_motion, box_pruning, flow_filter, flow_images, prediction, scoring
from fusionseg.pipeline.store.artifact import Record
from fusionseg.pipeline.store.bits import pack_mask
from fusionseg.pipeline.weak_labels.verdicts import BOX, MARKS, MOTION, REGION

SIZE = (12, 16)
FACTS = {"stride": 4, "network_size": list(SIZE), "frame_size": list(SIZE)}
# stage -> (version, content)
GOLDEN = {
    "flow-images": (2, "e57b9b1cba6fd52d29e01f033b8558085e57ee67"),
    "box-pruning": (4, "bc8cceeeee8a7dcd18c2d6d314221637ee4f9801"),
    "box-motion": (1, "750b087303bf877916ae8ee8964de96d53d46a6c"),
    "flow-filter": (4, "ab320dd5ab3835174e02a387f95e4e84ecfd4906"),
    "prediction": (2, "d164fed1d1800384bf24db2003cee3515dd6bebc"),
    "scoring": (2, "ec69d84c16b12da64aebab11634131642ea7d255"),
}


def ramp(edge: int) -> np.ndarray:
    """Scores (2, 4, 5) at stride 4 that call object what lies right of `edge`."""
    line = (np.arange(5) * 4 - (edge - 0.5))[None].repeat(4, 0)
    return np.stack([-line, line]).astype(np.float16)


def flows() -> np.ndarray:
    """Two flow fields (2, 12, 16, 2) of few directions and magnitudes, all exact in float16."""
    flow = np.zeros((2, *SIZE, 2), np.float16)
    flow[0, 2:8, 3:9] = (3, -4)
    flow[1, 1:5, 2:7] = (-2, 0)
    flow[1, 6:11, 8:15] = (0, 1)
    return flow


def run_flow_images(root: Path) -> Record:
    context = make_context(root)
    given = write_input(context, "optical-flow", {"flow": flows()})
    return run_job(
        make_work(context, "flow-images", make_item(), {"flow-images": {"scaling": "max"}}, [given]),
        flow_images.compute,
    )


def run_box_pruning(root: Path) -> Record:
    context = make_context(root)
    boxes = [[(6, 1, 14, 10)], [(0, 0, 4, 4), (9, 2, 15, 11)]]
    item = write_xml_item(root / "boxes", boxes, occluded=[[1], [0, 1]], generated=[[0], [1, 0]])
    given = write_input(context, "appearance-scores", {"scores": np.stack([ramp(8), ramp(10)])}, FACTS)
    settings = {"box-pruning": {"components": "all", "min_component": 0.05}}
    return run_job(make_work(context, "box-pruning", item, settings, [given]), box_pruning.compute)


def run_box_motion(root: Path) -> Record:
    """Without u and v: last bits of what is measured of these depend on the processor."""
    context = make_context(root)
    item = write_xml_item(root / "boxes", [[(3, 2, 9, 8), (10, 0, 14, 4)], [(0, 0, 16, 12)]])
    given = write_input(context, "flow-images", {"images": flow_pictures()})
    return run_job(make_work(context, "box-motion", item, inputs=[given]), box_motion.compute)


def flow_pictures() -> np.ndarray:
    """Two flow images: an object on white, and white."""
    images = np.full((2, *SIZE, 3), 255, np.uint8)
    images[0, 2:8, 3:9] = (155, 255, 255)
    return images


def run_flow_filter(root: Path) -> Record:
    context = make_context(root)
    regions = np.zeros((2, *SIZE), bool)
    regions[:, 2:8, 3:9] = True
    rows = [
        (0, 0, 3, 2, 9, 8, 1, 0, *SIZE, 36, 1, *[1.0] * 6), (1, 0, 3, 2, 9, 8, 0, 1, *SIZE, 36, 1, *[1.0] * 6),
        (1, 1, 10, 0, 14, 4, 0, 0, *SIZE, 0, 0, *[0.0] * 6),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["frame", "box", *BOX, *MARKS, *REGION])
    motion = table[["frame", "box"]].assign(**dict.fromkeys(MOTION, 0.5))
    motion["contrast"] = [100.0, 0.0, 0.0]
    inputs = [
        write_input(
            context, "box-pruning", {"regions": pack_mask(regions)}, {"frame_size": list(SIZE)}, {"boxes": table}
        ),
        write_input(context, "box-motion", {}, tables={"motion": motion}),
    ]
    settings = {"flow-filter": {"min_overlap": 0.75, "min_contrast": 30.0}}
    return run_job(make_work(context, "flow-filter", make_item(), settings, inputs), flow_filter.compute)


def run_prediction(root: Path) -> Record:
    context = make_context(root)
    data, content = pack_weights(create_fusion("average").state_dict(), {"fusion": "average"})
    (root / "fusion.safetensors").write_bytes(data)
    inputs = [
        write_input(context, "appearance-scores", {"scores": np.stack([ramp(4), ramp(8)])}, FACTS),
        write_input(context, "motion-scores", {"scores": np.stack([ramp(10), ramp(2)])}, FACTS),
        write_input(context, "optical-flow", {"flow": flows()}),
        Record("fusion-training", "given", "fusion", "", str(root / "fusion.safetensors"), content),
    ]
    return run_job(
        make_work(context, "prediction", make_item(), {"prediction": {"baselines": True}}, inputs), prediction.compute
    )


def run_scoring(root: Path) -> Record:
    context = make_context(root)
    manifest = write_davis(root / "data", {"clip": 5})
    (item,) = load_items(manifest, "train", root / "data")
    item = replace(item, protocol="davis2016")
    height, width = read_frame(item, 0).shape[:2]
    masks = np.zeros((5, height, width), np.uint8)
    masks[:, height // 4 : height // 2, width // 4 : width // 2] = 1
    given = write_input(context, "prediction", {"joint": masks}, {"methods": ["joint"]})
    return run_job(make_work(context, "scoring", item, inputs=[given]), scoring.compute)


@pytest.mark.parametrize("stage", GOLDEN)
def test_content_is_what_this_version_computes(stage: str, tmp_path: Path) -> None:
    record = globals()[f"run_{stage.replace('-', '_')}"](tmp_path)
    assert (BY_NAME[stage].version, record.content) == GOLDEN[stage]
