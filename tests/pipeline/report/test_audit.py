"""The page of a run's weak labels: what it shows stands in its tables, and it shows it whatever is missing."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_fixtures import make_run, verdicts_of
from report_page import Page
from tiny import Said, request, run

import fusionseg
from fusionseg.cli import main
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.report import audit as weak_labels_audit
from fusionseg.pipeline.report.audit import (
    choose,
    contact_sheets,
    explanations,
    finish_audit,
    grid,
    yields_table,
)
from fusionseg.pipeline.settings.sections import FlowFilter, WeakLabels
from fusionseg.pipeline.store.artifact import Artifact, Record
from fusionseg.pipeline.store.runs import StageRun, read_run, write_run
from fusionseg.pipeline.store.sources import open_recorded
from fusionseg.pipeline.weak_labels.verdicts import ACCEPTED, REASONS

STAGES = ("optical-flow", "flow-images", "appearance-training", "appearance-scores", "box-pruning", "box-motion",
          "flow-filter")  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the run "tiny", as far as its weak labels."""
    folder = tmp_path_factory.mktemp("audit")
    asked = request(folder, "flow-filter.min_contrast=40")
    for stage in STAGES:
        run(asked, only=stage, say=Said())
    return folder / "out"


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed at will. Frames stay where they were rendered."""
    return Path(shutil.copytree(made, tmp_path / "out"))


def audited(store: Path, each: int = 2, seed: int = 0) -> Page:
    return Page(finish_audit(store, "tiny", each, seed, Said()).read_text())


def test_page_says_what_its_tables_say(store: Path) -> None:
    page = audited(store)
    folder = store / "reports" / "tiny-weak-labels-tables"
    verdicts = pd.read_parquet(folder / "verdicts.parquet")
    pd.testing.assert_frame_equal(verdicts, fusionseg.read_verdicts(store, "tiny"))
    reasons = {row[0]: int(row[1]) for row in page.tables["reasons"][1:]}
    assert reasons == verdicts["reason"].value_counts().to_dict() and len(reasons) > 1
    assert sum(reasons.values()) == len(verdicts) == int(page.tables["funnel"][3][1])
    yields = pd.read_parquet(folder / "yields.parquet")
    for kind in ("colour", "vector"):
        cells = [float(cell) for row in page.tables[f"grid-{kind}"][1:] for cell in row[1:]]
        shares = yields.loc[yields["kind"] == kind, "frame_share"]
        assert cells == pytest.approx(100 * shares, abs=0.051) and len(cells) >= 81


def test_every_chosen_box_is_shown_and_nothing_is_fetched(store: Path) -> None:
    page = audited(store)
    chosen = choose(fusionseg.read_verdicts(store, "tiny"), 2, 0)
    assert len(page.images) == 5 * len(chosen) and all(image["alt"] for image in page.images)
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert all(reason in page.sections["boxes"] for reason in chosen["reason"].unique())
    row = chosen.iloc[0]
    assert f"{row['video']}, frame {row['frame']} of" in page.sections["boxes"]
    assert any(f"overlap {row['overlap']:.2f}" in figure for figure in page.figures)


@pytest.mark.parametrize(("source", "more"), [("fused", {"appearance-scores"}), ("motion", set())])
def test_pictures_are_of_the_round_whose_verdicts_are_shown(
    store: Path, monkeypatch: pytest.MonkeyPatch, source: str, more: set[str]
) -> None:
    run, opened = read_run(store, "tiny"), set[str]()
    for name, like in (("motion-scores", "appearance-scores"), ("box-pruning", ""), ("flow-filter", "")):
        records = tuple(replace(record, stage=f"{name}-2") for record in run.records(like or name))
        run = replace(run, stages={**run.stages, f"{name}-2": StageRun("computed", records=records)})
    labels = WeakLabels.model_validate({"rounds": 2, "source": source})
    run = replace(run, profile=run.profile.model_copy(update={"weak_labels": labels}))

    def noted(root: Path, record: Record) -> Artifact:
        opened.add(record.stage)
        return open_recorded(root, record)

    monkeypatch.setattr(weak_labels_audit, "open_recorded", noted)
    found, problems = contact_sheets(store, run, choose(fusionseg.read_verdicts(store, "tiny"), 1, 0))
    assert found and not problems
    assert opened == {"motion-scores-2", "box-pruning-2", "flow-filter-2", "flow-images"} | more


def test_the_same_seed_draws_the_same_page(store: Path) -> None:
    first = finish_audit(store, "tiny", 2, 5, Said()).read_text()
    assert finish_audit(store, "tiny", 2, 5, Said()).read_text() == first
    assert finish_audit(store, "tiny", 2, 6, Said()).read_text() != first


def test_without_frames_the_rest_is_shown(store: Path, tmp_path: Path) -> None:
    record = read_run(store, "tiny")
    write_run(store, replace(record, data={"(default)": str(tmp_path / "nowhere")}))
    page = audited(store)
    assert page.images == [] and "nowhere" in page.sections["boxes"] and page.tables["reasons"]


def test_what_is_gone_is_named(store: Path) -> None:
    gone = sorted((store / "artifacts" / "box-pruning").rglob("*.h5"))[0]
    gone.unlink()
    assert gone.name in audited(store, each=20).sections["boxes"]
    shutil.rmtree(store / "artifacts" / "flow-filter")
    with pytest.raises(UserError, match="this artifact of the run is gone"):
        audited(store)


def test_a_run_without_weak_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = make_run(tmp_path)
    del tiny.record["stages"]["flow-filter"]
    tiny.save()
    assert main(["weak-labels", "audit", "tiny", "--out", str(tiny.root)]) == 2
    assert "run 'tiny' has no weak labels" in capsys.readouterr().err
    assert main(["weak-labels", "audit", "other", "--out", str(tiny.root)]) == 2
    assert "no run 'other'" in capsys.readouterr().err
    assert main(["weak-labels", "audit", "tiny", "--each", "0"]) == 2
    assert "expected 1 or more, found 0" in capsys.readouterr().err


def test_boxes_are_drawn_of_many_videos() -> None:
    table = pd.concat([verdicts_of(5).assign(dataset="d", video=name, reason=ACCEPTED) for name in "abc"])
    chosen = choose(table, 4, 0)
    assert len(chosen) == 4 and set(chosen["video"]) == set("abc")
    assert len(choose(table, 99, 0)) == 15
    assert not chosen.equals(choose(table, 4, 1))


def test_grid_has_the_run_s_own_thresholds() -> None:
    settings = FlowFilter(min_overlap=0.42, min_contrast=33)
    table = yields_table(verdicts_of(5).assign(dataset="d"), settings)
    colour, vector = (grid(table, kind, settings) for kind in ("colour", "vector"))
    assert colour.own is not None and vector.own is None
    assert (colour.overlaps[colour.own[0]], colour.contrasts[colour.own[1]]) == (0.42, 33)
    assert np.shape(colour.shares) == (len(colour.overlaps), len(colour.contrasts))


def test_without_u_and_v_there_is_no_grid_of_vectors() -> None:
    table = verdicts_of(5).assign(dataset="d", vector_contrast=np.nan)
    assert set(yields_table(table, FlowFilter())["kind"]) == {"colour"}
    assert yields_table(table.assign(contrast=np.nan), FlowFilter()).empty  # videos of one frame


def test_every_verdict_is_explained() -> None:
    for settings in (FlowFilter(), FlowFilter(contrast="vector", measure="coverage")):
        assert set(explanations(settings)) == {ACCEPTED, *REASONS}
