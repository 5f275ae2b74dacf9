"""Frames of every depth and kind; what a file holds beside one opaque picture is used, or refused in words."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from builders import make_item, write_bytes
from PIL import Image

from fusionseg.pipeline.datasets.digests import Ledger
from fusionseg.pipeline.datasets.reading import read_frame
from fusionseg.pipeline.formats.pictures import decode_frame, file_header, frame_notes, image_header

SMOOTH = cv2.resize(np.random.default_rng(2).integers(0, 256, (6, 8, 3), np.uint8), (64, 48))


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def deep(values: npt.NDArray[np.uint16], suffix: str = ".png") -> bytes:
    done, data = cv2.imencode(suffix, values)
    assert done
    return data.tobytes()


@pytest.mark.parametrize("kind", ["JPEG", "JPEG2000", "GIF", "TGA", "QOI", "PCX", "SGI", "AVIF", "WEBP", "BMP", "PPM"])
def test_kinds_of_pictures(kind: str) -> None:
    found = decode_frame(saved(Image.fromarray(SMOOTH), kind))
    assert np.abs(found[..., ::-1].astype(int) - SMOOTH).mean() < 8  # GIF has 256 colours
    assert image_header(saved(Image.fromarray(SMOOTH), kind)) == (64, 48)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".ppm"])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_deep_frames_are_as_bright_as_shallow_ones(bits: int, suffix: str) -> None:
    values = SMOOTH.astype(np.uint16) << (bits - 8)
    values[0, 0] = 2**bits - 1
    assert np.array_equal(decode_frame(deep(values, suffix))[1:], SMOOTH[1:])


@pytest.mark.parametrize("colours", [SMOOTH, SMOOTH[..., 0]], ids=["colours", "grey"])
def test_white_is_that_of_the_video_not_of_the_frame(tmp_path: Path, colours: npt.NDArray[np.uint8]) -> None:
    """A dark frame of a video of 12 bits stays dark, a bright one isn't cut."""
    bright, dark = colours.astype(np.uint16) * 16 + 15, colours.astype(np.uint16)  # the second looks like 8 bits
    paths = [write_bytes(tmp_path / f"{n}.png", deep(values)) for n, values in enumerate((dark, bright, dark))]
    item = make_item(frames=paths)
    frames = [read_frame(item, index)[..., 0] for index in range(3)]
    expected = colours if colours.ndim == 2 else colours[..., 0]
    assert np.array_equal(frames[1], expected) and np.array_equal(frames[0], expected // 16)
    assert frame_notes(paths) == ("16 bits a channel, of which 12 are used",)
    ledger = Ledger(tmp_path / "digests.json")
    alone = ledger.digest(make_item(frames=paths[:1]), "frames")
    assert ledger.how_read() == ["frames of tiny (clip): 16 bits a channel, of which 8 are used"]
    assert alone != ledger.digest(item, "frames")


@pytest.mark.parametrize("white", [100, 255, 1023, 65535])
def test_the_white_that_a_file_tells(white: int) -> None:
    values = np.linspace(0, white, 48 * 64 * 3).reshape(48, 64, 3)
    data = values.astype(">u2" if white > 255 else np.uint8).tobytes()
    found = decode_frame(b"P6\n# made by hand\n64 48\n%d\n" % white + data)[..., ::-1]
    assert np.abs(found - values / white * 255).max() < 4


def test_all_frames_of_a_video_have_one_white(tmp_path: Path) -> None:
    values = [np.full((24, 40), 6000 if n == 11 else 4000, np.uint16) for n in range(30)]
    paths = [write_bytes(tmp_path / f"{n:02}.png", deep(value)) for n, value in enumerate(values)]
    frames = [read_frame(make_item(frames=paths), n).max() for n in (0, 11, 29)]
    assert frames == [4000 >> 6, 6000 >> 6, 4000 >> 6]  # 14 bits


def test_how_a_frame_is_read_belongs_to_its_digest(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "0.png", deep(SMOOTH.astype(np.uint16) * 16 + 15))
    ledger, item = Ledger(tmp_path / "digests.json"), make_item(frames=[path])
    digest = ledger.digest(item, "frames")
    shallow = write_bytes(tmp_path / "0.png", saved(Image.fromarray(SMOOTH), "PNG"))
    assert frame_notes([shallow]) == () and ledger.digest(item, "frames") != digest


def test_transparent_parts_keep_their_colours_and_that_is_said(tmp_path: Path) -> None:
    clear = Image.fromarray(np.dstack([SMOOTH, SMOOTH[..., 0]]), "RGBA")
    path = write_bytes(tmp_path / "0.png", saved(clear, "PNG"))
    assert np.array_equal(decode_frame(path.read_bytes())[..., ::-1], SMOOTH)
    assert frame_notes([path]) == ("transparent parts keep the colours that they are stored with",)
    opaque = Image.fromarray(np.dstack([SMOOTH, np.full(SMOOTH.shape[:2], 255, np.uint8)]), "RGBA")
    assert frame_notes([write_bytes(path, saved(opaque, "PNG"))]) == ()


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_an_animation_is_no_frame(tmp_path: Path, kind: str) -> None:
    noise = [Image.fromarray(np.roll(SMOOTH, 8 * n, 1)).resize((300, 200)) for n in range(3)]
    path = write_bytes(tmp_path / f"0.{kind.lower()}", saved(noise[0], kind, save_all=True, append_images=noise[1:]))
    for read in (
        lambda: decode_frame(path.read_bytes()),
        lambda: image_header(path.read_bytes()),
        lambda: file_header(path),
    ):
        with pytest.raises(ValueError, match=r"holds 3 pictures, expected one; .*give it as a video"):
            read()


def test_what_cameras_hide_behind_a_jpeg_is_no_picture_more() -> None:
    first, second = Image.fromarray(SMOOTH), Image.fromarray(SMOOTH[::2, ::2].copy())
    data = saved(first, "MPO", save_all=True, append_images=[second])
    assert image_header(data) == (64, 48) and decode_frame(data).shape == (48, 64, 3)


@pytest.mark.parametrize(
    "data", [b"", b"words", deep(SMOOTH.astype(np.uint16))[:90], saved(Image.fromarray(SMOOTH), "TGA")[:60]]
)
def test_what_is_no_picture(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode_frame(data)


def test_numbers_that_are_no_brightness() -> None:
    floats = saved(Image.fromarray(SMOOTH[..., 0].astype(np.float32)), "TIFF")
    with pytest.raises(ValueError, match="8 or 16 bits; save it as a PNG"):
        decode_frame(floats)
