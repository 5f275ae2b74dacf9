"""Plain PNGs decoded directly give what a general decoder gives; all others are left to one."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from builders import write_bytes, write_indexed, write_png
from PIL import Image

from fusionseg.pipeline.formats.masks import decode_mask, decode_objects
from fusionseg.pipeline.formats.png import decode_plain_png


def values(highest: int, width: int = 21) -> np.ndarray:
    return np.random.default_rng(highest).integers(0, highest + 1, (13, width), np.uint8)


def plain_png(mask: np.ndarray) -> bytes:
    """(H, W) bool as DAVIS 2016 writes masks: one bit a pixel, no filters."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + row.tobytes() for row in np.packbits(mask, axis=1))
    header = struct.pack(">IIBBBBB", mask.shape[1], mask.shape[0], 1, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("width", [1, 7, 8, 9, 21])
def test_one_bit(width: int) -> None:
    mask = values(1, width).astype(bool)
    found = decode_plain_png(plain_png(mask))
    assert found is not None and found.values.dtype == np.bool_ and found.values.flags.writeable
    assert np.array_equal(found.values, mask) and found.palette.shape == (0, 3)


def test_one_bit_with_filters(tmp_path: Path) -> None:
    mask = values(1).astype(bool)
    found, _ = decode_mask(write_png(tmp_path / "mask.png", mask))
    assert found.dtype == np.bool_ and np.array_equal(found, mask)


def test_indexed(tmp_path: Path) -> None:
    found = decode_plain_png(write_indexed(tmp_path / "mask.png", values(255)).read_bytes())
    assert found is not None and found.values.dtype == np.uint8 and np.array_equal(found.values, values(255))
    with Image.open(tmp_path / "mask.png") as image:
        assert found.palette.reshape(-1).tolist() == image.getpalette()


def test_files_of_other_kinds_are_left_to_a_general_decoder(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(60), np.arange(60)).astype(np.uint8)  # gets filters
    plain = write_indexed(tmp_path / "plain.png", values(3)).read_bytes()
    cv2.imwrite(str(tmp_path / "smooth.png"), smooth, [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT])
    others = {
        "filtered": (tmp_path / "smooth.png").read_bytes(),
        "colours": write_png(tmp_path / "rgb.png", np.zeros((4, 5, 3), np.uint8)).read_bytes(),
        "16 bits": write_png(tmp_path / "deep.png", np.zeros((4, 5), np.uint16)).read_bytes(),
        "cut": plain[:-20], "nothing": b"", "words": b"not a picture",
        "a header that lies": plain[:16] + b"\x7f" + plain[17:],
    }  # fmt: skip
    assert {name: decode_plain_png(data) for name, data in others.items()} == dict.fromkeys(others)
    assert np.array_equal(decode_mask(tmp_path / "smooth.png", "labels")[0], smooth)


def test_a_damaged_mask_is_an_error(tmp_path: Path) -> None:
    data = write_indexed(tmp_path / "plain.png", values(3)).read_bytes()
    with pytest.raises(ValueError, match="damaged: its pixels don't match their checksum"):
        decode_mask(write_bytes(tmp_path / "flipped.png", data[:-30] + bytes([data[-30] ^ 4]) + data[-29:]))


@pytest.mark.real
def test_real_masks(real_data: Path) -> None:
    for path in sorted((real_data / "fseg_masks_train30").glob("*/*.png"))[::200]:
        with Image.open(path) as image:
            expected = np.asarray(image)
        found = decode_plain_png(path.read_bytes())
        assert found is not None and found.values.dtype == expected.dtype and np.array_equal(found.values, expected)


def test_small_values_of_deep_colours_are_kept(tmp_path: Path) -> None:
    colours = np.zeros((4, 5, 3), np.uint16)
    colours[1, 2, 1], colours[2, 3, 0] = 1, 40000
    cv2.imwrite(str(tmp_path / "deep.png"), colours)
    assert np.array_equal(decode_mask(tmp_path / "deep.png", "labels")[0], colours.any(2))


def test_objects_have_numbers_not_colours(tmp_path: Path) -> None:
    numbers = values(3)
    grey, one_bit = write_png(tmp_path / "grey.png", numbers), write_png(tmp_path / "bit.png", numbers > 1)
    same = write_png(tmp_path / "same.png", np.repeat(numbers[..., None], 3, 2))
    for path in (write_indexed(tmp_path / "indexed.png", numbers), grey, same):
        assert np.array_equal(decode_objects(path), numbers)
    assert decode_objects(one_bit).dtype == np.uint8 and np.array_equal(decode_objects(one_bit), numbers > 1)
    coloured = np.stack([numbers, numbers, numbers * 0], 2)
    with pytest.raises(ValueError, match="colours, expected palette indices"):
        decode_objects(write_png(tmp_path / "rgb.png", coloured))
