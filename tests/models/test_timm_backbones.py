"""Any backbone of timm's: what is taken lies where ours lie, what is refused is refused in one line."""

import pytest
import timm
import torch
from torch import nn

from fusionseg.models.backbone import BACKBONES, AlignedPatches, create_backbone, levels, preprocessing_of
from fusionseg.models.folding import fold
from fusionseg.models.outside.alignment import problem
from fusionseg.models.outside.plugins import PluginError, backbones
from fusionseg.models.precision import is_sensitive
from fusionseg.models.stream import Architecture, Stream


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("name", BACKBONES)
def test_our_own_pass_the_measurement(name: str, output_stride: int) -> None:
    assert problem(create_backbone(name, output_stride, False), output_stride) is None


class Aside(nn.Module):
    """Maps of the right size, half a step aside."""

    channels, reductions = (4, 4), (4, 8)

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList([nn.Conv2d(3, 4, 5, 4, 2), nn.Conv2d(4, 4, 2, 2)])

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        first = self.convolutions[0](x)
        return [first, self.convolutions[1](nn.functional.pad(first, (0, 1, 0, 1)))]


def test_the_measurement_sees_half_a_step() -> None:
    assert problem(Aside(), 8) == "its map of stride 8 isn't centred on the picture, and masks would be shifted"
    assert problem(Aside(), 16) == "its deepest map has stride 8"


@pytest.mark.parametrize("name", ["mobilenetv2_050", "regnety_002", "resnet18", "resnetv2_50", "tf_efficientnet_lite3"])
def test_the_features_are_timm_s(name: str) -> None:
    torch.manual_seed(0)
    found = create_backbone(f"timm:{name}", 16, False).eval()
    torch.manual_seed(0)
    expected = timm.create_model(name, features_only=True, output_stride=16).eval()
    images = torch.randn(1, 3, 65, 81)
    with torch.inference_mode():
        assert all(torch.equal(a, b) for a, b in zip(found(images), expected(images), strict=True))
    config = timm.get_pretrained_cfg(name)
    assert preprocessing_of(f"timm:{name}").mean == pytest.approx([255 * m for m in config.mean])


@pytest.mark.parametrize("name", ["convnext_atto", "convnextv2_atto"])
def test_patches_are_moved_into_place(name: str) -> None:
    model = create_backbone(f"timm:{name}", 16, False)
    assert isinstance(model, AlignedPatches) and levels(model)[1] == [4, 8, 16, 16]


REFUSED = {
    "resnet26d": "its map of stride 8 isn't centred",
    "convnext_atto_ols": "a 65x81 picture gives maps of",
    "vgg11_bn": "it gives no maps",
    "vit_tiny_patch16_224": "it gives no maps .*output_stride",
}


@pytest.mark.parametrize("name", REFUSED)
def test_others_are_refused_in_one_line(name: str) -> None:
    pattern = rf"the backbone 'timm:{name}' \({name}.*\) can't be used at output stride 16: {REFUSED[name]}"
    with pytest.raises(PluginError, match=pattern) as error:
        create_backbone(f"timm:{name}", 16, False)
    assert "\n" not in str(error.value)


def test_a_misspelt_name_is_told_with_its_neighbours() -> None:
    with pytest.raises(ValueError, match=r"timm knows no model 'regnety_02'; near: .*regnety_002"):
        backbones.check("timm:regnety_02")


def test_the_weights_that_a_plain_name_stands_for_enter_the_key() -> None:
    plain, full = backbones.get("timm:resnet18"), backbones.get("timm:resnet18.tv_in1k")
    assert plain.version.startswith("resnet18.") and full.version == "resnet18.tv_in1k" != plain.version


def test_random_numbers_are_those_of_the_network_alone() -> None:
    """The measurement before takes none, whether it is done or remembered."""
    states = []
    for _ in range(2):
        torch.manual_seed(0)
        create_backbone("timm:regnetx_002", 16, False)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_lite_is_sensitive_under_timm_s_name_too() -> None:
    assert is_sensitive(Stream(Architecture("timm:tf_efficientnet_lite0")))
    assert not is_sensitive(Stream(Architecture("timm:regnety_002")))


class Twice(nn.Module):
    """One convolution under two BatchNorms, which folding must leave alone."""

    channels, reductions = (4, 4), (4, 8)

    def __init__(self, output_stride: int, pretrained: bool) -> None:
        super().__init__()
        self.stem, self.again = nn.Conv2d(3, 4, 5, 4, 2), nn.Conv2d(4, 4, 3, 1, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(4) for _ in range(2))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        x = self.stem(x)
        first = self.norms[0](self.again(x))
        return [first, self.norms[1](self.again(first))[..., ::2, ::2]]


def test_what_can_t_be_folded_isn_t(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "_registered", {})
    backbones.register("twice", "1")(Twice)
    stream = Stream(Architecture("twice", "parallel-dilated", 8))
    for norm in stream.backbone.norms:  # type: ignore[union-attr]
        nn.init.uniform_(norm.running_var, 0.2, 2)
        nn.init.normal_(norm.bias)
    folded = fold(stream)
    assert [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)] and stream.training
    x = stream.prepare(torch.randint(0, 256, (1, 3, 33, 41), dtype=torch.uint8))
    with torch.inference_mode():
        assert torch.equal(folded(x), stream.eval()(x))


def test_skip_says_which_map_it_misses(monkeypatch: pytest.MonkeyPatch) -> None:
    class Coarse(Twice):
        reductions = (8, 8)

        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            return [m[..., ::2, ::2] if n == 0 else m for n, m in enumerate(super().forward(x))]

    monkeypatch.setattr(backbones, "_registered", {})
    backbones.register("coarse", "1")(Coarse)
    with pytest.raises(ValueError, match=r"the decoder skip needs a map of stride 4, the backbone has \[8, 8\]"):
        Stream(Architecture("coarse", "skip", 8))
