"""RAFT optical flow (Teed and Deng, ECCV 2020): torchvision's networks, weights under either repository's names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor
from torchvision.models import WeightsEnum
from torchvision.models.optical_flow import RAFT, Raft_Large_Weights, Raft_Small_Weights, raft_large, raft_small

from fusionseg.models.backbone import WeightsUnavailable
from fusionseg.models.weights import WeightsError

RAFTS = {"raft-small": raft_small, "raft-large": raft_large}
_DOWNLOADS: Mapping[str, WeightsEnum] = {
    "raft-small": Raft_Small_Weights.DEFAULT,
    "raft-large": Raft_Large_Weights.DEFAULT,
}

# Refinements of the flow: as many as the networks were trained with. RubberWhale with the authors' raft-small: 8 give
# an end-point error of 0.330 px, 12 give 0.320, 16 (the best) 0.318, 32 0.325; time grows with their number.
ITERATIONS = 12
_STRIDE = 8  # px of a feature cell
# The coarsest of the four correlation levels needs two cells a side, or its sampling divides by zero.
_SMALLEST = _STRIDE * 2 * 2**3

# The original repository's names -> torchvision's, in this order. None of them touches a name of torchvision's own.
_RENAMES = (
    (r"^module\.", ""),  # what DataParallel puts in front
    (r"^fnet\.", "feature_encoder."),
    (r"^cnet\.", "context_encoder."),
    # An encoder: first convolution, residual blocks, last convolution.
    (r"^(\w+_encoder)\.conv1\.", r"\1.convnormrelu.0."),
    (r"^(\w+_encoder)\.norm1\.", r"\1.convnormrelu.1."),
    (r"^(\w+_encoder)\.conv2\.", r"\1.conv."),
    # A block's third normalisation follows its shortcut. Only raft-large has it: nothing in raft-small's
    # normalisation is learned. The original lists it twice, as `norm3` and as `downsample.1`.
    (r"^(\w+_encoder\.layer\d\.\d)\.norm3\.", r"\1.downsample.1."),
    (r"^(\w+_encoder\.layer\d\.\d)\.conv(\d)\.", r"\1.convnormrelu\2.0."),
    (r"^(\w+_encoder\.layer\d\.\d)\.norm(\d)\.", r"\1.convnormrelu\2.1."),
    # The update block. raft-small has one GRU; raft-large one along rows (1), then one along columns (2).
    (r"^update_block\.encoder\.convc(\d)\.", r"update_block.motion_encoder.convcorr\1.0."),
    (r"^update_block\.encoder\.convf(\d)\.", r"update_block.motion_encoder.convflow\1.0."),
    (r"^update_block\.encoder\.conv\.", r"update_block.motion_encoder.conv.0."),
    (r"^update_block\.gru\.conv([zrq])\.", r"update_block.recurrent_block.convgru1.conv\1."),
    (r"^update_block\.gru\.conv([zrq])(\d)\.", r"update_block.recurrent_block.convgru\2.conv\1."),
    (r"^update_block\.mask\.0\.", "mask_predictor.convrelu.0."),
    (r"^update_block\.mask\.2\.", "mask_predictor.conv."),
)


def create_raft(name: str, weights: Path | None = None) -> RAFT:
    """`raft-small` or `raft-large`, in eval mode on the CPU.

    `weights`: a file of tensors by name (.pth, .pt or .safetensors), torchvision's names or those of the original
    repository; None downloads torchvision's default weights. Raises ValueError for an unknown name, `WeightsError`
    for a file that doesn't fit, `WeightsUnavailable` if the download fails.
    """
    if name not in RAFTS:
        raise ValueError(f"unknown RAFT {name!r}; known: {', '.join(RAFTS)}")
    if weights is None:
        return _download(name).eval()
    model = RAFTS[name](weights=None)
    model.load_state_dict(_fitted(_read(weights), model.state_dict(), weights, name))
    return model.eval()


def torchvision_name(name: str) -> str:
    """Torchvision's name of a parameter that the original repository, or torchvision, calls `name`.

    >>> torchvision_name("module.cnet.layer2.0.norm1.running_mean")
    'context_encoder.layer2.0.convnormrelu1.1.running_mean'
    >>> torchvision_name("update_block.gru.convq2.bias")
    'update_block.recurrent_block.convgru2.convq.bias'
    """
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def estimate_flow(model: RAFT, first: Tensor, second: Tensor, iterations: int = ITERATIONS) -> Tensor:
    """Optical flow from `first` to `second`, both (B, 3, H, W) uint8 RGB on the model's device: (B, 2, H, W) float32
    u, v in pixels.

    Frames of any size from 1x1. `iterations`, at least 1: refinements of the flow. Raises ValueError for frames of
    different sizes. One model must not be used by two threads at a time: its correlation block keeps state.
    """
    if first.shape != second.shape:
        raise ValueError(f"frames differ in size: {tuple(first.shape)} and {tuple(second.shape)}")
    height, width = first.shape[-2:]
    (top, bottom), (left, right) = _margins(height), _margins(width)
    padded = [F.pad(x.float() / 127.5 - 1, (left, right, top, bottom), mode="replicate") for x in (first, second)]
    with torch.inference_mode():
        flow: Tensor = model(*padded, num_flow_updates=iterations)[-1]
    # 220 MB a pair of 480p frames, which would otherwise stay until the next call has built its own.
    model.corr_block.corr_pyramid = []
    return flow[..., top : top + height, left : left + width].contiguous()


def _margins(size: int) -> tuple[int, int]:
    """Pixels to add before and after `size`: half each, as the original does."""
    missing = max(_SMALLEST, -(-size // _STRIDE) * _STRIDE) - size
    return missing // 2, missing - missing // 2


def _download(name: str) -> RAFT:
    weights = _DOWNLOADS[name]
    try:
        return RAFTS[name](weights=weights, progress=False)
    except Exception as error:  # network, disk, damaged download: all mean the same to the user
        file = weights.url.rpartition("/")[2]
        raise WeightsUnavailable(
            f"torchvision's weights of {name}, {file}, could not be downloaded ({type(error).__name__}). Connect once, "
            "or fetch that file or the authors' own (.pth) elsewhere and give it as optical-flow.raft_weights=FILE"
        ) from error


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file by name, on the CPU. Raises `WeightsError`."""
    suffix = path.suffix.lower()
    if suffix not in (".pth", ".pt", ".safetensors"):
        raise WeightsError(f"{path}: unknown kind of weights file {suffix!r}; expected .pth, .pt or .safetensors")
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file")
    try:
        if suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a whole weights file ({_line(error)})") from error
    except Exception as error:  # torch.load meets damage with errors of a dozen kinds
        raise WeightsError(f"{path}: not a whole file of tensors ({_line(error)})") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path}: holds {type(state).__name__}, expected a dictionary of tensors by name")
    return state


