"""COCO's instances: polygons, run lengths and crowds, against pycocotools, and files that are none."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco

from fusionseg.models.labels import VOID
from fusionseg.pipeline.formats.coco import expand_runs, instances_mask, instances_size, read_instances

SIZE = (9, 12)  # height, width
SQUARE = [2.0, 1.0, 6.0, 1.0, 6.0, 5.0, 2.0, 5.0]
IMAGES = [{"id": 7, "file_name": "000000000007.jpg", "width": 12, "height": 9}]


def square() -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[1:5, 2:6] = True
    return mask


def runs_of(mask: np.ndarray) -> list[int]:
    """Run lengths down the columns, beginning with background."""
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat.astype(int)])))
    return np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()


def write(folder: Path, *segmentations: Any, crowd: bool = False) -> Path:
    annotations = [
        {"image_id": 7, "iscrowd": int(crowd), "segmentation": segmentation} for segmentation in segmentations
    ]
    path = folder / "instances.json"
    path.write_text(json.dumps({"images": IMAGES, "annotations": annotations}))
    return path


def test_polygons_run_lengths_and_compressed_text_say_the_same(tmp_path: Path) -> None:
    compressed = coco.encode(np.asfortranarray(square().astype(np.uint8)))["counts"].decode()
    for segmentation in (
        [SQUARE], {"size": list(SIZE), "counts": runs_of(square())}, {"size": list(SIZE), "counts": compressed}
    ):  # fmt: skip
        (tmp_path / "instances.json").unlink(missing_ok=True)
        found = instances_mask(write(tmp_path, segmentation), "7")
        assert found.dtype == np.uint8 and np.array_equal(found == 1, square()) and found.max() == 1


def test_objects_are_merged_and_stand_before_a_crowd(tmp_path: Path) -> None:
    crowd = np.zeros(SIZE, bool)
    crowd[4:8, 5:9] = True
    path = tmp_path / "instances.json"
    both = [
        {"image_id": 7, "iscrowd": 0, "segmentation": [SQUARE]},
        {"image_id": 7, "iscrowd": 1, "segmentation": {"size": list(SIZE), "counts": runs_of(crowd)}},
        {"image_id": 7, "segmentation": [[8.0, 0.0, 11.0, 0.0, 11.0, 2.0, 8.0, 2.0]]},
    ]
    path.write_text(json.dumps({"images": IMAGES, "annotations": both}))
    found = instances_mask(path, "7")
    assert (found[square()] == 1).all() and (found[0:2, 8:11] == 1).all()
    assert np.array_equal(found == VOID, crowd & ~square())


def test_an_image_without_annotations_is_background(tmp_path: Path) -> None:
    path = write(tmp_path)
    assert not instances_mask(path, "7").any() and instances_mask(path, "7").shape == SIZE
    assert instances_size(path, "7") == (12, 9)
    assert read_instances(path).by_name == {"000000000007": "7"}
    with pytest.raises(ValueError, match="no image of number 8"):
        instances_mask(path, "8")


@given(arrays(bool, SIZE))
def test_compressed_text_expands_to_the_runs(mask: np.ndarray) -> None:
    text = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert expand_runs(text) == runs_of(mask)


@given(st.text())
def test_any_text_expands_or_is_refused(text: str) -> None:
    try:
        assert all(isinstance(run, int) for run in expand_runs(text))
    except ValueError as error:
        assert "run lengths" in str(error)


SHORT = {"size": list(SIZE), "counts": [3, 4]}


@pytest.mark.parametrize(
    "segmentation",
    [
        SHORT, SHORT | {"counts": [3, 4000]}, SHORT | {"counts": [-3, 111]}, SHORT | {"counts": None},
        SHORT | {"counts": "~~~"}, SHORT | {"counts": "04"}, SHORT | {"size": [3, 4], "counts": [12]}, {}, "words", 3,
        [[1.0, 2.0, 3.0, 4.0]], [[1.0, 2.0, 3.0, 4.0, 5.0]], [[*SQUARE[:-1], np.nan]], [[*SQUARE[:-1], 1e12]],
        SHORT | {"counts": [10**30]}, SHORT | {"size": 3},
    ],
)  # fmt: skip
def test_broken_region_is_refused_not_guessed(tmp_path: Path, segmentation: Any) -> None:
    """pycocotools' own decoder leaves pixels to chance where run lengths are short."""
    with pytest.raises(ValueError, match=r"run lengths|polygon"):
        instances_mask(write(tmp_path, segmentation), "7")


@pytest.mark.parametrize("change", ["images", "annotations", "width", "file_name", "image_id", "list"])
def test_what_is_not_coco_s_is_refused(tmp_path: Path, change: str) -> None:
    content: Any = {"images": copy.deepcopy(IMAGES), "annotations": [{"image_id": 7, "segmentation": [SQUARE]}]}
    if change == "list":
        content = [content]
    elif change == "image_id":
        content["annotations"][0]["image_id"] = 9
    elif change in content:
        del content[change]
    else:
        del content["images"][0][change]
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"no such entry"):
        read_instances(path)
    path.write_text("{")
    with pytest.raises(ValueError):
        read_instances(path)
