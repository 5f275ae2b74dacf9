"""Kinds of files by suffix: what is called readable is read."""

import io
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from fusionseg.pipeline.datasets.videos import read_video
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.formats.kinds import (
    ARRAY_SUFFIXES,
    PICTURE_SUFFIXES,
    TEXT_SUFFIXES,
    UNREAD_SUFFIXES,
    VIDEO_SUFFIXES,
    is_animation,
    is_picture,
    is_unread,
    is_video,
    stem,
)

# The format and the coding of each kind of video that can be written here.
WRITERS = {
    ("mp4", "mpeg4"): [".mp4", ".m4v"], ("mov", "mpeg4"): [".mov", ".qt"], ("avi", "mpeg4"): [".avi", ".divx"],
    ("matroska", "mpeg4"): [".mkv"], ("webm", "libvpx"): [".webm"], ("mpeg", "mpeg1video"): [".mpg", ".mpeg", ".mpe"],
    ("mpeg2video", "mpeg2video"): [".mpv", ".m2v"], ("mpeg1video", "mpeg1video"): [".m1v"],
    ("vob", "mpeg2video"): [".vob", ".mod"], ("mpegts", "mpeg2video"): [".ts", ".mts", ".m2ts", ".m2t", ".tod"],
    ("asf", "wmv2"): [".wmv", ".asf"], ("3gp", "mpeg4"): [".3gp"], ("3g2", "mpeg4"): [".3g2"],
    ("flv", "flv1"): [".flv"], ("f4v", "libx264"): [".f4v"], ("rm", "rv20"): [".rm", ".rmvb"],
    ("mxf", "mpeg2video"): [".mxf"], ("dv", "dvvideo"): [".dv"], ("yuv4mpegpipe", "wrapped_avframe"): [".y4m"],
    ("nut", "mpeg4"): [".nut"], ("ivf", "libvpx"): [".ivf"], ("h264", "libx264"): [".h264", ".264", ".avc"],
    ("hevc", "libx265"): [".h265", ".265", ".hevc"], ("gif", "gif"): [".gif"],
}  # fmt: skip
NOT_WRITTEN = {".ogv": "theora", ".ogg": "theora", ".ogm": "theora", ".av1": "libdav1d", ".obu": "libdav1d"}
KINDS = [(suffix, *how) for how, suffixes in WRITERS.items() for suffix in suffixes]


def test_every_kind_of_video_is_tried() -> None:
    assert {suffix for suffix, *_ in KINDS} | set(NOT_WRITTEN) == set(VIDEO_SUFFIXES)
    assert all(av.Codec(name, "r") for name in NOT_WRITTEN.values())


@pytest.mark.parametrize(("suffix", "form", "codec"), KINDS)
def test_every_kind_of_video_is_read_whole(tmp_path: Path, suffix: str, form: str, codec: str) -> None:
    path = tmp_path / f"clip{suffix}"
    with av.open(str(path), "w", format=form) as out:
        stream = out.add_stream(codec, rate=25)
        stream.width, stream.height = (720, 576) if suffix == ".dv" else (128, 96)
        stream.pix_fmt = "rgb8" if suffix == ".gif" else "yuv420p"
        for index in range(6):
            picture = np.full((stream.height, stream.width, 3), 20 * index, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode())
    assert is_video(path.name.upper()) and len(list(read_video(path))) == 6
    if suffix in (".wmv", ".asf", ".mxf", ".y4m", ".dv"):  # others can't tell, or are in test_videos
        path.write_bytes(path.read_bytes()[:-2000])
        with pytest.raises(UserError, match="cut off"):
            list(read_video(path))


@pytest.mark.parametrize("suffix", PICTURE_SUFFIXES)
def test_every_kind_of_picture_is_read(suffix: str) -> None:
    file, picture = io.BytesIO(), Image.fromarray(np.full((24, 40, 3), 200, np.uint8))
    Image.init()
    picture.convert("1" if suffix == ".pbm" else "RGB").save(file, Image.registered_extensions()[suffix])
    with Image.open(io.BytesIO(file.getvalue())) as found:
        assert found.size == (40, 24) and np.asarray(found.convert("L")).mean() > 190
    assert is_picture(f"A{suffix.upper()}")


def test_a_suffix_is_of_one_kind() -> None:
    kinds = [*PICTURE_SUFFIXES, *VIDEO_SUFFIXES, *UNREAD_SUFFIXES, *ARRAY_SUFFIXES, *TEXT_SUFFIXES]
    assert sorted(suffix for suffix in kinds if kinds.count(suffix) > 1) == [".gif", ".gif"]
    assert is_unread("a.CR2") and not is_unread("a.png") and stem("a.b.png") == "a.b" and stem("README") == "README"


def test_a_gif_may_move(tmp_path: Path) -> None:
    pictures = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (0, 100, 200)]
    pictures[0].save(tmp_path / "still.gif")
    pictures[0].save(tmp_path / "moves.gif", save_all=True, append_images=pictures[1:])
    (tmp_path / "broken.gif").write_bytes(b"GIF89a")
    assert [is_animation(tmp_path / f"{name}.gif") for name in ("still", "moves", "broken")] == [False, True, True]
