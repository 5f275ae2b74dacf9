"""Weights in the chain: loading those that a training stage made, and checking those that a profile gives."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from fusionseg.models.backbone import preprocessing_of
from fusionseg.models.fusion import create_fusion
from fusionseg.models.inference import for_inference
from fusionseg.models.preprocessing import Preprocessing
from fusionseg.models.stream import Architecture, Stream
from fusionseg.models.weights import WeightsError, read_header, read_weights
from fusionseg.pipeline.basics.digests import json_digest
from fusionseg.pipeline.errors import DamagedArtifact, UserError
from fusionseg.pipeline.settings.base import Settings
from fusionseg.pipeline.settings.plug_ins import plug_ins
from fusionseg.pipeline.settings.profile import Profile
from fusionseg.pipeline.settings.sections import Network
from fusionseg.pipeline.settings.trainings import AppearanceTraining
from fusionseg.pipeline.store.artifact import Record
from fusionseg.pipeline.store.job import Work

T = TypeVar("T")
_MODEL = "appearance-training.model"
_READS = {
    "appearance-pretraining": "frames",
    "appearance-training": "frames",
    "motion-pretraining": "flow-images",
    "motion-training": "flow-images",
}
_STAGES = {"frames": "appearance-training", "flow-images": "motion-training"}
STREAM, PER_FRAME = "stream", "per-frame"  # kinds of what scores pictures
_KINDS = {"appearance-training": (STREAM, PER_FRAME), "fusion-training": ("fusion",)}  # of all others: a stream


def given_record(stage: str, path: Path, profile: Profile) -> Record:
    """The record of given weights, after checking that they fit the profile. Raises UserError."""
    try:
        header = read_header(path)
    except WeightsError as error:
        raise UserError(f"{stage}.weights: {error}") from None
    misfit = _misfit(header, stage, profile, path)
    if misfit:
        raise UserError(f"{stage}.weights = {path}: {misfit}, or give other weights")
    check_version(header, path)
    content = _content(header, path, profile)
    return Record(stage, "given", path.stem, "", str(path.resolve()), content, header.get("counts", {}))


def _content(header: Mapping[str, Any], path: Path, profile: Profile) -> str:
    """Digest of all that given weights compute with: of their tensors and, unless it is the backbone's own, of their
    preprocessing. The same tensors behind other preprocessing make other scores."""
    tensors, own = str(header["content"]), _preprocessing(header, path)
    plug_ins({"network": profile.network})  # says what is wrong with a broken one
    if own in (None, preprocessing_of(profile.network.backbone)):
        return tensors
    return json_digest([tensors, own.as_dict()])


def _misfit(header: Mapping[str, Any], stage: str, profile: Profile, path: Path) -> str | None:
    """Why weights can't take the place of `stage`, and what to do; None where they can."""
    kind = header.get("kind")
    wanted = _KINDS.get(stage, (STREAM,))
    if kind not in wanted:
        return f"it holds a {kind}, {stage} makes a {' or a '.join(wanted)}; name it in the section of its own stage"
    settings, found = _own(profile, stage), _of_header(header, path, stage)
    reads = header.get("reads") if kind != "fusion" else None
    if reads != _READS.get(stage):
        place = _STAGES.get(str(reads), "another stage")
        return (
            f"it was trained on {reads}, {stage} needs one trained on {_READS[stage]}; it belongs into {place}.weights"
        )
    differing = [name for name, value in found.items() if value != settings[name]]
    if differing:
        told = ", ".join(f"{name} is {found[name]} in it and {settings[name]} in the profile" for name in differing)
        return f"{told}; add " + " ".join(f"--set {name}={found[name]}" for name in differing)
    return None


def _own(profile: Profile, stage: str) -> dict[str, Any]:
    """The profile's settings that weights in the place of `stage` must agree with, by the names that users know."""
    if stage == "fusion-training":
        own = profile.fusion_training
        return {"fusion-training.fusion": own.fusion, "fusion-training.long_side": own.long_side}
    return _network(profile) | {_MODEL: profile.appearance_training.model}


def _of_header(header: Mapping[str, Any], path: Path, stage: str) -> dict[str, Any]:
    """The same of weights, as far as they depend on them. What else would be told hours later is told now."""
    if header["kind"] == "fusion":
        return {
            "fusion-training.fusion": header.get("fusion"),
            "fusion-training.long_side": header.get("long_side", 0),
        }
    if header["kind"] == PER_FRAME:
        return {_MODEL: header.get("model")}
    _preprocessing(header, path)
    return _described(header, path) | ({_MODEL: STREAM} if stage == "appearance-training" else {})


def _network(profile: Profile) -> dict[str, Any]:
    """The profile's settings that a stream's weights must agree with, by the names that users know."""
    values = architecture_of(profile.network).as_dict() | {"long_side": profile.network.long_side}
    return {f"network.{name}": value for name, value in values.items()}


