"""Frames of a video file: each once, upright, in order; extracted whole or not at all; bad files refused by name."""

import hashlib
import json
import re
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from videos import CODECS, SIZE, grey_of, marked_frame, write_changing_size, write_sound, write_video

from fusionseg.pipeline.basics import atomic as files
from fusionseg.pipeline.datasets import videos as module
from fusionseg.pipeline.datasets.videos import extract_frames, read_video
from fusionseg.pipeline.errors import UserError


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def extract(path: Path, progress: module.Progress | None = None) -> tuple[Path, ...]:
    return extract_frames(path, path.parent / "store", digest, progress)


def left_in(store: Path) -> list[Path]:
    return [path for path in store.rglob("*") if path.is_file()] if store.exists() else []


def noise(frames: int) -> list[npt.NDArray[np.uint8]]:
    return list(np.random.default_rng(0).integers(0, 256, (frames, *SIZE, 3), np.uint8))


@pytest.mark.parametrize("suffix", CODECS)
def test_every_frame_once_in_order(tmp_path: Path, suffix: str) -> None:
    found = [image for image, _ in read_video(write_video(tmp_path / f"clip{suffix}", 6))]
    assert [image.shape for image in found] == [(*SIZE, 3)] * 6 and found[0].dtype == np.uint8
    if suffix != ".gif":  # whose 256 colours are few
        assert [grey_of(image) for image in found] == [0, 1, 2, 3, 4, 5]


def test_frames_that_are_stored_in_another_order_come_in_that_of_presentation(tmp_path: Path) -> None:
    path = write_video(tmp_path / "b.mp4", 12, codec="libx264")  # with B frames
    assert [grey_of(image) for image, _ in read_video(path)] == list(range(12))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_at_a_variable_rate_no_frame_is_repeated_or_dropped(tmp_path: Path, suffix: str) -> None:
    path = write_video(tmp_path / f"clip{suffix}", 6, times=[0, 1, 5, 6, 10, 40])
    assert [grey_of(image) for image, _ in read_video(path)] == [0, 1, 2, 3, 4, 5]


MIRROR = [-65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30]  # as some front cameras write it


@pytest.mark.parametrize(
    ("turned", "expected"),
    [
        (0, lambda image: image), (90, np.rot90), (-90, lambda image: np.rot90(image, -1)),
        (180, lambda image: np.rot90(image, 2)), (MIRROR, lambda image: image[:, ::-1]),
    ],
)  # fmt: skip
def test_videos_stand_upright(tmp_path: Path, turned: int | list[int], expected: object) -> None:
    image, _ = next(read_video(write_video(tmp_path / "phone.mp4", 3, turned=turned)))
    upright = expected(marked_frame(0))[..., ::-1]  # type: ignore[operator]
    assert image.shape == upright.shape
    assert np.abs(image.astype(int) - upright).mean() < 8


def test_an_angle_that_is_not_right_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tilted\.mp4: turned by .* expected a multiple of 90"):
        list(read_video(write_video(tmp_path / "tilted.mp4", 2, turned=30)))


@pytest.mark.parametrize(
    "name", ["my clip.mp4", "Größe – 日本.mp4", "100%d.mp4", "a:b.mp4", "[1]*.mp4", "-i.mp4", "UPPER.MP4"]
)
def test_any_name(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / name, 2)
    frames = extract(path)
    assert len(frames) == 2 and all(frame.is_file() for frame in frames)


def test_extracted_frames_are_jpeg_files_without_visible_loss(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", 5)
    frames = extract(path)
    assert [frame.name for frame in frames] == [f"{n:05}.jpg" for n in range(5)]
    for frame, (image, _) in zip(frames, read_video(path), strict=True):
        stored = cv2.imread(str(frame))
        assert stored.shape == image.shape and np.abs(stored.astype(int) - image).max() <= 6
    source = json.loads((frames[0].parent / "source.json").read_text())
    assert source["frames"] == 5 and source["file"] == "clip.mp4"


def test_a_second_call_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "clip.mp4", 3)
    told: list[tuple[int, int]] = []
    first = extract(path, lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]
    monkeypatch.setattr(module, "read_video", lambda path: pytest.fail("decoded again"))
    assert extract(path) == first
    moved = path.rename(tmp_path / "other name.mp4")
    assert extract(moved) == first  # the bytes count, not the name


