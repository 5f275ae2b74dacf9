"""Two runs side by side, against runs whose settings, scores and masks are known."""

import copy
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_fixtures import DATA_SET, FRAMES, SCORES, TinyRun, fill_scoring, joint_mask, make_run, write_artifact
from report_page import Page

from fusionseg.cli import main
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.report.compare import finish_comparison, frames_to_show
from fusionseg.pipeline.settings.differences import dotted
from fusionseg.pipeline.store.artifact import ArtifactWriter

OTHER_SCORES = {
    "walk": {"appearance": (0.50, 0.40), "joint": (0.90, 0.75)},
    "spin": {"appearance": (0.70, 0.60), "joint": (0.50, 0.55)},
}


def fill_other(writer: ArtifactWriter, changed: int) -> None:
    """Joint masks that differ from the first run's on frame `changed`, by a block of 4x5 pixels."""
    data = writer.frames("joint", FRAMES, joint_mask(0).shape, np.uint8)
    for index in range(FRAMES):
        mask = joint_mask(index)
        if index == changed:
            mask[0:4, 30:35] = True
        data.append(mask.astype(np.uint8))


@pytest.fixture
def two(tmp_path: Path) -> tuple[TinyRun, TinyRun]:
    """The run "tiny", and "other": another threshold, other scores, `walk` differs on frame 3."""
    first = make_run(tmp_path)
    record = copy.deepcopy(first.record) | {"name": "other"}
    record["profile"]["flow-filter"]["min_overlap"] = 0.9
    for stage, fill in (
        ("scoring", lambda writer, video: fill_scoring(writer, OTHER_SCORES[video], video)),
        ("prediction", lambda writer, video: fill_other(writer, 3 if video == "walk" else -1)),
    ):
        old = {r["video"]: r for r in record["stages"][stage]["records"]}
        record["stages"][stage]["records"] = []
        for video in ("walk", "spin"):
            kept = (first.root / old[video]["path"]).read_bytes()
            written = write_artifact(first.root, stage, video, lambda w, f=fill, v=video: f(w, v))
            other = first.root / written["path"].replace(f"{video}-", f"{video}-other-")
            (first.root / written["path"]).rename(other)
            (first.root / old[video]["path"]).write_bytes(kept)  # both have one name in these fixtures
            record["stages"][stage]["records"].append(written | {"path": other.relative_to(first.root).as_posix()})
    second = TinyRun(first.root, first.data, record)
    second.save()
    return first, second


def compared(run: TinyRun) -> tuple[Page, list[str]]:
    """The page and the printed lines."""
    lines: list[str] = []
    path = finish_comparison(run.root, "tiny", "other", lines.append)
    assert path == run.root / "reports/tiny-vs-other.html"
    return Page(path.read_text(encoding="utf-8")), lines


def test_settings_that_differ_as_dotted_keys(two: tuple[TinyRun, TinyRun]) -> None:
    page, lines = compared(two[0])
    assert page.tables["settings"][1:] == [["flow-filter.min_overlap", "0.75", "0.9"]]
    assert "settings: 1 differ" in lines


def test_scores_with_differences_and_intervals(two: tuple[TinyRun, TinyRun]) -> None:
    page, lines = compared(two[0])
    overall = {row[0]: row[1:] for row in page.tables["overall"]}
    assert set(overall) == {"Method", "appearance", "joint"}, "methods that both have"
    assert overall["joint"] == ["70.0", "70.0", "+0.0 [-10.0, +10.0]", "60.0", "65.0", "+5.0", "2"]
    sequences = {row[0]: row[1:] for row in page.tables["sequences"]}
    assert sequences["tiny/walk"] == ["80.0", "90.0", "+10.0", "70.0", "75.0", "+5.0", "3"]
    assert sequences["tiny/spin"][:3] == ["60.0", "50.0", "-10.0"]
    assert any(line.split() == ["tiny/walk", "80.0", "90.0", "+10.0"] for line in lines)


def test_pictures_of_the_frames_that_differ(two: tuple[TinyRun, TinyRun]) -> None:
    page, _ = compared(two[0])
    assert page.figures == ["frame", "tinyJ 80.0 · F 70.0", "otherJ 90.0 · F 75.0", "truth"]
    assert "tiny/walk frame 3: 2.1 % of the pixels differ" in page.sections["pictures"]
    assert [image["alt"].partition(":")[0] for image in page.images] == [
        "tiny/walk, frame 3", "tiny/walk, frame 3, run tiny", "tiny/walk, frame 3, run other", "tiny/walk, frame 3",
    ]  # fmt: skip


