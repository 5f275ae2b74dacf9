"""`fusionseg weak-labels study`: what weak labels are worth, measured on videos whose true masks are known.

Two parts. `purity`: labels against true masks, at every step and for a grid of thresholds, which are chosen on the
split `thresholds` and reported on `proof`. `training`: a motion stream trained on weak labels of the split `train24`,
another on true masks of the identical frames, a third on as many random frames, scored on `test`. All of it is ordinary
runs in one store, so that a study goes on where it was stopped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd

from fusionseg.pipeline import grabcut, label_quality
from fusionseg.pipeline.artifact import Artifact
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.files import write_json
from fusionseg.pipeline.graph import BOXES, FRAMES, MASKS, Stage
from fusionseg.pipeline.label_study import (
    KEYS,
    Bar,
    Measured,
    choose,
    grid,
    purity_bars,
    rows,
    training_bars,
    training_summary,
)
from fusionseg.pipeline.manifest import read_manifest
from fusionseg.pipeline.profile import DataRef, FlowFilter, Profile, read_profile
from fusionseg.pipeline.report_tables import funnel, load_scores, write_tables
from fusionseg.pipeline.runner import run_chain, run_job, run_plain
from fusionseg.pipeline.session import Request, Session, place
from fusionseg.pipeline.store import read_run
from fusionseg.pipeline.weak_labels_study_page import lines, write_page

PARTS = ("purity", "training")
CHOSEN_ON, REPORTED_ON, TRAINED_ON, SCORED = "thresholds", "proof", "train24", "test"
FOLDER = "study"  # of the tables, below the store's root
PAPER = "paper"

GRABCUT = Stage(
    "grabcut", "GrabCut, started from every box", 1, "video", grabcut.compute, data={"boxed": (FRAMES, BOXES)}
)
QUALITY = Stage(
    "label-quality",
    "labels against true masks",
    1,
    "video",
    label_quality.compute,
    data={"boxed": (MASKS,)},
    needs=("appearance-scores", "box-pruning", "flow-filter"),
    settings=("flow-filter",),
)
LAST = "flow-filter"  # of a run's stages, for the part `purity`
# What each kind of training learns from.
LABELS = {
    "weak": ("motion-training.labels=weak",),
    "masks": ("motion-training.labels=masks", "motion-training.frames=accepted"),
    "random": ("motion-training.labels=masks", "motion-training.frames=random"),
}


def run_study(request: Request, parts: Sequence[str], seeds: Sequence[int], say: Callable[[str], None]) -> Path:
    """Run parts of the study, write their tables and the page, whose path is given back. Raises UserError."""
    profile = read_profile(request.profile, request.overrides)
    root, _ = place(request)
    check_profile(profile)
    folder = root / FOLDER
    if "purity" in parts:
        study_purity(request, profile, folder, say)
    if "training" in parts:
        study_training(request, profile, seeds, folder, say)
    path = write_page(root, folder)
    for line in lines(folder):
        say(line)
    say(f"tables: {folder}; page: {path}")
    return path


def parse_seeds(text: str) -> list[int]:
    """ "0,1,2" as numbers, each once. Raises UserError.

    >>> parse_seeds("0,2")
    [0, 2]
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise UserError(f"--seeds {text}: expected whole numbers with commas between, e.g. 0,1,2")
    return list(dict.fromkeys(int(part) for part in parts))


def check_profile(profile: Profile) -> None:
    """Raises UserError where the study can't be made with this profile."""
    name = profile.data.boxed.manifest
    manifest = read_manifest(name)
    if missing := [s for s in (CHOSEN_ON, REPORTED_ON, TRAINED_ON, SCORED) if s not in manifest.splits]:
        raise UserError(
            f"data.boxed: {name} has no split {', '.join(missing)}, which the study needs; use davis2016-small, or add "
            "such splits to the manifest"
        )
    if not manifest.masks:
        raise UserError(f"data.boxed: {name} has no masks; the study compares weak labels with true masks")
    if profile.motion_training.weights is not None:
        raise UserError("motion-training.weights: the study trains the motion stream itself; leave the weights out")


