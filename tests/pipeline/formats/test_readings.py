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
from mask_encodings import ENCODINGS, SOFT, Mask, colours, flat, grey, jpeg, photograph, saved, shades, soft, with_alpha
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
    "palette, gif, no black",
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


def test_masks_that_change_are_looked_at_again(tmp_path: Path) -> None:
    """A process may live for weeks."""
    faint = write_bytes(tmp_path / "faint.png", grey(40)(ellipse()))
    other = write_bytes(tmp_path / "other.png", soft()(ellipse()))
    assert not decode_mask(faint, siblings=lambda: [other])[0].any()
    write_bytes(other, saved(Image.fromarray(labelled((20, 40, 60)))))
    assert decode_mask(faint, siblings=lambda: [other])[0].any()


def logistic(shown: bool) -> np.ndarray:
    """A probability map of a network, and one of a frame on which it saw nothing."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    shares = 255 / (1 + np.exp((np.hypot(y - 20, x - 32) - 12) / 3))
    return np.round(shares if shown else 0.01 * shares).astype(np.uint8)


@pytest.mark.parametrize("shown", [2, 5, 39])
@pytest.mark.parametrize("deep", [False, True])
def test_frames_on_which_nothing_is_seen_do_not_decide(tmp_path: Path, shown: int, deep: bool) -> None:
    maps = [logistic(n in range(10, 10 + shown)).astype(np.uint16 if deep else np.uint8) for n in range(40)]
    paths = [
        write_bytes(tmp_path / f"{n}.png", saved(Image.fromarray(m * 257 if deep else m))) for n, m in enumerate(maps)
    ]
    for path, values in zip(paths, maps, strict=True):
        assert np.array_equal(decode_mask(path, siblings=lambda: paths)[0] > 0, values > 127)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF", "JPEG2000"])
@pytest.mark.parametrize("colour", [(255, 255, 255), (200, 0, 0), (128, 128, 128)])
def test_what_was_stored_with_loss_is_cut_at_half_of_the_brightest(
    tmp_path: Path, kind: str, colour: tuple[int, int, int]
) -> None:
    options = (
        {"irreversible": True, "quality_mode": "dB", "quality_layers": [38]} if kind == "JPEG2000" else {"quality": 80}
    )
    masks = [ellipse(), np.zeros(SIZE, bool), two()]
    pictures = [Image.fromarray(mask[..., None] * np.array(colour, np.uint8)) for mask in masks]
    paths = [write_bytes(tmp_path / f"{n}.x", saved(one, kind, **options)) for n, one in enumerate(pictures)]
    for path, mask in zip(paths, masks, strict=True):
        found = decode_mask(path, siblings=lambda: paths)[0]
        assert (found != mask).mean() < 0.02 and found.any() == mask.any()


THIN = {
    "two lines": [((10, 5), (50, 5), 100), ((10, 20), (50, 20), 200)],
    "three thin lines": [((5, y), (60, y), value) for y, value in ((5, 38), (15, 75), (25, 113))],
    "a line beside a square": [((8, 2), (8, 36), 100), ((20, 5), (50, 35), 200)],
}


@pytest.mark.parametrize("name", THIN)
def test_thin_and_small_labels(name: str) -> None:
    mask = np.zeros(SIZE, np.uint8)
    for start, end, value in THIN[name]:
        cv2.rectangle(mask, start, (end[0], end[1] + 1), value, -1)
    assert np.array_equal(shape(saved(Image.fromarray(mask))), mask > 0)


def test_labels_upon_a_label() -> None:
    mask = ellipse((32, 20), (28, 18)).astype(np.uint8) * np.uint8(51)
    for place, value in enumerate((102, 153, 204, 255)):
        mask[ellipse((16 + 11 * place, 20), (4, 6))] = value
    assert np.array_equal(shape(saved(Image.fromarray(mask))), mask > 0)


def test_a_transparent_background_of_a_palette_changes_nothing() -> None:
    """Its indices stay labels, with which a void value can be told."""
    labels = labelled((1, 255))
    image = Image.fromarray(labels, "P")
    image.putpalette([0, 0, 0, 128, 0, 0] + [0] * 759 + [224, 224, 192])
    assert np.array_equal(read_plane(saved(image, transparency=0)).values, labels)


@pytest.mark.parametrize("mode", ["1", "L", "I;16"])
def test_white_that_nobody_sees(mode: str) -> None:
    mask = ellipse()
    values = {"1": ~mask, "L": ~mask * np.uint8(255), "I;16": ~mask * np.uint16(65535)}[mode]
    key = {"1": 1, "L": 255, "I;16": 65535}[mode]
    assert np.array_equal(shape(saved(Image.fromarray(values), transparency=key)), mask)


def test_an_overlay_is_a_shape_whatever_its_strength() -> None:
    for colour, strength in (((255, 0, 0), 100), ((255, 255, 255), 102), ((0, 0, 0), 60)):
        pixels = np.zeros((*SIZE, 4), np.uint8)
        pixels[ellipse()] = (*colour, strength)
        assert np.array_equal(shape(saved(Image.fromarray(pixels, "RGBA"))), ellipse())
    labels = labelled((50, 250))
    clear = np.dstack([labels, np.where(labels, 255, 0).astype(np.uint8)])
    assert np.array_equal(shape(saved(Image.fromarray(clear, "LA"))), labels > 0)


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


def test_nothing_that_reaches_half() -> None:
    """All would be empty, and nobody would know."""
    many = np.kron(np.arange(1, 71, dtype=np.uint8).reshape(7, 10), np.ones((5, 5), np.uint8))
    many[:, -1] = 0
    assert "values up to 70 of 255 in its sequence, of which none reaches half" in refusal(saved(Image.fromarray(many)))
    with pytest.raises(ValueError, match="masks_are: labels"):
        read_mask_values(read_plane(grey(1)(ellipse())), "soft")


def test_a_drawing_that_nobody_sees() -> None:
    pixels = np.zeros((*SIZE, 4), np.uint8)
    pixels[..., :3] = np.frombuffer(shades(ellipse(), 2).tobytes(), np.float64).reshape(SIZE)[..., None] * 255
    assert "another in its alpha channel" in refusal(saved(Image.fromarray(pixels, "RGBA")))


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
    assert evidence_of(read_plane(soft(sigma=4)(ellipse()))) == Evidence(sure=1, largest=249)
    assert evidence_of(read_plane(saved(Image.fromarray(labelled((85, 170)))))) == Evidence(labels=1, largest=170)
    assert evidence_of(read_plane(grey(1)(ellipse()))) == Evidence(largest=1)
    assert evidence_of(read_plane(ENCODINGS["1 bit"](ellipse()))) == Evidence()
    assert Evidence(soft=1, labels=1).masks_are == "soft" and Evidence(soft=1, labels=2).masks_are == "labels"
    assert Evidence().masks_are == "labels"
