"""The sections of a profile. Every number has its one home here: a field with default, unit and reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from fusionseg.models.outside.plugins import backbones, decoders, frame_models, fusions
from fusionseg.pipeline.names import flow_methods
from fusionseg.pipeline.settings.base import ADDED, Settings, UserPath

# Settings that name outside files: what is in these belongs to a result's key, where they lie doesn't.
OUTSIDE = frozenset({"weights", "raft_weights", "folder"})

_LARGEST_SIDE = 16_384  # px; twice that is as far as OpenCV's maps of positions go
_LARGEST_BATCH = 65_536  # more would only be a slip: no machine holds it


class DataRef(Settings):
    """One split of one data set."""

    manifest: str = Field(description="name of a manifest that comes with the package, or path of a YAML file")
    split: str = Field(description="one of the manifest's")
    stride: int = Field(1, ge=1, description="every n-th frame of each video; flow stays that of neighbouring frames")
    frames: int = Field(
        0, ge=0, description="at most so many frames of each video, evenly spread over those that have boxes; 0: all"
    )


class Data(Settings):
    """Which data plays which role. A video may play several, but nothing that is scored may train anything. What would
    train a network whose weights are given may be left out."""

    stills: tuple[DataRef, ...] = Field(
        (),
        description="still images with masks, of one data set or several: trains the appearance stream and, where "
        "there is a motion-pretraining, the motion stream",
    )
    annotated: DataRef | None = Field(
        None, description="videos with masks: their frames train the appearance stream, too"
    )
    pairs: tuple[DataRef, ...] = Field(
        (),
        description="still images with masks that trained no stream: each, with flow rendered from its mask, trains "
        "the fusion, too",
    )
    boxed: DataRef | None = Field(
        None, description="videos with boxes: weak labels for the motion stream; their masks are never read"
    )
    fusion: DataRef | None = Field(None, description="videos with masks: trains the fusion; best apart from `boxed`")
    validation: DataRef | None = Field(
        None, description='videos with masks: chooses checkpoints; "none", or left out, keeps the last'
    )
    scored: tuple[DataRef, ...] = Field(
        description="videos: what is reported; those without masks or protocol are segmented, not scored", min_length=1
    )
    on_bad_file: Literal["fail", "quarantine"] = Field(
        "fail",
        description="a file that can't be used stops the run, or its video (or still) is left out and reported",
    )

    @field_validator("stills", "pairs", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return () if value == "none" else (value,) if isinstance(value, (Mapping, DataRef)) else value

    @field_validator("annotated", "boxed", "fusion", "validation", mode="before")
    @classmethod
    def _or_none(cls, value: object) -> object:
        return None if value == "none" else value  # TOML has no null, and --set must be able to take it back

    def of(self, role: str) -> tuple[DataRef, ...]:
        """What plays a role."""
        found = getattr(self, role)
        return found if isinstance(found, tuple) else (found,) if found else ()

    @model_validator(mode="after")
    def _scored_apart(self) -> Data:
        scored = {(ref.manifest, ref.split) for ref in self.scored}
        for role in ("annotated", "boxed", "fusion", "validation"):
            for ref in self.of(role):
                if (ref.manifest, ref.split) in scored:
                    raise ValueError(f"the split {ref.manifest}/{ref.split} is scored and can't be `{role}` too")
        return self

    @model_validator(mode="after")
    def _pairs_apart(self) -> Data:
        """On what a stream has learnt it is surer than it will ever be again; a fusion would learn to trust that."""
        streams = {(ref.manifest, ref.split) for ref in self.stills}
        for ref in self.pairs:
            if (ref.manifest, ref.split) in streams:
                raise ValueError(f"the split {ref.manifest}/{ref.split} is of `stills` and can't be of `pairs` too")
        return self

    @model_validator(mode="after")
    def _thinned_where_it_can_be(self) -> Data:
        for name, default in (("stride", 1), ("frames", 0)):
            for role in ("stills", "pairs"):
                for ref in self.of(role):
                    if (found := getattr(ref, name)) != default:
                        raise ValueError(f"{role}.{name} = {found}: stills are no video; leave it out")
            for ref in self.scored:
                if (found := getattr(ref, name)) != default:
                    where = f"{ref.manifest}/{ref.split}"
                    raise ValueError(f"scored: {name} = {found} of {where}: every frame is scored; leave it out")
        return self


class Render(Settings):
    """Built-in data, rendered where no --data is given; none of these is a measurement, all are sizes of the demo.
    The largest values are what names of files count to, and what a canvas of twice a frame's sides may have."""

    seed: int = Field(7, ge=0, description="another seed is another data set")
    stills: int = Field(
        320, ge=1, le=999_999, description="images with masks: a pretrained network learns one look in a minute"
    )
    boxed_videos: int = Field(24, ge=1, le=9999, description="videos with boxes, for the weak labels")
    fusion_videos: int = Field(
        8, ge=1, le=9999, description="videos with masks that the fusion learns from: two of each kind"
    )
    validation_videos: int = Field(
        4, ge=1, le=9999, description="videos with masks that choices are made on: one of each kind"
    )
    test_videos: int = Field(12, ge=1, le=9999, description="videos with masks that are only ever scored")
    frames: int = Field(16, ge=3, le=9999, description="of a video: a third to a half of them is a stop that lasts")
    width: int = Field(256, ge=48, le=_LARGEST_SIDE // 2, description="px; a multiple of the networks' stride of 32")
    height: int = Field(160, ge=48, le=_LARGEST_SIDE // 2, description="px; likewise, at about DAVIS's aspect")


class OpticalFlow(Settings):
    method: Annotated[str, AfterValidator(flow_methods.check)] = Field(
        "dis-medium",
        description="DIS medium: 0.225 px end-point error on RubberWhale, some 30 ms a 480p pair; docs/flow.md has all",
    )
    direction: Literal["forward", "backward"] = Field(
        "forward", description="pairs t to t + gap (the release) or to t - gap; where there is no such frame, the other"
    )
    gap: int = Field(1, ge=1, description="frames between the two of a pair")
    long_side: int = Field(
        0,
        ge=0,
        le=_LARGEST_SIDE,
        description="px; flow is estimated at this size and scaled back to the frame's; 0 is the frame's own",
    )
    stabilise: Literal["none", "homography"] = Field(
        "none", description="homography: the camera's motion, fitted to the flow itself, is subtracted; the paper: none"
    )
    raft_weights: UserPath | None = Field(
        None, description="RAFT's, in torchvision's or the original names; None: torchvision's download"
    )
    folder: UserPath | None = Field(
        None,
        description="import: flow made elsewhere, FOLDER/VIDEO/FRAME.flo (or .png, .npz, .h5) or FOLDER/VIDEO.h5; "
        "below FOLDER/DATASET where that is there",
    )

    @model_validator(mode="after")
    def _import_needs_a_folder(self) -> OpticalFlow:
        if (self.method == "import") != (self.folder is not None):
            raise ValueError('method = "import" and folder = "DIR" go together; give both, or neither')
        return self


class FlowImages(Settings):
    scaling: Literal["max", "percentile", "fixed"] = Field(
        "max",
        description="what gets full saturation: the frame's largest magnitude (paper), a percentile of the frame's "
        "magnitudes (one wild vector can't move it), or a fixed number of pixels",
    )
    percentile: float = Field(99.0, gt=0, le=100, description='of the magnitudes, with scaling = "percentile"')
    fixed: float = Field(20.0, gt=0, description='px, with scaling = "fixed"')
    store: Literal["both", "flow", "images"] = Field(
        "both",
        description="what is kept: u,v and flow images; u,v only (coloured on reading); flow images only, which takes "
        "a quarter of the space and forbids what needs u,v: motion-training's mirror and scales, baseline flow-otsu",
    )


class Network(Settings):
    """Both streams have one structure."""

    backbone: Annotated[str, AfterValidator(backbones.check)] = Field(
        "efficientnet-lite0", description="its ImageNet weights come as a package; or timm:NAME, or a plug-in's name"
    )
    decoder: Annotated[str, AfterValidator(decoders.check)] = Field(
        "skip",
        description="skip: maps of stride 8 and 4 join in; pyramid: all maps do, made for output_stride = 32; "
        "parallel-dilated: the paper's head; or a plug-in's name",
    )
    combine: Literal["sum", "max"] = Field(
        "sum", description="of the parallel-dilated head's branches: their sum (release) or maximum (paper's text)"
    )
    output_stride: Literal[8, 16, 32] = Field(16, description="of the backbone; 8 in the paper, 16 is 4 times as fast")
    stride_on: Literal["1x1", "3x3"] = Field(
        "3x3",
        description="ResNet's strided convolution; 1x1 in the release; of no effect on backbones without bottlenecks "
        "(all but resnet50 and resnet101)",
    )
    pretrained: bool = Field(True, description="start from ImageNet weights")
    bf16: bool = Field(True, description="bfloat16 inference (autocast); twice as fast on CPUs that have it")
    long_side: int = Field(
        425,
        ge=0,
        le=_LARGEST_SIDE,
        description="px; for training, frames are resized so that the longer side has this; 0 keeps their size",
    )

    @model_validator(mode="after")
    def _combines_what_is_there(self) -> Network:
        if self.combine == "max" and self.decoder != "parallel-dilated":
            raise ValueError('combine = "max" is of the decoder parallel-dilated; set decoder, or leave combine out')
        return self


class Scores(Settings):
    """What `appearance-scores` and `motion-scores` share."""

    long_side: int | None = Field(
        None, ge=0, le=_LARGEST_SIDE, description="px; as network.long_side, for stored scores; None: the same"
    )


class Training(Settings):
    """What the three trainings share. A step is one update by the optimiser."""

    weights: UserPath | None = Field(
        None,
        description="given weights: no training; a file, or shipped:NAME, a set that comes with the package",
    )
    steps: int = Field(700, ge=1, description="updates; at 8 images some 10 minutes of a small stream on 2 cores")
    batch: int = Field(8, ge=1, le=_LARGEST_BATCH, description="images a step, over all processes")
    accumulate: int = Field(
        1, ge=1, le=_LARGEST_BATCH, description="parts that a step's batch is worked off in: less memory, same step"
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
        le=_LARGEST_SIDE,
        description="px; scores and frames are fused at this size, in training and in prediction; 0: the frame's own",
    )
    drop: Annotated[float, ADDED] = Field(
        0.0, ge=0, le=1, description="share of samples in which one stream, either, says nothing (logits of 0)"
    )


class BoxPruning(Settings):
    """What counts as the region in a box; how well it fills the box is measured, and tested by `flow-filter`."""

    refine: Literal["none", "grabcut"] = Field(
        "none",
        description="grabcut: the prediction in a box is refined on the frame's colours, 80 ms a box; the paper: none",
    )
    components: Literal["all", "largest"] = Field(
        "all", description="connected parts of the predicted object in a box that make its region; the paper names none"
    )
    min_component: float = Field(
        0.0, ge=0, le=1, description="share of the box's area; smaller parts are specks and removed; 0 keeps all"
    )


class FlowFilter(Settings):
    """Thresholds and choices are applied last, on stored measurements. Distances are shares of the frame's diagonal
    (0.001 is 1 px at 480p), so that they hold for any size. `docs/weak-labels.md` says what each does."""

    measure: Literal["iou", "coverage", "uncut-iou"] = Field(
        "iou",
        description="of the box test: IoU of a region's tight box with its box (paper), share of the box that it "
        "fills, or that IoU with the predicted part not cut at the box",
    )
    min_overlap: float = Field(0.75, ge=0, le=1, description="least `measure` (paper for iou, unverified)")
    min_confidence: float = Field(
        0.0,
        ge=0,
        le=1,
        description="IoU of region and object in the box that the network itself expects; 0: any, as in the paper",
    )
    min_agreement: float = Field(
        0.0, ge=0, le=1, description="least IoU of a refined region with what the network predicted; 0: any"
    )
    contrast: Literal["colour", "vector"] = Field(
        "colour", description="of the flow test: of the flow image's mean colours (paper), or of u and v themselves"
    )
    min_contrast: float = Field(
        30.0,
        ge=0,
        description="colour: grey levels, Euclidean norm of the difference of mean colours in and out of the box "
        "(paper, unverified)",
    )
    min_vector_contrast: float = Field(
        1.0, ge=0, description="vector: difference of mean flow in and out of the box, in spreads of the background's"
    )
    rejected: Literal["void", "drop"] = Field(
        "void", description="rejected boxes are void in their frame's label, or the frame isn't used at all"
    )
    occluded: Literal["use", "reject"] = Field("use", description="boxes that ImageNet-VID marks as partly hidden")
    generated: Literal["use", "reject"] = Field("use", description="boxes interpolated between frames, not drawn")
    min_box: float = Field(0.0005, ge=0, le=1, description="share of the frame's area: 14x14 px at 480p; 0: any")
    max_box: float = Field(
        0.9, ge=0, le=1, description="share of the frame's area; what is left is no background to speak of; 1: any"
    )
    min_motion: float = Field(
        0.0005,
        ge=0,
        description="of the diagonal: a frame in which 99 % of the vectors are shorter stands still; 0: any",
    )
    max_motion: float = Field(
        0.5, gt=0, description="of the diagonal: where 1 % of the vectors are longer, the estimator lost its way"
    )
    max_unknown: float = Field(0.5, ge=0, le=1, description="share of unknown vectors, in the box or outside; 1: any")
    min_own_motion: float = Field(
        0.0005, ge=0, description="of the diagonal: mean length in the box of flow without the camera's; 0: any"
    )


class WeakLabels(Settings):
    """Self-training: labels again, from what the networks have learnt of the first ones."""

    rounds: Literal[1, 2] = Field(
        1, description="2: a second motion stream learns from labels that the first one's predictions make"
    )
    source: Literal["motion", "fused"] = Field(
        "fused",
        description="of the second round's labels: the first motion stream, or both streams' mean logits; of no effect "
        "with rounds = 1",
    )


class Prediction(Settings):
    baselines: bool = Field(
        True, description="also two trivial ones: centre box, and flow magnitude under Otsu's threshold"
    )


class Run(Settings):
    """How to compute, not what: nothing here enters a key."""

    checkpoint_seconds: float = Field(30.0, ge=0, description="a killed training loses at most this much")
    batch: int = Field(4, ge=1, le=_LARGEST_BATCH, description="frames a forward pass of inference")
    workers: int = Field(2, ge=1, le=1024, description="threads that read and prepare data")
    cache_mb: int = Field(1024, ge=0, description="MB of memory for loaded training samples; what fits is read once")
