"""IoU of labels with the truth: what void takes out, and what accepted boxes make of a frame."""

from __future__ import annotations

import numpy as np
import pytest

from fusionseg.pipeline.settings.profile import read_profile
from fusionseg.pipeline.settings.sections import FlowFilter
from fusionseg.pipeline.study.quality import Trial, frame_quality, paper_settings, quality, tried


def line(*values: int) -> np.ndarray:
    return np.array([values], np.uint8)


def test_void_of_either_counts_neither_way() -> None:
    assert quality(line(1, 1, 0, 0), line(1, 0, 1, 0)) == pytest.approx(1 / 3)
    assert quality(line(1, 255, 0, 0), line(1, 0, 1, 0)) == pytest.approx(1 / 2)
    assert quality(line(1, 1, 0, 0), line(1, 255, 1, 0)) == pytest.approx(1 / 2)
    assert quality(line(255, 255, 0, 0), line(1, 1, 0, 0)) == 1.0


def test_each_set_of_boxes_makes_labels_of_its_own_and_unpruned_knows_no_box() -> None:
    truth = line(1, 1, 0, 0, 1, 1, 0)
    predicted = line(1, 1, 1, 0, 0, 0, 1)
    boxes = np.array([[0, 0, 3, 1], [4, 0, 6, 1]])
    pruned = line(1, 1, 1, 0, 0, 0, 0)
    regions = [pruned, np.ones_like(pruned), line(1, 0, 0, 0, 1, 1, 0)]
    found = {row[0]: row[1:] for row in frame_quality(truth, predicted == 1, regions, boxes, ["11", "10", "01"])}
    assert {values[0] for values in found.values()} == {2 / 6}
    assert {values[1] for values in found.values()} == {2 / 5}, "all boxes, whichever are accepted"
    assert found["11"][2:] == (2 / 5, 4 / 5, 3 / 4)
    assert found["10"][2:] == (2 / 3, 2 / 3, 1 / 2), "the second box is void"
    assert found["01"][2:] == (0.0, 1.0, 1.0)


def test_what_is_tried_holds_the_named_settings_and_theirs_without_box_test() -> None:
    own = FlowFilter(min_overlap=0.61, min_contrast=7.0)
    settings = tried(own)
    assert settings[:2] == [own, paper_settings()] and settings[2].min_overlap == 0 and settings[2].min_contrast == 7.0
    assert paper_settings() == read_profile("paper").flow_filter
    vector = Trial("coverage", "vector", 0.5, 2.0).settings(own)
    assert (vector.measure, vector.contrast, vector.min_overlap, vector.min_vector_contrast, vector.min_contrast) == (
        "coverage", "vector", 0.5, 2.0, 7.0,
    )  # fmt: skip
    assert vector in settings
