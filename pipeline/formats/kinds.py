"""What a file is, by the end of its name: the one home of the suffixes."""

from __future__ import annotations

# What OpenCV or Pillow reads.
PICTURE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp", ".jfif", ".jpe", ".jp2", ".j2k", ".jpc",
    ".jpf", ".jpx", ".avif", ".gif", ".tga", ".pbm", ".pnm", ".pcx", ".qoi", ".sgi", ".dib", ".apng", ".mpo",
)  # fmt: skip
# What PyAV reads.
VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".3gp", ".gif",
    ".vob", ".flv", ".f4v", ".ogv", ".ogg", ".ogm", ".3g2", ".asf", ".divx", ".m1v", ".m2v", ".mpe", ".mpv", ".mxf",
    ".rm", ".rmvb", ".y4m", ".dv", ".mod", ".tod", ".qt", ".nut", ".ivf", ".h264", ".264", ".hevc", ".h265", ".265",
    ".av1", ".obu", ".mjpeg", ".mjpg", ".gxf", ".amv",
)  # fmt: skip
# Pictures that nothing here reads: among frames or masks one would be missing.
UNREAD_SUFFIXES = (
    ".heic", ".heif", ".hif", ".psd", ".xcf", ".exr", ".hdr", ".pfm", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf",
    ".orf", ".rw2", ".raw", ".svg", ".jxl", ".jxr", ".wdp", ".ai", ".eps", ".dcm", ".nii", ".fits", ".dpx", ".cin",
)  # fmt: skip
# Files that may hold many masks, in ways of their own.
ARRAY_SUFFIXES = (
    ".npy", ".npz", ".mat", ".h5", ".hdf5", ".pkl", ".pickle", ".pt", ".pth", ".zip", ".tar", ".tgz", ".gz", ".bz2",
    ".xz", ".7z", ".rar",
)  # fmt: skip
GIF = ".gif"  # a picture among pictures, else a video


def is_picture(name: str) -> bool:
    """Whether a file is a picture that can be read; a GIF may be a video as well."""
    return name.lower().endswith(PICTURE_SUFFIXES)


def is_video(name: str) -> bool:
    """Whether a file is a video; a GIF may be a picture as well."""
    return name.lower().endswith(VIDEO_SUFFIXES)


def is_unread(name: str) -> bool:
    """Whether a file is a picture that can't be read."""
    return name.lower().endswith(UNREAD_SUFFIXES)


def is_array(name: str) -> bool:
    """Whether a file may hold masks in a way that isn't read."""
    return name.lower().endswith(ARRAY_SUFFIXES)


def stem(name: str) -> str:
    """A name without its last suffix.

    >>> stem("day2/a.b.mp4"), stem("day2/clip")
    ('day2/a.b', 'day2/clip')
    """
    folder, slash, last = name.rpartition("/")
    head, dot, _ = last.rpartition(".")
    return f"{folder}{slash}{head if dot else last}"
