"""The data sets that come as manifests, in words."""

from __future__ import annotations

import re

from fusionseg.cli.names import manifests
from fusionseg.pipeline.datasets.listing import held, shipped_manifests, text
from fusionseg.pipeline.datasets.manifest import read_manifest


def test_each_manifest_is_told_of_within_80_columns() -> None:
    lines = text(shipped_manifests(), 80)
    heads = [line for line in lines if line and not line.startswith(" ")]
    assert [head.split()[0] for head in heads] == sorted(manifests())
    assert [line for line in lines if len(line) > 80 and not line.strip().startswith("https://")] == []
    words = " ".join(" ".join(lines).split())
    for manifest in shipped_manifests():
        assert manifest.title in words and manifest.licence in words and manifest.home in words
        assert f"{manifest.name} ({manifest.kind})" in words
    assert "splits: test (6), validation (3), fusion (6), motion (15)" in words and "val (3862)" not in words
    assert "splits: train (3862), val (555)" in words


def test_what_the_folder_must_hold() -> None:
    assert held(read_manifest("davis2016")) == [
        ("frames", "JPEGImages/480p/{video}/{frame}.jpg"),
        ("masks", "Annotations/480p/{video}/{frame}.png"),
        ("list", "ImageSets/480p/trainval.txt"),
    ]
    vid = held(read_manifest("imagenet-vid"))
    assert ("boxes", "Annotations/VID/{split}/{video}/{frame}.xml") in vid and ("list", "ImageSets/VID/val.txt") in vid
    assert [kind for kind, _ in held(read_manifest("voc2012-sbd"))] == ["frames", "masks", "masks", *["list"] * 4]
    assert "a video file" in held(read_manifest("folder"))[0][1]
    assert not re.search(r"\{", " ".join(path for _, path in held(read_manifest("demo-vid"))))
