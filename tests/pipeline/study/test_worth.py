"""Yield, purity, thresholds and bars, from tables made by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionseg.pipeline.settings.sections import FlowFilter
from fusionseg.pipeline.study.quality import Trial, all_sets, passed, trials
from fusionseg.pipeline.study.worth import (
    BOTH,
    BOX_TEST,
    FLOW_TEST,
    GRID_COLUMNS,
    PRUNED,
    REFINED,
    TRIAL,
    UNPRUNED,
    Measured,
    choose,
    frontier,
    grid,
    kept,
    purity_bars,
    rows,
    steps,
    training_bars,
    training_summary,
)
from fusionseg.pipeline.weak_labels.verdicts import MARKS, MOTION, REGION

# video, frame, box, overlap, contrast: frame 1 of "a" has two boxes
BOXES = [("a", 0, 0, 0.9, 50), ("a", 1, 0, 0.9, 10), ("a", 1, 1, 0.5, 90), ("b", 0, 0, 0.8, 40)]
MADE = {"frames": 7, "yield": 0.5, "purity": 0.7}
FRAMES = np.array([f"{video} {frame}" for video, frame, *_ in BOXES])
# IoU of the labels of each set of boxes: unpruned, label, filled box, GrabCut
QUALITIES = {
    ("a", 0, "1"): (0.5, 0.9, 0.4, 0.6), ("a", 1, "11"): (0.3, 0.5, 0.2, 0.1), ("a", 1, "10"): (0.3, 0.7, 0.3, 0.2),
    ("a", 1, "01"): (0.3, 0.4, 0.1, 0.0), ("b", 0, "1"): (0.4, 0.8, 0.6, 0.7),
}  # fmt: skip


def boxes() -> pd.DataFrame:
    """Verdicts as `flow-filter` writes them, of frames of 10x10, all but overlap and contrast harmless."""
    table = pd.DataFrame(BOXES, columns=["video", "frame", "box", "overlap", "contrast"])
    harmless = {"height": 10, "width": 10, "area": 9, "background": 0.9, "magnitude_p99": 1.0, "residual_in": 1.0}
    zeros = {name: 0.0 for name in (*MARKS, *REGION, *MOTION) if name not in table}
    table = table.assign(**(zeros | harmless), x0=0, y0=0, x1=3, y1=3, dataset="d")
    return table.assign(vector_contrast=table["contrast"] / 20)


def measured() -> Measured:
    found = [(*key, values[0], values[0] + 0.1, *values[1:]) for key, values in QUALITIES.items()]
    columns = ["video", "frame", "accepted", "unpruned", "pruned", "label", "filled_box", "grabcut"]
    return Measured(boxes(), pd.DataFrame(found, columns=columns).assign(dataset="d"))


def settings(**values: object) -> FlowFilter:
    return FlowFilter.model_validate({"min_overlap": 0.75, "min_contrast": 30.0} | values)


def test_each_step_counts_its_frames_and_measures_rivals_on_the_same() -> None:
    found = dict(steps(measured(), settings()))
    assert list(found) == [UNPRUNED, PRUNED, REFINED, BOX_TEST, FLOW_TEST, BOTH]
    assert [found[step]["kept"] for step in found] == [3, 3, 3, 3, 3, 2]
    assert found[UNPRUNED]["purity"] == pytest.approx(0.4)
    assert found[PRUNED]["purity"] == pytest.approx(0.5)
    assert found[REFINED]["purity"] == pytest.approx((0.9 + 0.5 + 0.8) / 3)
    assert found[BOX_TEST]["purity"] == pytest.approx((0.9 + 0.7 + 0.8) / 3), "the second box of frame 1 is void"
    assert found[FLOW_TEST]["purity"] == pytest.approx((0.9 + 0.4 + 0.8) / 3), "and here its first"
    both = found[BOTH]
    assert (both["yield"], both["purity"]) == (pytest.approx(2 / 3), pytest.approx(0.85))
    assert (both["filled_box"], both["grabcut"]) == (pytest.approx(0.5), pytest.approx(0.65))


def test_purity_by_sequence_weighs_sequences_alike() -> None:
    found = dict(steps(measured(), settings()))[REFINED]
    assert found["purity_by_sequence"] == pytest.approx(((0.9 + 0.5) / 2 + 0.8) / 2)


def test_dropping_takes_the_whole_frame() -> None:
    found = dict(steps(measured(), settings(rejected="drop")))
    assert [found[step]["kept"] for step in (BOX_TEST, BOTH)] == [2, 2]
    assert found[BOX_TEST]["purity"] == pytest.approx(0.85)


def test_nothing_kept_has_a_yield_but_no_purity() -> None:
    found = dict(steps(measured(), settings(min_contrast=400.0)))[BOTH]
    assert found["kept"] == found["yield"] == 0 and np.isnan(found["purity"])
    bars = purity_bars(rows(measured(), {"all": settings(min_contrast=400.0)}), "all")
    assert not any(bar.met for bar in bars), "what isn't known isn't met"


@given(st.lists(st.booleans(), min_size=len(BOXES), max_size=len(BOXES)))
def test_a_frame_is_kept_where_a_box_is_accepted_or_all_are(flags: list[bool]) -> None:
    accepted = np.array(flags)
    frames = pd.Series(accepted).groupby(FRAMES)
    assert len(kept(measured(), accepted)) == int(frames.any().sum())
    assert len(kept(measured(), accepted, whole_frames=True)) == int(frames.all().sum())


def test_all_sets_of_boxes_that_any_thresholds_lead_to_are_measured() -> None:
    table = boxes()
    sets = all_sets(table[table["video"] == "a"], settings())
    assert sets == {0: ["1"], 1: ["01", "10", "11"]}
    for trial in trials()[::25]:
        box, both = passed(table, trial.settings(settings()))
        assert len(kept(measured(), both)) == pd.Series(both).groupby(FRAMES).any().sum()
        assert (both <= box).all()


def test_grid_has_every_trial_and_agrees_with_the_steps() -> None:
    found = grid(measured(), settings())
    assert len(found) == len(trials())
    row = found[(found[TRIAL] == ["iou", "colour", 0.75, 30.0]).all(axis=1)]
    assert row[["yield", "purity"]].to_numpy()[0].tolist() == pytest.approx([2 / 3, 0.85])


def table(*values: tuple[float, float]) -> pd.DataFrame:
    """A grid of one kind: yield and purity; its contrasts are 0, 1, 2 ..."""
    found = [("iou", "colour", 0.5, float(n), int(100 * y), y, p) for n, (y, p) in enumerate(values)]
    return pd.DataFrame(found, columns=GRID_COLUMNS)


def test_the_purest_with_enough_yield_is_chosen_and_of_equals_what_keeps_more() -> None:
    assert choose(table((1.0, 0.6), (0.5, 0.8), (0.45, 0.8), (0.2, 0.99))) == Trial("iou", "colour", 0.5, 1.0)
    assert choose(table((0.1, 0.9), (0.2, 0.2))) == Trial("iou", "colour", 0.5, 1.0), "none keeps enough: the most"
    assert choose(table((0.0, float("nan")))) is None


def test_frontier_is_picked_on_one_split_and_told_of_the_other() -> None:
    first, second = (
        table((1.0, 0.6), (0.8, 0.5), (0.5, 0.8), (0.0, float("nan"))),
        table((0.9, 0.1), (0.7, 0.9), (0.4, 0.2), (0.1, 0.9)),
    )
    assert frontier(first, second, "iou")[["yield", "purity"]].to_numpy().tolist() == [[0.4, 0.2], [0.9, 0.1]]


def test_trained_motion_is_compared_seed_by_seed() -> None:
    runs = [("weak", 0, 0.45), ("masks", 0, 0.5), ("weak", 1, 0.55), ("masks", 1, 0.5), ("weak", 2, 0.5)]
    found = training_summary(pd.DataFrame(runs, columns=["labels", "seed", "J"]).assign(**MADE))
    masks = found.set_index("labels").loc["masks"]
    assert (masks["ratio"], masks["ratio_spread"]) == (pytest.approx(1.0), pytest.approx(0.1414, abs=1e-4))
    assert masks["seeds"] == 2, "a third is still to come"
    (bar,) = training_bars(found)
    assert bar.met and bar.least == 0.9
    assert training_bars(training_summary(pd.DataFrame(runs[:1], columns=["labels", "seed", "J"]).assign(**MADE))) == []
