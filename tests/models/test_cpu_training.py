"""Backbones computed as for training on a CPU: results, gradients and tensors are the plain ones."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from fusionseg.models.backbone import create_backbone
from fusionseg.models.cpu_training import DilatedDepthwise, FoldingConv2d, speed_up

CASES = [("efficientnet-lite0", 16), ("efficientnet-lite0", 8), ("resnet18", 8), ("resnet50", 16)]


def make(name: str, stride: int) -> tuple[nn.Module, nn.Module]:
    """Return a backbone with frozen, uneven statistics: plain, and sped up."""
    torch.manual_seed(0)
    plain = create_backbone(name, stride, pretrained=False).eval()
    for norm in (m for m in plain.modules() if isinstance(m, nn.BatchNorm2d)):
        assert norm.running_mean is not None and norm.running_var is not None
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.3)
        norm.running_mean.normal_(std=0.3)
        norm.running_var.uniform_(0.5, 2)
    fast = copy.deepcopy(plain)
    speed_up(fast)
    return plain, fast


def run(model: nn.Module, images: Tensor) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Return the feature maps and the gradients of all parameters."""
    model.zero_grad()
    features = model(images)
    torch.stack([f.square().mean() for f in features]).sum().backward()
    return features, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def assert_close(found: Tensor, expected: Tensor) -> None:
    """Equal to rounding, measured by the largest value."""
    assert float((found - expected).detach().abs().max()) <= 1e-9 * float(expected.detach().abs().max()) + 1e-15


@pytest.mark.parametrize(("name", "stride"), CASES)
@pytest.mark.parametrize("size", [(33, 49), (40, 54)])  # "same" padding is alike on both ends, or not
def test_features_and_gradients_are_equal_to_rounding(name: str, stride: int, size: tuple[int, int]) -> None:
    """In double precision: fifty random layers make much of single precision's rounding."""
    plain, fast = (model.double() for model in make(name, stride))
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (expected, gradients), (found, others) = run(plain, images), run(fast, images)
    for ours, theirs in zip(found, expected, strict=True):
        assert_close(ours, theirs)
    assert gradients.keys() == others.keys() == dict(plain.named_parameters()).keys()
    for key, gradient in gradients.items():
        assert_close(others[key], gradient)


@pytest.mark.parametrize("training", [False, True])
def test_bfloat16_autocast_trains_dilated_depthwise_convolutions(training: bool) -> None:
    """Gradients stay float32, and near those without autocast as far as the network is shallow."""
    convolution = FoldingConv2d(4, 4, 3, padding=2, dilation=2, groups=4, bias=False)
    convolution.same, convolution.norm = False, nn.BatchNorm2d(4).train(training)
    x = torch.randn(2, 4, 9, 9, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            y = convolution(x)
        found.append(torch.autograd.grad(y.float().square().mean(), (x, convolution.weight)))
    for exact, rounded in zip(*found, strict=True):
        assert rounded.dtype == torch.float32
        assert float((rounded - exact).abs().max()) < 0.02 * float(exact.abs().max())


@pytest.mark.parametrize(("name", "stride"), CASES[::2])
def test_every_batch_norm_is_folded_and_none_is_left_behind(name: str, stride: int) -> None:
    plain, fast = make(name, stride)
    assert fast.state_dict().keys() == plain.state_dict().keys()
    norms = {id(m) for m in fast.modules() if isinstance(m, nn.BatchNorm2d)}
    assert norms == {id(m.norm) for m in fast.modules() if isinstance(m, FoldingConv2d)} and norms


def test_a_copy_computes_with_its_own_parameters() -> None:
    """Such as the running mean of weights."""
    _, fast = make("resnet18", 32)
    other = copy.deepcopy(fast)
    images = torch.randn(1, 3, 33, 33)
    before = other(images)[-1]
    for parameter in fast.parameters():
        nn.init.zeros_(parameter)
    assert not fast(images)[-1].any() and torch.equal(other(images)[-1], before)


@pytest.mark.parametrize("mode", ["trained", "autocast"])
def test_trained_statistics_and_half_precision_are_computed_as_ever(mode: str) -> None:
    plain, fast = make("efficientnet-lite0", 16)
    images = torch.randn(2, 3, 33, 49)
    if mode == "trained":
        plain.train(), fast.train()
    with torch.autocast("cpu", torch.bfloat16, enabled=mode == "autocast"):
        expected, found = plain(images), fast(images)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(plain.buffers(), fast.buffers(), strict=True))


@pytest.mark.parametrize(("kernel", "dilation", "padding"), [((3, 3), (2, 2), (2, 2)), ((5, 3), (2, 3), (1, 0))])
def test_gradients_of_dilated_depthwise_convolution(
    kernel: tuple[int, int], dilation: tuple[int, int], padding: tuple[int, int]
) -> None:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(2, 3, 11, 12, dtype=torch.float64, generator=generator, requires_grad=True)
    weight = torch.randn(3, 1, *kernel, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *given: DilatedDepthwise.apply(*given, padding, dilation), (x, weight))


def test_dilated_depthwise_convolution_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    apply = DilatedDepthwise.apply
    monkeypatch.setattr(DilatedDepthwise, "apply", lambda *given: (used.append(given[1].shape), apply(*given))[1])
    _, fast = make("efficientnet-lite0", 16)
    fast(torch.randn(1, 3, 33, 33))
    assert used == [(1152, 1, 5, 5)] * 3 + [(1152, 1, 3, 3)]
