"""`fusionseg weak-labels audit`: the weak labels of a run as a page to judge by eye: boxes sampled by their verdict,
with all that was measured of them, and what other thresholds would yield.

A view over the run's artifacts: nothing reads it, and it decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from torch import Tensor

from fusionseg.models.fusion import AverageFusion
from fusionseg.models.labels import VOID
from fusionseg.pipeline.basics.atomic import write_atomically
from fusionseg.pipeline.datasets.items import Item
from fusionseg.pipeline.datasets.reading import read_frame
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.flow.videos import FlowPictures
from fusionseg.pipeline.networks.scores import full_scores, object_mask
from fusionseg.pipeline.pages.render import render
from fusionseg.pipeline.report.pictures import Picture, Strip, overlay, picture, recorded, to_width
from fusionseg.pipeline.report.tables import funnel_line, funnel_table, tables_folder, write_tables
from fusionseg.pipeline.report.verdicts import label_records, label_stages, run_verdicts
from fusionseg.pipeline.settings.sections import FlowFilter
from fusionseg.pipeline.store.artifact import Artifact, Unit
from fusionseg.pipeline.store.bits import read_plain
from fusionseg.pipeline.store.runs import RunRecord, read_run
from fusionseg.pipeline.store.sources import boxed_items, open_recorded
from fusionseg.pipeline.weak_labels.verdicts import (
    ACCEPTED,
    BOX,
    BROKEN_FLOW,
    CAMERA_ONLY,
    DISAGREEING,
    FRAME_DROPPED,
    GENERATED,
    LARGE_BOX,
    NO_BACKGROUND,
    NO_FLOW,
    NO_MOTION,
    NO_OBJECT,
    OCCLUDED,
    REASONS,
    SMALL_BOX,
    SMALL_CONTRAST,
    SMALL_OVERLAP,
    UNSURE,
    contrast_test,
    measured_by,
    yields,
)

UInt8 = npt.NDArray[np.uint8]
Row = Mapping[Any, Any]  # of the verdicts' table

TEMPLATE = "weak_labels.html.j2"
# Thresholds whose yield is shown.
_OVERLAPS = (0.0, 0.25, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9)
_CONTRASTS = {
    "colour": (0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 80.0, 100.0),
    "vector": (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0),
}
# BGR: object and void as elsewhere; this box by its verdict, blue and orange, told apart by everybody; others grey.
_OBJECT, _VOID = (50, 60, 255), (190, 225, 230)
_TAKEN, _TURNED_DOWN, _OTHER = (255, 140, 0), (0, 140, 255), (160, 160, 160)


def finish_audit(root: Path, name: str, each: int, seed: int, say: Callable[[str], None]) -> Path:
    """Write `reports/NAME-weak-labels.html` with its tables beside it; the page's path. `each`: boxes shown of each
    verdict, drawn by `seed`.

    Raises UserError for an unknown run, one without weak labels, and artifacts that are gone.
    """
    run = read_run(root, name)
    if not label_records(run):
        run.need((label_stages(run) or ["flow-filter"])[-1], "weak labels")
    table = run_verdicts(root, run)
    if table.empty:
        raise UserError(f"run {name!r} has weak labels of no box: the frames that it used have none")
    settings = run.profile.flow_filter
    tables = {"verdicts": table, "reasons": reasons_table(table), "yields": yields_table(table, settings)}
    page = html(root, run, settings, tables, choose(table, each, seed))
    folder = tables_folder(root, f"{name}-weak-labels")
    write_tables(folder, tables)
    path = root / "reports" / f"{name}-weak-labels.html"
    write_atomically(path, page.encode())
    say(funnel_line(run))
    say(f"weak labels: {path}")
    return path


def html(
    root: Path, run: RunRecord, settings: FlowFilter, tables: Mapping[str, pd.DataFrame], chosen: pd.DataFrame
) -> str:
    """The whole page."""
    sheets, missing = contact_sheets(root, run, chosen)
    words = explanations(settings)
    return render(
        TEMPLATE,
        run=run,
        funnel=funnel_table(run).to_dict("records"),
        reasons=[{**row, "means": words[row["reason"]]} for row in tables["reasons"].to_dict("records")],
        grids=[grid(tables["yields"], kind, settings) for kind in tables["yields"]["kind"].unique()],
        measure=measured_by(settings),
        rejected=settings.rejected,
        sheets=sheets,
        explanations=words,
        missing_pictures=missing,
        tables_folder=tables_folder(root, f"{run.name}-weak-labels").name,
        table_names=list(tables),
    )


def reasons_table(table: pd.DataFrame) -> pd.DataFrame:
    """Boxes by verdict, in the order of the tests: reason, boxes, share."""
    counts = table["reason"].value_counts()
    rows = [(reason, int(counts[reason])) for reason in (ACCEPTED, *REASONS) if reason in counts]
    found = pd.DataFrame(rows, columns=["reason", "boxes"])
    return found.assign(share=found["boxes"] / len(table))


def yields_table(table: pd.DataFrame, settings: FlowFilter) -> pd.DataFrame:
    """`weak_labels.yields` under a grid of thresholds that has the run's own in it, by kind of contrast, of those that
    were measured."""
    found = []
    for kind, contrasts in _CONTRASTS.items():
        own = settings.model_copy(update={"contrast": kind})
        column, least = contrast_test(own)
        if table[column].notna().any():
            overlaps = sorted({*_OVERLAPS, settings.min_overlap})
            found.append(yields(table, own, overlaps, sorted({*contrasts, least})).assign(kind=kind))
    return pd.concat(found, ignore_index=True) if found else yields(table, settings, [], []).assign(kind="")


@dataclass(frozen=True)
class Grid:
    """The share of frames with a label: a row a threshold of the box test, a column one of the flow test; `own`: where
    the run's own thresholds stand in `overlaps` and `contrasts` (None where the run's test is the other one)."""

    kind: str
    overlaps: Sequence[float]
    contrasts: Sequence[float]
    shares: Sequence[Sequence[float]]
    own: tuple[int, int] | None


def grid(table: pd.DataFrame, kind: str, settings: FlowFilter) -> Grid:
    """One kind's part of `yields_table`, as rows and columns."""
    shares = table[table["kind"] == kind].pivot(index="overlap", columns="contrast", values="frame_share")
    overlaps, contrasts = [float(value) for value in shares.index], [float(value) for value in shares.columns]
    least = contrast_test(settings)[1]
    own = (overlaps.index(settings.min_overlap), contrasts.index(least)) if kind == settings.contrast else None
    return Grid(kind, overlaps, contrasts, shares.to_numpy().tolist(), own)


