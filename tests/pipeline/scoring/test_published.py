"""Published figures: plausible, told apart by method and split, and in the unit of the measured ones."""

import math

import pytest

from fusionseg.pipeline.scoring.published import published_rows
from fusionseg.pipeline.scoring.statistics import SCORE_COLUMNS


@pytest.mark.parametrize("protocol", ["davis2016", "youtube-objects", "segtrack-v2"])
def test_rows(protocol: str) -> None:
    rows = published_rows(protocol)
    assert rows.columns.tolist() == ["method", "split", *SCORE_COLUMNS, "source"]
    assert not rows.duplicated(["method", "split"]).any() and (rows["source"] != "").all()
    known = rows[list(SCORE_COLUMNS)]
    assert known.notna().any(axis=1).all() and (known.max(skipna=True).dropna() < 1).all()
    assert rows["J"].dropna().between(0.3, 0.9).all()


def test_what_is_not_known_is_nan() -> None:
    rows = published_rows("davis2016").set_index(["method", "split"])
    assert math.isnan(rows.loc[("HMHI-Net", "val"), "J"]) and rows.loc[("HMHI-Net", "val"), "JF"] == 0.898
    assert rows.loc[("HFAN-M", "val"), "JF"] == 0.875
    nothing = published_rows("fbms")
    assert nothing.empty and nothing.columns.tolist() == published_rows("davis2016").columns.tolist()


def test_the_mean_of_the_classes_is_the_published_one() -> None:
    rows = published_rows("youtube-objects").set_index("split")["J"]
    assert rows.filter(like="class ").mean() == pytest.approx(rows["all, mean of classes"], abs=6e-4)