def study_request(request: Request, profile: Profile, name: str, boxed: str, scored: str, *more: str) -> Request:
    """The run `name` on two splits: weak labels of one, scores on the other, no mask but the stills' before that."""
    ref = profile.data.boxed
    own = _inline(ref.model_copy(update={"split": boxed}))
    overrides = (
        f"data.boxed={own}",
        f"data.fusion={own}",  # read by no training: the average has nothing to learn
        f"data.scored=[{_inline(DataRef(manifest=ref.manifest, split=scored))}]",
        "data.validation=none",
        "fusion-training.fusion=average",
        "prediction.baselines=false",
    )
    return replace(request, name=name, overrides=(*request.overrides, *overrides, *more))


def _inline(ref: DataRef) -> str:
    """As TOML."""
    values = ref.model_dump(exclude_defaults=True)
    return f"{{{', '.join(f'{name} = {json.dumps(value)}' for name, value in values.items())}}}"


def study_purity(request: Request, profile: Profile, folder: Path, say: Callable[[str], None]) -> None:
    """Measure labels against true masks; write `purity`, `grid` and `purity.json`."""
    splits = {
        split: measure(study_request(request, profile, f"study-{split}", split, other), rival, say)
        for split, other, rival in ((CHOSEN_ON, REPORTED_ON, False), (REPORTED_ON, CHOSEN_ON, True))
    }
    base = profile.flow_filter
    grids = {split: grid(measured, base) for split, measured in splits.items()}
    by_kind = {kind: choose(grids[CHOSEN_ON][grids[CHOSEN_ON]["contrast"] == kind]) for kind in label_quality.CONTRASTS}
    trials = {kind: trial for kind, trial in by_kind.items() if trial is not None}
    named = named_settings(base, {kind: trial.settings(base) for kind, trial in trials.items()}, profile.name)
    best = choose(grids[CHOSEN_ON])
    several = bool((splits[REPORTED_ON].boxes.groupby(KEYS).size() > 1).any())
    if best is not None and several:
        other = "drop" if base.rejected == "void" else "void"
        named[f"chosen, {best.kind}; rejected = {other}"] = best.settings(base).model_copy(update={"rejected": other})
    table = rows(splits[REPORTED_ON], named)
    judged = [PAPER, *([f"chosen, {best.kind}"] if best else [])]
    tables = {"purity": table, "grid": pd.concat([found.assign(split=split) for split, found in grids.items()])}
    write_tables(folder, tables)
    write_json(
        folder / "purity.json",
        {
            "profile": profile.name,
            "chosen": None if best is None else asdict(best),
            "rejected": base.rejected,
            "one_box_a_frame": not several,
            "bars": bars([bar for name in judged for bar in purity_bars(table, name)]),
        },
    )


def named_settings(base: FlowFilter, chosen: Mapping[str, FlowFilter], profile: str) -> dict[str, FlowFilter]:
    """The settings that get a table of their own, by name: the paper's, the profile's where they differ, the chosen."""
    paper = label_quality.paper_settings()
    own = {} if base == paper else {f"profile {profile}": base}
    return {PAPER: paper, **own, **{f"chosen, {kind}": settings for kind, settings in chosen.items()}}


def bars(found: Sequence[Bar]) -> list[dict[str, Any]]:
    """Bars as plain values."""
    return [{**asdict(bar), "met": bar.met} for bar in found]


