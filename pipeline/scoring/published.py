"""Published figures of methods on benchmarks, to stand beside measured ones. Nothing here was measured by this project.

Published in per cent with one decimal, kept here as shares of 1, the unit of `metrics`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, fields

import pandas as pd

_SITE = "the benchmark's own files"
_PAGES = "its authors' page"
_PAPER = "the FusionSeg paper, unverified"
_NAN = float("nan")


@dataclass(frozen=True)
class Published:
    """One method's figures, in per cent, on one split; nan where they aren't known."""

    protocol: str
    method: str
    split: str
    source: str
    J: float = _NAN
    J_recall: float = _NAN
    J_decay: float = _NAN
    F: float = _NAN
    F_recall: float = _NAN
    F_decay: float = _NAN
    JF: float = _NAN


def _davis(split: str, source: str, region: Mapping[str, float]) -> Iterator[Published]:
    """Rows of which J alone is known."""
    return (Published("davis2016", method, split, source, J=value) for method, value in region.items())


def _youtube(classes: Mapping[str, float]) -> Iterator[Published]:
    return (Published("youtube-objects", "FSEG", f"class {name}", _PAPER, J=value) for name, value in classes.items())


_ROWS = (
    Published("davis2016", "FSEG", "val", _SITE, 70.7, 83.5, 1.5, 65.3, 73.8, 1.8),
    Published("davis2016", "FSEG", "train", _SITE, J=72.2, F=66.2),
    *_davis("all 50", _SITE, {"FSEG": 71.6}),
    *_davis(
        "all 50", _PAPER, {"FSEG, appearance alone": 64.69, "FSEG, motion alone": 60.18, "FSEG, joint": 71.51}
    ),
    *_davis(
        "val", _SITE,
        {"FST": 55.8, "KEY": 49.9, "NLC": 55.1, "CVOS": 48.2, "TRC": 47.3, "MSG": 53.3, "SAL": 39.3, "HVS": 54.7,
         "FCP": 58.4, "BVS": 60.0, "LMP": 70.0, "LVO": 75.9, "ARP": 76.2, "PDB": 77.2, "LSMO": 78.2, "AGS": 79.7,
         "COSNet": 80.5, "EpO+": 80.6, "AD-Net": 81.7, "MATNet": 82.4},
    ),
    *_davis(
        "all 50", _SITE,
        {"FST": 57.5, "KEY": 56.9, "NLC": 64.1, "CVOS": 51.4, "TRC": 50.1, "MSG": 54.3, "SAL": 42.6, "HVS": 59.6,
         "FCP": 63.1, "BVS": 66.5},
    ),
    *_davis("val", _PAGES, {"HCPN": 85.8, "HGPU": 86.0}),
    Published("davis2016", "HFAN-M", "val", _PAGES, J=86.8, F=88.2),
    Published("davis2016", "HMHI-Net", "val", _PAGES, JF=89.8),
    Published("youtube-objects", "FSEG", "all, mean of classes", _PAPER, J=68.4),
    *_youtube(
        {"airplane": 81.7, "bird": 63.8, "boat": 72.3, "car": 74.9, "cat": 68.4, "cow": 68.0, "dog": 69.4,
         "horse": 60.4, "motorbike": 62.7, "train": 62.2}
    ),
    Published("segtrack-v2", "FSEG, appearance alone", "all", _PAPER, J=56.88),
    Published("segtrack-v2", "FSEG, motion alone", "all", _PAPER, J=53.04),
    Published("segtrack-v2", "FSEG, joint", "all", _PAPER, J=61.40),
)  # fmt: skip
_SCORES = ("J", "J_recall", "J_decay", "F", "F_recall", "F_decay", "JF")


def published_rows(protocol: str) -> pd.DataFrame:
    """The published figures under `protocol`: columns method, split, J, J_recall, J_decay, F, F_recall, F_decay, JF
    (float64 shares of 1, nan where not known; JF, the mean of J and F, is worked out where only these are known) and
    source. No rows where none are known.

    >>> rows = published_rows("davis2016").set_index(["method", "split"])
    >>> rows.loc[("FSEG", "val"), ["J", "J_recall", "JF"]].to_list()
    [0.707, 0.835, 0.68]
    >>> published_rows("fbms").empty
    True
    """
    names = [field.name for field in fields(Published)]
    found = [astuple(row) for row in _ROWS if row.protocol == protocol]
    table = pd.DataFrame(found, columns=names).astype(dict.fromkeys(_SCORES, float))
    table["JF"] = table["JF"].fillna((table["J"] + table["F"]) / 2)
    table[list(_SCORES)] = (table[list(_SCORES)] / 100).round(6)
    return table[["method", "split", *_SCORES, "source"]]