def explanations(settings: FlowFilter) -> dict[str, str]:
    """What each verdict means under these settings."""
    column, least = contrast_test(settings)
    unit = "grey levels between mean colours" if column == "contrast" else "spreads of the background's flow"
    return {
        ACCEPTED: "passed all tests: its region is object in the label",
        OCCLUDED: "the annotation marks it as partly hidden",
        GENERATED: "the annotation marks it as interpolated between frames",
        SMALL_BOX: f"less than {settings.min_box:g} of the frame's area",
        LARGE_BOX: f"more than {settings.max_box:g} of the frame's area",
        NO_OBJECT: "none is predicted there",
        SMALL_OVERLAP: f"{measured_by(settings)} below {settings.min_overlap:g}",
        UNSURE: f"expected IoU of region and object below {settings.min_confidence:g}",
        DISAGREEING: f"IoU of refined and predicted region below {settings.min_agreement:g}",
        NO_BACKGROUND: "boxes cover the whole frame",
        NO_FLOW: "there is no second frame",
        BROKEN_FLOW: f"more than {settings.max_unknown:g} of the vectors unknown, or 1 % of them longer than "
        f"{settings.max_motion:g} of the diagonal",
        NO_MOTION: f"99 % of the frame's vectors are shorter than {settings.min_motion:g} of the diagonal",
        CAMERA_ONLY: f"without the camera's motion less than {settings.min_own_motion:g} of the diagonal is left in it",
        SMALL_CONTRAST: f"below {least:g} {unit}",
        FRAME_DROPPED: "passed all tests, but is not used",
    }


def choose(table: pd.DataFrame, each: int, seed: int) -> pd.DataFrame:
    """At most `each` boxes of every verdict, in the order of the tests, drawn at random, of many videos."""
    found = []
    for number, reason in enumerate((ACCEPTED, *REASONS)):
        rows = table[table["reason"] == reason]
        shuffled = rows.iloc[np.random.default_rng([seed, number]).permutation(len(rows))]
        turn = shuffled.groupby(["dataset", "video"], sort=False).cumcount()
        found.append(shuffled.iloc[np.argsort(turn.to_numpy(), kind="stable")[:each]])
    return pd.concat(found, ignore_index=True)


def contact_sheets(root: Path, run: RunRecord, chosen: pd.DataFrame) -> tuple[dict[str, list[Strip]], list[str]]:
    """A strip for every chosen box, by verdict, and in words what can't be shown."""
    items, problems = boxed_items(root, run)
    found: dict[str, list[Strip]] = {}
    failed = dict[str, str]()  # what is wrong with a video is said once
    for row in chosen.to_dict("records"):
        unit = row["dataset"], row["video"]
        try:
            if unit in items:
                found.setdefault(row["reason"], []).append(strip(root, run, items[unit], row))
        except UserError as error:
            failed[row["video"]] = f"{row['video']}: {error.args[0]}"
    return found, [*problems, *failed.values()]


