"""Pictures, masks and boxes: every encoding that data sets use, and every way a file can be broken."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from builders import make_item, texture, write_jpeg, write_png, write_voc
from PIL import Image

from fusionseg.models.labels import VOID
from fusionseg.pipeline.datasets.finding import load_items
from fusionseg.pipeline.datasets.items import Boxes, MaskFiles
from fusionseg.pipeline.datasets.manifest import read_manifest
from fusionseg.pipeline.datasets.reading import read_boxes, read_frame, read_mask, read_mask_sized
from fusionseg.pipeline.errors import BadFile
from fusionseg.pipeline.formats.boxes import tight_box
from fusionseg.pipeline.formats.masks import write_mask
from fusionseg.pipeline.formats.pictures import decode_frame, file_header, image_header

LABELS = np.array([[0, 1, 2], [255, 0, 128]], np.uint8)


def save(path: Path, image: Image.Image) -> Path:
    image.save(path)
    return path


def test_frame_is_bgr(tmp_path: Path) -> None:
    red = np.zeros((4, 5, 3), np.uint8)
    red[..., 0] = 200
    item = make_item(frames=[write_png(tmp_path / "f.png", red)])
    frame = read_frame(item, 0)
    assert frame.shape == (4, 5, 3) and (frame == [0, 0, 200]).all()


def test_grey_and_transparent_frames_have_three_channels(tmp_path: Path) -> None:
    grey = save(tmp_path / "g.png", Image.fromarray(LABELS))
    assert (decode_frame(grey.read_bytes()) == LABELS[..., None]).all()
    clear = save(tmp_path / "c.png", Image.fromarray(np.dstack([LABELS] * 4), "RGBA"))
    assert decode_frame(clear.read_bytes()).shape == (2, 3, 3)


GREY = np.random.default_rng(3).integers(0, 256, (6, 9), np.uint8)
COLOUR = np.random.default_rng(4).integers(0, 256, (6, 9, 3), np.uint8)  # RGB


def frame_of(path: Path) -> np.ndarray:
    """Return what stages get of a frame's file, as RGB."""
    found = read_frame(make_item(frames=[path]), 0)
    assert found.dtype == np.uint8 and found.shape[2] == 3
    return found[..., ::-1]


@pytest.mark.parametrize("suffix", ["png", "bmp", "ppm", "tif"])
def test_frames_without_loss(tmp_path: Path, suffix: str) -> None:
    assert np.array_equal(frame_of(write_png(tmp_path / f"f.{suffix}", COLOUR)), COLOUR)


def test_frames_of_sixteen_bits_keep_their_upper_eight(tmp_path: Path) -> None:
    low = np.random.default_rng(5).integers(0, 256, COLOUR.shape, np.uint16)
    assert cv2.imwrite(str(tmp_path / "c.png"), (COLOUR.astype(np.uint16) * 256 + low)[..., ::-1])
    assert np.array_equal(frame_of(tmp_path / "c.png"), COLOUR)
    grey = save(tmp_path / "g.png", Image.fromarray(GREY.astype(np.uint16) * 256))
    assert np.array_equal(frame_of(grey), np.dstack([GREY] * 3))


def test_frames_of_palette_grey_bits_and_alpha(tmp_path: Path) -> None:
    indexed = Image.fromarray(COLOUR).quantize(16)
    assert np.array_equal(frame_of(save(tmp_path / "p.png", indexed)), np.asarray(indexed.convert("RGB")))
    for mode in ("L", "LA"):
        picture = Image.fromarray(GREY).convert(mode)
        assert np.array_equal(frame_of(save(tmp_path / f"{mode}.png", picture)), np.dstack([GREY] * 3))
    bits = write_png(tmp_path / "bits.png", GREY > 127)
    assert np.array_equal(frame_of(bits), np.dstack([(GREY > 127) * np.uint8(255)] * 3))
    # What is transparent keeps the colour it is stored with: nothing shines through.
    clear = Image.fromarray(np.dstack([COLOUR, GREY]), "RGBA")
    assert np.array_equal(frame_of(save(tmp_path / "a.png", clear)), COLOUR)


