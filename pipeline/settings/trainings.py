"""The sections of a profile that say how networks are trained; as in `sections`, every number has its one home here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from fusionseg.models.outside.plugins import frame_models, fusions
from fusionseg.pipeline.settings.base import ADDED, LARGEST_BATCH, LARGEST_SIDE, Settings, UserPath


class Training(Settings):
    """What the three trainings share. A step is one update by the optimiser."""

    weights: UserPath | None = Field(
        None,
        description="given weights: no training; a file, or shipped:NAME, a set that comes with the package",
    )
    steps: int = Field(700, ge=1, description="updates; at 8 images some 10 minutes of a small stream on 2 cores")
    batch: int = Field(8, ge=1, le=LARGEST_BATCH, description="images a step, over all processes")
    accumulate: int = Field(
        1, ge=1, le=LARGEST_BATCH, description="parts that a step's batch is worked off in: less memory, same step"
    )
    bf16: bool = Field(False, description="bfloat16 training (autocast); pays for ResNets, not for depthwise networks")
    crop: tuple[int, int] = Field((240, 424), description="px, height and width of training crops")
    scales: tuple[float, float] = Field((0.75, 1.5), description="range of random scales")
    mirror: bool = Field(True, description="mirror half of the samples; flow is mirrored as vectors")
    optimiser: Literal["adamw", "sgd"] = Field("adamw", description="sgd: the ancestor's, DeepLab")
    lr_head: float = Field(1e-3, gt=0, description="largest learning rate of what starts from random weights")
    momentum: float = Field(0.9, ge=0, lt=1, description="SGD only")
    weight_decay: float = Field(1e-2, ge=0, description="of weights, not of biases; AdamW's own default")
    schedule: Literal["one-cycle", "poly"] = Field(
        "one-cycle", description="of learning rates: up over a tenth and down as a cosine, or DeepLab's fall"
    )
    poly_power: float = Field(0.9, gt=0, description="poly only")
    clip_norm: float = Field(10.0, ge=0, description="gradients' largest norm, far above a healthy step's; 0: any")
    ema: float = Field(0.0, ge=0, lt=1, description="decay of the running mean of weights that is kept; 0: none")
    loss: Literal["cross-entropy", "dice", "cross-entropy+dice", "cross-entropy+dice+boundary"] = Field(
        "cross-entropy+dice",
        description="dice keeps small objects from being given up; boundary: pixels near outlines weigh five times; "
        "the release: cross-entropy",
    )
    balance: bool = Field(False, description="cross-entropy weighs object and background alike, whatever their areas")
    validate_every: int = Field(100, ge=1, description="steps")
    keep: Literal["best", "last"] = Field(
        "best", description="the weights that go on: those with the best J on the validation videos, or the last ones"
    )
    validate_frames: int = Field(8, ge=1, description="frames of each validation video, evenly spread")
    seed: int = Field(0, ge=0, description="of initial weights and of samples")

    @model_validator(mode="after")
    def _samples_can_be_cut(self) -> Training:
        if min(self.crop) < 1:
            raise ValueError(f"crop: both sides must be at least 1 px, found {list(self.crop)}")
        if not 0 < self.scales[0] <= self.scales[1]:
            raise ValueError(f"scales: expected 0 < smallest <= largest, found {list(self.scales)}")
        return self


class StreamTraining(Training):
    """Of a stream: the backbone, which knows ImageNet, learns slower than the fresh decoder."""

    lr_backbone: float = Field(2e-4, gt=0, description="a fifth of the head's: it knows pictures already")
    lr_bias_factor: float = Field(1.0, gt=0, description="times the head's rate, for the head's biases (DeepLab: 2)")
    batch_norm: Literal["frozen", "affine", "trained"] = Field(
        "affine",
        description="of the backbone: all as ImageNet left it (release), or its scale and shift learn, or also its "
        "statistics, of the training's own pictures",
    )


class FrameTraining(StreamTraining):
    """Of a stream that reads frames."""

    colour: float = Field(0.3, ge=0, le=1, description="strength of random gain and contrast of frames")
    blur: float = Field(0.0, ge=0, le=1, description="share of frames that are blurred a little")


class AppearanceTraining(FrameTraining):
    model: Annotated[str, AfterValidator(frame_models.check), ADDED] = Field(
        "stream",
        description="what marks objects in frames: a stream that is trained here, a model of rembg's (rembg:u2net), of "
        "which two numbers are fitted, or a plug-in's name; docs/extending.md",
    )
    fit_stills: Annotated[int, ADDED] = Field(
        300,
        ge=1,
        description="evenly spread stills with masks, of data.pairs if there are any, that a model other than the "
        "stream is fitted on",
    )
    annotated_share: Annotated[float, ADDED] = Field(
        0.5, ge=0, lt=1, description="of the samples: frames of data.annotated, where that is given, among the stills"
    )


class Pretraining(StreamTraining):
    """A training whose weights another begins with; absent unless a profile gives it steps, or weights."""

    steps: int = Field(0, ge=0, description="updates; 0: there is no such stage, the training begins with ImageNet's")
    validate_every: int = Field(500, ge=1, description="steps")

    @property
    def wanted(self) -> bool:
        """Whether the stage is part of the chain."""
        return self.steps > 0 or self.weights is not None


class AppearancePretraining(Pretraining, FrameTraining):
    """As the appearance stream's training, on stills alone."""


