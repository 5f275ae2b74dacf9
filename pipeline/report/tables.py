"""The report's figures: scores by frame, sequence and method, paired differences, the yield of the weak labels.

Whatever number the page shows stands in one of these tables, which lie beside it as Parquet and CSV.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fusionseg.pipeline.basics.atomic import write_atomically
from fusionseg.pipeline.datasets.manifest import read_manifest
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.names import BASELINES, MODELS, STREAMS
from fusionseg.pipeline.report.verdicts import label_records
from fusionseg.pipeline.scoring.frames import COLUMNS
from fusionseg.pipeline.scoring.protocols import PROTOCOLS, Protocol, class_of, overall_means
from fusionseg.pipeline.scoring.published import published_rows
from fusionseg.pipeline.scoring.statistics import (
    SCORE_COLUMNS,
    PairedDifference,
    overall_table,
    paired_difference,
    per_sequence_table,
)
from fusionseg.pipeline.store.runs import RunRecord
from fusionseg.pipeline.store.sources import open_recorded

JOINT, AVERAGE = "joint", "average"
OBJECT = "object"
FUNNEL = (
    ("frames", "frames"),
    ("frames_with_boxes", "frames with boxes"),
    ("boxes", "boxes seen"),
    ("passed_box_test", "passed the box test"),
    ("passed_both_tests", "passed both tests"),
    ("labelled_frames", "labelled frames"),
)
# What a step of the weak labels' funnel is a share of.
_WHOLE = {
    "frames_with_boxes": "frames",
    "labelled_frames": "frames",
    "passed_box_test": "boxes",
    "passed_both_tests": "boxes",
}
DIFFERENCE_COLUMNS = ["first", "second", "sequences", "J", "low", "high"]
PUBLISHED_COLUMNS = ["protocol", "method", "split", *SCORE_COLUMNS, "source"]


@dataclass(frozen=True)
class Scores:
    """`per_frame`: one row a method and frame; `per_sequence` as in `metrics`; `overall`: the figure of the protocol,
    the first of `protocols.overall_means`, with the number of sequences. All empty where no video is long enough to be
    scored. Where a protocol tells objects apart, one row an object; object 0 is all of them, where another protocol
    merges them."""

    per_frame: pd.DataFrame
    per_sequence: pd.DataFrame
    overall: pd.DataFrame

    @property
    def by_frame(self) -> pd.DataFrame:
        """`per_frame` with means over objects."""
        return over_objects(self.per_frame, ["method", "sequence", "frame"], ["J", "F"])

    @property
    def by_sequence(self) -> pd.DataFrame:
        """`per_sequence` with means over objects."""
        return over_objects(self.per_sequence, ["method", "sequence"], list(SCORE_COLUMNS))

    @property
    def means_over(self) -> str:
        """In words what the figures of `overall` are means over."""
        sequences = f"{len(self.sequences)} sequences"
        if self.objects:
            return f"{self.objects} objects of {sequences}"
        if "classes" in set(self.overall["mean"]):
            return f"{len({class_of(name) for name in self.sequences})} classes of {sequences}"
        return sequences

    @property
    def objects(self) -> int:
        """Number of objects scored; 0 where no protocol tells them apart."""
        if OBJECT not in self.per_frame:
            return 0
        return len(self.per_frame[["sequence", OBJECT]].drop_duplicates())

    @property
    def methods(self) -> list[str]:
        """All methods, in the order of the tables."""
        return [str(method) for method in self.overall["method"]]

    @property
    def sequences(self) -> list[str]:
        """All sequences with a score."""
        return [str(name) for name in self.per_frame["sequence"].unique()]

    @property
    def scored_frames(self) -> int:
        """Number of frames scored."""
        return len(self.per_frame[["sequence", "frame"]].drop_duplicates())


def over_objects(table: pd.DataFrame, keys: Sequence[str], scores: Sequence[str]) -> pd.DataFrame:
    """Means over the objects of a sequence; the table as it is where there are none."""
    if OBJECT not in table:
        return table
    return table.groupby(list(keys), sort=False)[list(scores)].mean().reset_index()


@dataclass(frozen=True)
class Comparison:
    """The difference in J of two methods over the sequences that both have, in per cent points."""

    first: str
    second: str
    role: str
    sequences: int
    points: PairedDifference

    def text(self) -> str:
        """In words."""
        mean, low, high = (f"{round(value, 1) + 0.0:+.1f}" for value in self.points)  # + 0.0: no "-0.0"
        if self.sequences == 1:
            return f"{self.first} minus {self.second} ({self.role}): {mean} points of J, on one sequence"
        return f"{self.first} minus {self.second} ({self.role}): {mean} points of J [{low}, {high}], {self.verdict}"

    @property
    def verdict(self) -> str:
        """What the interval says of the two, in words: a difference counts where all of it lies on one side of 0."""
        _, low, high = self.points
        return "better" if low > 0 else "worse" if high < 0 else "not to be told apart"


def kind_of(method: str) -> str:
    """What a method is: one of our models, a baseline, or another's published masks."""
    return "model" if method in MODELS else "baseline" if method in BASELINES else "published masks"


