"""The graph, declared once, as data: which stage computes what, from which data and which other stages.

Names only: what a stage computes stands in the module of `stages` that is named like it, so this loads nothing. `run`
runs the graph as it stands; `flows` turns the same declaration into Prefect flows.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, get_args

from fusionseg.pipeline.errors import UserError

Role = Literal["stills", "annotated", "pairs", "boxed", "fusion", "validation", "scored"]
ROLES: tuple[Role, ...] = get_args(Role)
STILLS: frozenset[Role] = frozenset({"stills", "pairs"})  # roles that stills play; all others are videos'
FRAMES, MASKS, BOXES, OTHERS = "frames", "masks", "boxes", "others"
PAIRED = (FRAMES, "partners", "flow")  # frames, those that their flow goes to, and flow made elsewhere


@dataclass(frozen=True)
class Stage:
    """One stage.

    `unit`: "video" (one artifact a video) or "model" (one weights file); `data`: the roles it covers and what it may
    read of each from outside; `needs`: stages whose artifacts it reads, for the same video or, a model, for all
    videos of its roles; `settings`: sections of the profile that determine its result; `version`: raised by hand
    when its code changes what it computes.
    """

    name: str
    title: str
    version: int
    unit: Literal["video", "model"]
    data: dict[Role, tuple[str, ...]] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()

    @property
    def trained(self) -> bool:
        """Whether given weights can take this stage's place."""
        return self.unit == "model"

    @property
    def module(self) -> str:
        """The module of `stages` that says how it is computed."""
        return first_name(self.name).replace("-", "_")


def first_name(stage: str) -> str:
    """What a stage of the second round of weak labels is called in the first, whose part it plays.

    >>> first_name("box-pruning-2"), first_name("box-pruning")
    ('box-pruning', 'box-pruning')
    """
    return stage.removesuffix("-2")


STAGES: tuple[Stage, ...] = (
    Stage(
        "optical-flow",
        "optical flow of every pair of frames, in pixels",
        2,
        "video",
        data={"boxed": PAIRED, "fusion": PAIRED, "validation": PAIRED, "scored": PAIRED},
        settings=("optical-flow",),
    ),
    Stage(
        "flow-images",
        "optical flow as colour pictures",
        2,
        "video",
        data={"boxed": (), "fusion": (), "validation": (), "scored": ()},
        needs=("optical-flow",),
        settings=("flow-images",),
    ),
    Stage(
        "appearance-training",
        "appearance stream, on still images",
        2,
        "model",
        data={"stills": (FRAMES, MASKS), "validation": (FRAMES, MASKS)},
        settings=("network", "appearance-training"),
    ),
    Stage(
        "appearance-scores",
        "appearance stream on every frame",
        3,
        "video",
        data={"boxed": (FRAMES,), "fusion": (FRAMES,), "validation": (FRAMES,), "scored": (FRAMES,)},
        needs=("appearance-training",),
        settings=("network", "scores"),
    ),
    Stage(
        "box-pruning",
        "predicted object outside the boxes removed",
        4,
        "video",
        data={"boxed": (FRAMES, BOXES)},
        needs=("appearance-scores",),
        settings=("box-pruning",),
    ),
    Stage(
        "box-motion",
        "what optical flow shows in the boxes and outside",
        1,
        "video",
        data={"boxed": (BOXES,)},
        needs=("optical-flow", "flow-images"),
    ),
    Stage(
        "flow-filter",
        "weak labels: what passes the box test and the flow test",
        4,
        "video",
        data={"boxed": ()},
        needs=("box-pruning", "box-motion"),
        settings=("flow-filter",),
    ),
    Stage(
        "motion-training",
        "motion stream, on weak labels",
        1,
        "model",
        data={"boxed": (), "validation": (MASKS,)},
        needs=("optical-flow", "flow-images", "flow-filter"),
        settings=("network", "flow-images", "motion-training"),
    ),
    Stage(
        "motion-scores",
        "motion stream on every flow image",
        3,
        "video",
        data={"fusion": (), "validation": (), "scored": ()},
        needs=("flow-images", "motion-training"),
        settings=("network", "scores"),
    ),
    Stage(
        "fusion-training",
        "fusion of both streams, on few videos with masks",
        2,
        "model",
        data={"fusion": (MASKS,), "validation": (MASKS,)},
        needs=("appearance-scores", "motion-scores"),
        settings=("fusion-training",),
    ),
    Stage(
        "prediction",
        "masks of every model, at the frames' size",
        2,
        "video",
        data={"scored": ()},
        needs=("optical-flow", "appearance-scores", "motion-scores", "fusion-training"),
        settings=("prediction",),
    ),
    Stage(
        "scoring",
        "region similarity J and contour accuracy F of every mask",
        2,
        "video",
        data={"scored": (MASKS, OTHERS)},
        needs=("prediction",),
    ),
)
FINAL = "scoring"
_FUSING = {"fusion-training", "prediction"}  # what runs the fusion
_FIRST = {stage.name: stage for stage in STAGES}