class MotionPretraining(Pretraining):
    """On flow rendered from the masks of stills (docs/training.md)."""

    useless: float = Field(
        0.05,
        ge=0,
        le=1,
        description="share of samples in which the object moves as the background does, or nothing does",
    )


class MotionTraining(StreamTraining):
    labels: Literal["weak", "masks"] = Field(
        "weak", description="the weak labels, or, to measure what those cost, true masks of the same frames"
    )
    frames: Literal["accepted", "random", "all"] = Field(
        "accepted",
        description='with labels = "masks": frames with a weak label, or as many others drawn at random, or all that '
        "have a mask (then no weak labels are made)",
    )

    @model_validator(mode="after")
    def _random_frames_have_no_weak_label(self) -> MotionTraining:
        if self.frames != "accepted" and self.labels == "weak":
            raise ValueError(f'frames = "{self.frames}" has no weak labels to learn from; set labels = "masks", too')
        return self


class FusionTraining(Training):
    fusion: Annotated[str, AfterValidator(fusions.check)] = Field(
        "paper",
        description="maximum of three branches (paper), the released head, gated, guided (sees the frame), average; or "
        "a plug-in's name",
    )
    steps: int = Field(300, ge=1, description="updates of a small head on stored scores: a minute")
    lr_head: float = Field(1e-2, gt=0, description="a head of some dozens of parameters")
    weight_decay: float = Field(0.0, ge=0, description="so few parameters need none")
    scales: tuple[float, float] = Field((1.0, 1.0), description="scores keep their size: a head sees a few pixels")
    frames_a_video: int = Field(0, ge=0, description="evenly spread frames of each video that train; 0 is all")
    colour: Annotated[float, ADDED] = Field(
        0.0, ge=0, le=1, description="strength of random gain and contrast of frames, for a fusion that reads them"
    )
    pairs_share: Annotated[float, ADDED] = Field(
        0.5, ge=0, le=1, description="of the samples: pairs of data.pairs, where there are any, among frames of videos"
    )
    useless: Annotated[float, ADDED] = Field(
        0.2, ge=0, le=1, description="share of those pairs whose rendered flow tells nothing about the object"
    )
    long_side: Annotated[int, ADDED] = Field(
        0,
        ge=0,
        le=LARGEST_SIDE,
        description="px; scores and frames are fused at this size, in training and in prediction; 0: the frame's own",
    )
    drop: Annotated[float, ADDED] = Field(
        0.0, ge=0, le=1, description="share of samples in which one stream, either, says nothing (logits of 0)"
    )
