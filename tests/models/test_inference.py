"""Networks made ready for inference, with and without what makes them fastest."""

import pytest
import torch
from networks import scores, trained

from fusionseg.models.fusing import FusedConv
from fusionseg.models.inference import for_inference

CPU = torch.device("cpu")


def test_where_the_operators_are_missing_networks_run_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fusionseg.models.fusing._OPERATORS", object())
    stream = trained("resnet18", "parallel-dilated", 16)
    plain = for_inference(stream, CPU, bf16=False)
    assert not [m for m in plain.modules() if isinstance(m, FusedConv)]
    expected = scores(stream, (9, 9))
    assert (scores(plain, (9, 9)) - expected).abs().max() < 1e-4 * expected.abs().max()


def test_the_stream_itself_stays_as_it_is() -> None:
    stream = trained("efficientnet-lite0", "skip", 16)
    state = {name: value.clone() for name, value in stream.state_dict().items()}
    for_inference(stream, CPU, bf16=True)
    assert stream.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in stream.state_dict().items())
