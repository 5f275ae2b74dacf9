"""Weights in the chain: loading those that a training stage made, and checking those that a profile gives."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fusionseg.models.folding import fold
from fusionseg.models.fusion import create_fusion
from fusionseg.models.precision import protect
from fusionseg.models.stream import Architecture, Stream
from fusionseg.models.weights import WeightsError, read_header, read_weights
from fusionseg.pipeline.artifact import Record
from fusionseg.pipeline.errors import DamagedArtifact, UserError
from fusionseg.pipeline.job import Context, Job
from fusionseg.pipeline.profile import Network, Profile
from fusionseg.pipeline.stream_training import stream_header

_READS = {"appearance-training": "frames", "motion-training": "flow-images"}


def expected_header(stage: str, profile: Profile) -> dict[str, Any]:
    """What the weights that take the place of `stage` must say of themselves."""
    if stage == "fusion-training":
        return {"kind": "fusion", "fusion": profile.fusion_training.fusion}
    return stream_header(profile.network, _READS[stage])


def given_record(stage: str, path: Path, profile: Profile) -> Record:
    """The record of given weights, after checking that they fit the profile. Raises UserError."""
    try:
        header = read_header(path)
    except WeightsError as error:
        raise UserError(f"{stage}.weights: {error}") from None
    for name, wanted in expected_header(stage, profile).items():
        if name == "preprocessing":  # follows from the backbone
            continue
        if header.get(name) != wanted:
            raise UserError(
                f"{stage}.weights = {path}: its {name} is {header.get(name)}, the profile expects {wanted}; "
                "change the profile's network or fusion, or give other weights"
            )
    return Record(stage, "given", path.stem, "", str(path.resolve()), header["content"], header.get("counts", {}))


def load_stream(job: Job, context: Context, stage: str) -> tuple[Stream, Network]:
    """The trained stream of `stage`, ready for inference. Raises DamagedArtifact."""
    record = job.input(stage)
    stream = _stream(context.root / record.path, record.content, str(context.device), not record.key)
    return stream, Network.model_validate(job.settings["network"])


# Building a network takes longer than a short video: keep the last ones for the videos to come.
@functools.lru_cache(maxsize=2)
def _stream(path: Path, content: str, device: str, given: bool) -> Stream:
    stream, _ = read_stream(path, given)
    return protect(fold(stream)).to(torch.device(device)).to(memory_format=torch.channels_last)


def read_stream(path: Path, given: bool) -> tuple[Stream, dict[str, Any]]:
    """The stream of a weights file, on the CPU in eval mode, and the file's header; `given`: by the user. Raises
    UserError, DamagedArtifact where it isn't given."""
    state, header = _read(path, given)
    stream = Stream(Architecture(**header["architecture"]))
    stream.load_state_dict(state)
    return stream.eval(), header


def load_fusion(job: Job, context: Context) -> nn.Module:
    """The trained fusion, ready for inference. Raises DamagedArtifact."""
    record = job.input("fusion-training")
    return read_fusion(context.root / record.path, not record.key)[0].to(context.device)


def read_fusion(path: Path, given: bool) -> tuple[nn.Module, dict[str, Any]]:
    """As `read_stream`, of a fusion."""
    state, header = _read(path, given)
    fusion = create_fusion(header["fusion"])
    fusion.load_state_dict(state)
    return fusion.eval(), header


def _read(path: Path, given: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        return read_weights(path)
    except WeightsError as error:
        if given:  # the user's own file: never deleted, and nothing makes it again
            raise UserError(f"{error}; give other weights") from None
        raise DamagedArtifact(path, str(error)) from None
