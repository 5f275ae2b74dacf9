"""The report against a run whose scores, masks and verdicts are known."""

import base64
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from report_fixtures import (
    DATA_SET,
    FRAMES,
    HISTORY,
    OVERLAPS,
    SCORES,
    TinyRun,
    fill_prediction,
    fill_scoring,
    make_manifest,
    make_run,
    make_video,
    true_mask,
    write_artifact,
    write_weights_file,
)
from report_page import Page

from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.graph import STAGES
from fusionseg.pipeline.pages.charts import nice_top
from fusionseg.pipeline.pages.render import percent
from fusionseg.pipeline.report.pictures import overlay, telling_frames
from fusionseg.pipeline.report.report import duration, finish
from fusionseg.pipeline.report.tables import JOINT, Comparison, one_protocol, summarise
from fusionseg.pipeline.scoring.protocols import PROTOCOLS
from fusionseg.pipeline.scoring.statistics import PairedDifference
from fusionseg.pipeline.store.artifact import ArtifactWriter
from fusionseg.pipeline.store.runs import read_run


@pytest.fixture
def tiny(tmp_path: Path) -> TinyRun:
    return make_run(tmp_path)


def report(run: TinyRun) -> tuple[Page, list[str]]:
    """The page and the printed lines of a run as it stands."""
    run.save()
    lines: list[str] = []
    path = finish(run.root, run.record["name"], lines.append)
    return Page(path.read_text(encoding="utf-8")), lines


def decode(image: dict[str, str]) -> np.ndarray:
    """Pixels of a picture of the page, BGR."""
    kind, _, data = image["src"].partition(",")
    assert kind == "data:image/jpeg;base64"
    pixels = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return pixels


def test_prints_the_means_over_sequences_in_per_cent(tiny: TinyRun) -> None:
    _, lines = report(tiny)
    rows = {
        line.rsplit(maxsplit=3)[0].strip(): line.split()[-3:] for line in lines if re.search(r"\d\.\d\s+\d+\.\d$", line)
    }
    assert rows["joint"] == ["70.0", "60.0", "65.0"]
    assert rows["appearance"] == ["60.0", "50.0", "55.0"]
    assert rows["flow-otsu"] == ["15.0", "15.0", "15.0"]
    assert list(rows) == ["appearance", "motion", "average", "joint", "centre-box", "flow-otsu"]
    assert any("Others (published)" in line and line.endswith("on 1 of 2 sequences") for line in lines)
    assert lines[-1] == f"report: {tiny.root / 'reports/tiny.html'}"


def test_prints_paired_differences_and_what_they_tell(tiny: TinyRun) -> None:
    _, lines = report(tiny)
    (line,) = (line for line in lines if "minus" in line)
    # walk +30, spin -10; +15, +5; +60, +50 (centre-box and flow-otsu both have 15.0: the first one counts).
    assert line.split("; ")[:3] == [
        "joint minus appearance (better stream): +10.0 points of J [-10.0, +30.0], not to be told apart",
        "joint minus average (both streams' mean): +10.0 points of J [+5.0, +15.0], better",
        "joint minus centre-box (best baseline): +55.0 points of J [+50.0, +60.0], better",
    ]


@pytest.mark.parametrize(
    ("points", "verdict"),
    [
        ((8.2, -0.2, 17.2), "not to be told apart"),
        ((0.4, -1.0, 1.5), "not to be told apart"),
        ((0.0, 0.0, 0.0), "not to be told apart"),
        ((1.0, 0.1, 2.0), "better"),
        ((-1.0, -2.0, -0.1), "worse"),
    ],
)
def test_one_is_better_where_the_whole_interval_says_so(points: tuple[float, float, float], verdict: str) -> None:
    assert Comparison("joint", "average", "", 12, PairedDifference(*points)).text().endswith(f"], {verdict}")


