"""The stage appearance-scores."""

from pathlib import Path

import numpy as np
import torch
from builders import make_context, make_item, make_work, moving_square, write_jpeg

from fusionseg.models.stream import Architecture, Stream, to_frame
from fusionseg.models.weights import pack_weights
from fusionseg.pipeline.datasets.reading import read_frame
from fusionseg.pipeline.networks.scores import full_scores
from fusionseg.pipeline.run.session import run_job
from fusionseg.pipeline.stages.appearance_scores import compute
from fusionseg.pipeline.store.artifact import Artifact, Record


def test_stored_scores_are_those_of_the_trained_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    stream = Stream(Architecture("resnet18", "parallel-dilated", 16)).eval()
    header = {"kind": "stream", "architecture": stream.architecture.as_dict()}
    data, content = pack_weights(stream.state_dict(), header)
    (tmp_path / "s.safetensors").write_bytes(data)
    given = Record("appearance-training", "given", "s", "", str(tmp_path / "s.safetensors"), content)
    frames = [write_jpeg(tmp_path / f"{i}.jpg", frame) for i, (frame, _) in enumerate(moving_square(3))]
    item = make_item(frames=frames)
    settings = {"network": {"backbone": "resnet18", "bf16": False, "long_side": 0}, "scores": {}}
    context = make_context(tmp_path, batch=2)
    record = run_job(make_work(context, "appearance-scores", item, settings, [given]), compute)
    with Artifact(tmp_path / record.path) as artifact:
        artifact.verify()
        assert artifact.length("scores") == 3
        for index in range(3):
            picture = torch.from_numpy(read_frame(item, index)[..., ::-1].copy()).permute(2, 0, 1)[None]
            with torch.inference_mode():
                scores = stream(stream.prepare(picture)).half()
            found = artifact.frame("scores", index)
            np.testing.assert_allclose(found, scores[0].numpy(), rtol=2e-3, atol=1e-3)
            size = picture.shape[-2], picture.shape[-1]
            expected = to_frame(torch.from_numpy(found)[None].float(), 16, size, size)
            assert torch.equal(full_scores(artifact, index), expected)
    assert record.counts == {"frames": 3}
