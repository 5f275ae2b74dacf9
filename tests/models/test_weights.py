"""Weights files: round trip, and every way they can be wrong."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from fusionseg.models.weights import (
    HEADER,
    WeightsError,
    digest_tensors,
    halved,
    pack_weights,
    read_header,
    read_weights,
)

STATE: dict[str, Tensor] = {
    "conv.weight": torch.arange(24.0).view(2, 3, 2, 2),
    "norm.steps": torch.tensor(7),
    "empty": torch.zeros(0, 3),
    "half": torch.ones(3, dtype=torch.float16),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a good weights file."""
    data, _ = pack_weights(STATE, {"kind": "stream", "name": "blåbær"})
    file = tmp_path / "weights.safetensors"
    file.write_bytes(data)
    return file


def test_round_trip(path: Path) -> None:
    state, header = read_weights(path)
    assert state.keys() == STATE.keys()
    for name, value in STATE.items():
        assert torch.equal(state[name], value) and state[name].dtype == value.dtype
    assert header["kind"] == "stream" and header["name"] == "blåbær"
    assert header["content"] == digest_tensors(STATE)


def test_header_alone_says_what_the_file_is(path: Path) -> None:
    header = read_header(path)
    assert (header["schema"], header["schema_version"]) == ("fusionseg.weights", 1)
    assert read_weights(path)[1] == header


def test_plain_safetensors_reads_it(path: Path) -> None:
    assert torch.equal(load_file(path)["conv.weight"], STATE["conv.weight"])
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()[HEADER])["kind"] == "stream"


def test_tensors_of_any_layout_are_packed() -> None:
    state = {"t": torch.arange(6.0).view(2, 3).t(), "grad": torch.ones(2, requires_grad=True)}
    image = torch.randn(1, 3, 4, 4).to(memory_format=torch.channels_last)
    _, digest = pack_weights(state | {"image": image}, {})
    _, same = pack_weights(
        {"image": image.contiguous(), "grad": torch.ones(2), "t": torch.tensor([[0.0, 3], [1, 4], [2, 5]])}, {}
    )
    assert digest == same


def test_packing_is_deterministic() -> None:
    first = pack_weights(STATE, {"kind": "x", "a": 1})
    assert first == pack_weights(dict(reversed(STATE.items())), {"a": 1, "kind": "x"})


def test_half_precision_is_for_what_multiplies_and_takes_space() -> None:
    large = torch.arange(2.0**14).view(64, 64, 2, 2) % 1000
    state = STATE | {"large": large, "bias": torch.full((2**14,), 1e-7), "running_var": torch.tensor([1e9, 1e-12])}
    found = halved(state)
    assert {name for name, value in found.items() if value.dtype != state[name].dtype} == {"large"}
    assert all(found[name] is state[name] for name in ("bias", "running_var", "norm.steps", "conv.weight", "empty"))
    assert torch.equal(found["large"].float(), large)  # small whole numbers are exact


@pytest.mark.parametrize("value", [65_520.0, 3e38, float("inf"), float("nan"), 1e-8, 3e-6])
def test_what_half_precision_cannot_hold_stays(value: float) -> None:
    """Too large, not a number, or so small that little is left of it."""
    tensor = torch.full((128, 128), value)
    assert halved({"w": tensor})["w"] is tensor


@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
def test_half_precision_loses_a_two_thousandth_at_most(seed: int, scale: float) -> None:
    exact = scale * torch.randn(64, 32, 3, 3, generator=torch.Generator().manual_seed(seed))
    half = halved({"w": exact})["w"]
    assert half.dtype == torch.float16
    assert (half.float() - exact).norm() <= exact.norm() / 2000


@pytest.mark.parametrize(
    "other",
    [
        {"a": torch.tensor([1.0, 2.5])},  # value
        {"b": torch.tensor([1.0, 2.0])},  # name
        {"a": torch.tensor([[1.0, 2.0]])},  # shape
        {"a": torch.tensor([1.0, 2.0]).view(torch.int32)},  # type, same bytes
        {},
    ],
)
def test_digest_sees_value_name_shape_and_type(other: dict[str, Tensor]) -> None:
    assert digest_tensors(other) != digest_tensors({"a": torch.tensor([1.0, 2.0])})


@pytest.mark.parametrize("kept", [0, 1, 7, 100, -1])
def test_truncated_file_is_refused_by_the_header_alone(path: Path, kept: int) -> None:
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(WeightsError, match=r"weights\.safetensors: not a whole safetensors file"):
        read_header(path)


def test_flipped_byte_in_the_tensors_is_found(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))
    read_header(path)
    with pytest.raises(WeightsError, match=r"weights\.safetensors.*damaged"):
        read_weights(path)


def test_foreign_safetensors_are_named_as_such(tmp_path: Path) -> None:
    for number, metadata in enumerate((None, {"format": "pt"}, {HEADER: "{not json"})):
        path = tmp_path / f"foreign{number}.safetensors"
        save_file(STATE, path, metadata)
        with pytest.raises(
            WeightsError, match=rf"foreign{number}\.safetensors: safetensors without FusionSeg's header"
        ):
            read_header(path)


@pytest.mark.parametrize("value", ['"words"', "[1]", "null", "3"])
def test_header_that_is_no_object_is_refused(tmp_path: Path, value: str) -> None:
    path = tmp_path / "odd.safetensors"
    save_file(STATE, path, {HEADER: value})
    with pytest.raises(WeightsError, match=r"odd\.safetensors"):
        read_header(path)


def test_another_schema_version_says_both(tmp_path: Path) -> None:
    path = tmp_path / "new.safetensors"
    save_file(STATE, path, {HEADER: json.dumps({"schema": "fusionseg.weights", "schema_version": 2})})
    with pytest.raises(WeightsError, match=r"fusionseg\.weights 2, expected fusionseg\.weights 1"):
        read_header(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such weights file"):
        read_header(tmp_path / "none.safetensors")
    with pytest.raises(WeightsError):
        read_header(tmp_path)
