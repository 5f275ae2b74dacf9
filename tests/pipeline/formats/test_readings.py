"""J of right masks never differs by how they are stored; what can't be told is refused in words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from builders import write_bytes
from hypothesis import given
from hypothesis import strategies as st
from mask_encodings import ENCODINGS, SOFT, Mask, colours, flat, grey, jpeg, photograph, saved, soft, with_alpha
from PIL import Image

from fusionseg.pipeline.formats.masks import decode_mask, decode_objects
from fusionseg.pipeline.formats.planes import read_plane
from fusionseg.pipeline.formats.readings import SOFT_NOTE, Evidence, evidence_of, read_mask_values

SIZE = (40, 64)


def ellipse(centre: tuple[int, int] = (30, 20), axes: tuple[int, int] = (14, 9)) -> Mask:
    return cv2.ellipse(np.zeros(SIZE, np.uint8), centre, axes, 25, 0, 360, 1, -1) > 0


def two() -> Mask:
    return ellipse((15, 14), (9, 6)) | ellipse((48, 26), (7, 9))


def shape(data: bytes) -> Mask:
    return read_mask_values(read_plane(data))[0] > 0


@pytest.mark.parametrize("name", [*ENCODINGS, *SOFT])
@pytest.mark.parametrize("mask", [ellipse(), two()], ids=["one", "two"])
def test_the_shape_is_the_same_however_it_is_stored(name: str, mask: Mask) -> None:
    assert np.array_equal(shape((ENCODINGS | SOFT)[name](mask)), mask)


@pytest.mark.parametrize("name", [name for name in ENCODINGS if name != "palette, dark and light"])
def test_an_empty_mask_is_empty_however_it_is_stored(name: str) -> None:
    assert not shape(ENCODINGS[name](np.zeros(SIZE, bool))).any()


# A picture of one colour without anything transparent says nothing of the alpha channel it might have had.
CONSTANT = (
    "rgba, black",
    "rgba, cut",
    "rgba, cut, webp",
    "rgba, tiff",
    "la, black",
    "la, 16 bits",
    "palette, transparent",
)


@pytest.mark.parametrize("name", [name for name in ENCODINGS if name not in CONSTANT])
def test_a_full_mask_is_full_however_it_is_stored(name: str) -> None:
    assert shape(ENCODINGS[name](np.ones(SIZE, bool))).all()


@given(
    st.sampled_from(sorted(ENCODINGS)),
    st.tuples(st.integers(8, 56), st.integers(8, 32)),
    st.tuples(st.integers(3, 20), st.integers(3, 12)),
)
def test_any_shape(name: str, centre: tuple[int, int], axes: tuple[int, int]) -> None:
    mask = ellipse(centre, axes)
    assert np.array_equal(shape(ENCODINGS[name](mask)), mask)


@given(st.sampled_from(sorted(SOFT)), st.tuples(st.integers(8, 56), st.integers(8, 32)), st.integers(6, 12))
def test_any_soft_shape(name: str, centre: tuple[int, int], radius: int) -> None:
    mask = ellipse(centre, (radius, radius))
    assert np.array_equal(shape(SOFT[name](mask)), mask)


@given(st.permutations(range(6)), st.sets(st.integers(1, 5), min_size=1))
def test_palettes_of_any_order(order: Sequence[int], objects: set[int]) -> None:
    """Entry n of a usual palette stands at order[n]; its black one is background wherever it stands."""
    usual = np.array([(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (255, 255, 255)], np.uint8)
    numbers = np.zeros(SIZE, np.uint8)
    for place, number in enumerate(sorted(objects)):
        numbers[ellipse((8 + 11 * place, 20), (5, 9))] = number
    entries = np.zeros((6, 3), np.uint8)
    entries[list(order)] = usual
    image = Image.fromarray(np.array(order, np.uint8)[numbers], "P")
    image.putpalette(entries.reshape(-1).tolist())
    data = saved(image)
    assert np.array_equal(shape(data), numbers > 0)
    assert len(np.unique(read_plane(data).values)) == len(objects) + 1  # and objects are told apart


def labelled(values: Sequence[int]) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    for place, value in enumerate(values):
        mask[ellipse((10 + 14 * place, 20), (6, 12))] = value
    return mask


@pytest.mark.parametrize(
    "values", [(1, 2), (1, 2, 3, 4), (38, 75), (85, 170, 255), (5, 255), (64, 128, 192), (200, 254)]
)
def test_few_values_that_fill_areas_are_labels(values: Sequence[int]) -> None:
    mask = labelled(values)
    found, notes = read_mask_values(read_plane(saved(Image.fromarray(mask))))
    assert np.array_equal(found, mask) and notes == ()


def test_an_object_within_another_is_one_too() -> None:
    mask = ellipse((30, 20), (25, 17)).astype(np.uint8) * np.uint8(38)
    mask[ellipse((30, 20), (12, 8))] = 75
    assert np.array_equal(read_mask_values(read_plane(saved(Image.fromarray(mask))))[0], mask)


def test_a_manifest_may_say_it() -> None:
    plane = read_plane(soft(32)(ellipse()))
    assert np.array_equal(read_mask_values(plane, "labels")[0], plane.values)
    few = read_plane(saved(Image.fromarray(labelled((85, 170)))))
    assert np.array_equal(read_mask_values(few, "soft")[0], labelled((85, 170)) > 127)
    indexed = read_plane(ENCODINGS["palette, DAVIS"](ellipse()))
    assert read_mask_values(indexed, "soft")[0].max() == 1  # indices are no shades, whatever is said


def test_what_cannot_tell_is_read_as_the_others_of_its_sequence(tmp_path: Path) -> None:
    """A frame on which a soft mask hardly shows anything holds few values, all small."""
    faint = write_bytes(tmp_path / "faint.png", grey(40)(ellipse()))
    one = write_bytes(tmp_path / "one.png", saved(Image.fromarray(labelled((1, 2)))))
    smooth = [write_bytes(tmp_path / f"{n}.png", soft()(ellipse())) for n in range(4)]
    flat = [write_bytes(tmp_path / f"l{n}.png", saved(Image.fromarray(labelled((20, 40, 60))))) for n in range(4)]
    for path in (faint, one):
        assert decode_mask(path)[0].any()
        assert not decode_mask(path, siblings=lambda: smooth)[0].any()
        assert decode_mask(path, siblings=lambda: flat)[0].any()
    (tmp_path / "0.png").write_bytes(b"words")  # told when it is its turn
    assert not decode_mask(faint, siblings=lambda: [tmp_path / "0.png", *smooth])[0].any()


def test_limited_range_of_video() -> None:
    """16 is black there, 235 white."""
    mask = np.where(ellipse(), 235, 16).astype(np.uint8)
    assert np.array_equal(shape(saved(Image.fromarray(mask))), ellipse())


def test_it_is_said_how_they_were_read() -> None:
    notes = lambda data: read_mask_values(read_plane(data))[1]  # noqa: E731
    assert notes(soft()(ellipse())) == (SOFT_NOTE,)
    assert notes(ENCODINGS["rgba, cut"](ellipse())) == ("the shape is in the alpha channel",)
    assert notes(ENCODINGS["palette, white first"](ellipse())) == ("entry 1 of the palette is black: background",)
    assumed = Image.fromarray(ellipse().astype(np.uint8), "P")
    assumed.putpalette([255, 0, 0, 0, 255, 0])
    assert notes(saved(assumed)) == ("no entry of the palette is black; entry 0 was taken as background",)
    for name in ("1 bit", "8 bits, label", "8 bits, white", "palette, DAVIS", "rgb, colour", "jpeg"):
        assert notes(ENCODINGS[name](ellipse())) == ()


# ---- refused


def refusal(data: bytes) -> str:
    with pytest.raises(ValueError) as caught:
        read_mask_values(read_plane(data))
    return str(caught.value)


def test_two_shapes_in_one_file() -> None:
    other = ellipse((45, 22), (8, 8))
    for drawn in (lambda mask: np.dstack([other * np.uint8(255)] * 3), lambda mask: other * np.uint8(255)):
        assert "one shape in its colours and another in its alpha" in refusal(with_alpha(drawn)(ellipse()))
    same = with_alpha(lambda mask: mask.astype(np.uint8) * np.uint8(255))
    assert np.array_equal(shape(same(ellipse())), ellipse())


def test_photographs() -> None:
    picture = cv2.GaussianBlur(photograph(ellipse()), (0, 0), 2)
    for kind in ("PNG", "JPEG", "WEBP"):
        assert "a picture in colours, expected a mask" in refusal(saved(Image.fromarray(picture), kind))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_animations(kind: str) -> None:
    frames = [Image.fromarray(ellipse((x, 20)).astype(np.uint8) * np.uint8(255)) for x in (20, 30, 40)]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    assert "holds 3 pictures, expected one" in refusal(data)


def test_labels_do_not_survive_in_a_jpeg() -> None:
    assert "labels don't survive" in refusal(saved(Image.fromarray(labelled((1, 2))), "JPEG", quality=95))
    assert not shape(jpeg(np.zeros(SIZE, bool))).any()


def test_numbers_that_are_none() -> None:
    assert "floating-point" in refusal(saved(Image.fromarray(ellipse().astype(np.float32)), "TIFF"))
    assert "values from -1 to 0" in refusal(saved(Image.fromarray(-ellipse().astype(np.int32)), "TIFF"))
    assert "not a picture" in refusal(b"words")


def test_shades_number_no_objects(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shades, expected palette indices or grey levels"):
        decode_objects(write_bytes(tmp_path / "m.png", soft(32)(ellipse())))
    with pytest.raises(ValueError, match="colours, expected palette indices or grey levels"):
        decode_objects(write_bytes(tmp_path / "m.png", colours((200, 0, 0))(ellipse())))
    white_first = write_bytes(tmp_path / "m.png", ENCODINGS["palette, white first"](ellipse()))
    assert np.array_equal(decode_objects(white_first) > 0, ellipse())
    alpha = write_bytes(tmp_path / "m.png", with_alpha(flat(0, 0, 0))(ellipse()))
    assert np.array_equal(decode_objects(alpha) > 0, ellipse())


def test_evidence() -> None:
    assert evidence_of(read_plane(soft()(ellipse()))) == Evidence(soft=1, largest=255)
    assert evidence_of(read_plane(saved(Image.fromarray(labelled((85, 170)))))) == Evidence(labels=1, largest=170)
    assert evidence_of(read_plane(grey(1)(ellipse()))) == Evidence(largest=1)
    assert evidence_of(read_plane(ENCODINGS["1 bit"](ellipse()))) == Evidence()
    assert Evidence(soft=1, labels=1).masks_are == "soft" and Evidence(soft=1, labels=2).masks_are == "labels"
    assert Evidence().masks_are == "labels"
