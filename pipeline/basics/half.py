"""Half precision in and out. NumPy converts value by value in software; PyTorch uses the processor's instructions for
it (0.06 ms a 480p flow field against 1.1 ms)."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt


def to_float32(array: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """The same values as float32; `array` itself where it is float32 already."""
    if array.dtype != np.float16:
        return np.asarray(array, np.float32)
    import torch  # takes seconds to load, and who has float32 needs none of it

    return cast(npt.NDArray[np.float32], torch.from_numpy(np.ascontiguousarray(array)).float().numpy())


def to_float16(array: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """The nearest float16 values; infinite beyond 65,504."""
    import torch

    return cast(npt.NDArray[np.float16], torch.from_numpy(np.ascontiguousarray(array)).half().numpy())