def load_scores(root: Path, run: RunRecord) -> Scores:
    """The scores of a run. Raises UserError where it has none yet, or their artifacts are gone."""
    records = run.by_unit("scoring")
    if not records:
        run.need("scoring", "scores")
    tables = []
    names = run.scored_names()
    for unit, record in records.items():
        with open_recorded(root, record) as artifact:
            table = artifact.table("per_frame")
        tables.append(table.assign(sequence=names.get(unit, record.video)))
    frames = [table for table in tables if len(table)]
    per_frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=COLUMNS)
    return summarise(per_frame, one_protocol(run))


def summarise(per_frame: pd.DataFrame, protocol: Protocol | None) -> Scores:
    """Scores by sequence and method: our models first, then baselines, then others. Without a protocol plain means."""
    if per_frame.empty:
        empty = pd.DataFrame(columns=["method", "mean", *SCORE_COLUMNS, "sequence", "sequences"])
        return Scores(per_frame, empty, empty)
    if OBJECT in per_frame:
        per_frame = per_frame.assign(object=per_frame[OBJECT].fillna(0).astype(int))
    found = [str(method) for method in per_frame["method"].unique()]
    known = [method for method in (*MODELS, *BASELINES) if method in found]
    order = {method: n for n, method in enumerate([*known, *(m for m in found if m not in known)])}
    per_frame = per_frame.sort_values("method", key=lambda column: column.map(order), kind="stable", ignore_index=True)
    per_sequence = per_sequence_table(per_frame)
    overall = _own_means(per_frame, protocol) if protocol else _plain_means(per_sequence)
    overall["sequences"] = overall["method"].map(per_sequence.groupby("method")["sequence"].nunique())
    return Scores(per_frame, per_sequence, overall)


def _plain_means(per_sequence: pd.DataFrame) -> pd.DataFrame:
    """Over sequences, or objects where any are told apart."""
    return overall_table(per_sequence).assign(mean="objects" if OBJECT in per_sequence else "sequences")