def test_tables_lie_beside_the_page(two: tuple[TinyRun, TinyRun]) -> None:
    compared(two[0])
    table = pd.read_parquet(two[0].root / "reports/tiny-vs-other-tables/disagreement.parquet")
    assert table.iloc[0].to_list() == [DATA_SET, "walk", 3, pytest.approx(20 / (24 * 40))]
    assert (table["differing"].to_numpy()[1:] == 0).all()
    assert len(table) == 2 * FRAMES


def test_a_run_against_itself(two: tuple[TinyRun, TinyRun]) -> None:
    lines: list[str] = []
    page = Page(finish_comparison(two[0].root, "tiny", "tiny", lines.append).read_text())
    assert "settings: 0 differ" in lines
    assert "Nowhere: all joint masks are equal." in page.sections["pictures"]
    assert len(page.tables["overall"]) == 1 + len(SCORES["walk"])


def test_sequences_of_one_run_alone_are_named(two: tuple[TinyRun, TinyRun]) -> None:
    first, second = two
    records = second.record["stages"]["scoring"]["records"]
    second.record["stages"]["scoring"]["records"] = [record for record in records if record["video"] == "spin"]
    second.save()
    page, lines = compared(first)
    told = "scored by tiny alone, so not compared: tiny/walk"
    assert told in lines and told in page.sections["scores"]
    assert [row[0] for row in page.tables["sequences"]] == ["Sequence", "tiny/spin"]


def test_without_the_frames_scores_alone(two: tuple[TinyRun, TinyRun]) -> None:
    (two[0].data / "JPEGImages/480p/walk/00011.jpg").unlink()
    page, _ = compared(two[0])
    assert page.images == []
    assert "walk" in page.sections["pictures"]
    assert page.tables["overall"]


def test_what_cannot_be_compared_is_said_in_one_line(
    two: tuple[TinyRun, TinyRun], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = two
    arguments = ["compare", "tiny", "other", "--out", str(first.root)]
    assert main(["compare", "tiny", "nobody", "--out", str(first.root)]) == 2
    assert "no run 'nobody'" in capsys.readouterr().err
    second.path("prediction", "walk").rename(first.root / "kept")
    assert main(arguments) == 2
    assert "this artifact of the run is gone" in capsys.readouterr().err
    assert not (first.root / "reports").exists()
    records = second.record["stages"]["scoring"]["records"]
    second.record["stages"]["scoring"]["records"] = [r for r in records if r["video"] == "spin"]
    second.save()
    first.record["stages"]["scoring"]["records"] = [
        r for r in first.record["stages"]["scoring"]["records"] if r["video"] == "walk"
    ]
    first.save()
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "runs 'tiny' and 'other' have no scored frame in common: they scored tiny/walk and tiny/spin" in error
    assert error.count("\n") == 1


def test_frames_of_another_size_are_not_compared(two: tuple[TinyRun, TinyRun]) -> None:
    first, second = two
    path = second.path("prediction", "walk")
    short = write_artifact(
        first.root, "prediction", "short", lambda w: w.frames("joint", 1, (2, 3), np.uint8).append(np.ones((2, 3)))
    )
    (first.root / short["path"]).rename(path)
    with pytest.raises(UserError, match=r"tiny/walk: its frames changed between the runs \(5 of 40x24, 1 of 3x2\)"):
        compared(first)


def test_few_frames_of_a_video_are_shown() -> None:
    rows = [("d", video, frame, 0.9 - 0.1 * frame) for video in "abcdef" for frame in range(6)]
    table = pd.DataFrame([*rows, ("d", "equal", 0, 0.0)], columns=["dataset", "video", "frame", "differing"])
    shown = frames_to_show(table.sort_values("differing", ascending=False, kind="stable"))
    assert len(shown) == 12
    assert shown["video"].value_counts().max() <= 3
    assert "equal" not in set(shown["video"])


def test_dotted_keys_of_a_whole_profile_are_unique(two: tuple[TinyRun, TinyRun]) -> None:
    profile = json.loads(json.dumps(two[0].record["profile"]))
    keys = [key for key, _ in dotted(profile)]
    assert len(keys) == len(set(keys))
    assert "data.scored.0.manifest" in keys
    assert "motion-training.steps" in keys
