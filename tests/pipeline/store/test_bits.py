"""Masks as bits: back as they were, padding never shows."""

from pathlib import Path

import numpy as np
import pytest
from builders import make_context, write_input
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from fusionseg.models.labels import VOID
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.store.bits import (
    pack_label,
    pack_mask,
    packed_width,
    unpack_label,
    unpack_mask,
)
from fusionseg.pipeline.store.reading import read_frame

SHAPES = array_shapes(min_dims=2, max_dims=2, max_side=19)


@given(arrays(bool, SHAPES))
def test_masks_come_back(mask: np.ndarray) -> None:
    packed = pack_mask(mask)
    assert packed.shape == (mask.shape[0], packed_width(mask.shape[1])) and packed.dtype == np.uint8
    found = unpack_mask(packed, mask.shape[1])
    assert found.dtype == bool and np.array_equal(found, mask)


@given(arrays(np.uint8, SHAPES, elements=st.sampled_from([0, 1, VOID])))
def test_labels_come_back(label: np.ndarray) -> None:
    found = unpack_label(pack_label(label), label.shape[1])
    assert found.dtype == np.uint8 and np.array_equal(found, label)


def test_the_first_pixel_is_the_highest_bit() -> None:
    assert pack_mask(np.array([[1, 0, 0, 0, 0, 0, 0, 1, 1]], bool)).tolist() == [[0b10000001, 0b10000000]]


def test_reading_one_frame(tmp_path: Path) -> None:
    label = np.array([[0, 1, VOID, 1, 0, 0, 0, 0, VOID, 1]], np.uint8)
    frames = {
        "labels": pack_label(label)[None], "regions": pack_mask(label == 1)[None], "plain": label[None],
    }  # fmt: skip
    path = tmp_path / write_input(make_context(tmp_path), "any", frames, {"frame_size": [1, 10]}).path
    assert np.array_equal(read_frame(path, "labels", 0), label)
    assert np.array_equal(read_frame(str(path), "regions", 0), label == 1)
    assert np.array_equal(read_frame(path, "plain", 0), label)
    with pytest.raises(UserError, match=r"no dataset 'masks'; it has: labels, plain, regions"):
        read_frame(path, "masks", 0)
    with pytest.raises(UserError, match="labels has 1 frames, numbered from 0; none has number 1"):
        read_frame(path, "labels", 1)
