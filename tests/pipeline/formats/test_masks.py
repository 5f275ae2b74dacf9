"""Mask files of every encoding that data sets use, and every way one can be broken."""

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from builders import write_bytes, write_fbms_definition, write_png, write_sbd
from PIL import Image
from scipy.io import savemat

from fusionseg.models.labels import VOID
from fusionseg.pipeline.formats.masks import decode_mask, mask_label, read_regions, region_label

LABELS = np.array([[0, 1, 2], [255, 0, 128]], np.uint8)


def save(path: Path, image: Image.Image) -> Path:
    image.save(path)
    return path


def labels(path: Path) -> np.ndarray:
    """What a file holds that is known to hold labels."""
    return decode_mask(path, "labels")[0]


def palette_image() -> Image.Image:
    image = Image.new("P", (3, 2))
    image.putpalette([(37 * n) % 256 for n in range(768)])  # entry 0 is nearly black
    image.putdata(LABELS.reshape(-1).tolist())
    return image


@pytest.mark.parametrize("suffix", ["png", "bmp", "pgm", "tif"])
def test_grey_masks_give_their_levels(tmp_path: Path, suffix: str) -> None:
    assert np.array_equal(labels(save(tmp_path / f"grey.{suffix}", Image.fromarray(LABELS))), LABELS)


def test_indexed_masks_give_indices_not_colours(tmp_path: Path) -> None:
    assert np.array_equal(labels(save(tmp_path / "indexed.png", palette_image())), LABELS)


@pytest.mark.parametrize("suffix", ["png", "bmp", "ppm", "tif"])
def test_what_is_not_black_in_colours_is_object(tmp_path: Path, suffix: str) -> None:
    colour = np.zeros((2, 3, 3), np.uint8)
    colour[..., 1] = LABELS
    assert np.array_equal(labels(write_png(tmp_path / f"colour.{suffix}", colour)), LABELS > 0)


def test_alpha_is_no_object(tmp_path: Path) -> None:
    clear = np.dstack([np.zeros((2, 3, 3), np.uint8), np.full((2, 3), 255, np.uint8)])
    assert not decode_mask(save(tmp_path / "a.png", Image.fromarray(clear, "RGBA")))[0].any()


def test_sixteen_bits_are_not_cut_to_eight(tmp_path: Path) -> None:
    deep = np.array([[0, 255, 256], [65535, 1, 0]], np.uint16)
    raw = labels(save(tmp_path / "deep.png", Image.fromarray(deep)))
    assert np.array_equal(raw, deep)
    assert mask_label(raw, 255).tolist() == [[0, VOID, 1], [1, 1, 0]]


@pytest.mark.parametrize("void", [None, 1, 255])
@pytest.mark.parametrize("name", ["bits.png", "bits.pbm", "bits.bmp"])
def test_a_mask_of_one_bit_has_no_void(tmp_path: Path, name: str, void: int | None) -> None:
    """Whatever stands for void, its only other value is object."""
    raw = labels(write_png(tmp_path / name, LABELS > 0))
    assert np.array_equal(mask_label(raw, void), LABELS > 0)


def test_a_mask_stored_as_jpeg_is_cut_in_the_middle(tmp_path: Path) -> None:
    truth = np.zeros((40, 60), bool)
    truth[7:31, 11:44] = True
    done, data = cv2.imencode(".jpg", truth.astype(np.uint8) * 255, [cv2.IMWRITE_JPEG_QUALITY, 60])
    path = write_bytes(tmp_path / "m.jpg", data.tobytes())
    assert done and 0 < (np.asarray(Image.open(path)) % 255 > 0).mean() < 1  # it does ring
    assert np.array_equal(mask_label(decode_mask(path)[0], 255), truth)


def test_void_is_one_value_and_object_all_others() -> None:
    assert mask_label(LABELS, None).tolist() == [[0, 1, 1], [1, 0, 1]]
    assert mask_label(LABELS, 255).tolist() == [[0, 1, 1], [VOID, 0, 1]]
    assert mask_label(LABELS, 128).tolist() == [[0, 1, 1], [1, 0, VOID]]


def test_matlab_file_of_sbd(tmp_path: Path) -> None:
    assert np.array_equal(labels(write_sbd(tmp_path / "a.mat", LABELS)), LABELS)


@pytest.mark.parametrize(
    "content",
    [
        {"other": LABELS}, {"GTcls": LABELS}, {"GTcls": {"Boundaries": LABELS}},
        {"GTcls": {"Segmentation": LABELS.astype(float)}}, {"GTcls": {"Segmentation": np.zeros((2, 2, 2), np.uint8)}},
    ],
)  # fmt: skip
def test_matlab_file_without_a_mask(tmp_path: Path, content: dict[str, Any]) -> None:
    savemat(tmp_path / "a.mat", content)
    with pytest.raises(ValueError, match=r"GTcls\.Segmentation"):
        decode_mask(tmp_path / "a.mat")


@pytest.mark.parametrize("share", [0.0, 0.2, 0.9, 0.99])
def test_damaged_matlab_file(tmp_path: Path, share: float) -> None:
    path = write_sbd(tmp_path / "a.mat", np.random.default_rng(0).integers(0, 21, (60, 80), np.uint8))
    data = path.read_bytes()
    write_bytes(path, data[: int(len(data) * share)])
    with pytest.raises(ValueError, match=r"GTcls\.Segmentation"):
        decode_mask(path)


def test_regions_of_grey_levels(tmp_path: Path) -> None:
    definition = write_fbms_definition(tmp_path / "carsDef.dat", [128, 0, 255])
    mask = write_png(tmp_path / "m.pgm", LABELS)  # 1 and 2 are no region's
    assert read_regions(definition) == (128, 0, 255)
    assert region_label(mask, definition).tolist() == [[1, VOID, VOID], [1, 1, 0]]


def test_regions_of_colours(tmp_path: Path) -> None:
    white, red, blue = (255, 255, 255), (255, 0, 0), (0, 0, 255)
    code = [red * 65536 + green * 256 + blue for red, green, blue in (white, red, blue)]
    definition = write_fbms_definition(tmp_path / "bearDef.dat", code)
    mask = write_png(tmp_path / "m.ppm", np.array([[white, red], [blue, (0, 255, 0)]], np.uint8))
    assert region_label(mask, definition).tolist() == [[0, 1], [1, VOID]]


def test_a_changed_definition_is_read_again(tmp_path: Path) -> None:
    path = write_fbms_definition(tmp_path / "aDef.dat", [0, 255])
    assert read_regions(path) == (0, 255)
    write_fbms_definition(path, [255, 0])
    os.utime(path, (1, 1))
    assert read_regions(path) == (255, 0)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8-sig", "utf-16"])
def test_definitions_of_any_editor(tmp_path: Path, encoding: str) -> None:
    text = "Total number of regions:\r\n1\r\nScale of region 0: caf\u00e9\r\n7\r\n"
    assert read_regions(write_bytes(tmp_path / "d.dat", text.encode(encoding))) == (7,)


@pytest.mark.parametrize("text", ["", "words", "Total number of regions:\n2\nScale of region 0:\n0\n",
                                  "Total number of regions:\n1\nScale of region 0:\nwhite\n",
                                  "Total number of regions:\nScale of region 0:\n"])  # fmt: skip
def test_what_is_no_definition(tmp_path: Path, text: str) -> None:
    path = write_bytes(tmp_path / "aDef.dat", text.encode())
    with pytest.raises(ValueError, match=r"aDef\.dat: "):
        read_regions(path)
