"""The stage motion-scores."""

from pathlib import Path

import numpy as np
import pytest
import torch
from builders import make_context, make_item, make_work, write_input

from fusionseg.models.stream import Architecture, Stream
from fusionseg.models.weights import pack_weights
from fusionseg.pipeline.flow.colours import colour
from fusionseg.pipeline.run.session import run_job
from fusionseg.pipeline.settings.sections import FlowImages
from fusionseg.pipeline.stages.motion_scores import compute
from fusionseg.pipeline.store.artifact import Artifact, Record


@pytest.mark.parametrize("directions", [1, 2])
def test_scores_are_the_mean_of_those_of_each_direction(tmp_path: Path, directions: int) -> None:
    torch.manual_seed(0)
    stream = Stream(Architecture("resnet18", "parallel-dilated", 16)).eval()
    data, content = pack_weights(stream.state_dict(), {"kind": "stream", "architecture": stream.architecture.as_dict()})
    (tmp_path / "s.safetensors").write_bytes(data)
    given = Record("motion-training", "given", "s", "", str(tmp_path / "s.safetensors"), content)
    flows = np.random.default_rng(0).normal(0, 3, (2, 3, 32, 48, 2)).astype(np.float16)
    context = make_context(tmp_path, batch=2)
    named = dict(zip(("flow", "flow_back")[:directions], flows, strict=False))
    settings = {
        "network": {"backbone": "resnet18", "bf16": False, "long_side": 0}, "scores": {},
        "flow-images": FlowImages().model_dump(mode="json"),
    }  # fmt: skip
    inputs = [given, write_input(context, "optical-flow", named)]
    record = run_job(make_work(context, "motion-scores", make_item(), settings, inputs), compute)
    with Artifact(tmp_path / record.path) as artifact, torch.inference_mode():
        assert artifact.length("scores") == 3 and record.counts == {"frames": 3}
        for index in range(3):
            pictures = np.stack([colour(flow[index]) for flow in flows[:directions]])
            wanted = stream(stream.prepare(torch.from_numpy(pictures.transpose(0, 3, 1, 2)))).mean(0)
            np.testing.assert_allclose(artifact.frame("scores", index), wanted.numpy(), rtol=2e-3, atol=2e-3)