def test_prints_the_yield_of_the_weak_labels(tiny: TinyRun) -> None:
    _, lines = report(tiny)
    wanted = "weak labels: 5 boxes seen -> 3 passed the box test -> 2 passed both tests -> 2 labelled frames"
    assert wanted in lines


def test_headline_and_sequence_tables(tiny: TinyRun) -> None:
    page, _ = report(tiny)
    headline = {row[0]: row for row in page.tables["headline"]}
    assert headline["joint"] == ["joint", "70.0", "60.0", "65.0", "–", "100.0", "0.0", "50.0", "0.0", "2", "model"]
    # walk +20, spin +30; walk alone -10.
    assert headline["motion"][4] == "+25.0 [+20.0, +30.0]"
    assert headline["Others (published)"][4] == "-10.0"
    assert headline["Others (published)"][-2:] == ["1", "published masks"]
    tables = [page.tables["sequences-J"], page.tables["sequences-F"]]
    assert [rows[0][0] for rows in tables] == ["Sequence", "Sequence"]
    region = {row[0]: dict(zip(tables[0][0], row, strict=True)) for row in tables[0][1:]}
    assert set(region) == {"walk", "spin", "mean over 2 sequences"}
    assert region["walk"]["joint"] == "80.0"
    assert region["spin"]["Others (published)"] == "–"
    assert region["mean over 2 sequences"]["motion"] == "45.0"


def test_published_rows_are_marked_as_published(tiny: TinyRun) -> None:
    page, _ = report(tiny)
    own = [row for row in page.tables["headline"] if row[-1] == "published"]
    assert own[0][:4] == ["FSEG", "70.7", "65.3", "68.0"]
    assert "FSEG on val" in page.sections["results"]
    assert "not measured here" in page.sections["results"]
    published = {(row[0], row[5]): row for row in page.tables["published"]}
    assert published["MATNet", "val"][1] == "82.4"
    assert len(page.tables["published"]) > len(own)


def test_charts_of_every_sequence_say_in_words_what_they_show(tiny: TinyRun) -> None:
    report(tiny)
    text = (tiny.root / "reports/tiny.html").read_text()
    labels = re.findall(r'<svg class="chart"[^>]* aria-label="([^"]+)"', text)
    assert any(label.startswith("walk: appearance 50.0, motion 60.0, average 65.0, joint 80.0") for label in labels)
    assert any("spin: appearance mean 70.0, lowest 70.0 at frame 1" in label for label in labels)


def test_histograms_count_the_boxes_that_came_to_each_test(tiny: TinyRun) -> None:
    report(tiny)
    text = (tiny.root / "reports/tiny.html").read_text()
    box, flow = re.findall(r'aria-label="((?:box|flow) test[^"]+)"', text)
    assert box.startswith(
        "box test: overlap, threshold 0.75: 4 boxes from 0 to 1; 3 at or above the threshold, 1 below"
    )
    assert flow.startswith("flow test: contrast, threshold 30: 3 boxes from 0 to 150; 2 at or above the threshold")


def test_tables_lie_beside_the_report_as_parquet_and_csv(tiny: TinyRun) -> None:
    report(tiny)
    folder = tiny.root / "reports/tiny-tables"
    for path in folder.glob("*.parquet"):
        loaded, plain = pd.read_parquet(path), pd.read_csv(path.with_suffix(".csv"))
        assert list(loaded.columns) == list(plain.columns)
        assert len(loaded) == len(plain)
    assert {path.stem for path in folder.iterdir()} == {
        "per_frame", "per_sequence", "overall", "means", "differences", "published", "funnel", "verdicts", "history",
        "stages", "data",
    }  # fmt: skip
    assert pd.read_parquet(folder / "per_frame.parquet")["frame"].dtype == "int64"
    assert pd.read_parquet(folder / "stages.parquet").set_index("stage")["peak_memory"]["scoring"] == 123_400_000
    assert pd.read_parquet(folder / "verdicts.parquet")["overlap"].to_list() == OVERLAPS


