"""Box pruning, by hand-made masks and boxes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from builders import Box, make_context, make_job, make_work, write_input, write_xml_item
from hypothesis import given
from hypothesis import strategies as st

from fusionseg.pipeline.run.session import run_job
from fusionseg.pipeline.settings.sections import BoxPruning
from fusionseg.pipeline.stages.box_pruning import compute
from fusionseg.pipeline.store.artifact import Artifact
from fusionseg.pipeline.store.bits import read_plain
from fusionseg.pipeline.store.job import Work
from fusionseg.pipeline.weak_labels.regions import Region, clip_boxes, inside, measure, prune
from fusionseg.pipeline.weak_labels.verdicts import BOX, MARKS, REGION


def picture(*rows: str) -> np.ndarray:
    return np.array([[character == "#" for character in row] for row in rows])


MASK = picture(
    ".......",
    ".##..#.",
    ".###...",
    ".......",
)


ALL = BoxPruning()


def measured(box: Box, settings: BoxPruning = ALL) -> Region:
    return prune(MASK, np.array([box]), settings)[1][0]


@pytest.mark.parametrize(
    ("box", "overlap", "area", "components", "largest_share"),
    [
        ((1, 1, 4, 3), 1.0, 5, 1, 1.0),  # fits exactly
        ((0, 0, 4, 4), 6 / 16, 5, 1, 1.0),  # 3x2 in 4x4
        ((2, 0, 7, 4), (4 * 2) / 20, 4, 2, 3 / 4),  # object cut by the box; both parts count
        ((0, 0, 7, 4), (5 * 2) / 28, 6, 2, 5 / 6),
        ((4, 2, 7, 4), 0.0, 0, 0, 0.0),  # nothing predicted in it
        ((5, 1, 6, 2), 1.0, 1, 1, 1.0),
        ((3, 1, 3, 4), 0.0, 0, 0, 0.0),  # no area at all
    ],
)
def test_what_is_measured_by_hand(box: Box, overlap: float, area: int, components: int, largest_share: float) -> None:
    found = measured(box)
    box_area = (box[2] - box[0]) * (box[3] - box[1])
    assert (found.area, found.components) == (area, components)
    assert (found.overlap, found.largest_share) == pytest.approx((overlap, largest_share))
    assert found.coverage == (pytest.approx(area / box_area) if box_area else 0)


def test_parts_that_touch_at_a_corner_are_one() -> None:
    assert prune(picture("#.", ".#"), np.array([(0, 0, 2, 2)]), ALL)[1][0].components == 1


@pytest.mark.parametrize(
    ("box", "uncut"),
    [
        ((1, 1, 4, 3), 1.0),  # nothing of it lies outside
        ((0, 0, 4, 4), 6 / 16),
        ((1, 1, 3, 3), 4 / 6),  # the part goes on for a column
        ((1, 1, 2, 2), 1 / 6),
        ((3, 1, 6, 3), 6 / 10),  # of parts of one size the first goes on; the other stays in the region
        ((4, 2, 7, 4), 0.0),
    ],
)
def test_overlap_with_the_part_that_is_not_cut(box: Box, uncut: float) -> None:
    assert measured(box).uncut_overlap == pytest.approx(uncut)


def test_a_prediction_that_floods_its_box_is_told_from_one_that_fits() -> None:
    flood = np.ones((20, 20), bool)
    (found,) = prune(flood, np.array([(5, 5, 15, 15)]), ALL)[1]
    assert found.overlap == 1 and found.uncut_overlap == pytest.approx(0.25)


def test_confidence_is_the_iou_that_the_network_expects() -> None:
    logit = lambda p: np.log(p / (1 - p))  # noqa: E731
    margin = np.array([[logit(0.9), logit(0.6), logit(0.2), logit(0.1)]], np.float32)
    region, (found,) = measure(margin, np.array([(0, 0, 4, 1)]), ALL)
    assert region.tolist() == [[True, True, False, False]]
    assert found.confidence == pytest.approx((0.9 + 0.6) / (2 + 0.2 + 0.1), abs=1e-4)
    sure = np.where(region, np.inf, -np.inf).astype(np.float32)
    assert measure(sure, np.array([(0, 0, 4, 1), (2, 0, 4, 1)]), ALL)[1][0].confidence == 1
    assert measure(sure, np.array([(2, 0, 4, 1)]), ALL)[1][0].confidence == 0  # nothing predicted


def test_only_the_largest_part_is_kept_and_measured() -> None:
    box, settings = (0, 0, 7, 4), BoxPruning(components="largest")
    region, (found,) = prune(MASK, np.array([box]), settings)
    assert np.array_equal(region, MASK & (np.arange(7) < 4)) and found.area == 5
    assert (found.overlap, found.coverage) == pytest.approx((6 / 28, 5 / 28))
    assert (found.components, found.largest_share) == (2, pytest.approx(5 / 6))  # of what was predicted


@pytest.mark.parametrize(("least", "area"), [(1 / 28, 6), (1.1 / 28, 5), (5 / 28, 5), (5.1 / 28, 0), (1, 0)])
def test_specks_are_removed(least: float, area: int) -> None:
    region, (found,) = prune(MASK, np.array([(0, 0, 7, 4)]), BoxPruning(min_component=least))
    assert found.area == area == region.sum()
    assert found.components == 2 and (found.overlap > 0) == (area > 0)


def test_what_one_box_removes_another_may_keep() -> None:
    boxes = np.array([(0, 0, 7, 4), (4, 0, 7, 4)])
    region, (wide, right) = prune(MASK, boxes, BoxPruning(components="largest"))
    assert np.array_equal(region, MASK) and (wide.area, right.area) == (5, 1)


@given(st.data())
def test_region_and_measures_agree_with_their_definitions(data: st.DataObject) -> None:
    mask = np.array(data.draw(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=5, max_size=5)))
    x0, x1 = sorted(data.draw(st.lists(st.integers(0, 6), min_size=2, max_size=2, unique=True)))
    y0, y1 = sorted(data.draw(st.lists(st.integers(0, 5), min_size=2, max_size=2, unique=True)))
    settings = BoxPruning(
        components=data.draw(st.sampled_from(["all", "largest"])), min_component=data.draw(st.sampled_from([0, 0.1]))
    )
    box = inside(np.array([[x0, y0, x1, y1]]), (5, 6))
    region, (found,) = prune(mask, np.array([(x0, y0, x1, y1)]), settings)
    assert not (region & ~(mask & box)).any() and found.area == region.sum()
    assert settings != ALL or np.array_equal(region, mask & box)
    if not region.any():
        assert (found.area, found.overlap, found.coverage) == (0, 0, 0)
        return
    rows, columns = np.nonzero(region)
    tight = inside(np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]), (5, 6))
    assert found.overlap == pytest.approx((tight & box).sum() / (tight | box).sum())
    assert found.coverage == pytest.approx(region.sum() / box.sum())


def test_boxes_are_cut_to_the_picture() -> None:
    boxes = np.array([[-3, -1, 50, 60], [2, 3, 4, 5], [50, 50, 60, 60]], np.int32)
    assert clip_boxes(boxes, (10, 20)).tolist() == [[0, 0, 20, 10], [2, 3, 4, 5], [20, 10, 20, 10]]
    assert clip_boxes(np.zeros((0, 4), np.int32), (10, 20)).shape == (0, 4)


def test_inside_is_the_union() -> None:
    covered = inside(np.array([[0, 0, 2, 1], [1, 0, 3, 2], [4, 1, 4, 2]]), (2, 5))
    assert np.array_equal(covered, picture("###..", ".##.."))
    assert not inside(np.zeros((0, 4), np.int32), (2, 5)).any()


SETTINGS = {"box-pruning": ALL.model_dump()}


def scores(mask: np.ndarray) -> np.ndarray:
    """Return logits (2, H, W) whose arg max is `mask`."""
    return np.stack([np.where(mask, -1, 1), np.where(mask, 1, -1)]).astype(np.float16)


P = 1 / (1 + np.exp(-2))  # of a score of 1 for object and -1 for background
CONFIDENCE = [round(n * P / (n + m * (1 - P)), 4) for n, m in ((5, 1), (1, 5), (3, 11))]


def test_stage(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    boxes: list[list[Box]] = [[(1, 1, 4, 3), (5, 1, 7, 4)], [], [(0, 2, 90, 90)]]
    facts = {"stride": 1, "network_size": [4, 7], "frame_size": [4, 7]}
    record = write_input(context, "appearance-scores", {"scores": np.stack([scores(MASK)] * 3)}, facts)
    item = write_xml_item(tmp_path / "data", boxes, occluded=[[0, 1], [], [1]], generated=[[1, 0], [], [1]])
    job = make_job("box-pruning", item, SETTINGS, [record])
    done = run_job(Work(job, context), compute)
    assert done.counts == {"frames": 3, "boxes": 3, "frames_without_boxes": 1}
    with Artifact(tmp_path / done.path) as artifact:
        regions = np.stack([read_plain(artifact, "regions", n) for n in range(3)])
        table = artifact.table("boxes")
        assert artifact.datasets()["regions"].shape == (3, 4, 1)  # eight pixels a byte
        artifact.verify()
    assert np.array_equal(regions[0], MASK) and not regions[1].any()
    assert np.array_equal(regions[2] == 1, MASK & (np.arange(4) >= 2)[:, None])
    expected = pd.DataFrame(
        [
            (0, 0, 1, 1, 4, 3, 0, 1, 4, 7, 5, 1, 1.0, 1.0, 5 / 6, 1.0, CONFIDENCE[0], 1.0),
            (0, 1, 5, 1, 7, 4, 1, 0, 4, 7, 1, 1, 1.0, 1 / 6, 1 / 6, 1 / 6, CONFIDENCE[1], 1.0),
            (2, 0, 0, 2, 7, 4, 1, 1, 4, 7, 3, 1, 1.0, 3 / 14, 3 / 14, 3 / 17, CONFIDENCE[2], 1.0),
        ],
        columns=["frame", "box", *BOX, *MARKS, *REGION],
    ).astype({"occluded": np.int8, "generated": np.int8})
    pd.testing.assert_frame_equal(table, expected)


def test_stage_on_a_video_without_any_box(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    facts = {"stride": 1, "network_size": [4, 7], "frame_size": [4, 7]}
    record = write_input(context, "appearance-scores", {"scores": scores(MASK)[None]}, facts)
    done = run_job(
        make_work(context, "box-pruning", write_xml_item(tmp_path / "data", [[]]), SETTINGS, [record]), compute
    )
    assert done.counts == {"frames": 1, "boxes": 0, "frames_without_boxes": 1}
    with Artifact(tmp_path / done.path) as artifact:
        assert len(artifact.table("boxes")) == 0 and not artifact.frame("regions", 0).any()


def test_frames_that_are_not_annotated_count_as_frames_without_boxes(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    facts = {"stride": 1, "network_size": [4, 7], "frame_size": [4, 7]}
    record = write_input(context, "appearance-scores", {"scores": np.stack([scores(MASK)] * 3)}, facts)
    item = write_xml_item(tmp_path / "data", [[], [(1, 1, 4, 3)], []])
    assert item.boxes is not None
    sparse = replace(item, boxes=replace(item.boxes, paths=(None, item.boxes.paths[1], None)))
    done = run_job(make_work(context, "box-pruning", sparse, SETTINGS, [record]), compute)
    assert done.counts == {"frames": 3, "boxes": 1, "frames_without_boxes": 2}


def test_stage_reads_no_masks(tmp_path: Path) -> None:
    """It works where the item has none."""
    item = write_xml_item(tmp_path / "data", [[(1, 1, 4, 3)]])
    assert item.masks == () and not any(path.exists() for path in item.frames)


def test_the_second_round_prunes_the_motion_stream_s_prediction_or_the_mean_of_both(tmp_path: Path) -> None:
    facts = {"stride": 4, "network_size": [12, 16], "frame_size": [12, 16]}
    context = make_context(tmp_path)
    item = write_xml_item(tmp_path / "boxes", [[(0, 0, 16, 12)]])
    inputs = []
    for stage, edge in (("appearance-scores", 4), ("motion-scores-2", 10)):  # object is what lies right of the edge
        line = (np.arange(5) * 4 - (edge - 0.5))[None].repeat(4, 0)
        inputs.append(write_input(context, stage, {"scores": np.stack([-line, line])[None].astype(np.float16)}, facts))
    widths = {}
    for source in ("motion", "fused"):
        settings = {"box-pruning": {}, "weak-labels": {"rounds": 2, "source": source}}
        job = make_job("box-pruning-2", item, settings, inputs)
        with Artifact(tmp_path / run_job(Work(job, context), compute).path) as artifact:
            widths[source] = int(read_plain(artifact, "regions", 0)[0].sum())
    assert widths == {"motion": 6, "fused": 9}
