"""The layout `folder`: a user's own pictures or video files, found without a manifest of their own.

- A path of a video file is one video.
- A folder of pictures is one video, named after the folder.
- Of any other folder, each subfolder that holds pictures is a video, and each video file.
- To give masks as well, put all that into the subfolder `frames` (or `JPEGImages`) and the masks, named like the
  frames, beside it into `masks` (or `Annotations`): `masks/VIDEO/...`, or directly where the pictures of one video are.
  Videos and frames may lack masks. Frames of a video file are called 00000, 00001 and so on.

What fits no rule is refused, not passed over; other files than pictures and videos are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fusionseg.pipeline.datasets.patterns import PICTURE_SUFFIXES, Folders, natural

VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".3gp", ".gif",
)  # fmt: skip
_FRAMES, _MASKS = ("frames", "JPEGImages"), ("masks", "Annotations")
_EXPECTED = "expected pictures, or a folder of pictures or a video file for each video"


@dataclass(frozen=True)
class OwnVideo:
    """A video: `frames` is the pattern of its pictures below the root, or `file` its video file; `masks` the pattern of
    its masks, "" where there are none."""

    name: str
    frames: str = ""
    file: Path | None = None
    masks: str = ""


def is_video_file(name: str) -> bool:
    """Whether a name is that of a video file, by its suffix."""
    return name.lower().endswith(VIDEO_SUFFIXES)


def own_videos(root: Path) -> list[OwnVideo]:
    """The videos of a path, in natural order. Raises ValueError, with the words to say, for what fits no rule."""
    if not root.is_dir():
        if not is_video_file(root.name):
            raise ValueError(f"not a video file by its name; {_EXPECTED}")
        return [OwnVideo(root.stem, file=root)]
    folders = Folders(root)
    frames, masks = _one_of(folders, _FRAMES), _one_of(folders, _MASKS)
    if masks and not frames:
        raise ValueError(f"has {masks} but no {_FRAMES[0]}; put the videos into a folder {_FRAMES[0]}/ beside {masks}/")
    videos = _several(folders, frames, masks)
    if not _pictures(folders, frames):
        if not videos:
            raise ValueError(f"holds no pictures and no videos{f' in {frames}' if frames else ''}; {_EXPECTED}")
        _check_masks(folders, masks, [video.name for video in videos])
        return videos
    if videos:
        others = _listed([video.file.name if video.file else f"{video.name}/" for video in videos])
        raise ValueError(f"holds pictures and also {others}; {_EXPECTED}")
    return [OwnVideo(root.resolve().name, _below(frames, "{frame}.*"), masks=_below(masks, "{frame}.*", masks))]


def _one_of(folders: Folders, names: Sequence[str]) -> str:
    found = [name for name in folders.subfolders("") if name in names]
    if len(found) > 1:
        raise ValueError(f"holds {_listed(found)}, which mean the same; expected one of them")
    return found[0] if found else ""


def _pictures(folders: Folders, folder: str) -> list[str]:
    return [name for name in folders.files(folder) if name.lower().endswith(PICTURE_SUFFIXES)]


def _several(folders: Folders, frames: str, masks: str) -> list[OwnVideo]:
    """Each subfolder with pictures, and each video file, of the folder `frames`."""
    of_masks = _below(masks, "{video}/{frame}.*", masks)
    found = [
        OwnVideo(name, _below(frames, "{video}/{frame}.*"), masks=of_masks)
        for name in folders.subfolders(frames)
        if _pictures(folders, _below(frames, name))
    ]
    files = [folders.root / frames / name for name in folders.files(frames) if is_video_file(name)]
    found += [OwnVideo(path.stem, file=path, masks=of_masks) for path in files]
    if twice := [name for name, count in Counter(video.name for video in found).items() if count > 1]:
        raise ValueError(f"holds several videos of the name {_listed(twice)}; rename all but one")
    return sorted(found, key=lambda video: natural(video.name))


def _below(folder: str, rest: str, wanted: str = "/") -> str:
    """A path below a folder, which may be the root; "" where nothing is wanted."""
    return (f"{folder}/{rest}" if folder else rest) if wanted else ""


def _check_masks(folders: Folders, masks: str, videos: Sequence[str]) -> None:
    """Masks that belong to no video are a mistake in a name."""
    if not masks:
        return
    if loose := _pictures(folders, masks):
        raise ValueError(
            f"{masks} holds pictures ({_listed(loose)}); expected a folder for each video, {masks}/{videos[0]}/"
        )
    if alien := [name for name in folders.subfolders(masks) if name not in videos]:
        raise ValueError(f"no video for the masks in {masks}/{alien[0]}; the videos are: {_listed(videos)}")


def _listed(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(sorted(names, key=natural)[:most]) + more
