"""Fusions against hand computations."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusionseg.models.fusion import (
    FUSIONS,
    AverageFusion,
    GatedFusion,
    PaperFusion,
    ReleaseFusion,
    create_fusion,
    fuse,
    reads_frame,
)
from fusionseg.models.outside.plugins import fusions


def pixel(background: float, foreground: float) -> Tensor:
    """Return the logits of one pixel, (1, 2, 1, 1)."""
    return torch.tensor([background, foreground], dtype=torch.float32).view(1, 2, 1, 1)


def set_1x1(conv: nn.Module, weight: list[list[float]], bias: list[float]) -> None:
    conv.load_state_dict({"weight": torch.tensor(weight).float().view(2, 2, 1, 1), "bias": torch.tensor(bias).float()})


def test_paper_fusion_by_hand() -> None:
    fusion = PaperFusion()
    set_1x1(fusion.appearance, [[1, 0], [0, 2]], [0, -1])
    set_1x1(fusion.motion, [[0, 1], [1, 0]], [0.5, 0])
    set_1x1(fusion.product_appearance, [[1, 1], [1, -1]], [0, 0])
    set_1x1(fusion.product_motion, [[2, 0], [0, 1]], [0, 1])
    found = fusion(pixel(-1, 3), pixel(2, 4)).flatten().tolist()
    # appearance: (-1, 5) -> (0, 5); motion: (4.5, 2); product: (2, -4) -> (2, 0) times (4, 5) -> (8, 0).
    assert found == pytest.approx([8, 5])


def test_paper_fusion_s_product_is_none_where_both_streams_reject() -> None:
    fusion = PaperFusion()
    for name in ("appearance", "motion", "product_appearance", "product_motion"):
        set_1x1(getattr(fusion, name), [[1, 0], [0, 1]], [0, 0])
    assert fusion(pixel(-3, -3), pixel(-3, -3)).flatten().tolist() == [0, 0]  # not 9
    assert fusion(pixel(0, 3), pixel(0, -3)).flatten().tolist() == [0, 3]  # either alone is confident
    assert fusion(pixel(0, 3), pixel(0, 2)).flatten().tolist() == [0, 6]  # or both together


def test_paper_fusion_starts_with_every_branch_alive() -> None:
    torch.manual_seed(0)
    fusion = PaperFusion()
    assert sum(p.numel() for p in fusion.parameters()) == 4 * (2 * 2 + 2)
    scores = torch.randn(2, 2, 16, 16, generator=torch.Generator().manual_seed(1))
    fusion(scores, scores.flip(0)).sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in fusion.parameters())


def test_paper_fusion_starts_as_a_fair_judge() -> None:
    torch.manual_seed(0)
    fusion = PaperFusion()
    with torch.inference_mode():
        assert fusion(pixel(-4, 4), pixel(-4, 4)).argmax(1).item() == 1
        assert fusion(pixel(4, -4), pixel(4, -4)).argmax(1).item() == 0


def test_release_fusion_has_374_parameters() -> None:
    fusion = ReleaseFusion()
    shapes = {name: tuple(p.shape) for name, p in fusion.named_parameters() if name.endswith("weight")}
    assert shapes == {
        "both.weight": (4, 4, 3, 3), "appearance.weight": (4, 2, 3, 3), "motion.weight": (4, 2, 3, 3),
        "classify.weight": (2, 4, 3, 3),
    }  # fmt: skip
    assert sum(p.numel() for p in fusion.parameters()) == 148 + 76 + 76 + 74 == 374


def test_release_fusion_starts_gaussian_with_no_bias() -> None:
    torch.manual_seed(0)
    fusions = [ReleaseFusion() for _ in range(20)]
    weights = torch.cat([p.flatten() for f in fusions for n, p in f.named_parameters() if n.endswith("weight")])
    assert weights.std().item() == pytest.approx(0.01, rel=0.05) and abs(weights.mean().item()) < 1e-3
    assert not any(p.any() for f in fusions for n, p in f.named_parameters() if n.endswith("bias"))


def convolved(image: np.ndarray, conv: nn.Module) -> np.ndarray:
    """Return a zero-padded 3x3 convolution of (C, H, W), slowly."""
    weight, bias = (conv.state_dict()[n].numpy().astype(np.float64) for n in ("weight", "bias"))
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    height, width = image.shape[1:]
    windows = np.stack([padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)])
    return np.einsum("ock,kchw->ohw", weight.reshape(*weight.shape[:2], 9), windows) + bias[:, None, None]


def test_release_fusion_by_hand() -> None:
    torch.manual_seed(1)
    fusion = ReleaseFusion()
    for parameter in fusion.parameters():
        nn.init.normal_(parameter)
    appearance, motion = torch.randn(2, 1, 2, 4, 5)
    a, m = appearance[0].numpy().astype(np.float64), motion[0].numpy().astype(np.float64)
    hidden = sum(
        np.maximum(convolved(x, conv), 0)
        for x, conv in (
            (np.concatenate([a, m]), fusion.both), (a, fusion.appearance), (m, fusion.motion),
        )
    )  # fmt: skip
    with torch.inference_mode():
        found = fusion(appearance, motion)[0].numpy()
    np.testing.assert_allclose(found, convolved(np.asarray(hidden), fusion.classify), rtol=1e-4, atol=1e-4)


def test_average_is_the_mean_and_has_nothing_to_train() -> None:
    fusion = AverageFusion()
    assert fusion(pixel(1, 4), pixel(3, -8)).flatten().tolist() == [2, -2]
    assert list(fusion.parameters()) == []


def test_gated_fusion_begins_as_the_average() -> None:
    fusion = GatedFusion()
    assert sum(p.numel() for p in fusion.parameters()) == (5 * 9 + 1) * 8 + (8 * 9 + 1) * 8 + (8 + 1) * 2 == 970
    a, m = torch.randn(2, 2, 2, 21, 37, generator=torch.Generator().manual_seed(0)) * 5
    torch.testing.assert_close(fusion(a, m), AverageFusion()(a, m))


def test_gated_fusion_learns_which_stream_to_trust_where() -> None:
    """The appearance stream is right on the left, the motion stream on the right; unsure where it is wrong."""
    torch.manual_seed(0)
    truth = (torch.rand(4, 1, 4, 8) > 0.5).float().repeat_interleave(8, 2).repeat_interleave(8, 3) * 2 - 1
    wrong = torch.where(torch.rand(4, 1, 32, 64) > 0.5, 1.0, -1.0) * 0.9
    left = torch.arange(64).view(1, 1, 1, 64) < 32
    a, m = torch.where(left, truth * 3, wrong), torch.where(left, wrong, truth * 3)
    streams = [torch.cat([-x, x], 1) for x in (a * 0.2, m)]  # and the appearance stream's logits are too small
    labels = (truth[:, 0] > 0).long()

    def errors(fusion: nn.Module) -> float:
        return float((fusion(*streams).argmax(1) != labels).float().mean())

    fusion = GatedFusion()
    before = errors(fusion)
    optimiser = torch.optim.AdamW(fusion.parameters(), 0.02)
    for _ in range(60):
        optimiser.zero_grad()
        F.cross_entropy(fusion(*streams), labels).backward()
        optimiser.step()
    assert before > 0.05 and errors(fusion) < before / 5


def test_gated_fusion_sees_no_further_than_sure() -> None:
    """Twice the logits, where both streams are sure already, move no weight."""
    fusion = GatedFusion()
    nn.init.normal_(fusion.judge.weight)
    a, m = torch.randn(2, 1, 2, 16, 16, generator=torch.Generator().manual_seed(0)).sign() * 40
    a[:, 0], m[:, 0] = -a[:, 1], -m[:, 1]
    torch.testing.assert_close(fusion._evidence(a), fusion._evidence(2 * a))


@pytest.mark.parametrize("name", FUSIONS)
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 4)])
def test_every_fusion_keeps_the_shape(name: str, size: tuple[int, int]) -> None:
    scores = torch.randn(3, 2, *size)
    frame = torch.randint(0, 256, (3, 3, *size), dtype=torch.uint8)
    logits = fuse(create_fusion(name), scores, -scores, frame)
    assert logits.shape == scores.shape
    assert bool(F.softmax(logits, 1).isfinite().all())


def test_unknown_fusion_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown fusion 'maximum'; known: paper, release, gated, guided, average"):
        create_fusion("maximum")


@pytest.mark.parametrize("name", FUSIONS)
def test_which_fusions_read_frames_is_known_without_loading_them(name: str) -> None:
    assert fusions.reads_frame(name) == reads_frame(create_fusion(name))
