"""Half precision in and out, against NumPy's own conversion."""

import numpy as np
import pytest

from fusionseg.pipeline.basics.half import to_float16, to_float32

SPECIAL = [0.0, -0.0, 1.0, 65504.0, 1e6, -1e6, 1e-8, 6e-8, np.inf, -np.inf, np.nan, 2049.0, 1 / 3]


def test_every_half_becomes_its_float() -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    assert np.array_equal(to_float32(halves), halves.astype(np.float32), equal_nan=True)


@pytest.mark.filterwarnings("ignore:overflow")
def test_floats_become_the_nearest_half() -> None:
    floats = np.concatenate([SPECIAL, np.random.default_rng(0).normal(0, 30, 10_000)]).astype(np.float32)
    assert np.array_equal(to_float16(floats), floats.astype(np.float16), equal_nan=True)


def test_any_layout_and_no_copy_of_what_is_float32() -> None:
    array = np.random.default_rng(0).normal(0, 1, (4, 5, 2))
    assert np.array_equal(to_float32(array.astype(np.float16)[::-1, 1:]), array.astype(np.float16)[::-1, 1:])
    same = array.astype(np.float32)
    assert np.array_equal(to_float16(same[:, ::2]), same[:, ::2].astype(np.float16))
    assert to_float32(same) is same