def _again(name: str, title: str, needs: tuple[str, ...], settings: tuple[str, ...] = (), **changes: Any) -> Stage:
    """The stage of the second round that does what `name` does in the first."""
    first = _FIRST[name]
    return replace(first, name=f"{name}-2", title=title, needs=needs, settings=(*first.settings, *settings), **changes)


# After `motion-training`, with `weak-labels.rounds = 2`; the motion stream of the last one is what goes on.
SECOND_ROUND: tuple[Stage, ...] = (
    _again(
        "motion-scores", "motion stream of the first round on the boxed videos", ("flow-images", "motion-training"),
        data={"boxed": ()},
    ),
    _again(
        "box-pruning", "predictions of the first round, with object outside the boxes removed",
        ("appearance-scores", "motion-scores-2"), ("weak-labels",),
    ),
    _again("flow-filter", "weak labels of the second round", ("box-pruning-2", "box-motion")),
    _again(
        "motion-training", "motion stream, on weak labels of the second round",
        ("optical-flow", "flow-images", "flow-filter-2"),
    ),
)  # fmt: skip
# Ahead of the stage whose weights then begin as theirs, where their section has steps, or given weights.
PRETRAINING: tuple[Stage, ...] = (
    Stage(
        "appearance-pretraining",
        "appearance stream, on stills alone, before it sees frames of videos",
        1,
        "model",
        data={"stills": (FRAMES, MASKS), "validation": (FRAMES, MASKS)},
        settings=("network", "appearance-pretraining"),
    ),
    Stage(
        "motion-pretraining",
        "motion stream, on flow rendered from the masks of stills",
        1,
        "model",
        data={"stills": (MASKS,), "validation": (MASKS,)},
        needs=("flow-images",),
        settings=("network", "flow-images", "motion-pretraining"),
    ),
)
_BEFORE = {stage.name.replace("pretraining", "training"): stage for stage in PRETRAINING}
PRETRAINING_OF = {training: stage.name for training, stage in _BEFORE.items()}
_AFTER = {"motion-training": SECOND_ROUND}
_WEAK_LABELS = {"box-pruning", "box-motion", "flow-filter"}  # what makes them
EVERY = tuple(
    stage
    for first in STAGES
    for stage in (*((_BEFORE[first.name],) if first.name in _BEFORE else ()), first, *_AFTER.get(first.name, ()))
)
NAMES = tuple(stage.name for stage in EVERY)
BY_NAME = {stage.name: stage for stage in EVERY}


class Variant(NamedTuple):
    """What of a profile changes the graph: what `flow-images.store` keeps; what `motion-training` learns from ("weak"
    labels, "masks" of the frames that have one, "all-masks"); how many rounds of weak labels there are; which stages of
    `PRETRAINING`; which roles are played that need not be; whether the fusion reads frames; whether a per-frame
    model takes the appearance stream's place."""

    store: str = "both"
    labels: str = "weak"
    rounds: int = 1
    pretraining: tuple[str, ...] = ()
    optional: tuple[Role, ...] = ()
    framed: bool = False
    per_frame: bool = False

    @property
    def last_motion(self) -> str:
        """The stage whose motion stream goes on."""
        return "motion-training" if self.rounds == 1 else "motion-training-2"

    @property
    def told(self) -> str:
        """The settings behind it, in words: why a stage isn't there."""
        found = f'flow-images.store = "{self.store}", weak-labels.rounds = {self.rounds}'
        if self.labels == "all-masks":
            found += ', motion-training.frames = "all"'
        without = [stage.name for stage in PRETRAINING if stage.name not in self.pretraining]
        return found + "".join(f", {name}.steps = 0" for name in without)


PAPER = Variant()  # the graph as the paper has it


