"""`fusionseg compare`: what differs between two runs in settings and scores, and the frames where their joint masks do.

A view over the artifacts of both, like the report: nothing reads it, and it computes no masks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fusionseg.pipeline.basics.atomic import write_atomically
from fusionseg.pipeline.basics.columns import aligned
from fusionseg.pipeline.datasets.items import Item
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.pages.render import percent, render
from fusionseg.pipeline.report.pictures import (
    Picture,
    Strip,
    checked_frame,
    method_picture,
    picture,
    to_width,
    truth_picture,
)
from fusionseg.pipeline.report.tables import JOINT, load_scores, tables_folder, write_tables
from fusionseg.pipeline.scoring.statistics import paired_difference, per_sequence_table
from fusionseg.pipeline.settings.differences import changes
from fusionseg.pipeline.store.artifact import Artifact, Unit
from fusionseg.pipeline.store.runs import RunRecord, read_run
from fusionseg.pipeline.store.sources import open_recorded, scored_items

TEMPLATE = "compare.html.j2"
_FRAMES = 12  # shown
_OF_A_VIDEO = 3  # of them at most, so that one bad video doesn't hide all others
SETTING_COLUMNS = ["setting", "a", "b"]
DISAGREEMENT_COLUMNS = ["dataset", "video", "frame", "differing"]
JointScores = Mapping[tuple[str, int], tuple[float, float]]  # J and F by sequence and frame


@dataclass(frozen=True)
class Side:
    """One of the two runs: its record, and its scores with a video's data set and name as `sequence`."""

    run: RunRecord
    per_frame: pd.DataFrame

    @property
    def name(self) -> str:
        """The run's name."""
        return str(self.run.name)


def finish_comparison(root: Path, first: str, second: str, say: Callable[[str], None]) -> Path:
    """Print how two runs of the store `root` differ and write `reports/FIRST-vs-SECOND.html` with its tables; its path.

    Raises UserError for an unknown run, runs without a scored frame in common, and artifacts that are gone.
    """
    a, b = read_side(root, first), read_side(root, second)
    tables = compare_tables(root, a, b)
    for line in [*text(a.name, b.name, tables), *unpaired(a, b)]:
        say(line)
    name = f"{first}-vs-{second}"
    page = html(root, a, b, tables)
    write_tables(tables_folder(root, name), tables)
    path = root / "reports" / f"{name}.html"
    write_atomically(path, page.encode())
    say(f"comparison: {path}")
    return path


def read_side(root: Path, name: str) -> Side:
    """A run and its scores. Raises UserError."""
    run = read_run(root, name)
    units = {shown: "/".join(unit) for unit, shown in run.scored_names().items()}
    per_frame = load_scores(root, run).by_frame
    return Side(run, per_frame.assign(sequence=per_frame["sequence"].map(units)))


def compare_tables(root: Path, a: Side, b: Side) -> dict[str, pd.DataFrame]:
    """Everything that is shown in figures: `settings`, `overall`, `per_sequence`, `disagreement`. Raises UserError."""
    sequences = paired_sequences(a, b)
    return {
        "settings": settings_table(a.run, b.run),
        "overall": paired_overall(sequences),
        "per_sequence": sequences,
        "disagreement": disagreement_table(root, a.run, b.run),
    }


def settings_table(a: RunRecord, b: RunRecord) -> pd.DataFrame:
    """What differs: setting (dotted key of the profile, or of what the record says of device, data and software), a, b;
    a dash where a run has no such setting."""
    left, right = ({**run.profile.as_dict(), "record": _recorded(run)} for run in (a, b))
    return pd.DataFrame(changes(left, right), columns=SETTING_COLUMNS)


def _recorded(run: RunRecord) -> dict[str, Any]:
    return {"device": run.device, "data": run.data, "left_out": list(run.left_out), "software": run.software}


