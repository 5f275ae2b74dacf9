"""Preprocessing goes into headers and comes back; what can't be is told."""

import json
from typing import Any

import pytest

from fusionseg.models.preprocessing import CAFFE, EFFICIENTNET_LITE, TORCHVISION, Preprocessing

GOOD: dict[str, Any] = {"channels": "rgb", "mean": [1, 2, 3], "std": [4, 5, 6], "pad": "before"}


@pytest.mark.parametrize("used", [CAFFE, EFFICIENTNET_LITE, TORCHVISION])
def test_it_goes_through_json_and_back(used: Preprocessing) -> None:
    assert Preprocessing.from_dict(json.loads(json.dumps(used.as_dict()))) == used


def test_headers_of_version_0_1_name_no_pad_and_meant_after() -> None:
    old = {name: value for name, value in GOOD.items() if name != "pad"}
    assert Preprocessing.from_dict(old) == Preprocessing("rgb", (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), "after")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"channels": "grb"}, "channels 'grb'; expected rgb or bgr"),
        ({"pad": None}, "pad None; expected after or before"),
        ({"mean": [1, 2]}, r"mean \[1, 2\]; expected three numbers"),
        ({"std": "abc"}, "std 'abc'; expected three numbers"),
        ({"std": [1, 0, 1]}, r"std .*expected positive numbers"),
    ],
)
def test_what_cannot_be_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Preprocessing.from_dict(GOOD | change)
