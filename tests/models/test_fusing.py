"""Fused networks give what bfloat16 gave before, for inputs of any size and in any order."""

import copy

import pytest
import torch
from networks import trained
from timm.layers import Conv2dSame
from timm.models.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn

from fusionseg.models.backbone import BACKBONES
from fusionseg.models.folding import fold
from fusionseg.models.fusing import FusedConv, ShiftedSums, can_fuse, fuse
from fusionseg.models.inference import for_inference
from fusionseg.models.precision import FullPrecision, protect
from fusionseg.models.stream import ParallelDilated, Stream

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(not can_fuse(CPU, bf16=False), reason="this PyTorch has no oneDNN")
needs_bf16 = pytest.mark.skipif(not can_fuse(CPU, bf16=True), reason="this processor has no bfloat16 that oneDNN uses")


def images(size: tuple[int, int], count: int = 2) -> Tensor:
    return torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def scores(stream: Stream, pictures: Tensor, bf16: bool) -> Tensor:
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        found: Tensor = stream(stream.prepare(pictures))
    return found.float()


def apart(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().mean() / expected.abs().max())


@pytest.mark.parametrize("decoder", ["parallel-dilated", "skip", "pyramid"])
@pytest.mark.parametrize("name", BACKBONES)
def test_fused_networks_are_equal_to_rounding(name: str, decoder: str) -> None:
    stream = trained(name, decoder, 16)
    fused = for_inference(stream, CPU, bf16=False)
    for size in ((41, 70), (1, 1), (41, 70), (97, 65)):  # in turns: weights are packed again where the size changes
        expected = scores(stream, images(size), bf16=False)
        assert (scores(fused, images(size), bf16=False) - expected).abs().max() < 1e-4 * expected.abs().max()
    replaced = nn.Conv2d | nn.ReLU6 | BasicBlock | Bottleneck | ParallelDilated
    left = [m for m in fused.modules() if isinstance(m, replaced)]
    assert all(isinstance(m, Conv2dSame) and m.kernel_size == (2, 2) for m in left)  # ConvNeXt's, see `fix_padding`


@needs_bf16
@pytest.mark.parametrize("name", BACKBONES)
def test_in_bfloat16_they_are_as_near_to_float32_as_before(name: str) -> None:
    stream = trained(name, "parallel-dilated", 16)
    before, fused = protect(fold(stream)), for_inference(stream, CPU, bf16=True)
    expected = scores(stream, images((97, 65)), bf16=False)
    near = apart(scores(before, images((97, 65)), bf16=True), expected)
    assert 0 < apart(scores(fused, images((97, 65)), bf16=True), expected) < 1.3 * near


@needs_bf16
def test_what_must_stay_exact_stays_in_float32() -> None:
    fused = for_inference(trained("efficientnet-lite0", "skip", 16), CPU, bf16=True)
    exact = [m for part in fused.modules() if isinstance(part, FullPrecision) for m in part.modules()]
    types = {m.get_buffer("weight").dtype: m in exact for m in fused.modules() if isinstance(m, FusedConv)}
    assert types == {torch.float32: True, torch.bfloat16: False}


@pytest.mark.parametrize("combine", ["sum", "max"])
@pytest.mark.parametrize("size", [(3, 4), (13, 30), (61, 50)])
def test_the_shifted_sums_are_the_dilated_branches(combine: str, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    head = ParallelDilated([16], combine)
    for branch in head.branches:
        nn.init.normal_(branch.weight)
        nn.init.normal_(branch.bias)
    features = [torch.randn(2, 16, *size)]
    with torch.inference_mode():
        expected = head(features)
        for index, branch in enumerate(head.branches):
            assert isinstance(branch, nn.Conv2d)
            head.branches[index] = FusedConv(branch, torch.float32)
        torch.testing.assert_close(ShiftedSums(head)(features), expected, rtol=1e-4, atol=1e-4)


def test_inputs_are_not_written_over() -> None:
    """Residual blocks add in place; features that a decoder reads too must be what they were."""
    stream = trained("resnet18", "skip", 16)
    fused = fuse(fold(stream), bf16=False)
    pictures = stream.prepare(images((49, 65)))
    kept = pictures.clone()
    with torch.inference_mode():
        first, second = fused(pictures), fused(pictures)
    assert torch.equal(first, second) and torch.equal(pictures, kept)


@needs_bf16
def test_layers_of_two_types_add_up() -> None:
    """A block in bfloat16 whose shortcut comes from one in float32."""
    stream = fold(trained("resnet18", "parallel-dilated", 16))
    stream.backbone.layer1[0] = FullPrecision(stream.backbone.layer1[0])
    fused = fuse(copy.deepcopy(stream), bf16=True)
    expected = scores(stream, images((49, 65)), bf16=True)
    assert apart(scores(fused, images((49, 65)), bf16=True), expected) < 0.01
