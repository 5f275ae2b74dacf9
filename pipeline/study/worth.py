"""What weak labels are worth, pure: yield and purity from tables of verdicts and of labels measured against true masks.

Yield: share of the frames with a box and a true mask that keep a label. Purity: mean over the kept frames of the IoU of
label and true mask (`label_quality.quality`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from fusionseg.pipeline.settings.sections import FlowFilter
from fusionseg.pipeline.study.quality import (
    LABELS,
    Trial,
    accepted_sets,
    frame_starts,
    passed,
    trials,
    without_box_test,
)

Flags = npt.NDArray[np.bool_]

LEAST_YIELD = 0.40  # of the rule for thresholds: well above the bar of 0.25, since other videos keep less
UNPRUNED, PRUNED, REFINED, BOX_TEST, FLOW_TEST, BOTH = (
    "all frames", "after pruning", "after refinement", "after the box test", "after the flow test alone",
    "after both tests",
)  # fmt: skip
KEYS = ["dataset", "video", "frame"]
ROW_COLUMNS = [
    "settings", "thresholds", "step", "frames", "kept", "yield", "purity", "purity_by_sequence", "filled_box",
    "grabcut",
]  # fmt: skip
TRIAL = ["measure", "contrast", "min_overlap", "min_contrast"]
GRID_COLUMNS = [*TRIAL, "kept", "yield", "purity"]


@dataclass(frozen=True)
class Measured:
    """Of the videos of a split: `boxes`, a row a box as in `verdicts` with dataset; `quality`, as `label-quality`
    writes it with dataset and video."""

    boxes: pd.DataFrame
    quality: pd.DataFrame

    @property
    def whole(self) -> pd.DataFrame:
        """The labels of all boxes, a row a frame that counts."""
        return self.quality[~self.quality["accepted"].str.contains("0")]


def kept(measured: Measured, accepted: Flags, whole_frames: bool = False) -> pd.DataFrame:
    """The rows of `quality` of the frames that keep a label where these boxes (N,) are accepted; `whole_frames`: only
    frames of which no box is rejected."""
    starts = frame_starts(measured.boxes)
    frames = measured.boxes[KEYS].iloc[starts].assign(accepted=accepted_sets(starts, accepted))
    wanted = frames[frames["accepted"].str.contains("1")]
    if whole_frames:
        wanted = wanted[~wanted["accepted"].str.contains("0")]
    return wanted.merge(measured.quality, on=[*KEYS, "accepted"])


def row(frames: int, found: pd.DataFrame, label: str) -> dict[str, float]:
    """Yield, purity and the rivals on the identical frames; NaN where no frame is kept. `label`: column of `found`."""
    by_sequence = found.groupby(["dataset", "video"])[label].mean()
    return {
        "frames": frames,
        "kept": len(found),
        "yield": len(found) / frames if frames else float("nan"),
        "purity": found[label].mean(),
        "purity_by_sequence": by_sequence.mean(),
        **{name: found[name].mean() for name in LABELS[1:]},
    }


def steps(measured: Measured, settings: FlowFilter) -> Iterator[tuple[str, dict[str, float]]]:
    """Each step of making labels with these settings, and its `row`."""
    count, drop = len(measured.whole), settings.rejected == "drop"
    box, both = passed(measured.boxes, settings)
    flow = passed(measured.boxes, without_box_test(settings))[1]
    yield UNPRUNED, row(count, measured.whole, "unpruned")
    yield PRUNED, row(count, measured.whole, "pruned")
    yield REFINED, row(count, measured.whole, "label")
    for step, accepted in ((BOX_TEST, box), (FLOW_TEST, flow), (BOTH, both)):
        yield step, row(count, kept(measured, accepted, drop), "label")


def rows(measured: Measured, named: Mapping[str, FlowFilter]) -> pd.DataFrame:
    """The table of all steps under all named settings: ROW_COLUMNS."""
    found = [
        {"settings": name, "thresholds": words(settings), "step": step, **values}
        for name, settings in named.items()
        for step, values in steps(measured, settings)
    ]
    return pd.DataFrame(found, columns=ROW_COLUMNS)


def words(settings: FlowFilter) -> str:
    """The thresholds of both tests in words."""
    least = settings.min_contrast if settings.contrast == "colour" else settings.min_vector_contrast
    unit = " grey levels" if settings.contrast == "colour" else " spreads"
    sure = f", confidence >= {settings.min_confidence:g}" if settings.min_confidence else ""
    sure += f", agreement >= {settings.min_agreement:g}" if settings.min_agreement else ""
    return f"{settings.measure} >= {settings.min_overlap:g}{sure}, {settings.contrast} contrast >= {least:g}{unit}"


def grid(measured: Measured, base: FlowFilter) -> pd.DataFrame:
    """Yield and purity after both tests for every trial: GRID_COLUMNS."""
    count, drop = len(measured.whole), base.rejected == "drop"
    known: dict[bytes, dict[str, float]] = {}  # neighbours in the grid often accept the same boxes
    found = []
    for trial in trials():
        accepted = passed(measured.boxes, trial.settings(base))[1]
        if accepted.tobytes() not in known:
            known[accepted.tobytes()] = row(count, kept(measured, accepted, drop), "label")
        values = known[accepted.tobytes()]
        found.append((*astuple(trial), values["kept"], values["yield"], values["purity"]))
    return pd.DataFrame(found, columns=GRID_COLUMNS)


def choose(grid: pd.DataFrame, least: float = LEAST_YIELD) -> Trial | None:
    """The thresholds of highest purity among those that keep at least the share `least` of the frames, of equal ones
    those that keep more; where none keeps that much, those that keep most. None where nothing is kept."""
    some = grid[grid["kept"] > 0]
    enough = some[some["yield"] >= least]
    order = ["purity", "yield"] if len(enough) else ["yield", "purity"]
    best = (enough if len(enough) else some).sort_values(order, ascending=False, kind="stable").to_dict("records")
    return Trial(**{name: best[0][name] for name in TRIAL}) if best else None


def frontier(chosen_on: pd.DataFrame, reported_on: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Purity over yield for one measure of the box test: the trials that no other beats in both on `chosen_on`, with
    what they give on `reported_on`, by rising yield there. Both tables are grids in the same order."""
    own = chosen_on[(chosen_on["measure"] == measure) & (chosen_on["kept"] > 0)]
    order = own.sort_values(["yield", "purity"], ascending=False, kind="stable")
    best = order["purity"].cummax().shift(fill_value=-1.0)
    found = reported_on.loc[order.index[order["purity"] > best]]
    return found[found["kept"] > 0].sort_values("yield", kind="stable")


