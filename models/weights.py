"""Weights as safetensors files whose header says what they are: kind, settings, digest of the tensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

if TYPE_CHECKING:  # headers are read where nothing computes, and PyTorch takes seconds to load
    from torch import Tensor

HEADER = "fusionseg"  # the metadata field that holds our JSON
SCHEMA = "fusionseg.weights"
SCHEMA_VERSION = 1
# Tensors of fewer elements stay as they are. They take little space; EfficientNet-Lite's first layers are among them,
# whose rounding no width averages out: with those exact, logits of a trained motion stream on 16 flow images were
# within 0.3 % of the largest instead of 3.3 %, and its masks agreed in J by 0.999 instead of 0.991.
_WORTH_HALVING = 2**14
_HALF_ROUNDING = 2**-11  # share of a value that float16 loses at most, where it isn't subnormal


class WeightsError(ValueError):
    """A weights file that can't be used; the message names the file, what was found and what was expected."""


def digest_tensors(state: Mapping[str, Tensor]) -> str:
    """BLAKE2b-160 of names, shapes, types and values, in the order of names."""
    digest = hashlib.blake2b(digest_size=20)
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name}:{tuple(value.shape)}:{value.dtype};".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def pack_weights(state: Mapping[str, Tensor], header: Mapping[str, Any]) -> tuple[bytes, str]:
    """The bytes of a weights file and the digest of its tensors. `header` must be JSON (kind, architecture ...)."""
    from safetensors.torch import save

    content = digest_tensors(state)
    full = {"schema": SCHEMA, "schema_version": SCHEMA_VERSION, "content": content, **header}
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    return save(tensors, metadata={HEADER: json.dumps(full, sort_keys=True)}), content


def halved(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors in about half the space: large matrices and convolutions (floating point, two dimensions or
    more) as float16. The rest stays: small ones, biases and BatchNorm, whose statistics span more than float16 does,
    and what float16 can't hold, too large or, as a whole, too small. `load_state_dict` makes float32 of it again."""
    return {name: value.half() if _fits_half(value) else value for name, value in state.items()}


def _fits_half(value: Tensor) -> bool:
    if not value.is_floating_point() or value.ndim < 2 or value.numel() < _WORTH_HALVING:
        return False
    exact = value.double()
    lost = (value.half().double() - exact).norm()
    return bool(lost <= _HALF_ROUNDING * exact.norm())  # too large a value is infinite, and so is what is lost


def read_header(path: Path) -> dict[str, Any]:
    """The header of a weights file, after checking that the file is whole. Raises `WeightsError`."""
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such weights file") from error
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a whole safetensors file ({error})") from error
    try:
        header: dict[str, Any] = json.loads(metadata.get(HEADER, ""))
    except json.JSONDecodeError as error:
        raise WeightsError(
            f"{path}: safetensors without FusionSeg's header; expected weights written by fusionseg"
        ) from error
    if not isinstance(header, dict):
        raise WeightsError(f"{path}: safetensors without FusionSeg's header; expected weights written by fusionseg")
    found = (header.get("schema"), header.get("schema_version"))
    if found != (SCHEMA, SCHEMA_VERSION):
        raise WeightsError(f"{path}: header says {found[0]} {found[1]}, expected {SCHEMA} {SCHEMA_VERSION}")
    if "content" not in header:
        raise WeightsError(f"{path}: the header has no digest of the tensors; expected weights written by fusionseg")
    return header


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and header; the tensors' digest is checked. Raises `WeightsError`."""
    header = read_header(path)
    with safe_open(path, framework="pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    if digest_tensors(state) != header.get("content"):
        raise WeightsError(f"{path}: the tensors don't match the digest in the header; the file is damaged")
    return state, header