def test_another_file_has_frames_of_its_own(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", 3)
    first = extract(path)
    assert extract(write_video(path, 4)) != first


def test_frames_that_somebody_removed_are_extracted_again(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", 4)
    frames = extract(path)
    frames[2].unlink()
    assert extract(path) == frames and all(frame.is_file() for frame in frames)


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    path = write_video(tmp_path / "clip.mp4", 4)
    with pytest.raises(KeyboardInterrupt):
        extract(path, stop)
    assert left_in(tmp_path / "store") == []
    assert len(extract(path)) == 4


def test_what_a_killed_process_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "clip.mp4", 2)
    folder = extract(path)[0].parent
    left = folder.with_name(f".{folder.name}.999999.part")
    folder.rename(left)
    monkeypatch.setattr(files, "_alive", lambda process: False)
    assert extract(path)[0].parent == folder and not left.exists()


@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_a_cut_file_is_refused_by_name(tmp_path: Path, suffix: str, share: float) -> None:
    path = write_video(tmp_path / f"cut{suffix}", noise(20))  # large frames: no format fills up with padding
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size) - 1])  # not between two packets
    with pytest.raises(UserError, match=rf"cut\{suffix}: cut off") as caught:
        extract(path)
    assert "\n" not in str(caught.value) and left_in(tmp_path / "store") == []


@pytest.mark.parametrize("movflags", ["faststart", "frag_keyframe+empty_moov"])
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_a_cut_mp4_whose_index_stands_first(tmp_path: Path, movflags: str, share: float) -> None:
    path = write_video(tmp_path / "cut.mp4", 20, options={"movflags": movflags})
    assert len(list(read_video(path))) == 20
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UserError, match=r"cut\.mp4: cut off: \d+ bytes found, \d+ announced"):
        list(read_video(path))


def test_a_file_filled_up_with_zeros_is_damaged_and_frames_are_counted(tmp_path: Path) -> None:
    """What a download that broke off may leave: all its bytes are there."""
    path = write_video(tmp_path / "holes.mp4", 20, options={"movflags": "faststart"}, codec="libx264")
    data = path.read_bytes()
    path.write_bytes(data[: int(0.7 * len(data))] + bytes(len(data) - int(0.7 * len(data))))
    with pytest.raises(UserError, match=r"holes\.mp4: cut off or damaged after \d+ of 20 frames"):
        extract(path)
    assert left_in(tmp_path / "store") == []


CLUSTER = bytes.fromhex("1f43b675")  # what frames of a Matroska file stand in


def test_a_matroska_file_whose_rest_cannot_be_found_is_damaged(tmp_path: Path) -> None:
    """FFmpeg's reader looks for the next cluster, finds none and ends in silence."""
    path = write_video(tmp_path / "holes.mkv", 60, options={"cluster_time_limit": "480"})
    data = path.read_bytes()
    second = data.index(CLUSTER, data.index(CLUSTER) + 1)
    path.write_bytes(data[:second] + bytes(len(data) - second))
    with pytest.raises(UserError, match=r"holes\.mkv: cut off or damaged: ends at 0\.\d+ s, 2\.40 s announced"):
        list(read_video(path))


def test_a_trimmed_video_is_whole(tmp_path: Path) -> None:
    """Phones trim by an edit list: the frames before stay in the file and are not shown."""
    path = write_video(tmp_path / "trimmed.mp4", 20)
    data = bytearray(path.read_bytes())
    edit = data.index(b"elst") + 12  # after the type, version, flags and number of entries
    data[edit : edit + 8] = (400).to_bytes(4, "big") + (512 * 5).to_bytes(4, "big")  # 0.4 s from frame 5 on
    path.write_bytes(data)
    assert [grey_of(image) for image, _ in read_video(path)] == list(range(5, 15))