def test_frames_of_printing_colours(tmp_path: Path) -> None:
    smooth = cv2.resize(COLOUR, (72, 48), interpolation=cv2.INTER_CUBIC)
    path = tmp_path / "k.jpg"
    Image.fromarray(smooth).convert("CMYK").save(path, quality=98, subsampling=0)
    assert np.abs(frame_of(path).astype(int) - smooth).mean() < 3
    assert image_header(path.read_bytes()) == file_header(path) == (72, 48)


def test_frames_are_never_turned(tmp_path: Path) -> None:
    """Masks and boxes belong to the picture as it is stored."""
    picture, exif = Image.fromarray(COLOUR).resize((40, 24)), Image.Exif()
    exif[0x0112] = 6  # orientation: a quarter turn
    picture.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    picture.save(tmp_path / "plain.jpg", quality=95)
    assert np.array_equal(frame_of(tmp_path / "turned.jpg"), frame_of(tmp_path / "plain.jpg"))
    assert file_header(tmp_path / "turned.jpg") == (40, 24)


@pytest.mark.parametrize("name", ["my frame 1.png", "Größe-ñ-画.png", "a [1]*?.png", "f.PNG"])
def test_frames_and_masks_of_any_name(tmp_path: Path, name: str) -> None:
    frame = write_png(tmp_path / "frames" / name, COLOUR)
    mask = write_png(tmp_path / "masks" / name, GREY > 127)
    assert np.array_equal(frame_of(frame), COLOUR) and file_header(frame) == (9, 6)
    item = make_item(frames=[frame], masks=(MaskFiles((mask,)),))
    assert np.array_equal(read_mask_sized(item, 0, (6, 9)), GREY > 127)


def test_a_picture_of_one_pixel(tmp_path: Path) -> None:
    assert frame_of(write_png(tmp_path / "1.png", COLOUR[:1, :1])).tolist() == [[COLOUR[0, 0].tolist()]]
    path = write_jpeg(tmp_path / "1.jpg", COLOUR[:1, :1])
    assert frame_of(path).shape == (1, 1, 3) and file_header(path) == (1, 1)


def test_header_of_a_file_is_found_behind_a_long_preview(tmp_path: Path) -> None:
    path = tmp_path / "p.jpg"
    exif = Image.Exif()
    exif[0x9286] = "preview" * 5000  # a comment of 35 kB
    Image.fromarray(COLOUR).save(path, exif=exif)
    assert path.read_bytes().index(b"\xff\xc0") > 30_000
    assert file_header(path) == (9, 6)


