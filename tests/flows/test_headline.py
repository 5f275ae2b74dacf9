"""What Prefect is shown of a run, against a run whose scores are known."""

import doctest
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from report_fixtures import TinyRun, make_run

from fusionseg.flows import headline
from fusionseg.pipeline.report.pictures import Picture, contact_sheet, decoded
from fusionseg.pipeline.report.tables import load_scores
from fusionseg.pipeline.store.runs import read_run


@pytest.fixture
def tiny(tmp_path: Path) -> TinyRun:
    return make_run(tmp_path)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What is sent to Prefect, by kind."""
    found: dict[str, Any] = {}
    monkeypatch.setattr(headline, "create_table_artifact", lambda **values: found.update(table=values))
    monkeypatch.setattr(headline, "create_image_artifact", lambda **values: found.update(image=values))
    monkeypatch.setattr(
        headline, "create_markdown_artifact", lambda text, key, title: found.update(markdown=(text, key, title))
    )
    return found


def by_method(rows: list[dict[str, str]]) -> Mapping[str, dict[str, str]]:
    return {row["method"]: row for row in rows if not row["kind"].startswith("published")}


def test_examples() -> None:
    assert doctest.testmod(headline).failed == 0


def test_headline_is_the_reports(tiny: TinyRun, shown: dict[str, Any]) -> None:
    headline.publish(tiny.root, "tiny")
    rows = shown["table"]["table"]
    assert by_method(rows)["joint"] == {
        "method": "joint", "J": "70.0", "F": "60.0", "J&F": "65.0", "joint less this (J)": "–", "sequences": "2",
        "kind": "model",
    }  # fmt: skip
    assert by_method(rows)["motion"]["joint less this (J)"] == "+25.0 [+20.0, +30.0]"
    published = [row for row in rows if row["kind"] == "published, on val"]
    assert [row["J"] for row in published] == ["70.7"]
    text, key, title = shown["markdown"]
    assert (key, title) == ("fusionseg-tiny-report", f"run tiny: {tiny.root.parent / 'tiny.yaml'}/test")
    assert "| joint | 70.0 | 60.0 | 65.0 |" in text
    assert "joint minus appearance (better stream): +10.0 points of J" in text
    assert "2 passed both tests" in text
    assert str(tiny.root / "reports/tiny.html") in text


def test_picture_holds_best_median_and_worst_frame(tiny: TinyRun, shown: dict[str, Any]) -> None:
    headline.publish(tiny.root, "tiny")
    sheet = decoded(Picture("", "", shown["image"]["image_url"]))
    assert sheet is not None
    assert sheet.shape == (3 * (24 + 6), 6 * (40 + 6), 3)
    flow = sheet[2:22, 48:84].astype(int)
    assert np.abs(flow - (0, 255, 255)).max() < 60, "yellow, BGR"


def test_without_scores_there_is_text_alone(tiny: TinyRun, shown: dict[str, Any]) -> None:
    records = tiny.record["stages"]["scoring"]["records"]
    tiny.record["stages"]["scoring"]["records"] = [r for r in records if r["video"] == "still"]
    tiny.save()
    headline.publish(tiny.root, "tiny")
    assert set(shown) == {"markdown"}
    assert "Nothing was scored." in shown["markdown"][0]


def test_without_frames_there_is_no_picture(tiny: TinyRun) -> None:
    run = read_run(tiny.root, tiny.record["name"])
    scores = load_scores(tiny.root, run)
    assert contact_sheet(tiny.root, run, scores.per_frame) is not None
    shutil.rmtree(tiny.data)
    assert contact_sheet(tiny.root, run, scores.per_frame) is None


def test_progress_counts_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[UUID, float, str]] = []
    identity = uuid4()
    monkeypatch.setattr(headline, "create_progress_artifact", lambda share, key, text: identity)
    monkeypatch.setattr(headline, "update_progress_artifact", lambda *values: told.append(values))
    progress = headline.Progress("tiny", ["optical-flow", "scoring"])
    progress.done("optical-flow")
    progress.done("scoring")
    assert told == [
        (identity, 50.0, "1 of 2 stages done, the last one optical-flow"),
        (identity, 100.0, "2 of 2 stages done, the last one scoring"),
    ]