def test_frames_of_changing_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mixed\.avi: frame 2 is 56x40, the first 64x48; expected frames of one size"):
        extract(write_changing_size(tmp_path / "mixed.avi"))
    assert left_in(tmp_path / "store") == []


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"sound\.avi: no video stream"):
        extract(write_sound(tmp_path / "sound.avi"))


def test_a_video_without_frames(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.avi: a video without frames"):
        extract(write_video(tmp_path / "none.avi", 0))


@pytest.mark.parametrize("data", [b"", b"words, not pictures " * 50, b"\0" * 5000, b"GIF89a;", b"RIFF\0\0\0\0AVI "])
@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_what_is_no_video_at_all(tmp_path: Path, data: bytes, suffix: str) -> None:
    path = tmp_path / f"odd{suffix}"
    path.write_bytes(data)
    with pytest.raises(UserError, match=rf"odd\{suffix}: not a video, or damaged"):
        extract(path)


def test_a_playlist_opens_no_other_file(tmp_path: Path) -> None:
    write_video(tmp_path / "real.ts", 2)
    for name, text in {
        "list.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/real.ts\n#EXT-X-ENDLIST\n",
        "cat.mp4": "ffconcat version 1.0\nfile http://127.0.0.1:9/real.ts\n",
    }.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match=re.escape(f"{name}: not a video, or damaged")):
            extract(tmp_path / name)


def test_a_file_that_is_not_there_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.mp4: can't be read \(No such file"):
        extract(tmp_path / "gone.mp4")
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(UserError, match=r"folder\.mp4: a folder; expected a video file"):
        extract(tmp_path / "folder.mp4")


# ---- videos of masks


def masks_of(path: Path) -> list[npt.NDArray[np.uint8]]:
    found = extract_frames(path, path.parent / "store", digest, masks=True)
    return [cv2.imread(str(file), cv2.IMREAD_UNCHANGED) for file in found]


def labels(*values: int) -> list[npt.NDArray[np.uint8]]:
    """Frames with a stripe of each value, and an empty one."""
    frame = np.zeros((*SIZE, 3), np.uint8)
    for index, value in enumerate(values):
        frame[8:40, 8 + 8 * index : 16 + 8 * index] = value
    return [frame, np.zeros_like(frame)]


@pytest.mark.parametrize(
    ("codec", "pixels"), [("ffv1", "bgr0"), ("ffv1", "gray"), ("png", "rgb24"), ("rawvideo", "bgr24")]
)
def test_masks_that_were_coded_without_loss_keep_their_values(tmp_path: Path, codec: str, pixels: str) -> None:
    path = write_video(tmp_path / "masks.avi", labels(1, 2, 3, 255), codec=codec, pixels=pixels)
    for mask, truth in zip(masks_of(path), labels(1, 2, 3, 255), strict=True):
        np.testing.assert_array_equal(mask, truth[..., 0])  # grey, as all colours are


@pytest.mark.parametrize("white", [255, 128])
@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif"])
def test_masks_that_were_coded_with_loss_are_cut_at_half_of_the_brightest(
    tmp_path: Path, suffix: str, white: int
) -> None:
    """Also the empty ones, in which noise would pass for labels."""
    found = masks_of(write_video(tmp_path / f"masks{suffix}", labels(white, white, white)))
    for mask, truth in zip(found, labels(white, white, white), strict=True):
        assert mask.dtype == np.uint8 and set(np.unique(mask)) <= {0, 255}
        assert ((mask > 0) != (truth[..., 0] > 0)).mean() < 0.01


def test_masks_that_a_video_cannot_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"brightest value is \d+ of 255, so it shows no object; expected white objects"
    ):
        masks_of(write_video(tmp_path / "numbers.mp4", labels(1, 2, 3)))
    with pytest.raises(UserError, match=r"more than 8 bits a channel in a video; give them as PNGs"):
        masks_of(write_video(tmp_path / "deep.mkv", labels(1, 2), codec="ffv1", pixels="gray16le"))


def test_frames_and_masks_of_one_file_are_kept_apart(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", labels(255))
    assert extract(path)[0].suffix == ".jpg"
    first = extract_frames(path, path.parent / "store", digest, masks=True)
    assert first[0].suffix == ".png" and first == extract_frames(path, path.parent / "store", digest, masks=True)
