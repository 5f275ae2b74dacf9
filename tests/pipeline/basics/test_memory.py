"""Peak memory, as the system tells it, and memory kept for the next step."""

import ctypes
import platform
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fusionseg.pipeline.basics import memory
from fusionseg.pipeline.basics.memory import kept_memory, peak_memory, start_measuring

resource = pytest.importorskip("resource")


def test_the_peak_covers_what_was_held_and_never_falls() -> None:
    device = torch.device("cpu")
    start_measuring(device)
    before = peak_memory(device)
    held = np.ones(1 << 25)  # 256 MB, touched
    during = peak_memory(device)
    assert set(before) == {"process"}
    assert held.nbytes < during["process"] < 1 << 40, "bytes"
    del held
    assert peak_memory(device)["process"] >= during["process"] >= before["process"]


def test_a_cuda_device_has_its_own_peak_since_the_stage_began(monkeypatch: pytest.MonkeyPatch) -> None:
    held = {"peak": 7}
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: held.update(peak=0))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: held["peak"])
    device = torch.device("cuda:0")
    start_measuring(device)
    assert peak_memory(device)["gpu"] == 0
    held["peak"] = 5
    assert peak_memory(device)["gpu"] == 5


def faults(size: int, rounds: int) -> int:
    """Return how many pages the system gave for asking for `size` bytes, filling and freeing them, again and again."""
    library = ctypes.CDLL(None)
    library.malloc.restype = ctypes.c_void_p
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        block = ctypes.c_void_p(library.malloc(ctypes.c_size_t(size)))
        ctypes.memset(block, 1, size)
        library.free(block)
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_kept_memory_is_used_again() -> None:
    size, rounds = 64 * 2**20, 10
    with kept_memory():
        assert faults(size, rounds) < rounds * size // resource.getpagesize() / 2


def test_memory_is_given_back_afterwards_whatever_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[int, int] = {}
    trims: list[int] = []
    library = SimpleNamespace(mallopt=told.__setitem__, malloc_trim=trims.append)
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: library)
    with pytest.raises(KeyboardInterrupt), kept_memory():
        assert told == {-1: 2**31 - 1, -4: 0} and not trims  # glibc's malloc.h: never trim, never map
        raise KeyboardInterrupt
    assert told == {-1: 64 * 2**20, -3: 32 * 2**20, -4: 65536} and trims == [0]


def test_where_the_c_library_knows_nothing_of_it_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: object())
    with kept_memory():
        pass
