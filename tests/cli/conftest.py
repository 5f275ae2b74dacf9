"""Data for commands to work on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fusionseg.pipeline.demo_data.render import render
from fusionseg.pipeline.settings.sections import Render


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "data"
    settings = Render(
        stills=3, boxed_videos=2, fusion_videos=1, validation_videos=1, test_videos=1, frames=4, width=96, height=64
    )
    render(root, settings)
    return root


@pytest.fixture
def data(rendered: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(rendered, tmp_path / "data"))