def test_csv_files_hold_the_tables(tiny: TinyRun) -> None:
    report(tiny)
    frames = pd.read_csv(tiny.root / "reports/tiny-tables/per_frame.csv")
    assert len(frames) == (FRAMES - 2) * sum(map(len, SCORES.values()))
    spin = frames[(frames["sequence"] == "spin") & (frames["method"] == "motion")]
    assert spin["J"].to_list() == [0.3] * 3
    assert spin["frame"].to_list() == [1, 2, 3]
    overall = pd.read_csv(tiny.root / "reports/tiny-tables/overall.csv")
    joint = overall.loc[overall["method"] == "joint", ["J", "F", "JF", "sequences"]]
    assert joint.to_numpy().tolist() == [[0.7, 0.6, 0.65, 2]]


def test_page_needs_no_network(tiny: TinyRun) -> None:
    page, _ = report(tiny)
    assert "iframe" not in page.tags
    # Beyond data URIs only links within the page.
    assert [a for a in page.addresses if not a.startswith(("data:", "#"))] == []
    text = (tiny.root / "reports/tiny.html").read_text()
    assert "default-src 'none'" in text
    assert "@import" not in text
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text


def test_pictures_show_frames_and_the_masks_on_them(tiny: TinyRun) -> None:
    page, _ = report(tiny)
    images = {image["alt"]: image for image in page.images}
    assert len(page.figures) == (2 * 3 + 1) * 6  # all scored frames, and the middle of the other video
    frame = decode(images["walk, frame 2"]).astype(int)
    joint = decode(next(i for alt, i in images.items() if alt.startswith("walk, frame 2: joint mask"))).astype(int)
    changed = np.abs(joint - frame).sum(2) > 60
    # The middle of the left half is tinted, the middle of the right half and the background aren't.
    assert changed[12, 12]
    assert not changed[12, 19]
    assert not changed[2, 2]
    share = 100 * true_mask(2).mean() / 2
    assert f"walk, frame 2: joint mask, {share:.1f} % of the frame" in images
    assert "jointJ 80.0 · F 70.0" in page.figures
    flow = decode(images["walk, frame 2: optical flow as colours"])
    assert flow[12, 20, 0] < 60 < 200 < flow[12, 20, 2], "yellow, red and blue in their places"
    assert all(image["alt"] for image in page.images)


def test_video_of_one_frame_has_dashes_for_flow_and_motion(tiny: TinyRun) -> None:
    page, _ = report(tiny)
    assert page.figures[-6:] == ["frame", "–flow image", "appearance", "–motion", "joint", "truth"]
    notes = page.sections["provenance"]
    assert "segmented by appearance alone: still." in notes
    assert "so not scored: still." in notes


def test_without_the_data_the_report_is_written_without_pictures(tiny: TinyRun) -> None:
    shutil.rmtree(tiny.data)
    page, _ = report(tiny)
    assert page.images == []
    assert "aren't there any more" in page.sections["pictures"]
    assert str(tiny.data) in page.sections["pictures"]
    assert page.tables["headline"]


def test_one_video_without_its_files_costs_its_own_pictures_alone(tiny: TinyRun) -> None:
    (tiny.data / "Annotations/480p/spin/00012.png").unlink()
    page, _ = report(tiny)
    assert {image["alt"].partition(",")[0] for image in page.images} == {"walk", "still"}
    assert "00012.png: missing mask" in page.sections["pictures"]


def test_frames_changed_since_the_run_are_not_shown(tiny: TinyRun) -> None:
    make_video(tiny.data, "walk", FRAMES + 1, first=10)
    page, _ = report(tiny)
    assert {image["alt"].partition(",")[0] for image in page.images} == {"spin", "still"}
    assert (
        "walk: its frames have changed since the run: 6 of 40x24, its masks are 5 of 40x24" in page.sections["pictures"]
    )


