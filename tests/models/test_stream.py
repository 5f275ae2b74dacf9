"""A stream's shapes, alignment, gradients and frozen statistics."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusionseg.models import stream as stream_module
from fusionseg.models.backbone import BACKBONES, OUTPUT_STRIDES
from fusionseg.models.preprocessing import CAFFE, Preprocessing
from fusionseg.models.stream import (
    DECODERS,
    RELEASE_DILATIONS,
    Architecture,
    ParallelDilated,
    Stream,
    padded_size,
    to_frame,
    upsample,
)

ARCHITECTURES = {
    "skip": Architecture("efficientnet-lite0", "skip", 16),
    "parallel-dilated": Architecture("efficientnet-lite0", "parallel-dilated", 8),
    "resnet": Architecture("resnet18", "skip", 8),
    "pyramid": Architecture("efficientnet-lite0", "pyramid", 32),
    "stride-32": Architecture("efficientnet-lite0", "parallel-dilated", 32),
}
STREAMS: dict[str, Stream] = {}


def stream_of(name: str) -> Stream:
    """Return a stream on random weights, built once."""
    if name not in STREAMS:
        torch.manual_seed(0)
        STREAMS[name] = Stream(ARCHITECTURES[name])
    return STREAMS[name]


@pytest.mark.parametrize("stride", [4, 8, 16, 32])
def test_padded_size_is_the_smallest_that_fits(stride: int) -> None:
    for size in range(1, 100):
        candidates = [stride * k + 1 for k in range(101)]
        assert padded_size(size, stride) == next(c for c in candidates if c >= size)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("size", [(1, 1), (2, 30), (33, 17), (17, 3)])
def test_scores_cover_inputs_of_any_size(name: str, size: tuple[int, int]) -> None:
    stream = stream_of(name).eval()
    images = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8)
    with torch.inference_mode():
        prepared = stream.prepare(images)
        scores = stream(prepared)
    height, width = prepared.shape[-2:]
    assert (height, width) == tuple(padded_size(n, stream.pad_stride) for n in size)
    stride = stream.score_stride
    assert tuple(scores.shape) == (1, 2, (height - 1) // stride + 1, (width - 1) // stride + 1)
    assert scores.dtype == torch.float32 and bool(scores.isfinite().all())
    assert tuple(upsample(scores, stride, size).shape) == (1, 2, *size)


def test_strides_are_those_of_the_decoder() -> None:
    assert [stream_of(n).score_stride for n in ("skip", "parallel-dilated", "resnet", "stride-32")] == [4, 8, 4, 32]
    assert [stream_of(n).pad_stride for n in ("skip", "parallel-dilated", "resnet", "stride-32")] == [16, 8, 8, 32]


@pytest.mark.parametrize("name", ["skip", "resnet"])
def test_prepare_normalises_and_pads_right_and_below_with_the_mean(name: str) -> None:
    stream = stream_of(name)
    images = torch.randint(0, 256, (1, 3, 20, 18), dtype=torch.uint8)
    prepared = stream.prepare(images)
    mean, std = ((127,) * 3, (128,) * 3) if name == "skip" else ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
    expected = (images[0].numpy().transpose(1, 2, 0).astype(np.float64) - mean) / std
    np.testing.assert_allclose(prepared[0, :, :20, :18].numpy().transpose(1, 2, 0), expected, atol=1e-5)
    assert not prepared[..., 20:, :].any() and not prepared[..., 18:].any()


def ramp(height: int, width: int, stride: int) -> tuple[Tensor, Tensor]:
    """Return an ideal linear ramp over pixels, and the same sampled at stride positions, as scores."""
    rows, columns = torch.meshgrid(torch.arange(height * 1.0), torch.arange(width * 1.0), indexing="ij")
    full = torch.stack([3 * columns - 50, 2 * rows - columns])[None]
    return full, full[..., ::stride, ::stride]


@pytest.mark.parametrize("stride", [4, 8, 16])
@pytest.mark.parametrize("residue", range(8))
def test_upsampling_reproduces_a_ramp_sampled_at_stride_positions(stride: int, residue: int) -> None:
    size = (32 + residue, 40 + (residue * 3) % 8)
    full, scores = ramp(padded_size(size[0], stride), padded_size(size[1], stride), stride)
    found = upsample(scores, stride, size)
    torch.testing.assert_close(found, full[..., : size[0], : size[1]], rtol=0, atol=1e-4)


@pytest.mark.parametrize("residue", range(8))
def test_an_edge_in_the_scores_lands_on_its_pixel(residue: int) -> None:
    stride, size = 8, (40 + residue, 56 + residue)
    width = padded_size(size[1], stride)
    for edge in range(9, 50, 5):
        # A score that changes sign between pixels edge - 1 and edge, linear around it.
        line = (torch.arange(width * 1.0) - (edge - 0.5))[None].expand(padded_size(size[0], stride), -1)
        scores = torch.stack([-line, line])[None][..., ::stride, ::stride]
        mask = to_frame(scores, stride, size, size).argmax(1)[0]
        assert bool((mask[:, edge:] == 1).all()) and bool((mask[:, :edge] == 0).all())


class Box(nn.Module):
    """A backbone of known geometry: the mean grey of 17 x 17 pixels, those on the rim half, at every 8th."""

    def __init__(self) -> None:
        super().__init__()
        line = torch.ones(17)
        line[[0, -1]] = 0.5
        self.register_buffer("kernel", (torch.outer(line, line) / 256 / 3).expand(1, 3, 17, 17).clone())
        self.feature_info = self

    def channels(self) -> list[int]:
        return [1]

    def reduction(self) -> list[int]:
        return [8]

    def forward(self, x: Tensor) -> list[Tensor]:
        return [F.conv2d(x, self.get_buffer("kernel"), stride=8, padding=8)]


@pytest.mark.parametrize("width", range(40, 48))
def test_an_edge_that_slides_over_a_picture_is_found_on_its_pixel(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # A box as wide as two strides makes of an edge a slope that linear upsampling gives back exactly; what remains is
    # the way of every picture: `prepare`, the network at stride 8, `to_frame`.
    monkeypatch.setattr(stream_module, "create_backbone", lambda *_: Box())
    grey = Preprocessing("rgb", (127.5,) * 3, (127.5,) * 3)
    stream = Stream(Architecture("resnet101", "parallel-dilated", 8, "1x1"), preprocessing=grey)
    for branch in stream.decoder.branches:  # type: ignore[union-attr]
        nn.init.zeros_(branch.weight)
    with torch.no_grad():  # object where bright: the middle of one of the four kernels
        stream.decoder.branches[0].weight[:, 0, 1, 1] = torch.tensor([-1.0, 1.0])  # type: ignore[index, union-attr]
    size = (width + 11, width)
    for edge in range(16, 24):  # all residues of the edge, by all of the size
        image = torch.zeros(1, 3, *size, dtype=torch.uint8)
        image[..., edge:] = 255
        for turned in (False, True):
            picture = image.transpose(2, 3) if turned else image
            shape = (picture.shape[2], picture.shape[3])
            scores = stream(stream.prepare(picture))
            mask = to_frame(scores, stream.score_stride, shape, shape).argmax(1)
            assert tuple(mask.shape[-2:]) == shape
            assert torch.equal(mask[0], (picture[0, 0] > 0).long())


def test_frames_that_were_resized_get_scores_resized_as_images_are() -> None:
    # The network saw a picture of 20x30, the frame has 40x60; scores at stride 1 cover the padded 21x33.
    scores = torch.randn(1, 2, 21, 33, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(scores[..., :20, :30], size=(40, 60), mode="bilinear", align_corners=False)
    assert torch.equal(to_frame(scores, 1, (20, 30), (40, 60)), expected)
    # An edge in the middle of the picture stays in its middle.
    step = torch.zeros(1, 2, 21, 33)
    step[:, 1, :, 15:] = 1.0
    step[:, 0] = 0.5
    mask = to_frame(step, 1, (20, 30), (40, 60)).argmax(1)[0]
    assert bool((mask[:, 30:] == 1).all()) and not bool(mask[:, :30].any())


def test_scores_that_do_not_cover_the_input_are_refused() -> None:
    scores = torch.zeros(1, 2, 3, 3)
    assert upsample(scores, 8, (17, 17)).shape[-2:] == (17, 17)
    for size in ((18, 17), (17, 18)):
        with pytest.raises(ValueError, match=r"cover \(17, 17\) pixels"):
            upsample(scores, 8, size)


@pytest.mark.parametrize("name", ["skip", "parallel-dilated", "resnet"])
def test_training_changes_no_running_statistics_and_reaches_every_parameter(name: str) -> None:
    stream = stream_of(name).train()
    norms = [m for m in stream.backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and not any(m.training for m in norms)
    before = {k: v.clone() for k, v in stream.state_dict().items() if "running" in k or "num_batches" in k}
    assert before
    for norm in norms:  # timm starts a residual block's last one at 0, which would cut off its convolutions
        nn.init.ones_(norm.weight)
    stream.zero_grad()
    scores = stream(torch.randn(2, 3, 49, 33, generator=torch.Generator().manual_seed(4)))
    scores.square().sum().backward()
    state = stream.state_dict()
    assert all(torch.equal(state[k], v) for k, v in before.items())
    silent = [n for n, p in stream.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert silent == []


def test_trained_batch_norm_learns_the_statistics_of_what_it_sees() -> None:
    stream = stream_of("skip")
    stream.batch_norm_trained = True
    images = 5 + torch.randn(2, 3, 49, 33, generator=torch.Generator().manual_seed(4))
    before = {k: v.clone() for k, v in stream.state_dict().items() if "running" in k}
    assert before
    stream.eval()(images)
    assert all(torch.equal(stream.state_dict()[k], v) for k, v in before.items())
    stream.train()(images)
    assert not any(torch.equal(stream.state_dict()[k], v) for k, v in before.items())


@pytest.mark.parametrize("output_stride", OUTPUT_STRIDES)
@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_trains_under_every_decoder_at_every_stride(
    backbone: str, decoder: str, output_stride: int
) -> None:
    torch.manual_seed(0)
    stream = Stream(Architecture(backbone, decoder, output_stride)).train()
    scores = stream(stream.prepare(torch.randint(0, 256, (1, 3, 33, 30), dtype=torch.uint8)))
    stride = stream.score_stride
    assert stride == (output_stride if decoder == "parallel-dilated" else 4) and stream.pad_stride == output_stride
    assert tuple(scores.shape) == (1, 2, 32 // stride + 1, 32 // stride + 1)
    upsample(scores, stride, (33, 30)).square().mean().backward()
    gradients = [p.grad for p in stream.parameters()]
    assert all(g is not None and bool(g.isfinite().all()) for g in gradients)
    assert bool(gradients[0].any()), "nothing reached the first layer"  # type: ignore[union-attr]


def test_train_mode_still_holds_for_everything_else() -> None:
    stream = stream_of("skip").train()
    assert stream.training and stream.decoder.training and stream.backbone.training
    stream.eval()
    assert not stream.decoder.training


def test_preprocessing_is_no_part_of_the_weights() -> None:
    assert not {"mean", "std"} & stream_of("skip").state_dict().keys()


def test_the_paper_s_head_is_the_sum_of_four_dilated_convolutions() -> None:
    assert RELEASE_DILATIONS == (6, 12, 18, 24)
    head = ParallelDilated([7, 5])
    weights = [torch.randn(2, 5, 3, 3) for _ in RELEASE_DILATIONS]
    biases = [torch.randn(2) for _ in RELEASE_DILATIONS]
    for branch, weight, bias in zip(head.branches, weights, biases, strict=True):
        branch.load_state_dict({"weight": weight, "bias": bias})
    features = torch.randn(1, 5, 31, 29)
    with torch.inference_mode():
        found = head([torch.randn(1, 7, 62, 58), features])[0].numpy()
    # One output pixel at a time, by hand; (2, 3) has neighbours outside the map.
    padded = np.pad(features[0].numpy(), ((0, 0), (24, 24), (24, 24)))
    for y, x in ((15, 14), (2, 3), (30, 28)):
        expected = np.zeros(2)
        for dilation, weight, bias in zip((6, 12, 18, 24), weights, biases, strict=True):
            for i, j in np.ndindex(3, 3):
                at = padded[:, 24 + y + (i - 1) * dilation, 24 + x + (j - 1) * dilation]
                expected += weight[:, :, i, j].numpy() @ at
            expected += bias.numpy()
        np.testing.assert_allclose(found[:, y, x], expected, rtol=1e-4, atol=1e-4)


def test_the_head_s_branches_can_be_combined_by_their_maximum() -> None:
    torch.manual_seed(0)
    by_sum, by_maximum = ParallelDilated([5]), ParallelDilated([5], "max")
    by_maximum.load_state_dict(by_sum.state_dict())
    features = torch.randn(1, 5, 31, 29)
    with torch.inference_mode():
        branches = [branch(features) for branch in by_sum.branches]
        expected = np.maximum.reduce([branch.numpy() for branch in branches])
        np.testing.assert_array_equal(by_maximum([features]).numpy(), expected)
        assert not np.allclose(by_sum([features]).numpy(), expected)
    stream = Stream(Architecture("efficientnet-lite0", "parallel-dilated", 16, combine="max"))
    assert stream.decoder.combine == "max"


def test_the_paper_s_stream_has_the_released_parameters() -> None:
    with torch.device("meta"):
        stream = Stream(Architecture("resnet101", "parallel-dilated", 8, "1x1"))
    body = 42_500_160  # counted by hand in test_backbone.py
    assert sum(p.numel() for p in stream.parameters()) == body + 4 * (2048 * 2 * 9 + 2) == 42_647_624


def test_the_paper_s_head_has_the_released_parameters() -> None:
    head = ParallelDilated([2048])
    assert sum(p.numel() for p in head.parameters()) == 4 * (2048 * 2 * 9 + 2)
    assert all(branch.bias is not None and not branch.bias.any() for branch in head.branches)  # type: ignore[operator, union-attr]


def test_caffe_s_weights_get_their_own_preprocessing() -> None:
    stream = Stream(Architecture("efficientnet-lite0", "parallel-dilated", 8), preprocessing=CAFFE)
    images = torch.randint(0, 256, (1, 3, 20, 18), dtype=torch.uint8)
    black = np.zeros((25, 25, 3))
    black[:20, :18] = images[0].numpy().transpose(1, 2, 0)
    expected = black[..., ::-1] - (104.008, 116.669, 122.675)
    np.testing.assert_allclose(stream.prepare(images)[0].numpy().transpose(1, 2, 0), expected, atol=1e-4)


def test_unknown_decoder_and_backbone_are_named() -> None:
    with pytest.raises(ValueError, match="unknown combine 'mean'; known: sum, max"):
        Stream(Architecture(combine="mean"))
    with pytest.raises(ValueError, match=r"unknown decoder 'unet'; known: parallel-dilated, skip"):
        Stream(Architecture(decoder="unet"))
    with pytest.raises(ValueError, match="unknown backbone 'vgg'"):
        Stream(Architecture(backbone="vgg"))


def test_architecture_goes_through_json_and_back() -> None:
    architecture = Architecture("resnet101", "parallel-dilated", 8, "1x1")
    assert Architecture(**architecture.as_dict()) == architecture


def test_an_architecture_of_version_0_1_has_its_branches_summed() -> None:
    old = {"backbone": "resnet101", "decoder": "parallel-dilated", "output_stride": 8, "stride_on": "1x1"}
    assert Architecture(**old).combine == "sum"