def _own_means(per_frame: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """The first of the protocol's means."""
    means = overall_means(per_frame, protocol)
    return means[means["mean"] == protocol.means[0]].reset_index(drop=True)


def comparisons(scores: Scores) -> list[Comparison]:
    """Joint against the better stream, against both streams' mean, and against the best baseline."""
    found = []
    for role, group in (("better stream", STREAMS), ("both streams' mean", (AVERAGE,)), ("best baseline", BASELINES)):
        best = best_of(scores.overall, group)
        if best is not None and JOINT in scores.methods:
            found.append(compare(scores.per_sequence, JOINT, best, role))
    return [comparison for comparison in found if comparison is not None]


def best_of(overall: pd.DataFrame, methods: Sequence[str]) -> str | None:
    """The method of highest mean J among `methods`; None where there is none of them."""
    rows = overall[overall["method"].isin(methods)]
    return None if rows.empty else str(rows["method"].iloc[int(rows["J"].to_numpy().argmax())])


def compare(per_sequence: pd.DataFrame, first: str, second: str, role: str) -> Comparison | None:
    """The paired difference over the sequences that both methods have; None where they share none."""
    shared = set.intersection(
        *(set(per_sequence.loc[per_sequence["method"] == method, "sequence"]) for method in (first, second))
    )
    if not shared:
        return None
    difference = paired_difference(per_sequence[per_sequence["sequence"].isin(shared)], first, second)
    return Comparison(first, second, role, len(shared), PairedDifference(*(100 * value for value in difference)))


def funnel(run: RunRecord) -> dict[str, int] | None:
    """Totals of the weak labels' figures; None for a run that made none."""
    records = label_records(run)
    if not records:
        return None
    return {name: sum(int(record.counts.get(name, 0)) for record in records) for name, _ in FUNNEL}


def funnel_table(run: RunRecord) -> pd.DataFrame:
    """The weak labels' figures: step, count, share (of all frames, or of all boxes; nan for the first steps)."""
    figures = funnel(run) or {}
    rows = []
    for name, title in FUNNEL if figures else ():
        whole = figures[_WHOLE[name]] if name in _WHOLE else 0
        rows.append((title, figures[name], figures[name] / whole if whole else float("nan")))
    return pd.DataFrame(rows, columns=["step", "count", "share"])


def differences_table(scores: Scores) -> pd.DataFrame:
    """J of the joint model less that of every other method, over the sequences that both have: first, second,
    sequences, J (the mean difference), low and high (limits of the 95 % interval of a bootstrap over sequences)."""
    rows = []
    for method in scores.methods if JOINT in scores.methods else []:
        found = compare(scores.per_sequence, JOINT, method, "") if method != JOINT else None
        if found is not None:
            rows.append((JOINT, method, found.sequences, *(value / 100 for value in found.points)))
    return pd.DataFrame(rows, columns=DIFFERENCE_COLUMNS)


def published_table(run: RunRecord) -> pd.DataFrame:
    """Figures that others published under the protocols of what was scored."""
    tables = [published_rows(protocol).assign(protocol=protocol) for protocol in protocols(run)]
    return (
        pd.concat(tables, ignore_index=True)[PUBLISHED_COLUMNS] if tables else pd.DataFrame(columns=PUBLISHED_COLUMNS)
    )


def means_table(run: RunRecord, scores: Scores) -> pd.DataFrame:
    """All means that the protocol takes: columns of `protocols.overall_means` and protocol. No rows where there is but
    one, which `overall` has, or where `one_protocol` finds none."""
    protocol = one_protocol(run)
    if protocol is None or len(protocol.means) == 1 or scores.per_frame.empty:
        return pd.DataFrame(columns=["method", "mean", *SCORE_COLUMNS, "protocol"])
    return overall_means(scores.per_frame, protocol).assign(protocol=protocol.name)


def one_protocol(run: RunRecord) -> Protocol | None:
    """The protocol whose means stand for the run; None where several data sets are scored: together they are no
    benchmark, and a sequence's name, from which its class is told, begins with its data set's."""
    found = protocols(run)
    datasets = {dataset for dataset, _ in run.units("scored")}
    return PROTOCOLS[found[0]] if len(found) == len(datasets) == 1 else None


def protocols(run: RunRecord) -> list[str]:
    """The protocols of the scored data sets whose manifests are still there, each once."""
    found = []
    for ref in run.profile.data.scored:
        try:
            found.append(read_manifest(ref.manifest).protocol)
        except UserError:
            continue
    return [protocol for protocol in dict.fromkeys(found) if protocol is not None]


def write_tables(folder: Path, tables: Mapping[str, pd.DataFrame]) -> None:
    """Write every table as NAME.parquet, with its types, and NAME.csv, for every tool; each whole or not at all."""
    for name, table in tables.items():
        buffer = io.BytesIO()
        table.to_parquet(buffer, index=False)
        write_atomically(folder / f"{name}.parquet", buffer.getvalue())
        write_atomically(folder / f"{name}.csv", table.to_csv(index=False, float_format="%.6f").encode())


def tables_folder(root: Path, name: str) -> Path:
    """Where the tables of the report of run `name` lie."""
    return root / "reports" / f"{name}-tables"


def text_table(scores: Scores) -> list[str]:
    """J, F and J&F of every method as aligned lines, in per cent."""
    total = len(scores.sequences)
    width = max(len(method) for method in scores.methods)
    lines = [f"{'':{width}}  {'J':>5}  {'F':>5}  {'J&F':>5}"]
    for row in scores.overall.to_dict("records"):
        part = "" if row["sequences"] == total else f"  on {row['sequences']} of {total} sequences"
        values = "  ".join(f"{100 * row[column]:5.1f}" for column in ("J", "F", "JF"))
        lines.append(f"{row['method']:{width}}  {values}{part}")
    return lines


def comparison_line(found: Sequence[Comparison]) -> str:
    """All comparisons in one line."""
    line = "; ".join(comparison.text() for comparison in found)
    several = any(comparison.sequences > 1 for comparison in found)
    return f"{line}; 95 % intervals, paired by sequence" if several else line


def funnel_line(run: RunRecord) -> str:
    """The yield of the weak labels in one line."""
    figures = funnel(run)
    if figures is None:
        return "weak labels: none made, the run didn't need them"
    return (
        f"weak labels: {figures['boxes']} boxes seen -> {figures['passed_box_test']} passed the box test -> "
        f"{figures['passed_both_tests']} passed both tests -> {figures['labelled_frames']} labelled frames"
    )