def _described(header: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The same of weights; imported ones name no `long_side`: they were made at several sizes."""
    values = asdict(_architecture(header, path))
    if header.get("long_side") is not None:
        values["long_side"] = header["long_side"]
    return {f"network.{name}": value for name, value in values.items()}


def _architecture(header: Mapping[str, Any], path: Path) -> Architecture:
    try:
        return Architecture(**header["architecture"])
    except (KeyError, TypeError):
        raise UserError(
            f"{path}: an architecture that this version doesn't know, {header.get('architecture')}; "
            "update fusionseg, or give other weights"
        ) from None


def _preprocessing(header: Mapping[str, Any], path: Path) -> Preprocessing | None:
    """The weights' own; None where the header names none: the backbone's."""
    try:
        return Preprocessing.from_dict(header["preprocessing"]) if "preprocessing" in header else None
    except ValueError as error:
        raise UserError(f"{path}: {error}; give other weights") from None


def check_version(header: Mapping[str, Any], path: Path) -> None:
    """The per-frame model that weights were fitted to, if they are such, is the one that is here. Raises UserError."""
    if header.get("kind") != PER_FRAME:
        return
    ((_, here),) = plug_ins({"appearance-training": AppearanceTraining(model=header["model"])})
    fitted = header.get("plug_ins", {}).get(_MODEL)
    if fitted != here:
        raise UserError(f"{path}: fitted to {fitted}, and here is {here}; get that one, or give other weights")


def load_stream(work: Work, stage: str) -> tuple[Stream, Network]:
    """The trained stream of `stage`, ready for inference. Raises DamagedArtifact."""
    record = work.input(stage)
    network = work.settings(Network)
    path = work.context.root / record.path
    return _stream(path, record.content, str(work.device), not record.key, network.bf16), network


# Building a network takes longer than a short video: keep the last ones for the videos to come.
@functools.lru_cache(maxsize=2)
def _stream(path: Path, content: str, device: str, given: bool, bf16: bool) -> Stream:
    stream, _ = read_stream(path, given)
    return for_inference(stream, torch.device(device), bf16)


def read_stream(path: Path, given: bool) -> tuple[Stream, dict[str, Any]]:
    """The stream of a weights file, on the CPU in eval mode, and the file's header; `given`: by the user. Raises
    UserError, DamagedArtifact where it isn't given."""
    state, header = read_state(path, given)
    stream = _built(
        lambda: Stream(_architecture(header, path), preprocessing=_preprocessing(header, path)), path, header
    )
    _fill(stream, state, path, given)
    return stream.eval(), header


def load_fusion(work: Work) -> tuple[nn.Module, int]:
    """The trained fusion, ready for inference, and the long side in px that it fuses at (0: the frame's own). Raises
    DamagedArtifact."""
    record = work.input("fusion-training")
    fusion, header = read_fusion(work.context.root / record.path, not record.key)
    return fusion.to(work.device), int(header.get("long_side", 0))


def read_fusion(path: Path, given: bool) -> tuple[nn.Module, dict[str, Any]]:
    """As `read_stream`, of a fusion."""
    state, header = read_state(path, given)
    fusion = _built(lambda: create_fusion(header.get("fusion", "")), path, header)
    _fill(fusion, state, path, given)
    return fusion.eval(), header


def read_state(path: Path, given: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and header of a weights file. Raises as `read_stream`."""
    try:
        return read_weights(path)
    except WeightsError as error:
        raise unusable(path, str(error), given) from None


def _built(build: Callable[[], T], path: Path, header: Mapping[str, Any]) -> T:
    """The network that a header describes, as yet without its tensors. Raises UserError."""
    try:
        return build()
    except ValueError as error:
        made_with = " and ".join(header.get("plug_ins", {}).values())
        what = f"it was made with {made_with}: install that" if made_with else "update fusionseg"
        raise UserError(f"{path}: {error}; {what}, or give other weights") from None


def _fill(module: nn.Module, state: Mapping[str, Tensor], path: Path, given: bool) -> None:
    try:
        module.load_state_dict(state)
    except RuntimeError:
        missing = module.state_dict().keys() - state.keys()
        surplus = state.keys() - module.state_dict().keys()
        found = f"{len(missing)} tensors missing, {len(surplus)} unknown" if missing or surplus else "other shapes"
        raise unusable(path, f"{path}: the tensors aren't those of its architecture ({found})", given) from None


def unusable(path: Path, found: str, given: bool) -> UserError:
    """`given`: the user's own file, which is never deleted, and nothing makes it again."""
    return UserError(f"{found}; give other weights") if given else DamagedArtifact(path, found)


def architecture_of(network: Network) -> Architecture:
    """The part of the network settings that determines tensors."""
    return Architecture(network.backbone, network.decoder, network.output_stride, network.stride_on, network.combine)


def stream_header(network: Network, reads: str) -> dict[str, Any]:
    """What a stream's weights say of themselves; `reads`: "frames" or "flow-images"."""
    return {
        "kind": "stream",
        "reads": reads,
        "architecture": architecture_of(network).as_dict(),
        "long_side": network.long_side,
        "preprocessing": preprocessing_of(network.backbone).as_dict(),
        **plug_ins_header({"network": network}),
    }


def plug_ins_header(sections: Mapping[str, Settings]) -> dict[str, Any]:
    """What weights say of the plug-ins that they were made with; nothing, where there were none."""
    found = plug_ins(sections)
    return {"plug_ins": dict(found)} if found else {}