def measure(request: Request, rival: bool, say: Callable[[str], None]) -> Measured:
    """Make the weak labels of a run's boxed videos and measure them; `rival`: GrabCut too."""
    quality = replace(QUALITY, needs=(*QUALITY.needs, GRABCUT.name)) if rival else QUALITY
    own = {stage.name: stage for stage in ([GRABCUT, quality] if rival else [quality])}
    sessions: dict[Request, Session] = {}
    found: list[Measured] = []
    collect = "collect"  # in the chain, so that an artifact found damaged is made again

    def run_stage(request: Request, name: str, again: bool) -> None:
        if request not in sessions:
            sessions[request] = open_session(request, own, say)
        if name == collect:
            found.append(read_measured(sessions[request]))
        else:
            sessions[request].run_stage(name, run_job, again)

    say(f"run {request.name}: weak labels, and how they compare with true masks")
    stages = [stage.name for stage in Session(request, say).stages]
    names = [*stages[: stages.index(LAST) + 1], *own, collect]
    run_chain(request, run_stage, names, (), say, report=False)
    return found[0]


def open_session(request: Request, own: Mapping[str, Stage], say: Callable[[str], None]) -> Session:
    """A session that knows the study's own stages too. Raises UserError if the appearance stream saw masks of the
    videos that are measured."""
    session = Session(request, say)
    session.by_name |= own
    session.inspect([stage.name for stage in session.stages] + list(own))
    measured = {item.dataset for item in session.items["boxed"]}
    seen = {item.dataset for item in session.items["stills"]} if "appearance-training" not in session.given else set()
    if both := measured & seen:
        raise UserError(f"data.stills: {', '.join(both)} is what the study measures on; train on other stills")
    return session


def read_measured(session: Session) -> Measured:
    """Verdicts and qualities of all boxed videos."""
    found: dict[str, list[pd.DataFrame]] = {}
    for stage, name in ((LAST, "verdicts"), (QUALITY.name, "quality")):
        for (dataset, video), record in session.records[stage].items():
            with Artifact(session.context.root / record.path) as artifact:
                table = artifact.table(name)
            found.setdefault(stage, []).append(table.assign(dataset=dataset, video=video))
    boxes, quality = (pd.concat(tables, ignore_index=True) for tables in found.values())
    if quality.empty:
        raise UserError("no frame of the boxed videos has both a box and a true mask; nothing can be measured")
    # Frames without truth count for nothing.
    return Measured(boxes.merge(quality[KEYS].drop_duplicates(), on=KEYS), quality)


def study_training(
    request: Request, profile: Profile, seeds: Sequence[int], folder: Path, say: Callable[[str], None]
) -> None:
    """Train and score a motion stream for every seed and kind of labels; write `training`, `training_sequences` and
    `training.json`, after every run, so that a study that is stopped shows what it has."""
    root, _ = place(request)
    found: list[dict[str, Any]] = []
    sequences: list[pd.DataFrame] = []
    for seed in seeds:
        for labels, settings in LABELS.items():
            name = f"study-{labels}-{seed}"
            say(f"run {name}: motion stream on {labels} labels, seed {seed}")
            own = study_request(request, profile, name, TRAINED_ON, SCORED, *settings, f"motion-training.seed={seed}")
            run_plain(own, say=say)
            run = read_run(root, name)
            scores = load_scores(root, run)
            overall = scores.overall.set_index("method")
            frames = (funnel(run) or {}).get("labelled_frames", 0)
            found.append({"labels": labels, "seed": seed, "frames": frames, "J": float(overall.loc["motion", "J"])})
            motion = scores.by_sequence[scores.by_sequence["method"] == "motion"]
            sequences.append(motion.assign(labels=labels, seed=seed))
            write_training(folder, pd.DataFrame(found), pd.concat(sequences, ignore_index=True), profile)


def write_training(folder: Path, runs: pd.DataFrame, sequences: pd.DataFrame, profile: Profile) -> None:
    """What is known so far of the trainings."""
    summary = training_summary(runs)
    write_tables(folder, {"training": runs, "training_summary": summary, "training_sequences": sequences})
    settings = profile.motion_training
    facts = {
        "profile": profile.name, "steps": settings.steps, "batch": settings.batch, "crop": list(settings.crop),
        "backbone": profile.network.backbone, "bars": bars(training_bars(summary)),
    }  # fmt: skip
    write_json(folder / "training.json", facts)
