"""A run with a model of rembg's in the appearance stream's place: kept, made again and handed on like any other."""

from __future__ import annotations

from pathlib import Path

import pytest
from rembg_files import write_model
from tiny import Said, request, run

from fusionseg.models.weights import read_header
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.graph import STAGES
from fusionseg.pipeline.networks import per_frame
from fusionseg.pipeline.store.runs import read_run

SET = "appearance-training.model=rembg:u2net"


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that models are looked for in."""
    folder = tmp_path / "models"
    monkeypatch.setenv("U2NET_HOME", str(folder))
    per_frame._loaded.cache_clear()
    return folder


def test_the_chain_runs_with_it(tmp_path: Path, models: Path) -> None:
    with pytest.raises(UserError, match=r"appearance-training.model = rembg:u2net: its file isn't here; fetch"):
        run(request(tmp_path, SET))
    write_model(models)
    every = {stage.name: "computed" for stage in STAGES}
    assert run(request(tmp_path, SET, name="red")).states() == every
    assert set(run(request(tmp_path, SET)).states().values()) == {"cached"}

    weights = tmp_path / "out" / read_run(tmp_path / "out", "red").records("appearance-training")[0].path
    header = read_header(weights)
    assert header["kind"] == "per-frame" and header["counts"]["stills"] == 12 and header["temperature"] > 0
    given = run(request(tmp_path, SET, f"appearance-training.weights={weights}")).states()
    assert given.pop("appearance-training") == "given" and set(given.values()) == {"cached"}

    write_model(models, gain=0.9)
    again = run(request(tmp_path, SET), only="appearance-training").states()
    assert again["appearance-training"] == "computed", "another file is another model"
    with pytest.raises(UserError, match=r"fitted to rembg:u2net sha256:\w+, and here is rembg:u2net sha256:"):
        run(request(tmp_path, SET, f"appearance-training.weights={weights}"), say=Said())