@dataclass(frozen=True)
class Bar:
    """One bar: what is measured, the value, and what it must reach."""

    name: str
    value: float
    least: float

    @property
    def met(self) -> bool:
        return bool(self.value >= self.least)


def purity_bars(table: pd.DataFrame, settings: str) -> list[Bar]:
    """The bars of yield and purity for the labels of one of the named settings."""
    by_step = {r["step"]: r for r in table[table["settings"] == settings].to_dict("records")}
    both, unpruned = by_step[BOTH], by_step[UNPRUNED]
    return [
        Bar(f"{settings}: purity after both tests", both["purity"], 0.75),
        Bar(f"{settings}: purity over that of unpruned predictions", both["purity"] - unpruned["purity"], 0.08),
        Bar(f"{settings}: purity over GrabCut's on the same frames", both["purity"] - both["grabcut"], 0.0),
        Bar(f"{settings}: yield", both["yield"], 0.25),
    ]


def training_summary(runs: pd.DataFrame) -> pd.DataFrame:
    """From a row a training (labels, seed, J, frames, yield, purity): a row a kind of labels with the means over seeds,
    J_spread (standard deviation over seeds, NaN of one), and ratio, ratio_spread: J of weak labels divided by J of this
    kind, seed by seed."""
    wide = runs.pivot_table("J", "seed", "labels", sort=False)
    found = []
    for kind, own in runs.groupby("labels", sort=False):
        ratio = wide["weak"] / wide[kind] if "weak" in wide else wide[kind] * np.nan
        means = own[["frames", "yield", "purity", "J"]].mean()
        spread = {"J_spread": own["J"].std(), "ratio": ratio.mean(), "ratio_spread": ratio.std()}
        found.append({"labels": kind, "seeds": len(own), **means, **spread})
    columns = ["labels", "frames", "seeds", "yield", "purity", "J", "J_spread", "ratio", "ratio_spread"]
    return pd.DataFrame(found, columns=columns)


def training_bars(summary: pd.DataFrame) -> list[Bar]:
    """The bar of the motion stream: J of weak labels over J of true masks of the same frames."""
    ratios = summary.loc[summary["labels"] == "masks", "ratio"]
    return [Bar("motion stream: J of weak labels / J of true masks", float(ratio), 0.90) for ratio in ratios]
