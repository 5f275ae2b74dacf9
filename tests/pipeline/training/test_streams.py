"""What both streams' trainings share: batches, learning rates, validation."""

from pathlib import Path

import numpy as np
import pytest
import torch
from builders import make_context, make_work, moving_square
from torch import nn

from fusionseg.models.backbone import WeightsUnavailable
from fusionseg.models.labels import VOID
from fusionseg.models.stream import Architecture, Stream
from fusionseg.models.weights import read_weights
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.networks.trained import architecture_of, stream_header
from fusionseg.pipeline.scoring.measures import valid_j
from fusionseg.pipeline.settings.profile import read_profile
from fusionseg.pipeline.settings.sections import Network
from fusionseg.pipeline.settings.trainings import StreamTraining
from fusionseg.pipeline.store.artifacts import WeightsWriter, record_of
from fusionseg.pipeline.training import streams as stream_training
from fusionseg.pipeline.training.samples import Augmentation, crop_pair
from fusionseg.pipeline.training.streams import build_stream, parameter_groups, stack, train_stream, validation_j

CPU = torch.device("cpu")
NETWORK = Network(pretrained=False, bf16=False, long_side=0)


def samples(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return frames (H, W, 3) RGB and labels of the moving square."""
    return [(frame[..., ::-1].copy(), mask.astype(np.uint8)) for frame, mask in moving_square(count)]


def test_stack_turns_pictures_into_a_batch() -> None:
    pairs = samples(3)
    tensors = stack([(image[:, ::-1], label[:, ::-1]) for image, label in pairs])  # mirrored views too
    assert tensors["images"].shape == (3, 3, 24, 40) and tensors["images"].dtype == torch.uint8
    assert tensors["images"].is_contiguous(memory_format=torch.channels_last)  # what the networks compute in
    assert tensors["labels"].shape == (3, 24, 40) and tensors["labels"].dtype == torch.uint8
    assert np.array_equal(tensors["images"][1].permute(1, 2, 0).numpy(), pairs[1][0][:, ::-1])


def test_j_over_valid_pixels_by_hand() -> None:
    label = np.array([[1, 1, 0, 0, VOID, VOID]], np.uint8)
    mask = lambda *values: np.array([values], bool)  # noqa: E731
    assert valid_j(label, mask(1, 1, 0, 0, 1, 0)) == 1.0
    assert valid_j(label, mask(1, 0, 1, 0, 1, 1)) == pytest.approx(1 / 3)
    assert valid_j(label, mask(0, 0, 0, 0, 1, 1)) == 0.0
    empty = np.array([[0, VOID]], np.uint8)
    assert valid_j(empty, mask(0, 1)) == 1.0 and valid_j(empty, mask(1, 0)) == 0.0


def test_learning_rates_of_backbone_weights_and_biases() -> None:
    stream = Stream(Architecture("resnet18", "parallel-dilated", 8))
    setting = StreamTraining(lr_backbone=1e-4, lr_head=1e-3, lr_bias_factor=2)
    backbone, weights, biases = parameter_groups(stream, setting)
    assert [g["lr"] for g in (backbone, weights, biases)] == pytest.approx([1e-4, 1e-3, 2e-3])
    assert [p.shape for p in biases["params"]] == [(2,)] * 4 and len(weights["params"]) == 4
    grouped = [id(p) for g in (backbone, weights, biases) for p in g["params"]]
    assert sorted(grouped) == sorted(id(p) for p in stream.parameters())


def test_biases_of_the_head_do_not_decay() -> None:
    groups = parameter_groups(Stream(Architecture("resnet18", "parallel-dilated", 8)), StreamTraining(weight_decay=0.1))
    assert [g.get("weight_decay", "the optimiser's") for g in groups] == ["the optimiser's", "the optimiser's", 0.0]


@pytest.mark.parametrize("batch_norm", ["frozen", "affine", "trained"])
def test_frozen_batch_norm_learns_no_scale_and_shift(batch_norm: str) -> None:
    stream = Stream(Architecture("resnet18", "parallel-dilated", 8))
    backbone = parameter_groups(stream, StreamTraining(batch_norm=batch_norm))[0]["params"]
    norms = [p for m in stream.backbone.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()]
    assert len(norms) == 2 * 20
    learning = {id(p) for p in backbone}
    assert [id(p) in learning for p in norms] == [batch_norm != "frozen"] * len(norms)
    assert len(backbone) + (len(norms) if batch_norm == "frozen" else 0) == len(list(stream.backbone.parameters()))


def test_header_says_what_is_needed_to_use_the_weights() -> None:
    header = stream_header(Network(long_side=321), "flow-images")
    assert header["reads"] == "flow-images" and header["long_side"] == 321 and header["kind"] == "stream"
    assert Architecture(**header["architecture"]) == architecture_of(Network(long_side=321))
    assert header["preprocessing"] == {"channels": "rgb", "mean": (127.0,) * 3, "std": (128.0,) * 3, "pad": "after"}


def test_fresh_streams_repeat_by_seed() -> None:
    states = [build_stream(NETWORK, seed).state_dict()["decoder.classify.weight"] for seed in (1, 1, 2)]
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])


def test_weights_that_cannot_be_had_are_an_error_for_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Stream:
        raise WeightsUnavailable("no network")

    monkeypatch.setattr(stream_training, "Stream", refuse)
    with pytest.raises(UserError, match=r"network\.backbone = resnet101: no network"):
        build_stream(Network(backbone="resnet101"), 0)


def test_validation_compares_masks_at_each_sample_s_own_size(tmp_path: Path) -> None:
    stream = build_stream(NETWORK, 0).eval()
    pairs = [
        (image[:h, :w], label[:h, :w]) for (image, label), (h, w) in zip(samples(2), ((24, 40), (19, 33)), strict=True)
    ]
    masks = []
    for image, _ in pairs:
        with torch.inference_mode():
            scores = stream(stream.prepare(torch.from_numpy(image.transpose(2, 0, 1).copy())[None]))
            size = [(n - 1) * 4 + 1 for n in scores.shape[-2:]]
            full = torch.nn.functional.interpolate(scores, size=size, mode="bilinear", align_corners=True)
        masks.append(full.argmax(1)[0].numpy()[: image.shape[0], : image.shape[1]] == 1)
    expected = np.mean([valid_j(label, mask) for (_, label), mask in zip(pairs, masks, strict=True)])
    assert validation_j(stream, pairs, False, CPU) == pytest.approx(float(expected), abs=1e-3)


@pytest.mark.parametrize(("backbone", "half"), [("efficientnet-lite0", False), ("resnet18", True)])
def test_validation_is_as_exact_as_inference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backbone: str, half: bool
) -> None:
    stream = build_stream(NETWORK.model_copy(update={"backbone": backbone}), 0).eval()
    found: list[bool] = []

    def scores(*_: object) -> torch.Tensor:
        found.append(torch.is_autocast_enabled("cpu"))
        return torch.zeros(1, 2, 17, 17)

    monkeypatch.setattr(stream_training, "stream_scores", scores)
    validation_j(stream, samples(1), True, CPU)
    validation_j(stream, samples(1), False, CPU)
    assert found == [half, False]


def test_a_stream_is_trained_and_its_weights_load(tmp_path: Path) -> None:
    setting = StreamTraining(
        steps=6, batch=2, crop=(33, 49), scales=(1, 1), mirror=False, validate_every=6, lr_head=1e-2
    )
    network = Network(bf16=False, long_side=0)
    work = make_work(
        make_context(tmp_path), "appearance-training", suffix=".safetensors",
        settings={"network": network.model_dump(mode="json"), "appearance-training": setting.model_dump(mode="json")},
    )  # fmt: skip
    # The ground is the object here, which a few steps suffice to learn.
    pairs, augmentation = [(image, 1 - label) for image, label in samples(4)], Augmentation((33, 49), (1.0, 1.0), False)
    train_stream(
        work,
        WeightsWriter(work),
        setting,
        len(pairs),
        lambda i, rng: crop_pair(*pairs[i], augmentation, rng)[:2],
        pairs[:2],
        "frames",
    )
    record = record_of(work)
    state, header = read_weights(work.path)
    stream = Stream(Architecture(**header["architecture"]))
    stream.load_state_dict(state)
    found = validation_j(stream.eval(), pairs[:2], False, CPU)
    assert found == pytest.approx(record.counts["best_validation_j"], abs=1e-4) and found > 0.5
    pretrained = Stream(Architecture(**header["architecture"]), pretrained=True).state_dict()
    changed = [n for n, v in state.items() if n.startswith("backbone") and not torch.equal(v, pretrained[n])]
    assert changed and not any("running" in name for name in changed)


def test_the_paper_s_networks_are_built_with_random_weights() -> None:
    network = read_profile("paper", ["network.pretrained=false"]).network
    stream = build_stream(network, 0).eval()
    assert stream.score_stride == 8 and stream.architecture.decoder == "parallel-dilated"
    # ResNet-101 without its classifier, and four branches of 3x3 convolutions from 2048 to 2 channels.
    assert sum(p.numel() for p in stream.parameters()) == 42_500_160 + 4 * (2048 * 2 * 9 + 2)
    with torch.inference_mode():
        scores = stream(stream.prepare(torch.zeros((1, 3, 60, 65), dtype=torch.uint8)))
    assert scores.shape == (1, 2, 9, 9)