def test_damaged_flow_image_costs_a_strip_not_the_report(tiny: TinyRun) -> None:
    path = tiny.path("flow-images", "walk")
    path.write_bytes(path.read_bytes()[:-10])
    page, _ = report(tiny)
    assert {image["alt"].partition(",")[0] for image in page.images} == {"spin", "still"}
    assert "damaged artifact" in page.sections["pictures"]


def test_funnel_and_verdicts(tiny: TinyRun) -> None:
    page, _ = report(tiny)
    rows = {row[0]: row[1:] for row in page.tables["funnel"]}
    assert rows["frames"] == ["6", "–"]
    assert rows["frames with boxes"] == ["5", "83.3"]
    assert rows["passed the box test"] == ["3", "60.0"]
    assert rows["labelled frames"] == ["2", "33.3"]
    assert page.tables["verdicts"][1] == ["accepted", "2"]
    assert len(page.tables["verdicts"]) == 5
    assert "1 frames without boxes were skipped" in page.sections["labels"]


def test_given_motion_weights_make_the_weak_labels_needless(tiny: TinyRun) -> None:
    del tiny.record["stages"]["flow-filter"]
    tiny.record["stages"]["motion-training"]["state"] = "given"
    page, lines = report(tiny)
    assert "weak labels: none made, the run didn't need them" in lines
    assert "the motion stream's weights were given" in page.sections["labels"]
    states = {row[0]: row[2] for row in page.tables["stages"]}
    assert states["motion-training"].startswith("given: model-kkkkkkkkkkkk.safetensors, content ")
    assert states["box-pruning"] == "not needed"
    assert states["optical-flow"] == "not run"
    assert "given weights, whose own history says" in page.sections["training"]


def test_stage_states(tiny: TinyRun) -> None:
    tiny.record["stages"]["prediction"]["records"][0]["cached"] = True
    tiny.record["stages"]["scoring"]["state"] = "cached"
    for record in tiny.record["stages"]["scoring"]["records"]:
        record["cached"] = True
    page, _ = report(tiny)
    rows = {row[0]: row for row in page.tables["stages"]}
    assert len(rows) == len(STAGES) + 1
    assert rows["prediction"][2:6] == ["2 computed, 1 cached", "2.0 s", "123 MB", "3"]
    assert rows["scoring"][2] == "cached"
    assert rows["box-pruning"][2:4] == ["not run", "–"]


def test_curves_state_what_was_kept(tiny: TinyRun) -> None:
    page, _ = report(tiny)
    text = page.sections["training"]
    assert "300 steps; final loss 0.400; best validation J 62.0 at step 200 (kept)" in text
    assert "nothing to learn" in text
    labels = re.findall(r'aria-label="(\w+-training: [^"]+)"', (tiny.root / "reports/tiny.html").read_text())
    assert [label.partition(":")[0] for label in labels] == ["appearance-training"] * 2 + ["motion-training"] * 2
    svg = (tiny.root / "reports/tiny.html").read_text()
    (line,) = re.findall(r"appearance-training: validation J, per cent: best.*?points=\"([^\"]+)\"", svg)
    points = [tuple(map(float, pair.split(","))) for pair in line.split()]
    assert points[0][0] < points[1][0] < points[2][0]
    assert points[1][1] < points[2][1] < points[0][1], "higher J is higher up"


def test_curves_mark_the_last_state_where_it_was_kept(tiny: TinyRun) -> None:
    path = tiny.path("appearance-training", "model")
    write_weights_file(path, "appearance-training", HISTORY, kept_step=300)
    page, _ = report(tiny)
    text = page.sections["training"]
    assert f"best validation J 62.0 at step 200 (step 300 was kept, with {100 * HISTORY[2]['J']:.1f})" in text
    svg = (tiny.root / "reports/tiny.html").read_text()
    (line,) = re.findall(r"appearance-training: loss: .*?points=\"([^\"]+)\"", svg)
    x, y = line.split()[2].split(",")
    assert svg.count(f'<circle class="ring" cx="{x}" cy="{y}"') == 1
    history = pd.read_parquet(tiny.root / "reports/tiny-tables/history.parquet")
    kept = history[history["stage"] == "appearance-training"].set_index("step")["kept"]
    assert kept.to_dict() == {100: False, 200: False, 300: True}


