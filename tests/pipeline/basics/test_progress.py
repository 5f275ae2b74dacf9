"""Progress of long work."""

from pathlib import Path

import pytest
from builders import make_context

from fusionseg.pipeline.store.job import Context


def test_progress_writes_no_carriage_returns_where_nobody_watches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    context: Context = make_context(tmp_path)
    with context.progress("training", 5, "step") as bar:
        for _ in range(5):
            bar.update()
    assert "\r" not in capsys.readouterr().err