def strip(root: Path, run: RunRecord, item: Item, row: Row) -> Strip:
    """One box: its frame, what was predicted, its region, the frame's label, its flow. Raises UserError where an
    artifact or file can't be read, or frames have changed."""
    unit: Unit = (item.dataset, item.name)
    index, where = int(row["frame"]), f"{item.name}, frame {row['frame']}"
    with ExitStack() as stack:
        open_ = lambda *stages: stack.enter_context(open_recorded(root, recorded(run, unit, *stages)))  # noqa: E731
        pruned, labels = open_("box-pruning-2", "box-pruning"), open_("flow-filter-2", "flow-filter")  # the last
        flow = FlowPictures(open_("flow-images", "optical-flow"), run.profile.flow_images)
        frame = read_frame(item, index)
        if (labels.length("labels"), *frame.shape[:2]) != (len(item.frames), row["height"], row["width"]):
            raise UserError("its frames have changed since the run")
        boxes = pruned.table("boxes")
        others = boxes[(boxes["frame"] == index) & (boxes["box"] != row["box"])][BOX].to_numpy()
        draw = lambda image: outlined(image, frame.shape[1], others, row)  # noqa: E731
        small = to_width(frame)
        predicted = object_mask(predicted_scores(run, open_, index))
        region = read_plain(pruned, "regions", index) > 0
        pictures = (
            noted("frame", f"{where}: its boxes", draw(small), frame_note(row)),
            noted("predicted", f"{where}: prediction", draw(overlay(small, predicted, _OBJECT)), predicted_note(row)),
            noted("region", f"{where}: region", draw(overlay(small, region, _OBJECT)), region_note(row)),
            noted("label", f"{where}: label", labelled(small, read_plain(labels, "labels", index)), ""),
            flow_cell(flow, index, where, draw, row),
        )
    return Strip(
        str(row["reason"]), item.name, f"frame {index} of 0 to {len(item.frames) - 1}, box {row['box']}", pictures
    )


def predicted_scores(run: RunRecord, open_: Callable[[str], Artifact], index: int) -> Tensor:
    """The scores of a frame that its last labels were made of, (1, 2, H, W); `open_` opens a stage's artifact."""
    if "motion-scores-2" not in run.stages:
        return full_scores(open_("appearance-scores"), index)
    scores = full_scores(open_("motion-scores-2"), index)
    if run.profile.weak_labels.source == "motion":
        return scores
    fused: Tensor = AverageFusion()(full_scores(open_("appearance-scores"), index), scores)
    return fused


def noted(title: str, alt: str, image: UInt8, note: str) -> Picture:
    """A cell with its figures."""
    found = picture(title, alt, image)
    return Picture(found.title, found.alt, found.source, found.width, found.height, note)


def outlined(image: UInt8, width: int, others: npt.NDArray[np.integer], row: Row) -> UInt8:
    """A small picture with the boxes of its frame, which is `width` pixels wide; this one in its verdict's colour."""
    shown, scale = image.copy(), image.shape[1] / width
    own = _TAKEN if row["accepted"] == 1 else _TURNED_DOWN
    for box, colour, thickness in [*((box, _OTHER, 1) for box in others), ([row[name] for name in BOX], own, 2)]:
        x0, y0, x1, y1 = (round(float(value) * scale) for value in box)
        cv2.rectangle(shown, (x0, y0), (max(x0, x1 - 1), max(y0, y1 - 1)), colour, thickness)
    return shown


def labelled(small: UInt8, label: UInt8) -> UInt8:
    """A small picture with its label on it: object red, void cream."""
    return overlay(overlay(small, label == VOID, _VOID), label == 1, _OBJECT)


def flow_cell(flow: FlowPictures, index: int, where: str, draw: Callable[[UInt8], UInt8], row: Row) -> Picture:
    """The flow image with the boxes on it; nothing for a video of one frame."""
    if flow.count <= index:
        return Picture("flow", f"{where}: no flow")
    small = to_width(flow.image(index)[..., ::-1])
    return noted("flow", f"{where}: optical flow as colours", draw(small), flow_note(row))


def frame_note(row: Row) -> str:
    """The box's size, and how it is marked."""
    marks = [name for name in ("occluded", "generated") if row[name] == 1]
    return " · ".join([f"{row['x1'] - row['x0']}x{row['y1'] - row['y0']} px", *marks])


def predicted_note(row: Row) -> str:
    """What was predicted in the box."""
    parts = "part" if row["components"] == 1 else "parts"
    return f"{row['components']} {parts} in the box, the largest {100 * row['largest_share']:.0f} %"


def region_note(row: Row) -> str:
    """How the region fills its box."""
    return (
        f"overlap {row['overlap']:.2f}, uncut {row['uncut_overlap']:.2f} · coverage {row['coverage']:.2f} · "
        f"confidence {row['confidence']:.2f} · agreement {row['agreement']:.2f}"
    )


def flow_note(row: Row) -> str:
    """How the flow in the box differs, and how much moves in and out of it."""
    return (
        f"contrast {row['contrast']:.0f} · vector {row['vector_contrast']:.2f} · moves {row['magnitude_in']:.1f} px "
        f"in, {row['magnitude_out']:.1f} out; without the camera {row['residual_in']:.1f}, {row['residual_out']:.1f}"
    ).replace("nan", "–")
