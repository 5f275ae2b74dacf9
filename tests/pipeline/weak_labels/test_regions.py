"""Box pruning, by hand-made masks and boxes."""

from pathlib import Path

import numpy as np
import pytest
from builders import Box, write_xml_item
from hypothesis import given
from hypothesis import strategies as st

from fusionseg.pipeline.settings.sections import BoxPruning
from fusionseg.pipeline.weak_labels.regions import Region, clip_boxes, inside, measure, prune


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


def test_stage_reads_no_masks(tmp_path: Path) -> None:
    """It works where the item has none."""
    item = write_xml_item(tmp_path / "data", [[(1, 1, 4, 3)]])
    assert item.masks == () and not any(path.exists() for path in item.frames)