def _line(error: Exception) -> str:
    """The kind of an error and the first sentence of what it says, which may run over many lines."""
    return f"{type(error).__name__}: {' '.join(str(error).split()).partition('. ')[0]}"


def _fitted(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path, name: str) -> dict[str, Tensor]:
    """`state` under torchvision's names, after checking that it has each of `wanted` exactly once."""
    fitted: dict[str, Tensor] = {}
    for own, value in state.items():
        target = torchvision_name(own)
        if target not in wanted:
            raise WeightsError(f"{path}: {own} is no parameter of {name}; expected torchvision's or the authors' names")
        if value.shape != wanted[target].shape:
            shapes = f"{tuple(value.shape)}, {name} expects {tuple(wanted[target].shape)}"
            raise WeightsError(f"{path}: {own} has shape {shapes}; choose the method that the file belongs to")
        if not torch.isfinite(value).all():
            raise WeightsError(f"{path}: {own} holds NaN or infinity, expected finite numbers; get the file again")
        if target in fitted and not torch.equal(fitted[target], value):
            raise WeightsError(f"{path}: {own} repeats {name}'s {target} with other values, expected it once")
        fitted[target] = value
    if missing := [target for target in wanted if target not in fitted]:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise WeightsError(f"{path}: lacks {missing[0]}{more}, found {len(state)} tensors; expected all of {name}'s")
    return fitted
