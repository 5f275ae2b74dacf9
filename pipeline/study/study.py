"""`fusionseg weak-labels study`: what weak labels are worth, measured on videos whose true masks are known.

Three parts. `purity`: labels against true masks, at every step and for a grid of thresholds, which are chosen on the
split `thresholds` and reported on `proof`. `training`: a motion stream trained on weak labels of the split `train24`,
another on true masks of the identical frames, a third on as many random frames, scored on `test`.
`second-round`: labels of the second round against those of the first, and a motion stream trained on either. All of it
is ordinary runs in one store, so that a study goes on where it was stopped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from fusionseg.pipeline.basics.atomic import write_json
from fusionseg.pipeline.datasets.manifest import read_manifest
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.graph import BOXES, FRAMES, MASKS, Stage
from fusionseg.pipeline.names import StudyPart
from fusionseg.pipeline.report.tables import funnel, load_scores, write_tables
from fusionseg.pipeline.run.request import Request
from fusionseg.pipeline.run.runner import open_session, run_chain, run_plain
from fusionseg.pipeline.run.session import OwnStage, Session
from fusionseg.pipeline.settings.profile import Profile
from fusionseg.pipeline.settings.sections import DataRef, FlowFilter
from fusionseg.pipeline.store.artifact import Artifact, Record
from fusionseg.pipeline.store.runs import read_run
from fusionseg.pipeline.study import grabcut
from fusionseg.pipeline.study import quality as label_quality
from fusionseg.pipeline.study.page import lines, write_page
from fusionseg.pipeline.study.worth import (
    BOTH,
    KEYS,
    Bar,
    Measured,
    choose,
    grid,
    purity_bars,
    rows,
    steps,
    training_bars,
    training_summary,
    words,
)

PARTS: tuple[StudyPart, ...] = get_args(StudyPart)
CHOSEN_ON, REPORTED_ON, TRAINED_ON, SCORED = "thresholds", "proof", "train24", "test"
FOLDER = "study"  # of the tables, below the store's root
PAPER, CHOSEN = "paper", "chosen"

GRABCUT = Stage("grabcut", "GrabCut, started from every box", 1, "video", data={"boxed": (FRAMES, BOXES)})
QUALITY = Stage(
    "label-quality",
    "labels against true masks",
    2,
    "video",
    data={"boxed": (MASKS,)},
    needs=("appearance-scores", "box-pruning", "flow-filter"),
    settings=("flow-filter",),
)
LAST = "flow-filter"  # of a run's stages, for the part `purity`
# What each kind of training learns from, and which kinds a part compares.
LABELS = {
    "weak": ("motion-training.labels=weak", "weak-labels.rounds=1"),
    "second": ("motion-training.labels=weak", "weak-labels.rounds=2"),
    "masks": ("motion-training.labels=masks", "motion-training.frames=accepted", "weak-labels.rounds=1"),
    "random": ("motion-training.labels=masks", "motion-training.frames=random", "weak-labels.rounds=1"),
}
KINDS = {"training": ("weak", "masks", "random"), "second-round": ("weak", "second")}
ONCE = "random"  # of one seed: as many frames drawn at random, beside the identical ones
ROUNDS = {"weak": "", "second": "-2"}  # how the stages of its weak labels' round end


def run_study(request: Request, parts: Sequence[str], seeds: Sequence[int], say: Callable[[str], None]) -> Path:
    """Run parts of the study, write their tables and the page, whose path is given back. Raises UserError."""
    profile, root = request.settings, request.root
    check_profile(profile)
    folder = root / FOLDER
    if "purity" in parts:
        study_purity(request, profile, folder, say)
    for part in (part for part in KINDS if part in parts):
        study_training(request, profile, part, seeds, folder, say)
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
    if profile.motion_training.weights is not None:
        raise UserError("motion-training.weights: the study trains the motion stream itself; leave the weights out")
    name = _boxed(profile).manifest
    manifest = read_manifest(name)
    if missing := [s for s in (CHOSEN_ON, REPORTED_ON, TRAINED_ON, SCORED) if s not in manifest.splits]:
        raise UserError(
            f"data.boxed: {name} has no split {', '.join(missing)}, which the study needs; use davis2016-small, or add "
            "such splits to the manifest"
        )
    if not manifest.masks:
        raise UserError(f"data.boxed: {name} has no masks; the study compares weak labels with true masks")


def _boxed(profile: Profile) -> DataRef:
    assert profile.data.boxed is not None, "who trains the motion stream names videos with boxes"
    return profile.data.boxed


def study_request(request: Request, profile: Profile, name: str, boxed: str, scored: str, *more: str) -> Request:
    """The run `name` on two splits: weak labels of one, scores on the other, no mask but the stills' before that."""
    ref, fusion = _boxed(profile), profile.data.fusion
    # The profile's own videos for the fusion are fewer to compute scores of, where none of them is scored.
    near = fusion is not None and fusion.manifest == ref.manifest and fusion.split != scored
    apart = boxed == TRAINED_ON and near
    own = _inline(ref.model_copy(update={"split": boxed}))
    overrides = (
        f"data.boxed={own}",
        *([] if apart else [f"data.fusion={own}"]),  # read by no training: the average has nothing to learn
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
    own, best = named_settings(base, profile.name), choose(grids[CHOSEN_ON])
    judged = {PAPER: own[PAPER], **({CHOSEN: best.settings(base)} if best else {})}
    kinds = {
        f"best of {measure}, {contrast}": choose(kind)
        for (measure, contrast), kind in grids[CHOSEN_ON].groupby(["measure", "contrast"], sort=False)
    }
    others = {name: trial.settings(base) for name, trial in kinds.items() if trial is not None}
    several = bool((splits[REPORTED_ON].boxes.groupby(KEYS).size() > 1).any())
    if best is not None and several:
        other = "drop" if base.rejected == "void" else "void"
        others[f"{CHOSEN}, rejected = {other}"] = best.settings(base).model_copy(update={"rejected": other})
    table = rows(splits[REPORTED_ON], {**own, **judged, **others})
    table = table[~table["settings"].isin(others) | (table["step"] == BOTH)]
    tables = {"purity": table, "grid": pd.concat([found.assign(split=split) for split, found in grids.items()])}
    write_tables(folder, tables)
    write_json(
        folder / "purity.json",
        {
            "profile": profile.name,
            "chosen": None if best is None else asdict(best),
            "given": str(profile.appearance_training.weights or ""),
            "one_box_a_frame": not several,
            "bars": bars([bar for name in judged for bar in purity_bars(table, name)]),
        },
    )


def named_settings(base: FlowFilter, profile: str) -> dict[str, FlowFilter]:
    """The paper's settings and, where they differ, the profile's, by name."""
    paper = label_quality.paper_settings()
    return {PAPER: paper} if base == paper else {PAPER: paper, f"profile {profile}": base}


def bars(found: Sequence[Bar]) -> list[dict[str, Any]]:
    """Bars as plain values."""
    return [{**asdict(bar), "met": bar.met} for bar in found]


def measure(request: Request, rival: bool, say: Callable[[str], None]) -> Measured:
    """Make the weak labels of a run's boxed videos and measure them; `rival`: GrabCut too."""
    quality = replace(QUALITY, needs=(*QUALITY.needs, GRABCUT.name)) if rival else QUALITY
    own = [OwnStage(GRABCUT, grabcut.compute)] if rival else []
    own.append(OwnStage(quality, label_quality.compute))
    found: list[Measured] = []
    collect = "collect"  # in the chain, so that an artifact found damaged is made again

    def run_stage(session: Session, name: str, again: bool) -> None:
        if name == collect:
            found.append(read_measured(session, LAST, QUALITY.name))
        else:
            session.run_stage(name, again)

    say(f"run {request.name}: weak labels, and how they compare with true masks")
    session = open_study(request, own, say)
    stages = [stage.name for stage in session.stages]
    names = [*stages[: stages.index(LAST) + 1], *(stage.name for stage, _ in own), collect]
    run_chain(session, run_stage, names, report=False)
    return found[0]


def open_study(request: Request, own: Sequence[OwnStage], say: Callable[[str], None]) -> Session:
    """A session that knows the study's own stages too. Raises UserError if the appearance stream saw masks of the
    videos that are measured."""
    session = open_session(request, say, own=own)
    measured = {item.dataset for item in session.items["boxed"]}
    items = (*session.items["stills"], *session.items["annotated"])
    seen = {item.dataset for item in items} if "appearance-training" not in session.given else set()
    if both := measured & seen:
        raise UserError(
            f"{', '.join(both)}: the study measures on it, and the appearance stream learns from it; "
            "name others as data.stills and data.annotated"
        )
    return session


def read_measured(session: Session, labels: str, quality: str) -> Measured:
    """Verdicts and qualities of all boxed videos, as the stages `labels` and `quality` have written them."""
    boxes, qualities = (
        pd.concat([_read(session, record, name) for record in session.records[stage].values()], ignore_index=True)
        for stage, name in ((labels, "verdicts"), (quality, "quality"))
    )
    if qualities.empty:
        raise UserError("no frame of the boxed videos has both a box and a true mask; nothing can be measured")
    # Frames without truth count for nothing.
    return Measured(boxes.merge(qualities[KEYS].drop_duplicates(), on=KEYS), qualities)


def _read(session: Session, record: Record, name: str) -> pd.DataFrame:
    with Artifact(session.context.root / record.path) as artifact:
        return artifact.table(name).assign(dataset=record.dataset, video=record.video)


def study_training(
    request: Request, profile: Profile, part: str, seeds: Sequence[int], folder: Path, say: Callable[[str], None]
) -> None:
    """Train and score a motion stream for every seed and kind of labels of a part; write its tables after every run, so
    that a study that is stopped shows what it has."""
    found: list[dict[str, Any]] = []
    sequences: list[pd.DataFrame] = []
    for seed in seeds:
        for labels in KINDS[part]:
            if labels == ONCE and seed != seeds[0]:
                continue
            name = f"study-{labels}-{seed}"
            say(f"run {name}: motion stream on {labels} labels, seed {seed}")
            more = (*LABELS[labels], f"motion-training.seed={seed}")
            own = study_request(request, profile, name, TRAINED_ON, SCORED, *more)
            run_plain(own, say=say)
            row, motion = read_training(own)
            row |= {"labels": labels, "seed": seed, **worth(own, labels, say)}
            found.append(row)
            sequences.append(motion.assign(labels=labels, seed=seed))
            write_training(folder, part, pd.DataFrame(found), pd.concat(sequences, ignore_index=True), profile)


def read_training(request: Request) -> tuple[dict[str, Any], pd.DataFrame]:
    """Of a finished run: how many frames have a weak label, J of the motion stream, and its scores by sequence."""
    run = read_run(request.root, request.run_name)
    scores = load_scores(request.root, run)
    (score,) = scores.overall.loc[scores.overall["method"] == "motion", "J"]
    frames = (funnel(run) or {}).get("labelled_frames", 0)
    return {"frames": frames, "J": float(score)}, scores.by_sequence[scores.by_sequence["method"] == "motion"]


def worth(request: Request, labels: str, say: Callable[[str], None]) -> dict[str, float]:
    """Yield and purity of the weak labels that a finished run has learnt from; NaN where it learnt from true masks."""
    if labels not in ROUNDS:
        return {"yield": float("nan"), "purity": float("nan")}
    end = ROUNDS[labels]
    made = ("appearance-scores", f"box-pruning{end}", f"{LAST}{end}")
    quality = replace(QUALITY, name=f"{QUALITY.name}{end}", needs=made)
    session = open_study(request, [OwnStage(quality, label_quality.compute)], say)
    session.run_stage(quality.name)
    measured = read_measured(session, f"{LAST}{end}", quality.name)
    found = dict(steps(measured, session.profile.flow_filter))[BOTH]
    return {"yield": found["yield"], "purity": found["purity"]}


def write_training(folder: Path, part: str, runs: pd.DataFrame, sequences: pd.DataFrame, profile: Profile) -> None:
    """What is known so far of the trainings of a part."""
    summary = training_summary(runs)
    write_tables(folder, {part: runs, f"{part}-summary": summary, f"{part}-sequences": sequences})
    settings = profile.motion_training
    facts = {
        "profile": profile.name, "steps": settings.steps, "batch": settings.batch, "crop": list(settings.crop),
        "backbone": profile.network.backbone, "thresholds": words(profile.flow_filter),
        "source": profile.weak_labels.source, "bars": bars(training_bars(summary)),
    }  # fmt: skip
    write_json(folder / f"{part}.json", facts)