def paired_sequences(a: Side, b: Side) -> pd.DataFrame:
    """Scores of both runs over the frames both scored: method, sequence, frames, J_a, J_b, J_difference (b less a),
    F_a, F_b, F_difference. Raises UserError where there is no such frame."""
    keys = ["method", "sequence", "frame"]
    both = a.per_frame.merge(b.per_frame, on=keys, suffixes=("_a", "_b"))
    if both.empty:
        raise UserError(
            f"runs {a.name!r} and {b.name!r} have no scored frame in common: they scored "
            f"{_names(a.per_frame)} and {_names(b.per_frame)}; compare runs of the same scored data"
        )
    left, right = (
        per_sequence_table(both.rename(columns={f"J_{side}": "J", f"F_{side}": "F"})[[*keys, "J", "F"]])
        for side in "ab"
    )
    table = left[["method", "sequence"]].copy()
    counts = both.groupby(["method", "sequence"], sort=False).size()
    table["frames"] = [int(counts[method, sequence]) for method, sequence in table.to_numpy()]
    for score in ("J", "F"):
        table[f"{score}_a"], table[f"{score}_b"] = left[score], right[score]
        table[f"{score}_difference"] = right[score] - left[score]
    return table


def unpaired(a: Side, b: Side) -> list[str]:
    """In words the sequences that only one of the runs scored, which no figure of the comparison holds."""
    found = []
    for one, other in ((a, b), (b, a)):
        alone = one.per_frame[~one.per_frame["sequence"].isin(other.per_frame["sequence"])]
        if len(alone):
            found.append(f"scored by {one.name} alone, so not compared: {_names(alone)}")
    return found


def _names(per_frame: pd.DataFrame) -> str:
    names = [str(name) for name in per_frame["sequence"].unique()]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") or "nothing"


def paired_overall(sequences: pd.DataFrame) -> pd.DataFrame:
    """Means over sequences: method, sequences, J_a, J_b, J_difference with its 95 % interval (low, high) of a paired
    bootstrap over sequences, F_a, F_b, F_difference."""
    rows = []
    for method, table in sequences.groupby("method", sort=False):
        means = table[["J_a", "J_b", "F_a", "F_b", "F_difference"]].mean()
        stacked = pd.concat(
            [table[["sequence"]].assign(method=side, J=table[f"J_{side}"]) for side in "ab"], ignore_index=True
        )
        difference = paired_difference(stacked, "b", "a")
        rows.append({"method": method, "sequences": len(table), **means, **_interval(difference)})
    return pd.DataFrame(rows)


def _interval(difference: Sequence[float]) -> dict[str, float]:
    return dict(zip(("J_difference", "low", "high"), difference, strict=True))


def disagreement_table(root: Path, a: RunRecord, b: RunRecord) -> pd.DataFrame:
    """Every frame that both runs segmented: dataset, video, frame, differing (share of its pixels, 0..1, on which the
    joint masks differ), most first. Raises UserError where an artifact is gone."""
    left, right = a.by_unit("prediction"), b.by_unit("prediction")
    rows: list[tuple[str, str, int, float]] = []
    for unit in (unit for unit in left if unit in right):
        with open_recorded(root, left[unit]) as first, open_recorded(root, right[unit]) as second:
            rows += [(*unit, index, share) for index, share in enumerate(differing(first, second, unit))]
    table = pd.DataFrame(rows, columns=DISAGREEMENT_COLUMNS)
    return table.sort_values("differing", ascending=False, kind="stable", ignore_index=True)


def differing(first: Artifact, second: Artifact, unit: Unit) -> list[float]:
    """Of every frame the share of pixels on which two joint masks differ. Raises UserError for other frames."""
    shapes = [artifact.datasets()[JOINT].shape for artifact in (first, second)]
    if shapes[0] != shapes[1]:
        raise UserError(
            f"{'/'.join(unit)}: its frames changed between the runs ({shapes[0][0]} of {shapes[0][2]}x{shapes[0][1]}, "
            f"{shapes[1][0]} of {shapes[1][2]}x{shapes[1][1]}); run both again"
        )
    if first.header["content"] == second.header["content"]:
        return [0.0] * int(shapes[0][0])
    return [
        float(np.mean((first.frame(JOINT, index) > 0) != (second.frame(JOINT, index) > 0)))
        for index in range(shapes[0][0])
    ]


def frames_to_show(disagreement: pd.DataFrame) -> pd.DataFrame:
    """The rows of the most different frames, a few a video; none on which the masks agree."""
    rows = disagreement[disagreement["differing"] > 0]
    return rows.groupby(["dataset", "video"], sort=False).head(_OF_A_VIDEO).head(_FRAMES)