def test_data_with_roles_and_licences(tiny: TinyRun) -> None:
    tiny.record["left_out"] = ["tiny/broken"]
    page, _ = report(tiny)
    rows = {row[0]: row for row in page.tables["data"]}
    assert set(rows) == {"Role", "stills", "boxed", "fusion", "scored"}
    assert rows["boxed"][2] == "demo-vid/train"
    assert rows["scored"][4] == "3 videos: walk, spin, still"
    assert "licence: CC0 of tests" in page.sections["provenance"]
    assert "Left out, because a file can't be used: tiny/broken." in page.sections["provenance"]


def test_digests_of_the_data_and_artifacts_that_cannot_be_asked(tiny: TinyRun) -> None:
    page, _ = report(tiny)
    rows = {row[1]: row for row in page.tables["digests"][1:]}
    assert rows["frames"][:3] == ["tiny", "frames", "3"]
    assert rows["masks"][:3] == ["tiny", "masks", "1"]
    assert set(rows) == {"frames", "masks"}, "a protocol is no file"
    assert "are gone or damaged" not in page.sections["provenance"]
    for stage in ("appearance-training", "motion-training", "fusion-training"):
        tiny.path(stage, "model").unlink(missing_ok=True)
    tiny.path("flow-filter", "boxed").unlink()
    page, _ = report(tiny)
    assert {row[1]: row for row in page.tables["digests"][1:]} == {"frames": rows["frames"]}
    assert "3 artifacts of the run are gone" in page.sections["provenance"]
    assert "Verdicts can't be read" in page.sections["labels"]


def test_runs_of_before_have_no_peak_memory(tiny: TinyRun) -> None:
    for stage in tiny.record["stages"].values():
        del stage["peak_memory"]
    page, _ = report(tiny)
    assert {row[4] for row in page.tables["stages"][1:]} == {"–"}


def test_peak_memory_of_a_gpu_has_a_column_of_its_own(tiny: TinyRun) -> None:
    tiny.record["stages"]["scoring"]["peak_memory"] = {"process": 2_000_000_000, "gpu": 5_000_000}
    page, _ = report(tiny)
    rows = {row[0]: row for row in page.tables["stages"]}
    assert rows["Stage"][4:6] == ["Peak memory", "Peak GPU memory"]
    assert rows["scoring"][4:6] == ["2.0 GB", "5 MB"]
    assert rows["prediction"][5] == "–"


def object_rows(writer: ArtifactWriter) -> None:
    """Joint and appearance scores of two objects, of J 0.9 and 0.5."""
    rows = [
        (method, "walk", frame, j, 0.5, label)
        for method in ("appearance", "joint") for label, j in ((1, 0.9), (2, 0.5)) for frame in range(FRAMES)
    ]  # fmt: skip
    columns = ["method", "sequence", "frame", "J", "F", "object"]
    writer.table("per_frame", pd.DataFrame(rows, columns=columns))


def test_objects_are_told_apart_in_the_tables_and_averaged_in_the_pictures(tiny: TinyRun) -> None:
    old = {r["video"]: r for r in tiny.record["stages"]["scoring"]["records"]}
    (tiny.root / old["walk"]["path"]).unlink()
    written = write_artifact(tiny.root, "scoring", "walk", object_rows)
    tiny.record["stages"]["scoring"]["records"] = [written, old["spin"]]
    page, _ = report(tiny)
    joint = {row[0]: row for row in page.tables["headline"]}["joint"]
    assert joint[1] == "66.7", "two objects of walk, and spin"
    assert {row[0]: row for row in page.tables["sequences-J"]}["walk"][4] == "70.0"
    assert "Means over 3 objects of 2 sequences" in page.sections["results"]
    assert "jointJ 70.0 · F 50.0" in page.figures
    table = pd.read_parquet(tiny.root / "reports/tiny-tables/per_sequence.parquet")
    assert table.loc[table["method"] == "joint", "object"].to_list() == [1, 2, 0]