@pytest.mark.parametrize("name", ["f.jpg", "f.png"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_cut_off_file_is_refused_without_reading_it_whole(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / name
    assert cv2.imwrite(str(path), texture((120, 160), 0))
    assert file_header(path) == (160, 120)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ValueError, match=r"not a picture|truncated"):
        file_header(path)


@pytest.mark.parametrize("name", ["f.jpg", "f.png"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_cut_off_picture_is_refused_by_its_header_check(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / name
    assert cv2.imwrite(str(path), texture((120, 160), 0))
    data = path.read_bytes()
    assert image_header(data) == (160, 120)
    assert image_header(data + bytes(20)) == (160, 120)  # some writers pad
    with pytest.raises(ValueError, match=r"not a picture|truncated"):
        image_header(data[: int(len(data) * share)])


def test_missing_or_broken_frame_is_named(tmp_path: Path) -> None:
    (tmp_path / "words.jpg").write_text("words")
    (tmp_path / "empty.jpg").touch()
    for name in ("words", "empty", "gone"):
        with pytest.raises(BadFile, match=rf"{name}\.jpg: .*\[tiny, clip\]") as caught:
            read_frame(make_item(frames=[tmp_path / f"{name}.jpg"]), 0)
        assert (caught.value.dataset, caught.value.name) == ("tiny", "clip")


def palette_image() -> Image.Image:
    image = Image.new("P", (3, 2))
    image.putpalette([(37 * n) % 256 for n in range(768)])
    image.putdata(LABELS.reshape(-1).tolist())
    return image


def test_mask_merges_objects_and_keeps_void(tmp_path: Path) -> None:
    path = save(tmp_path / "m.png", palette_image())
    frames = [tmp_path / "f.png"]
    plain = make_item(frames=frames, masks=(MaskFiles((path,)),))
    assert np.array_equal(read_mask(plain, 0), [[0, 1, 1], [1, 0, 1]])
    void = make_item(frames=frames, masks=(MaskFiles((path,)),), void=255)
    assert np.array_equal(read_mask(void, 0), [[0, 1, 1], [VOID, 0, 1]])
    other = make_item(frames=frames, masks=(MaskFiles((path,)),), void=128)
    assert np.array_equal(read_mask(other, 0), [[0, 1, 1], [1, 0, VOID]])


def test_voc_palette_files_are_read_by_index(tmp_path: Path) -> None:
    (item,) = load_items(write_voc(tmp_path, ["a"]), "train", tmp_path)
    mask = read_mask(item, 0)
    assert (mask[6:14, 4:12] == 1).all() and (mask[18:22, 30:36] == 1).all()
    assert (mask[5, 4:12] == VOID).all() and (mask == 1).sum() == 64 + 24 and (mask == VOID).sum() == 8


def test_masks_of_several_objects_are_merged(tmp_path: Path) -> None:
    first, second = np.zeros((2, 4), np.uint8), np.zeros((2, 4), np.uint8)
    first[0, :2], second[0, 1:3] = (3, 255), (255, 1)
    second[1, 0] = 255
    paths = write_png(tmp_path / "1.png", first), write_png(tmp_path / "2.bmp", second)
    for order in (paths, paths[::-1]):
        merged = make_item(frames=[tmp_path / "f.png"], masks=(MaskFiles(order),), void=255)
        assert read_mask(merged, 0).tolist() == [[1, VOID, 1, 0], [VOID, 0, 0, 0]]
        assert read_mask(replace(merged, void=None), 0).tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]


def test_masks_of_several_objects_must_have_one_size(tmp_path: Path) -> None:
    paths = (
        write_png(tmp_path / "1.png", np.zeros((2, 4), np.uint8)),
        write_png(tmp_path / "2.png", np.ones((2, 3), bool)),
    )
    item = make_item(frames=[tmp_path / "f.png"], masks=(MaskFiles(paths),))
    with pytest.raises(BadFile, match=r"2\.png: mask is 3x2, that of another object of its frame 4x2"):
        read_mask(item, 0)


def test_a_frame_without_truth_is_told_not_guessed(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"f\.png: this frame has no mask"):
        read_mask(make_item(frames=[tmp_path / "f.png"], masks=(MaskFiles(()),)), 0)


def test_mask_of_another_size_is_refused_or_resized_by_nearest(tmp_path: Path) -> None:
    path = save(tmp_path / "m.png", palette_image())
    strict = make_item(frames=[tmp_path / "f.png"], masks=(MaskFiles((path,)),), void=255)
    assert np.array_equal(read_mask_sized(strict, 0, (2, 3)), read_mask(strict, 0))
    with pytest.raises(BadFile, match=r"m\.png: mask is 3x2, its frame 6x4; .*allow_mask_resize"):
        read_mask_sized(strict, 0, (4, 6))
    lenient = make_item(frames=[tmp_path / "f.png"], masks=(MaskFiles((path,)),), void=255, allow_mask_resize=True)
    expected = read_mask(strict, 0).repeat(2, 0).repeat(2, 1)
    assert np.array_equal(read_mask_sized(lenient, 0, (4, 6)), expected)


def test_broken_mask_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90), np.uint8)).save(path)
    data = path.read_bytes()
    for broken in (b"", b"words", data[:60], data[: len(data) // 2]):
        path.write_bytes(broken)
        with pytest.raises(BadFile, match=r"m\.png: mask can't be decoded"):
            read_mask(make_item(frames=[tmp_path / "f.png"], masks=(MaskFiles((path,)),)), 0)


def test_written_mask_is_an_indexed_png_of_zero_and_one(tmp_path: Path) -> None:
    mask = LABELS > 1
    write_mask(tmp_path / "deep" / "m.png", mask)
    with Image.open(tmp_path / "deep" / "m.png") as image:
        assert image.mode == "P" and image.getpalette()[:6] == [0, 0, 0, 128, 0, 0]  # type: ignore[index]
        assert np.array_equal(np.asarray(image), mask.astype(np.uint8))


def test_derived_box_is_tight_around_object_and_not_void(tmp_path: Path) -> None:
    label = np.zeros((10, 12), np.uint8)
    label[3:6, 2:9], label[8, 11] = 1, 255
    path = write_png(tmp_path / "m.png", label)
    item = make_item(frames=[tmp_path / "f.png"], boxes=Boxes(masks=(MaskFiles((path,)),)), void=255)
    assert read_boxes(item, 0).boxes.tolist() == [[2, 3, 9, 6]]
    write_png(path, np.zeros((10, 12), np.uint8))
    assert read_boxes(item, 0).boxes.shape == (0, 4)


def test_derived_box_is_that_of_the_frame_where_masks_are_resized(tmp_path: Path) -> None:
    label = np.zeros((3, 4), np.uint8)
    label[1, 1:3] = 1
    frame, path = write_png(tmp_path / "f.png", COLOUR), write_png(tmp_path / "m.png", label)
    item = make_item(frames=[frame], boxes=Boxes(masks=(MaskFiles((path,)),)))
    assert read_boxes(item, 0).boxes.tolist() == [[1, 1, 3, 2]]
    assert read_boxes(replace(item, allow_mask_resize=True), 0).boxes.tolist() == [[3, 2, 7, 4]]
    frame.unlink()
    with pytest.raises(BadFile, match=r"f\.png: "):
        read_boxes(replace(item, allow_mask_resize=True), 0)


def test_boxes_of_frames_without_truth(tmp_path: Path) -> None:
    assert len(read_boxes(make_item(frames=[tmp_path / "f.png"], boxes=Boxes(masks=(MaskFiles(()),))), 0)) == 0


def test_tight_box() -> None:
    mask = np.zeros((5, 7), bool)
    assert tight_box(mask) is None and tight_box(mask[:0]) is None
    mask[4, 6] = True
    assert tight_box(mask) == (6, 4, 7, 5)
    mask[1, 2] = True
    assert tight_box(mask) == (2, 1, 7, 5)


def test_jpeg_builder_gives_a_whole_file(tmp_path: Path) -> None:
    assert image_header(write_jpeg(tmp_path / "a.jpg", texture((24, 40), 0)).read_bytes()) == (40, 24)


@pytest.mark.real
def test_real_one_bit_masks_and_void(real_data: Path) -> None:
    items = load_items(read_manifest("davis2016-small"), "motion", real_data)
    bumps = next(i for i in items if i.name == "bmx-bumps")
    empty = sum(not read_mask(bumps, n).any() for n in range(len(bumps.frames)))
    assert empty == 14
    (stills,) = load_items(read_manifest("coco-objects"), "train", real_data)
    values = set(np.unique(np.concatenate([read_mask(stills, n).ravel() for n in range(0, 403, 20)])).tolist())
    assert values <= {0, 1, VOID} and {0, 1} <= values
