"""Annotation files of boxes, whole and broken."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import make_item, vid_xml, write_sticks
from scipy.io import savemat

from fusionseg.pipeline.datasets.items import Boxes
from fusionseg.pipeline.datasets.reading import read_boxes
from fusionseg.pipeline.errors import BadFile
from fusionseg.pipeline.formats.boxes import frame_boxes, parse_vid_xml


def test_vid_boxes_get_exclusive_ends() -> None:
    boxes = [(0, 0, 1, 1), (3, 4, 30, 20)]
    found = parse_vid_xml(vid_xml(boxes))
    assert found.boxes.dtype == np.int32 and found.boxes.tolist() == [list(b) for b in boxes]
    assert "<xmin>3</xmin>" in vid_xml(boxes) and "<xmax>29</xmax>" in vid_xml(boxes)
    nothing = parse_vid_xml(vid_xml([]))
    assert len(nothing) == 0 and nothing.boxes.shape == (0, 4) and nothing.occluded.shape == (0,)


def test_marks_of_boxes_are_read_one_by_one() -> None:
    text = vid_xml([(0, 0, 1, 1)] * 4, occluded=[0, 1, 0, 1], generated=[0, 0, 1, 1])
    found = parse_vid_xml(text)
    assert found.occluded.tolist() == [False, True, False, True]
    assert found.generated.tolist() == [False, False, True, True]
    plain = parse_vid_xml(text.replace("<generated>1</generated>", "").replace("<generated>0</generated>", ""))
    assert plain.occluded.tolist() == found.occluded.tolist() and not plain.generated.any()


def test_boxes_of_an_object_s_parts_are_not_objects() -> None:
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    text = vid_xml([(3, 4, 30, 20)]).replace("</object>", part + "</object>")
    assert parse_vid_xml(text).boxes.tolist() == [[3, 4, 30, 20]]


@pytest.mark.parametrize(
    "text",
    [
        "", "words", "<annotation>", "<html></html>", "<annotation><object></object></annotation>",
        "<annotation><object><bndbox><xmin>1</xmin></bndbox></object></annotation>",
        vid_xml([(0, 0, 1, 1)]).replace("<xmin>0", "<xmin>left"), vid_xml([(0, 0, 1, 1)]).replace("<xmin>0", "<xmin>"),
        vid_xml([(0, 0, 1, 1)]).replace("<xmin>0", "<xmin>nan"),
        vid_xml([(0, 0, 1, 1)]).replace("<xmin>0", "<xmin>inf"),
        vid_xml([(0, 0, 1, 1)]).replace("<occluded>0", "<occluded>yes"),
        vid_xml([(0, 0, 10**10, 1)]), "\udcff",
    ],
)  # fmt: skip
def test_broken_annotation_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "000000.xml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    item = make_item(frames=[tmp_path / "000000.JPEG"], boxes=Boxes((path,)))
    with pytest.raises(BadFile, match=r"000000\.xml: not an ImageNet-VID annotation"):
        read_boxes(item, 0)


def test_a_frame_without_annotation_has_no_boxes(tmp_path: Path) -> None:
    item = make_item(frames=[tmp_path / "0.jpg"], boxes=Boxes((None,)))
    assert len(read_boxes(item, 0)) == 0


def test_youtube_objects_boxes_may_be_swapped_and_outside(tmp_path: Path) -> None:
    path = write_sticks(tmp_path / "frame0001.jpg_sticks.mat", [(3.2, 4.6, 29, 19), (12, 9, -2, 1)])
    found = read_boxes(make_item(frames=[tmp_path / "frame0001.jpg"], boxes=Boxes((path,))), 0)
    assert found.boxes.tolist() == [[3, 5, 30, 20], [-2, 1, 13, 10]]
    assert not found.occluded.any() and not found.generated.any()


@pytest.mark.parametrize(
    "content", [b"", b"words", {"x": 1.0}, {"coor": np.zeros((1, 3))}, {"coor": np.full(4, np.nan)}]
)
def test_broken_youtube_objects_file_is_named(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "frame0001.jpg_sticks.mat"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        savemat(path, content)
    with pytest.raises(BadFile, match=r"sticks\.mat: not a YouTube-Objects annotation"):
        read_boxes(make_item(frames=[tmp_path / "frame0001.jpg"], boxes=Boxes((path,))), 0)


def test_numbers_that_no_pixel_has_are_refused() -> None:
    with pytest.raises(OverflowError):
        frame_boxes([(0, 0, 2**40, 1)])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1"])
def test_bytes_say_their_encoding(encoding: str) -> None:
    declared = "" if encoding.startswith("utf-8") else f'<?xml version="1.0" encoding="{encoding}"?>'
    text = vid_xml([(1, 2, 3, 4)]).replace("<annotation>", "<annotation><folder>caf\u00e9</folder>")
    assert len(parse_vid_xml((declared + text).encode(encoding))) == 1
