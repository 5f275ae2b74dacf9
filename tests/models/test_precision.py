"""Layers that stay in float32 under autocast."""

import pytest
import torch
from torch import Tensor

from fusionseg.models.folding import fold
from fusionseg.models.precision import FullPrecision, protect
from fusionseg.models.stream import Architecture, Stream


def scores(stream: Stream, enabled: bool) -> Tensor:
    pictures = torch.randint(0, 256, (2, 3, 65, 81), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
        found: Tensor = stream(stream.prepare(pictures))
    return found.float()


@pytest.fixture(scope="module")
def stream() -> Stream:
    return Stream(Architecture("efficientnet-lite0", "skip", 16), pretrained=True).eval()


def test_bfloat16_changes_less_with_the_first_layers_exact(stream: Stream) -> None:
    exact = scores(stream, enabled=False)
    plain, protected = fold(stream), protect(fold(stream))
    assert torch.equal(scores(protected, enabled=False), scores(plain, enabled=False))
    errors = [float((scores(s, enabled=True) - exact).abs().mean()) for s in (protected, plain)]
    assert 0 < errors[0] < 0.7 * errors[1]


def test_a_resnet_sees_the_picture_itself() -> None:
    stream = protect(Stream(Architecture("resnet18", "parallel-dilated", 8)))
    assert [name for name, m in stream.backbone.named_modules() if isinstance(m, FullPrecision)] == ["conv1"]


def test_networks_that_need_no_protection_stay_as_they_are() -> None:
    stream = Stream(Architecture("convnext-tiny", "parallel-dilated", 8))
    assert not [m for m in protect(stream).modules() if isinstance(m, FullPrecision)]
