"""Training of a stream, appearance or motion: what both have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fusionseg.models.backbone import WeightsUnavailable
from fusionseg.models.cpu_training import speed_up
from fusionseg.models.outside.plugins import backbones
from fusionseg.models.precision import is_sensitive
from fusionseg.models.stream import Stream, to_frame, upsample
from fusionseg.pipeline.basics.memory import kept_memory
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.graph import PRETRAINING_OF, first_name
from fusionseg.pipeline.networks.scores import stream_scores
from fusionseg.pipeline.networks.trained import architecture_of, read_stream, stream_header
from fusionseg.pipeline.scoring.measures import valid_j
from fusionseg.pipeline.settings.sections import Network
from fusionseg.pipeline.settings.trainings import StreamTraining
from fusionseg.pipeline.store.artifacts import WeightsWriter
from fusionseg.pipeline.store.job import Work
from fusionseg.pipeline.training.loop import seed_of, train
from fusionseg.pipeline.training.samples import draw, sample_generator
from fusionseg.pipeline.training.step import Task

UInt8 = npt.NDArray[np.uint8]
Sample = tuple[UInt8, UInt8]  # image (H, W, 3) RGB, label (H, W) in 0, 1, 255
# `make(index, generator)` gives one augmented training sample.
MakeSample = Callable[[int, np.random.Generator], Sample]


def build_stream(network: Network, seed: int) -> Stream:
    """A fresh stream: ImageNet backbone, random decoder. Raises UserError if the weights can't be had."""
    torch.manual_seed(seed)
    try:
        return Stream(architecture_of(network), network.pretrained)
    except WeightsUnavailable as error:
        raise UserError(f"network.backbone = {network.backbone}: {error}") from None
    except ValueError as error:
        raise UserError(f"network: {error}") from None


def train_stream(
    work: Work,
    writer: WeightsWriter,
    settings: StreamTraining,
    count: int,
    make: MakeSample,
    validation: Sequence[Sample],
    reads: str,
) -> None:
    """Train the stream of `job` on `count` samples, choosing the checkpoint on `validation`."""
    task = stream_task(work, settings, count, make, validation)
    header = stream_header(work.settings(Network), reads)
    with kept_memory():
        train(task, settings, work, writer, header)


def stream_task(
    work: Work,
    settings: StreamTraining,
    count: int,
    make: MakeSample,
    validation: Sequence[Sample],
) -> Task:
    """A stream, fresh or pre-trained, on the context's device, and how it is trained on `count` samples."""
    network = work.settings(Network)
    stream = (pretrained(work) or build_stream(network, seed_of(work.stage, settings))).to(work.device)
    stream = stream.to(memory_format=torch.channels_last)
    stream.batch_norm_trained = settings.batch_norm == "trained"

    def batch(step: int, positions: range) -> dict[str, Tensor]:
        chosen = draw(count, settings.batch, step, settings.seed)
        return stack([make(chosen[i], sample_generator(settings.seed, step, i)) for i in positions])

    def logits(model: nn.Module, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        labels = tensors["labels"].to(work.device).long()
        scores = stream_scores(stream, tensors["images"], work.device).float()  # enlarged as in inference
        return upsample(scores, stream.score_stride, (labels.shape[-2], labels.shape[-1])), labels

    if work.device.type == "cpu" and network.backbone in backbones.shipped:
        speed_up(stream.backbone)
    return Task(
        stream,
        batch,
        logits,
        (lambda model: validation_j(cast(Stream, model), validation, network.bf16, work.device))
        if validation
        else None,
        parameter_groups(stream, settings),
    )


def pretrained(work: Work) -> Stream | None:
    """The stream that the stage begins with, where there is a pre-training. Raises UserError, DamagedArtifact."""
    stage = PRETRAINING_OF.get(first_name(work.stage), "")
    if not work.has(stage):
        return None
    record = work.input(stage)
    return read_stream(work.context.root / record.path, not record.key)[0]


def stack(samples: Sequence[Sample]) -> dict[str, Tensor]:
    """Samples of one size -> images (N, 3, H, W) uint8, channels last in memory, and labels (N, H, W) uint8."""
    return {
        "images": torch.from_numpy(np.stack([image for image, _ in samples])).permute(0, 3, 1, 2),
        "labels": torch.from_numpy(np.stack([label for _, label in samples])),
    }


def parameter_groups(stream: Stream, settings: StreamTraining) -> list[dict[str, Any]]:
    """Backbone, decoder weights and decoder biases, each with its learning rate; biases don't decay (DeepLab-v2).

    What `batch_norm = "frozen"` keeps as it is leaves the training here.
    """
    if settings.batch_norm == "frozen":
        stream.freeze_batch_norm()
    weights: list[nn.Parameter] = []
    biases: list[nn.Parameter] = []
    for name, parameter in stream.decoder.named_parameters():
        (biases if name.endswith("bias") else weights).append(parameter)
    return [
        {"params": [p for p in stream.backbone.parameters() if p.requires_grad], "lr": settings.lr_backbone},
        {"params": weights, "lr": settings.lr_head},
        {"params": biases, "lr": settings.lr_head * settings.lr_bias_factor, "weight_decay": 0.0},
    ]


def validation_j(stream: Stream, samples: Sequence[Sample], bf16: bool, device: torch.device) -> float:
    """Mean region similarity J over samples, each at its own size.

    A network that bfloat16 would spoil is validated in float32: few frames, whose masks then are those of inference
    (`protect` itself doesn't go with `speed_up`, which splits BatchNorm between two layers).
    """
    values = []
    half = bf16 and not is_sensitive(stream)
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half):
        for image, label in samples:
            images = stack([(image, label)])["images"]
            scores = stream_scores(stream, images, device).float()
            size = (image.shape[0], image.shape[1])
            mask = to_frame(scores, stream.score_stride, size, size).argmax(1)[0].cpu().numpy() == 1
            values.append(valid_j(label, mask))
    return float(np.mean(values))