def strips(root: Path, a: Side, b: Side, disagreement: pd.DataFrame) -> tuple[list[Strip], list[str]]:
    """Pictures of these frames: frame, both joint masks, truth; and in words what can't be shown."""
    items, problems = scored_items(root, a.run)
    scores = [_joint_scores(side.per_frame) for side in (a, b)]
    found, failed = [], dict.fromkeys(problems)
    for row in frames_to_show(disagreement).to_dict("records"):
        unit, index = (str(row["dataset"]), str(row["video"])), int(row["frame"])
        if unit not in items:
            continue
        try:
            pictures = _pictures(root, (a, b), items[unit], index, scores)
        except UserError as error:
            failed[f"{'/'.join(unit)}: {error.args[0]}"] = None
            continue
        note = f"frame {index}: {percent(row['differing'])} % of the pixels differ"
        found.append(Strip("", "/".join(unit), note, tuple(pictures)))
    return found, list(failed)


def _joint_scores(per_frame: pd.DataFrame) -> JointScores:
    rows = per_frame[per_frame["method"] == JOINT].to_dict("records")
    return {(row["sequence"], row["frame"]): (row["J"], row["F"]) for row in rows}


def _pictures(
    root: Path, sides: Sequence[Side], item: Item, index: int, scores: Sequence[JointScores]
) -> list[Picture]:
    unit = (item.dataset, item.name)
    where = f"{item.dataset}/{item.name}, frame {index}"
    with ExitStack() as stack:
        masks = [stack.enter_context(open_recorded(root, side.run.by_unit("prediction")[unit])) for side in sides]
        frame = checked_frame(item, index, masks[0])
        small = to_width(frame)
        found = [picture("frame", where, small)]
        for side, artifact, known in zip(sides, masks, scores, strict=True):
            score = known.get(("/".join(unit), index))
            found.append(method_picture(artifact, JOINT, index, small, f"{where}, run {side.name}", score, side.name))
        return [*found, truth_picture(item, index, frame, small, where)]


def html(root: Path, a: Side, b: Side, tables: Mapping[str, pd.DataFrame]) -> str:
    """The whole page."""
    pictures, missing = strips(root, a, b, tables["disagreement"])
    sequences = tables["per_sequence"]
    return render(
        TEMPLATE,
        {"points": points, "signed": signed},
        a=a.run,
        b=b.run,
        joint=JOINT,
        settings=tables["settings"].to_dict("records"),
        overall=tables["overall"].to_dict("records"),
        sequences=sequences[sequences["method"] == JOINT].to_dict("records"),
        unpaired=unpaired(a, b),
        agree=bool((tables["disagreement"]["differing"] == 0).all()),
        strips=pictures,
        missing_pictures=missing,
        tables_folder=tables_folder(root, f"{a.name}-vs-{b.name}").name,
        table_names=list(tables),
    )


def text(first: str, second: str, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """The comparison for the terminal."""
    settings = [[str(cell) for cell in row] for row in tables["settings"].to_numpy()]
    lines = ["", f"settings: {len(settings)} differ"]
    lines += aligned([["", first, second], *settings]) if settings else []
    overall = [
        [row["method"], *(percent(row[name]) for name in ("J_a", "J_b")), points(row), str(row["sequences"])]
        for row in tables["overall"].to_dict("records")
    ]
    lines += ["", f"mean J, per cent; difference: {second} less {first}, points [95 % interval, paired by sequence]"]
    lines += aligned([["", first, second, "difference", "sequences"], *overall], right=(1, 2, 3, 4))
    joint = tables["per_sequence"][tables["per_sequence"]["method"] == JOINT].to_dict("records")
    rows = [[r["sequence"], percent(r["J_a"]), percent(r["J_b"]), signed(r["J_difference"])] for r in joint]
    lines += ["", f"J of {JOINT} by sequence"]
    return [*lines, *aligned([["", first, second, "difference"], *rows], right=(1, 2, 3)), ""]


def points(row: Mapping[Any, Any]) -> str:
    """A difference in J with its interval; of one sequence without."""
    if row["sequences"] == 1:
        return signed(row["J_difference"])
    return f"{signed(row['J_difference'])} [{signed(row['low'])}, {signed(row['high'])}]"


def signed(value: float) -> str:
    """A difference of shares in points.

    >>> signed(0.0123), signed(-0.00001)
    ('+1.2', '+0.0')
    """
    return f"{round(100 * value, 1) + 0.0:+.1f}"  # + 0.0: no "-0.0"
