"""Kinds of files, by suffix: what a picture, a video, a picture that nothing here reads, and an archive is called."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

# What Pillow reads, and OpenCV most of it.
PICTURE_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".ppm", ".pgm", ".pbm", ".pnm", ".tif", ".tiff",
    ".webp", ".jp2", ".j2k", ".j2c", ".jpc", ".jpx", ".jpf", ".avif", ".gif", ".tga", ".pcx", ".qoi", ".sgi",
)  # fmt: skip
# What PyAV reads. A GIF may be either, see `is_animation`.
VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".qt", ".avi", ".divx", ".mkv", ".webm", ".mpg", ".mpeg", ".mpe", ".mpv", ".m1v", ".m2v",
    ".vob", ".ts", ".mts", ".m2ts", ".m2t", ".mod", ".tod", ".wmv", ".asf", ".3gp", ".3g2", ".flv", ".f4v", ".ogv",
    ".ogg", ".ogm", ".rm", ".rmvb", ".mxf", ".dv", ".y4m", ".nut", ".ivf", ".h264", ".264", ".avc", ".h265", ".265",
    ".hevc", ".av1", ".obu", ".gif",
)  # fmt: skip
# Pictures that nothing here reads: a frame or mask of such a kind is told of, for leaving it out would skip a frame.
UNREAD_SUFFIXES = (
    ".heic", ".heif", ".hif", ".psd", ".psb", ".xcf", ".exr", ".hdr", ".pfm", ".dng", ".cr2", ".cr3", ".crw", ".nef",
    ".nrw", ".arw", ".srf", ".sr2", ".raf", ".orf", ".rw2", ".pef", ".srw", ".raw", ".svg", ".jxl", ".jxr", ".wdp",
    ".jls", ".bpg", ".dpx", ".cin", ".fits", ".dcm", ".ai", ".eps",
)  # fmt: skip
# Arrays and archives, which may hold masks that nothing here looks for, and text that may describe them.
ARRAY_SUFFIXES = (
    ".npy", ".npz", ".mat", ".h5", ".hdf5", ".pkl", ".pickle", ".pt", ".pth", ".nii", ".zip", ".tar", ".gz", ".tgz",
    ".bz2", ".xz", ".7z", ".rar", ".zst",
)  # fmt: skip
TEXT_SUFFIXES = (".json", ".jsonl", ".txt", ".xml", ".csv", ".yaml", ".yml", ".rle")


def is_picture(name: str) -> bool:
    """Whether a name is that of a picture that can be read; of a GIF as well."""
    return name.lower().endswith(PICTURE_SUFFIXES)


def is_video(name: str) -> bool:
    """Whether a name is that of a video file; of a GIF as well."""
    return name.lower().endswith(VIDEO_SUFFIXES)


def is_unread(name: str) -> bool:
    """Whether a name is that of a picture that can't be read here."""
    return name.lower().endswith(UNREAD_SUFFIXES)


def is_gif(name: str) -> bool:
    """Whether a name is that of a GIF, which may be a picture or a video."""
    return name.lower().endswith(".gif")


def is_array(name: str) -> bool:
    """Whether a file may hold masks in a way that isn't read."""
    return name.lower().endswith(ARRAY_SUFFIXES)


def is_text(name: str) -> bool:
    """Whether a file may describe masks in a way that isn't read."""
    return name.lower().endswith(TEXT_SUFFIXES)


def stem(name: str) -> str:
    """A name without its last suffix.

    >>> stem("day2/a.b.mp4"), stem("day2/clip")
    ('day2/a.b', 'day2/clip')
    """
    folder, slash, last = name.rpartition("/")
    head, dot, _ = last.rpartition(".")
    return f"{folder}{slash}{head if dot else last}"


def is_animation(path: Path) -> bool:
    """Whether a GIF holds several pictures; one that can't be read counts as such, and is told of where it is."""
    try:
        with Image.open(path) as image:
            return bool(getattr(image, "is_animated", True))
    except (OSError, ValueError, SyntaxError):
        return True
