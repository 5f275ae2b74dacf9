"""Masks and labels as bits: eight pixels a byte, the first in the highest bit, each row padded with 0 to whole bytes.

That is `numpy.packbits(mask, axis=-1)`, so plain h5py and `numpy.unpackbits(rows, axis=-1, count=width)` read them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fusionseg.models.labels import VOID
from fusionseg.pipeline.store.artifact import Artifact

UInt8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
FRAME_SIZE = "frame_size"  # fact of an artifact with packed datasets: height and width, px
PACKED = ("regions", "labels")  # datasets that are packed


def packed_width(width: int) -> int:
    """Bytes a row.

    >>> packed_width(8), packed_width(9)
    (1, 2)
    """
    return (width + 7) // 8


def pack_mask(mask: Mask) -> UInt8:
    """(..., W) bool -> (..., ceil(W / 8)) uint8."""
    return np.packbits(mask, axis=-1)


def unpack_mask(packed: UInt8, width: int) -> Mask:
    """The (..., W) bool that `pack_mask` was given."""
    return np.unpackbits(packed, axis=-1, count=width).view(bool)


def pack_label(label: UInt8) -> UInt8:
    """(H, W) uint8 of 0, 1 and 255 (void) -> (2, H, ceil(W / 8)) uint8: where object is, and where void."""
    return pack_mask(np.stack([label == 1, label == VOID]))


def unpack_label(packed: UInt8, width: int) -> UInt8:
    """The (H, W) that `pack_label` was given."""
    found, void = np.unpackbits(packed, axis=-1, count=width)
    return np.where(void, np.uint8(VOID), found)


def read_plain(artifact: Artifact, name: str, index: int) -> npt.NDArray[Any]:
    """One frame of a dataset, unpacked where it is packed: `regions` as (H, W) uint8 of 0 and 1, `labels` as (H, W)
    uint8 of 0, 1 and 255. Raises DamagedArtifact, and IndexError for a frame that isn't there."""
    frame = artifact.frame(name, index)
    if name not in PACKED:
        return frame
    width = int(artifact.facts[FRAME_SIZE][1])
    return unpack_label(frame, width) if name == "labels" else unpack_mask(frame, width).view(np.uint8)
