"""Folded networks give what the networks gave."""

import pytest
import torch
from networks import scores, trained
from timm.layers import Conv2dSame
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fusionseg.models.backbone import BACKBONES
from fusionseg.models.folding import fix_padding, fold, fold_batch_norms


@pytest.mark.parametrize("name", BACKBONES)
def test_folded_networks_are_equal_to_rounding(name: str) -> None:
    stream = trained(name, "parallel-dilated" if name.startswith("resnet") else "skip", 16)
    folded = fold(stream)
    for size in ((41, 70), (1, 1)):
        expected = scores(stream, size)
        assert (scores(folded, size) - expected).abs().max() < 1e-4 * expected.abs().max()
    left = [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d | Conv2dSame)]
    assert not left or (name == "convnext-tiny" and all(m.kernel_size == (2, 2) for m in left))
    assert not folded.training


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_the_fixed_padding_is_that_of_tensorflow(output_stride: int) -> None:
    stream = trained("efficientnet-lite0", "skip", output_stride)
    before = [scores(stream, size) for size in ((output_stride * 2 + 1, 50), (1, 7))]
    fix_padding(stream)
    assert not [m for m in stream.modules() if isinstance(m, Conv2dSame)]
    after = [scores(stream, size) for size in ((output_stride * 2 + 1, 50), (1, 7))]
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_the_network_itself_stays_as_it_is() -> None:
    stream = trained("resnet18", "parallel-dilated", 16).train()
    state = {name: value.clone() for name, value in stream.state_dict().items()}
    folded = fold(stream)
    assert stream.training and stream.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in stream.state_dict().items())
    assert not {p.data_ptr() for p in folded.parameters()} & {p.data_ptr() for p in stream.parameters()}


def test_a_batch_norm_that_follows_no_convolution_stays() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1, bias=True), nn.BatchNorm2d(2)
    )
    for norm in (network[2], network[4]):
        nn.init.normal_(norm.running_mean)
    network.eval()
    picture = torch.randn(2, 3, 9, 9)
    with torch.inference_mode():
        expected = network(picture)
        fold_batch_norms(network, 9)
        torch.testing.assert_close(network(picture), expected, rtol=1e-5, atol=1e-6)
    assert [isinstance(m, nn.BatchNorm2d) for m in network] == [False, False, True, False, False]


def test_folding_is_pytorch_s_own_to_rounding() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 40, 3), nn.BatchNorm2d(40)).eval()
    for tensor in (network[1].running_mean, network[1].weight, network[1].bias):
        nn.init.normal_(tensor)
    nn.init.uniform_(network[1].running_var, 0.5, 1.5)
    expected = fuse_conv_bn_eval(network[0], network[1])
    fold_batch_norms(network, 9)
    for found, value in zip(network.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(found, value, rtol=1e-6, atol=1e-6)
