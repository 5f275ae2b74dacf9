"""RAFT: accuracy with the authors' weights, both repositories' names, frames of any size, files that don't fit."""

import re
from pathlib import Path
from typing import Any
from urllib.error import URLError

import cv2
import numpy as np
import pytest
import raft_reference as reference
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models import WeightsEnum
from torchvision.models.optical_flow import RAFT

from fusionseg.models.backbone import WeightsUnavailable
from fusionseg.models.raft import ITERATIONS, create_raft, estimate_flow, torchvision_name
from fusionseg.models.weights import WeightsError

PARAMETERS = {"raft-small": 990_162, "raft-large": 5_257_536}  # as published


def save(path: Path, state: Any) -> Path:
    """Write a state dict, or what stands in its place."""
    torch.save(state, path)
    return path


def frames(size: tuple[int, int], count: int = 2, seed: int = 0) -> Tensor:
    """Random frames (count, 3, H, W) uint8."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=generator)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> RAFT:
    """Return raft-small with random weights."""
    path = save(tmp_path_factory.mktemp("raft") / "small.pth", reference.random_state(large=False))
    return create_raft("raft-small", path)


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("plain", [True, False])
def test_the_authors_names_give_the_network_of_the_paper(tmp_path: Path, name: str, plain: bool) -> None:
    """Random weights, so that each tensor in a wrong place would show."""
    state = reference.random_state(large=name == "raft-large")
    if name == "raft-large":  # as large as trained ones: random steps would leave the frame
        for part in ("weight", "bias"):
            state[f"update_block.flow_head.conv2.{part}"] /= 10
    model = create_raft(name, save(tmp_path / "raft.pth", state if plain else reference.with_twins(state)))
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]
    first, second = frames((128, 136)).split(1)
    with torch.inference_mode():
        expected = reference.flow(state, first / 127.5 - 1, second / 127.5 - 1, 3)
    assert expected.std() > 0.1
    torch.testing.assert_close(estimate_flow(model, first, second, 3), expected, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_torchvision_names_and_other_files(tmp_path: Path, small: RAFT, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    save_file(small.state_dict(), path) if suffix == ".safetensors" else save(path, small.state_dict())
    again = create_raft("raft-small", path)
    assert not again.training
    for name, value in small.state_dict().items():
        assert torch.equal(again.state_dict()[name], value) and torchvision_name(name) == name


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (7, 5), (129, 128)])
def test_frames_of_any_size(small: RAFT, size: tuple[int, int]) -> None:
    first, second = frames(size).split(1)
    flow = estimate_flow(small, first, second, 1)
    assert flow.shape == (1, 2, *size) and flow.dtype == torch.float32 and torch.isfinite(flow).all()


def test_a_batch_gives_what_its_pairs_give_and_repeats_itself(small: RAFT) -> None:
    pictures = frames((128, 128), 4)
    both = estimate_flow(small, pictures[:2], pictures[2:], 2)
    assert torch.equal(estimate_flow(small, pictures[:2], pictures[2:], 2), both)
    for index in range(2):
        one = estimate_flow(small, pictures[index : index + 1], pictures[index + 2 : index + 3], 2)
        torch.testing.assert_close(both[index : index + 1], one, rtol=1e-3, atol=1e-3)


def test_nothing_stays_behind(small: RAFT) -> None:
    flow = estimate_flow(small, *frames((128, 128)).split(1), 1)
    assert not small.corr_block.corr_pyramid and not flow.requires_grad


def test_wrong_arguments(small: RAFT) -> None:
    with pytest.raises(ValueError, match="unknown RAFT 'raft'; known: raft-small, raft-large"):
        create_raft("raft")
    with pytest.raises(ValueError, match=r"frames differ in size: \(1, 3, 9, 9\) and \(1, 3, 9, 8\)"):
        estimate_flow(small, frames((9, 9), 1), frames((9, 8), 1))


def changed(**changes: Tensor | None) -> dict[str, Tensor]:
    """Random weights of raft-small with some replaced, left out or added."""
    state: dict[str, Tensor | None] = {**reference.random_state(large=False), **changes}
    return {name: value for name, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (changed(**{"fnet.conv1.bias": None}), r"lacks feature_encoder\.convnormrelu\.0\.bias, found 105 tensors"),
        ({}, r"lacks feature_encoder\.convnormrelu\.0\.weight \(and 105 more\), found 0 tensors"),
        (changed(**{"fnet.conv9.bias": torch.ones(2)}), r"fnet\.conv9\.bias is no parameter of raft-small"),
        (
            changed(**{"fnet.conv1.bias": torch.ones(5)}),
            r"fnet\.conv1\.bias has shape \(5,\), raft-small expects \(32,\)",
        ),
        (
            reference.random_state(large=True),
            r"fnet\.conv1\.weight has shape \(64, 3, 7, 7\), raft-small expects \(32, 3, 7, 7\); choose the method",
        ),
        (changed(**{"cnet.conv2.bias": torch.full((160,), torch.nan)}), r"cnet\.conv2\.bias holds NaN or infinity"),
        (
            changed(**{"module.fnet.conv1.bias": torch.ones(32)}),
            r"module\.fnet\.conv1\.bias repeats raft-small's feature_encoder\.convnormrelu\.0\.bias with other values",
        ),
        ([1, 2], "holds list, expected a dictionary of tensors by name"),
        ({"state_dict": {}}, "holds dict, expected a dictionary of tensors by name"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, state: Any, message: str) -> None:
    path = save(tmp_path / "raft.pth", state)
    with pytest.raises(WeightsError, match=rf"^{re.escape(str(path))}: {message}"):
        create_raft("raft-small", path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("data", [b"", b"\x80", b"words, many words, " * 20])
def test_a_file_that_holds_no_tensors_is_refused(tmp_path: Path, data: bytes, suffix: str) -> None:
    path = tmp_path / f"raft{suffix}"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=rf"raft{suffix}: not a whole .*file") as refused:
        create_raft("raft-small", path)
    assert "\n" not in str(refused.value)


def test_a_truncated_file_and_other_wrong_paths_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "raft.pth", reference.random_state(large=False))
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(WeightsError, match=r"raft\.pth: not a whole file of tensors \(RuntimeError"):
        create_raft("raft-small", path)
    with pytest.raises(WeightsError, match=r"none\.pth: no such weights file"):
        create_raft("raft-small", tmp_path / "none.pth")
    with pytest.raises(WeightsError, match=r"raft\.onnx: unknown kind of weights file '\.onnx'; expected \.pth"):
        create_raft("raft-small", tmp_path / "raft.onnx")


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_failed_download_names_the_file_and_the_way_out(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(WeightsEnum, "get_state_dict", fail)
    file = name.replace("-", "_") + r"_\w+_V2-\w+\.pth"
    with pytest.raises(WeightsUnavailable, match=rf"{file}, could not .*\(URLError\).*optical-flow\.raft_weights=FILE"):
        create_raft(name)


def test_a_download_is_used(monkeypatch: pytest.MonkeyPatch, small: RAFT) -> None:
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda *arguments, **options: small.state_dict())
    model = create_raft("raft-small")
    assert torch.equal(model.state_dict()["context_encoder.conv.bias"], small.state_dict()["context_encoder.conv.bias"])
    assert not model.training


@pytest.mark.real
def test_end_point_error_on_rubberwhale(real_data: Path) -> None:
    weights = real_data.parent / "weights" / "raft-small.pth"
    if not weights.is_file():
        pytest.skip(f"no RAFT weights at {weights}; they belong beside the real data")
    folder = real_data / "rubberwhale"
    pair = [cv2.imread(str(folder / f"frame{n}.png")) for n in (10, 11)]
    tensors = [torch.from_numpy(frame[..., ::-1].copy()).permute(2, 0, 1)[None] for frame in pair if frame is not None]
    model = create_raft("raft-small", weights)
    flow = estimate_flow(model, tensors[0], tensors[1])[0].permute(1, 2, 0).numpy()
    truth = cv2.readOpticalFlow(str(folder / "flow10.flo"))
    known = (np.abs(truth) <= 1e9).all(-1)
    error = np.linalg.norm(flow - truth, axis=-1)[known].mean()
    print(f"end-point error after {ITERATIONS} iterations: {error:.3f} px")
    assert error == pytest.approx(0.320, abs=0.003)  # that of the authors' own program


@pytest.mark.real
def test_the_authors_weights_follow_a_shift(real_data: Path) -> None:
    weights = real_data.parent / "weights" / "raft-small.pth"
    if not weights.is_file():
        pytest.skip(f"no RAFT weights at {weights}; they belong beside the real data")
    picture = cv2.imread(str(real_data / "rubberwhale" / "frame10.png"))
    assert picture is not None
    whole = torch.from_numpy(picture[..., ::-1].copy()).permute(2, 0, 1)[None]
    first, second = whole[..., 20:180, 20:220], whole[..., 17:177, 26:226]
    model = create_raft("raft-small", weights)
    flow = estimate_flow(model, first, second)[0, :, 16:-16, 16:-16].flatten(1).median(1).values
    torch.testing.assert_close(flow, torch.tensor([-6.0, 3.0]), rtol=0, atol=0.3)
