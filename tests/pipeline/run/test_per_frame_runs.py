"""A run with a model of rembg's in the appearance stream's place: kept, made again and handed on like any other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from builders import write_bytes
from rembg_files import write_model
from tiny import request, run

from fusionseg.models.weights import pack_weights, read_weights
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.graph import STAGES
from fusionseg.pipeline.networks import per_frame

SET = "appearance-training.model=rembg:u2net"


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that models are looked for in."""
    folder = tmp_path / "models"
    monkeypatch.setenv("U2NET_HOME", str(folder))
    per_frame._loaded.cache_clear()
    return folder


def test_it_is_kept_made_again_and_handed_on(tmp_path: Path, models: Path) -> None:
    def states(*overrides: str, only: str | None = None) -> dict[str, str]:
        return run(request(tmp_path, SET, *overrides), only=only).states()

    with pytest.raises(UserError, match=r"appearance-training.model = rembg:u2net: its file isn't here; fetch"):
        states()
    assert not (tmp_path / "out/artifacts").exists(), "it is told ahead of the work"
    write_model(models, gain=-0.8, offset=0.9)  # objects of the built-in data are less red than what is behind them
    assert states(only="appearance-training") == {"appearance-training": "computed"}
    assert states(only="appearance-scores") == {"appearance-scores": "computed"}
    (weights,) = (tmp_path / "out/artifacts/appearance-training").rglob("*.safetensors")
    state, header = read_weights(weights)
    assert header["kind"] == "per-frame" and header["counts"]["stills"] == 12

    # Redness says little, so the fit sees no object anywhere; with this bias it sees many, and the chain goes on.
    del header["content"]
    own = write_bytes(tmp_path / "own.safetensors", pack_weights(state | {"bias": torch.tensor(-0.5)}, header)[0])
    every = {stage.name: "computed" for stage in STAGES}
    assert states(f"appearance-training.weights={own}") == every | {"appearance-training": "given"}
    given = f"appearance-training.weights={weights}"
    assert states(given, only="appearance-scores") == {"appearance-scores": "cached"}

    write_model(models, gain=-0.7, offset=0.9)
    assert states(only="appearance-training") == {"appearance-training": "computed"}, "another file is another model"
    with pytest.raises(UserError, match=r"fitted to rembg:u2net sha256:\w+, and here is rembg:u2net sha256:"):
        states(given)
