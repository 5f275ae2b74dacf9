"""The fusion that sees the frame."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fusionseg.models.fusion import AverageFusion
from fusionseg.models.guided import GuidedFusion, _doubled, _halved


def example(size: tuple[int, int], count: int = 2, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of two streams, and frames."""
    generator = torch.Generator().manual_seed(seed)
    a, m = torch.randn(2, count, 2, *size, generator=generator) * 5
    return a, m, torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=generator)


def learnt(seed: int = 0) -> GuidedFusion:
    """One whose last layer says something."""
    torch.manual_seed(seed)
    fusion = GuidedFusion()
    nn.init.normal_(fusion.judge.weight, std=0.3)
    return fusion.eval()


def test_it_is_as_small_as_its_docstring_says() -> None:
    count = sum(p.numel() for p in GuidedFusion().parameters())
    assert f"{count:,} parameters" in (GuidedFusion.__doc__ or "") and count < 500_000


@settings(max_examples=25)
@given(st.integers(1, 70), st.integers(1, 70))
def test_it_begins_as_the_average_at_any_size(height: int, width: int) -> None:
    torch.manual_seed(0)
    a, m, frame = example((height, width), 1)
    found = GuidedFusion()(a, m, frame)
    torch.testing.assert_close(found, AverageFusion()(a, m), rtol=1e-5, atol=1e-5)


@settings(max_examples=25)
@given(st.integers(1, 70), st.integers(1, 70))
def test_once_it_has_learnt_it_works_at_any_size_and_repeats(height: int, width: int) -> None:
    fusion, values = learnt(), example((height, width), 1)
    with torch.inference_mode():
        first, second = fusion(*values), fusion(*values)
    assert first.shape == values[0].shape and bool(first.isfinite().all()) and torch.equal(first, second)


def test_pictures_of_a_batch_do_not_see_each_other() -> None:
    fusion, (a, m, frame) = learnt(), example((45, 70), 3)
    with torch.inference_mode():
        whole = fusion(a, m, frame)
        alone = torch.cat([fusion(a[i, None], m[i, None], frame[i, None]) for i in range(3)])
    torch.testing.assert_close(whole, alone, rtol=1e-4, atol=1e-4)


def test_it_may_overrule_streams_that_are_sure() -> None:
    """With weights of 0, what the streams say doesn't count, and its own logits do."""
    fusion, (a, m, frame) = GuidedFusion(), example((16, 24), 1)
    with torch.no_grad():
        fusion.get_parameter("judge.bias").copy_(torch.tensor([-100.0, -100.0, 6.0]))
    found = fusion(a * 50, m * 50, frame)
    torch.testing.assert_close(found, torch.tensor([-3.0, 3.0]).view(1, 2, 1, 1).expand_as(found))


@given(st.integers(1, 40), st.integers(1, 40))
def test_halves_are_means_and_doubling_puts_them_where_they_were(height: int, width: int) -> None:
    """A slope stays the slope it was, away from the edge; so nothing is moved."""
    slope = torch.arange(height).float().view(1, 1, -1, 1) + 100 * torch.arange(width).float().view(1, 1, 1, -1)
    half = _halved(slope)
    assert half.shape[-2:] == ((height + 1) // 2, (width + 1) // 2)
    again = _doubled(half, slope)
    assert again.shape == slope.shape
    inner = (..., slice(1, height // 2 * 2 - 1), slice(1, width // 2 * 2 - 1))
    np.testing.assert_allclose(again[inner], slope[inner], rtol=1e-5, atol=1e-3)


def test_how_sure_a_stream_is_beyond_sure_moves_no_weight() -> None:
    """What comes out is then linear in the logits."""
    fusion, (a, m, frame) = learnt(), example((32, 48), 1)
    a, m = (torch.cat([-x[:, :1].sign(), x[:, :1].sign()], 1) * 40 for x in (a, m))
    a, m = (F.interpolate(x[..., ::8, ::8], scale_factor=8.0) for x in (a, m))  # no cell in which signs cancel
    with torch.inference_mode():
        one, two, four = (fusion(times * a, times * m, frame) for times in (1, 2, 4))
    torch.testing.assert_close(four - two, 2 * (two - one), rtol=1e-3, atol=1e-2)


def test_it_learns_to_follow_the_frame_where_both_streams_are_coarse() -> None:
    """Both streams know the object in blocks of 16 px only; its outline is seen in the frame."""
    generator = torch.Generator().manual_seed(1)
    rough = F.interpolate(torch.randn(8, 1, 6, 8, generator=generator), size=(48, 64), mode="bicubic")
    labels = (rough[:, 0] > 0).long()
    frame = (labels[:, None] * 90 + 80 + 8 * torch.randn(8, 3, 48, 64, generator=generator)).clamp(0, 255).byte()
    coarse = F.interpolate(F.avg_pool2d(labels[:, None].float(), 16), size=(48, 64), mode="bilinear") * 10 - 5
    a = torch.cat([-coarse, coarse], 1)

    def errors(fusion: nn.Module) -> float:
        with torch.inference_mode():
            return float((fusion(a[4:], a[4:], frame[4:]).argmax(1) != labels[4:]).float().mean())

    torch.manual_seed(0)
    fusion = GuidedFusion()
    before = errors(fusion)
    optimiser = torch.optim.AdamW(fusion.parameters(), 2e-3)
    for _ in range(60):
        optimiser.zero_grad()
        F.cross_entropy(fusion(a[:4], a[:4], frame[:4]), labels[:4]).backward()
        optimiser.step()
    assert before > 0.05 and errors(fusion) < before / 3


@pytest.mark.parametrize("bf16", [False, True])
def test_every_parameter_learns(bf16: bool) -> None:
    torch.manual_seed(0)
    fusion, (a, m, frame) = learnt().train(), example((70, 90))
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        found = fusion(a, m, frame)
    assert found.dtype == torch.float32
    found.pow(2).sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in fusion.parameters())