def declared(variant: Variant = PAPER) -> list[Stage]:
    """The stages as declared, in order, for a variant's rounds of weak labels and its stages of `PRETRAINING`."""
    last = {"motion-training": variant.last_motion}
    second = {stage.name for stage in SECOND_ROUND}
    left_out = {stage.name for stage in PRETRAINING}.difference(variant.pretraining)
    left_out |= second if variant.rounds == 1 else set()
    return [
        stage if stage.name in second else replace(stage, needs=tuple(last.get(need, need) for need in stage.needs))
        for stage in EVERY
        if stage.name not in left_out
    ]


def stages_for(variant: Variant = PAPER) -> dict[str, Stage]:
    """The stages of a variant by name, in order.

    "both": as above. "flow": there is no stage `flow-images`; who needs it reads u,v and colours them. "images": there
    is no stage `optical-flow`; flow images are made of frames in one pass, and who needs u,v does without.
    With the labels "masks" and "all-masks", and only then, `motion-training` sees the true masks of boxed videos; with
    the latter no weak labels are made. A fusion that learns from pairs of still and rendered flow runs both streams.
    `framed`, and only then, training and use of the fusion see frames.
    """
    left_out = _WEAK_LABELS if variant.labels == "all-masks" else set()
    stages = [_varied(stage, variant) for stage in declared(variant) if stage.name not in left_out]
    if variant.store == "both":
        return {stage.name: stage for stage in stages}
    gone, instead = ("flow-images", "optical-flow") if variant.store == "flow" else ("optical-flow", "flow-images")
    return {stage.name: _without(stage, gone, instead) for stage in stages if stage.name != gone}


def _varied(stage: Stage, variant: Variant) -> Stage:
    """`stage` as what it learns from, and starts from, makes it."""
    first, needs, data, settings = first_name(stage.name), stage.needs, stage.data, stage.settings
    if stage.name == "motion-training" and variant.labels != "weak":
        data = {**data, "boxed": (MASKS,)}
        if variant.labels == "all-masks":
            needs = tuple(need for need in needs if need not in _WEAK_LABELS)
    if first in _BEFORE and _BEFORE[first].name in variant.pretraining:
        needs = (*needs, _BEFORE[first].name)
    if stage.name == "appearance-training" and variant.per_frame:
        # Best fitted on what the model hasn't learnt from.
        stills: Role = "pairs" if "pairs" in variant.optional else "stills"
        data = {stills: (FRAMES, MASKS), "validation": (FRAMES, MASKS)}
    elif stage.name == "appearance-training" and "annotated" in variant.optional:
        data = {**data, "annotated": (FRAMES, MASKS)}
    if stage.name == "fusion-training" and "pairs" in variant.optional:
        data = {**data, "pairs": (FRAMES, MASKS)}
        needs = (*needs, "appearance-training", variant.last_motion)
        settings = (*settings, "network", "scores", "flow-images")
    if stage.name in _FUSING and variant.framed:
        data = {role: tuple(dict.fromkeys((FRAMES, *kinds))) for role, kinds in data.items()}
    return replace(stage, needs=needs, data=data, settings=settings)


def _without(stage: Stage, gone: str, instead: str) -> Stage:
    """`stage` where the stage `gone` isn't there and `instead` gives what it gave."""
    if stage.name == "flow-images":
        maker = _FIRST[gone]
        return replace(stage, data=maker.data, needs=(), settings=(*maker.settings, *stage.settings))
    if gone not in stage.needs:
        return stage
    needs = tuple(dict.fromkeys(instead if need == gone else need for need in stage.needs))
    if stage.name == "prediction" and gone == "optical-flow":  # only its baseline of u,v wants it
        needs = tuple(need for need in stage.needs if need != gone)
    return replace(stage, needs=needs, settings=tuple(dict.fromkeys((*stage.settings, "flow-images"))))


def required(given_weights: frozenset[str], variant: Variant = PAPER) -> list[Stage]:
    """The stages a run needs, in order: those that no other needs, `FINAL` among them, and all that they depend on;
    stages with given weights need nothing."""
    stages = stages_for(variant)
    wanted: set[str] = set()
    waiting = list(stages.keys() - {need for stage in stages.values() for need in stage.needs})
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.add(name)
            waiting += [] if name in given_weights else stages[name].needs
    return [stage for stage in stages.values() if stage.name in wanted]


def known_stage(name: str) -> str:
    """`name`, if it is a stage's. Raises UserError."""
    if name not in NAMES:
        raise UserError(f"no stage {name!r}; the stages are: {', '.join(NAMES)}")
    return name
