"""A trained stream made ready for inference: everything that makes it faster and leaves its scores what they are."""

from __future__ import annotations

import torch

from fusionseg.models.folding import fold
from fusionseg.models.fusing import can_fuse, fuse
from fusionseg.models.precision import protect
from fusionseg.models.stream import Stream


def for_inference(stream: Stream, device: torch.device, bf16: bool) -> Stream:
    """A copy of `stream` on `device`, in eval mode: same inputs (of `prepare`) and outputs, to rounding.

    `bf16`: it will run under bfloat16 autocast, and must then; layers that this would spoil stay in float32.
    """
    ready = fold(stream)
    if bf16:
        protect(ready)
    ready = ready.to(device).to(memory_format=torch.channels_last)
    return fuse(ready, bf16) if stream.architecture.shipped and can_fuse(device, bf16) else ready
