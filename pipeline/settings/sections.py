"""The sections of a profile. Every number has its one home here: a field with default, unit and reason."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from fusionseg.models.outside.plugins import backbones, decoders
from fusionseg.pipeline.names import flow_methods
from fusionseg.pipeline.settings.base import LARGEST_BATCH, LARGEST_SIDE, Settings, UserPath

# Settings that name outside files: what is in these belongs to a result's key, where they lie doesn't.
OUTSIDE = frozenset({"weights", "raft_weights", "folder"})


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
        return () if value == "none" else value if isinstance(value, (list, tuple)) else (value,)

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
    width: int = Field(256, ge=48, le=LARGEST_SIDE // 2, description="px; a multiple of the networks' stride of 32")
    height: int = Field(160, ge=48, le=LARGEST_SIDE // 2, description="px; likewise, at about DAVIS's aspect")


class OpticalFlow(Settings):
    method: Annotated[str, AfterValidator(flow_methods.check)] = Field(
        "dis-medium",
        description="DIS medium: 0.225 px end-point error on RubberWhale, some 30 ms a 480p pair; docs/flow.md has all",
    )
    direction: Literal["forward", "backward", "both"] = Field(
        "forward",
        description="pairs t to t + gap (the release) or to t - gap; where there is no such frame, the other. "
        "both: the motion stream's scores are the mean of those of either flow; boxes are judged by the forward one",
    )
    gap: int = Field(1, ge=1, description="frames between the two of a pair")
    long_side: int = Field(
        0,
        ge=0,
        le=LARGEST_SIDE,
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
        if self.folder is not None and self.direction == "both":
            raise ValueError('flow made elsewhere goes one way; give direction = "forward" or "backward"')
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
        le=LARGEST_SIDE,
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
        None, ge=0, le=LARGEST_SIDE, description="px; as network.long_side, for stored scores; None: the same"
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
    batch: int = Field(4, ge=1, le=LARGEST_BATCH, description="frames a forward pass of inference")
    workers: int = Field(2, ge=1, le=1024, description="threads that read and prepare data")
    cache_mb: int = Field(1024, ge=0, description="MB of memory for loaded training samples; what fits is read once")