def test_a_protocol_with_means_of_its_own_has_them_named(tiny: TinyRun, tmp_path: Path) -> None:
    path = tmp_path / f"{DATA_SET}.yaml"
    path.write_text(path.read_text().replace("davis2016", "youtube-objects"))
    page, _ = report(tiny)
    rows = [row[:3] for row in page.tables["means"] if row[0] == "joint"]
    assert rows == [["joint", "classes", "70.0"], ["joint", "sequences", "70.0"]]
    assert {row[-1] for row in page.tables["means"][1:]} == {"youtube-objects"}


def test_several_data_sets_have_no_classes(tiny: TinyRun, tmp_path: Path) -> None:
    path = tmp_path / f"{DATA_SET}.yaml"
    path.write_text(path.read_text().replace("davis2016", "youtube-objects"))
    assert one_protocol(read_run(tiny.root, tiny.record["name"])) is PROTOCOLS["youtube-objects"]
    tiny.record["videos"]["scored"].append("other/walk")
    page, _ = report(tiny)
    assert "means" not in page.tables and "Means over 2 sequences" in page.sections["results"]


def test_the_headline_is_the_protocols_own_mean() -> None:
    rows = {"method": JOINT, "sequence": ["cat-1", "cat-2", "dog-1"], "frame": 1, "J": [1.0, 0.5, 0.5], "F": 1.0}
    scores = summarise(pd.DataFrame(rows), PROTOCOLS["youtube-objects"])
    assert scores.overall[["mean", "J", "sequences"]].to_numpy().tolist() == [["classes", 0.625, 3]]
    assert scores.means_over == "2 classes of 3 sequences"
    plain = summarise(pd.DataFrame(rows), None)
    assert plain.overall[["mean", "J"]].to_numpy().tolist() == [["sequences", pytest.approx(2 / 3)]]
    assert plain.means_over == "3 sequences"


def test_telling_frames_are_the_best_the_median_and_the_worst() -> None:
    table = pd.DataFrame({"method": "joint", "sequence": "bear", "frame": range(15), "J": [n / 20 for n in range(15)]})
    chosen = telling_frames(table)
    assert [one.frame for one in chosen] == [14, 7, 0, 1, 2, 3, 4, 5, 6, 8, 9, 10]
    assert [one.role for one in chosen] == ["best", "median", *(f"worst {rank}" for rank in range(1, 11))]
    assert [one.role for one in telling_frames(table[:1])] == ["best"]
    assert [one.role for one in telling_frames(table[:2])] == ["best", "worst 1"]
    assert telling_frames(table[:0]) == []


def test_names_are_escaped(tiny: TinyRun) -> None:
    tiny.record["profile"]["description"] = "<script>alert(1)</script> & more"
    page, _ = report(tiny)
    assert page.tags.count("script") == 1, "our own"
    assert "Tiny <videos>" in page.sections["provenance"]


def test_two_data_sets_may_have_a_video_of_one_name(tiny: TinyRun, tmp_path: Path) -> None:
    make_manifest(tmp_path, "other", ["walk"])
    stages = tiny.record["stages"]
    scores = dict.fromkeys(SCORES["walk"], (0.0, 0.0))
    stages["scoring"]["records"].append(
        write_artifact(tiny.root, "scoring", "walk", lambda w: fill_scoring(w, scores, "walk"), "other")
    )
    stages["prediction"]["records"].append(
        write_artifact(tiny.root, "prediction", "walk", lambda w: fill_prediction(w, FRAMES), "other")
    )
    tiny.record["videos"]["scored"].append("other/walk")
    tiny.record["profile"]["data"]["scored"].append({"manifest": str(tmp_path / "other.yaml"), "split": "test"})
    page, _ = report(tiny)
    joint = page.tables["headline"][4]
    assert joint[:2] == ["joint", "46.7"]
    sequences = [row[0] for row in page.tables["sequences-J"]]
    assert sequences == ["Sequence", f"{DATA_SET}/walk", f"{DATA_SET}/spin", "other/walk", "mean over 3 sequences"]


def test_one_scored_sequence_gets_no_interval(tiny: TinyRun) -> None:
    records = tiny.record["stages"]["scoring"]["records"]
    tiny.record["stages"]["scoring"]["records"] = [r for r in records if r["video"] == "walk"]
    _, lines = report(tiny)
    (line,) = (line for line in lines if "minus" in line)
    assert "joint minus motion (better stream): +20.0 points of J, on one sequence" in line
    assert "interval" not in line


def test_nothing_scored_is_said(tiny: TinyRun) -> None:
    records = tiny.record["stages"]["scoring"]["records"]
    tiny.record["stages"]["scoring"]["records"] = [r for r in records if r["video"] == "still"]
    page, lines = report(tiny)
    assert "no scores: no video has masks and a protocol and is long enough for it" in lines
    assert "headline" not in page.tables
    assert len(page.images) > 6
    assert any(alt.startswith("walk, frame 2") for alt in (image["alt"] for image in page.images)), "the middle frame"


def test_unfinished_run_and_missing_artifact_are_named(tiny: TinyRun) -> None:
    tiny.path("scoring", "spin").unlink()
    with pytest.raises(UserError, match=r"spin-.*\.h5: this artifact of the run is gone"):
        finish(tiny.root, "tiny", print)
    assert not (tiny.root / "reports").exists()
    del tiny.record["stages"]["scoring"]
    tiny.save()
    with pytest.raises(UserError, match="run 'tiny' has no scores"):
        finish(tiny.root, "tiny", print)
    with pytest.raises(UserError, match=r"no run 'nobody'.*known: tiny"):
        finish(tiny.root, "nobody", print)


def test_same_run_same_report(tiny: TinyRun) -> None:
    report(tiny)
    first = (tiny.root / "reports/tiny.html").read_bytes()
    report(tiny)
    assert (tiny.root / "reports/tiny.html").read_bytes() == first
    assert sorted(path.name for path in (tiny.root / "reports").iterdir()) == [
        "tiny-tables", "tiny.html",
    ]  # fmt: skip


def test_overlay_keeps_the_frame_outside_the_mask() -> None:
    image = np.full((20, 30, 3), 100, np.uint8)
    mask = np.zeros((40, 60), bool)
    mask[10:30, 20:40] = True
    shown = overlay(image, mask, (0, 0, 200))
    assert shown[10, 15].tolist() == [50, 50, 150]
    assert shown[5, 15].tolist() == [0, 0, 200], "contour"
    assert (shown[~(np.add.outer(abs(np.arange(20) - 9.5) > 5, abs(np.arange(30) - 14.5) > 5) == 0)] == 100).all()
    assert (image == 100).all()
    assert (overlay(image, np.zeros((20, 30), bool), (0, 0, 200)) == 100).all()


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (-0.00001, "0.0"), (0.7249, "72.5"), (1.0, "100.0")])
def test_percent(value: float | None, text: str) -> None:
    assert percent(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "–"), (3.21, "3.2 s"), (59.96, "1 min 0 s"), (200, "3 min 20 s"), (7300, "2 h 1 min")]
)
def test_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("value", "top"), [(0, 10), (61.2, 70), (100, 100), (70, 80)])
def test_nice_top(value: float, top: float) -> None:
    assert nice_top(value) == top
