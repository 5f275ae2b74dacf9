"""The layout `folder`: a user's own pictures or video files, found without a manifest of their own.

- A path of a video file is one video.
- A folder of pictures is one video, named after the folder.
- Of any other folder, each folder below it that holds pictures is a video, and each video file; the name of one that
  lies deeper is its path.
- To give masks as well, put all that into the subfolder `frames` (or `JPEGImages`, `images` ...) and the masks, named
  like the frames, beside it into `masks` (or `Annotations`, `labels` ...), see `masks_of`. Videos and frames may lack
  masks. Frames of a video file are called 00000, 00001 and so on.

What fits no rule is refused; files that are neither pictures nor videos are left out, and named.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from fusionseg.pipeline.datasets.digests import LEDGER
from fusionseg.pipeline.datasets.patterns import Folders, natural
from fusionseg.pipeline.datasets.videos import SOURCE
from fusionseg.pipeline.formats.kinds import (
    is_animation,
    is_array,
    is_gif,
    is_picture,
    is_text,
    is_unread,
    is_video,
    stem,
)

FRAMES = ("frames", "jpegimages", "images", "imgs", "img", "videos", "rgb")
_SURE = ("frames", "jpegimages")  # hold the frames though there are no masks
MASKS = (
    "masks", "annotations", "annotation", "mask", "labels", "gt", "groundtruth", "ground_truth", "ground-truth",
    "segmentation", "segmentations", "segmentationclass", "segmentationobject", "ground truth", "ground truths",
    "alpha", "alphas", "matte", "mattes", "annotation_masks", "segmentation_masks", "object_masks", "mask_images",
)  # fmt: skip
# What a mask's name adds to that of its frame, or a folder's to that of the video.
_MASK_OF = re.compile(r"(?P<name>.+?)[-_. ]?(?:masks?|gt|labels?|annotations?|seg|segmentations?)", re.IGNORECASE)
_STORED = {"frames", "artifacts", "rendered", "runs"}  # folders of a store, beside its ledger
_EXPECTED = "expected pictures, or a folder of pictures or a video file for each video"


@dataclass(frozen=True)
class OwnVideo:
    """A video: `frames` is the pattern of its pictures below the root, or `file` its video file; `masks` the pattern of
    its masks, or `mask_file` a video of them; neither where there are none."""

    name: str
    frames: str = ""
    file: Path | None = None
    masks: str = ""
    mask_file: Path | None = None


class Fault(NamedTuple):
    """A file that can't be used: of which video, where, and why."""

    video: str
    path: Path
    what: str


@dataclass(frozen=True)
class Own:
    """What a path holds: videos in natural order, files that were left out, by their paths below the root, and files
    that must not be left out but can't be used."""

    videos: Sequence[OwnVideo]
    left_out: Sequence[str] = ()
    faults: Sequence[Fault] = ()


class Sorted(NamedTuple):
    """What lies in one folder."""

    pictures: list[str]
    videos: list[str]
    unread: list[str]
    others: list[str]


def own_videos(root: Path) -> Own:
    """The videos of a path. Raises ValueError, with the words to say, for what fits no rule, and UserError for names
    that can't be (see `Folders`)."""
    if not root.is_dir():
        if not is_video(root.name):
            raise ValueError(f"not a video file by its name; {_EXPECTED}")
        return Own([OwnVideo(root.stem, file=root)])
    folders = Folders(root)
    frames, masks = frames_and_masks(folders)
    found = sorted_below(folders, frames)
    videos = _videos(folders, frames, found)
    left = [_joined(frames, path) for here, some in found.items() for path in _paths(here, some.others)]
    if frames:
        left += _beside(folders, frames, masks)
    faults = _faults(folders, frames, found)
    if masks:
        videos, others, unusable = _with_masks(folders, masks, videos)
        left, faults = left + others, faults + unusable
    return Own(videos, sorted(left, key=natural), faults)


def frames_and_masks(folders: Folders) -> tuple[str, str]:
    """The folders below a root that hold the frames and the masks; "" where there is none. Raises ValueError."""
    frames, masks = _one_of(folders, FRAMES), _one_of(folders, MASKS)
    if masks and not frames:
        raise ValueError(f"has {masks} but no frames; put the videos into a folder frames/ beside {masks}/")
    if not masks and frames.lower() not in _SURE:
        return "", ""
    inner = _passage(folders, frames)
    return (_joined(frames, inner), _joined(masks, inner if inner in folders.subfolders(masks) else ""))


def _passage(folders: Folders, frames: str) -> str:
    """The one folder in which all frames lie, which only says how large they are, as DAVIS's 480p; "" without one."""
    below = folders.subfolders(frames)
    inner = below[0] if len(below) == 1 else ""
    return (
        inner if inner and not any((*_sorted(folders, frames)[:2], *_sorted(folders, f"{frames}/{inner}")[:2])) else ""
    )


def _one_of(folders: Folders, names: Sequence[str]) -> str:
    found = [name for name in folders.subfolders("") if name.lower() in names]
    if len(found) > 1:
        raise ValueError(f"holds {_listed(found)}, which mean the same; expected one of them")
    return found[0] if found else ""


def sorted_below(folders: Folders, top: str) -> dict[str, Sorted]:
    """What lies in each folder below `top`, by kind; the folders' paths begin below `top`."""
    every = list(folders.walk(top))
    ours = tuple(f"{folder}/" for folder in every if folder != top and _is_ours(folders, folder))
    found = {
        folder[len(top) :].lstrip("/") if top else folder: _sorted(folders, folder)
        for folder in every
        if not f"{folder}/".startswith(ours)
    }
    return {here: found[here] for here in sorted(found, key=natural)}


def _is_ours(folders: Folders, folder: str) -> bool:
    """Whether a folder is a store of this program's, or of frames that it took out of a video: nobody's videos."""
    files = folders.files(folder)
    return SOURCE in files or (LEDGER in files and not _STORED.isdisjoint(folders.subfolders(folder)))


def _sorted(folders: Folders, folder: str) -> Sorted:
    """The files of a folder by kind."""
    broken = set(folders.broken(folder))  # told apart
    names = sorted((name for name in folders.files(folder) if name not in broken), key=natural)
    gifs = [name for name in names if is_gif(name)]
    pictures = [name for name in names if is_picture(name) and name not in gifs]
    if pictures or (len(gifs) > 1 and not any(is_animation(folders.path(_joined(folder, name))) for name in gifs)):
        pictures = sorted(pictures + gifs, key=natural)
    videos = [name for name in names if is_video(name) and name not in pictures]
    stems = {stem(name) for name in pictures}  # beside IMG_1.JPG, IMG_1.CR2 is what it was made from
    unread = [name for name in names if is_unread(name) and stem(name) not in stems]
    known = {*pictures, *videos, *unread}
    return Sorted(pictures, videos, unread, [name for name in names if name not in known])


def _videos(folders: Folders, frames: str, found: Mapping[str, Sorted]) -> list[OwnVideo]:
    """The videos, without masks, in natural order. Raises ValueError."""
    if not any(some.pictures or some.videos for some in found.values()):
        raise ValueError(f"holds no pictures and no videos{f' in {frames}' if frames else ''}; {_EXPECTED}")
    videos = []
    for here, some in found.items():
        _check_no_masks(folders, _joined(frames, here), here, some)
        if some.pictures:
            _check_alone(here or ".", [*some.videos, *_below(here, found)])
            pattern = _joined(frames, "{video}" if here else "", "{frame}.*")
            videos.append(OwnVideo(here or folders.root.resolve().name, pattern))
        else:
            paths = _paths(here, some.videos)
            videos += [OwnVideo(stem(path), file=folders.path(_joined(frames, path))) for path in paths]
    if twice := [name for name, count in Counter(video.name for video in videos).items() if count > 1]:
        raise ValueError(f"holds several videos of the name {_listed(twice)}; rename all but one")
    return sorted(videos, key=lambda video: natural(video.name))


def _check_no_masks(folders: Folders, folder: str, here: str, some: Sorted) -> None:
    """Masks are no videos, and no frames. Raises ValueError for what is called as if it held some."""
    if not any(some[:2]):
        if arrays := [name for name in some.others if is_array(name)]:
            raise ValueError(f"{_joined(folder, arrays[0])}: an array; give the frames as pictures or as a video file")
        return
    *above, last = here.split("/")
    siblings = folders.subfolders(_parent(folder))
    of_sibling = _MASK_OF.fullmatch(last)
    if any(part.lower() in MASKS for part in (*above, last)) or (of_sibling and of_sibling["name"] in siblings):
        raise ValueError(
            f"{folder} seems to hold masks; put all videos into frames/, and their masks beside it into masks/"
        )
    stems = {stem(name) for name in some.pictures}
    among = [name for name in stems if (found := _MASK_OF.fullmatch(name)) and found["name"] in stems]
    if among:
        raise ValueError(
            f"{folder or 'it'} holds masks among the frames, {sorted(among, key=natural)[0]}; put the frames into "
            "frames/, and the masks beside it into masks/"
        )


def _below(folder: str, found: Mapping[str, Sorted]) -> list[str]:
    """The folders below one that hold pictures or videos."""
    start = f"{folder}/" if folder else ""
    return [f"{here}/" for here, some in found.items() if here.startswith(start) and here != folder and any(some[:2])]


def _check_alone(folder: str, others: Sequence[str]) -> None:
    if others:
        where = "" if folder == "." else f"{folder} "
        raise ValueError(f"{where}holds pictures and also {_listed(others)}; {_EXPECTED}")


def _beside(folders: Folders, frames: str, masks: str) -> list[str]:
    """What lies beside the folders of frames and masks."""
    known = {frames.partition("/")[0], masks.partition("/")[0]}
    names = [name for name in folders.subfolders("") if name not in known]
    return folders.files("") + [f"{name}/" for name in names]


def _faults(folders: Folders, top: str, found: Mapping[str, Sorted]) -> list[Fault]:
    """Pictures that can't be read, and links that lead nowhere."""
    faults = []
    for here, some in found.items():
        folder = _joined(top, here)
        unread = "pictures of this kind can't be read here; convert them to PNG or JPEG"
        faults += [Fault(here, folders.path(_joined(folder, name)), unread) for name in some.unread]
        broken = "a link that leads nowhere; mend or remove it"
        faults += [Fault(here, folders.path(_joined(folder, name)), broken) for name in folders.broken(folder)]
    return faults


# Masks


@dataclass(frozen=True)
class MaskPlaces:
    """Where the masks of one video lie: `folders`, of each object if there are several, or `file`, a video of them."""

    folders: tuple[str, ...] = ()
    file: str = ""


def masks_of(videos: Sequence[str], found: Mapping[str, Sorted], alone: bool = False) -> dict[str, MaskPlaces]:
    """Where the masks of each video lie below their folder, of which `found` says what it holds:

    - VIDEO/FRAME.png, or for several objects VIDEO/OBJECT/FRAME.png, which are merged, or a video of masks, VIDEO.mp4;
    - of one video FRAME.png as well, and if its frames lie so too (`alone`), in any subfolder, or in one an object.

    Raises ValueError for what fits none of that.
    """
    of_pictures = [here for here, some in found.items() if some.pictures]
    inside = _common(of_pictures) if alone else ""
    files = [path for here, some in found.items() for path in _paths(here, some.videos)]
    places: dict[str, MaskPlaces] = {}
    for video in videos:
        single = len(videos) == 1
        direct = [here for here in of_pictures if here == video or (here == "" and single)]
        objects = [here for here in of_pictures if _parent(here) == video and "/" in here]
        if alone:  # nobody gave the video a name
            objects += [here for here in of_pictures if _parent(here) == inside and here not in ("", *direct, *objects)]
        moving = [path for path in files if stem(path) == video or (single and not of_pictures and len(files) == 1)]
        if len([kind for kind in (direct, objects, moving) if kind]) > 1 or len(direct) > 1 or len(moving) > 1:
            several = [*(here or "pictures" for here in direct), *objects, *moving]
            raise ValueError(f"holds masks of {video} in several ways: {_listed(several)}; expected one of them")
        if direct or objects or moving:
            places[video] = MaskPlaces(tuple(direct or objects), "".join(moving))
    _check_all_used(videos, places, of_pictures, files)
    return places


def _common(folders: Sequence[str]) -> str:
    """The folder that all of these lie in, one of several; "" without one."""
    parents = {_parent(folder) for folder in folders}
    return parents.pop() if len(parents) == 1 and len(folders) > 1 else ""


def _check_all_used(
    videos: Sequence[str], places: Mapping[str, MaskPlaces], of_pictures: Sequence[str], files: Sequence[str]
) -> None:
    """Masks that belong to no video are a mistake in a name. Raises ValueError."""
    used = {path for place in places.values() for path in (*place.folders, *filter(None, [place.file]))}
    if "" in of_pictures and "" not in used:
        raise ValueError(f"holds pictures; expected a folder for each video, {videos[0]}/")
    if alien := [name for name in (*of_pictures, *files) if name not in used]:
        raise ValueError(f"no video for the masks in {alien[0]}; the videos are: {_listed(videos)}")


def _with_masks(
    folders: Folders, masks: str, videos: Sequence[OwnVideo]
) -> tuple[list[OwnVideo], list[str], list[Fault]]:
    """The videos with their masks, what was left out of the folder of masks, and what can't be used. Raises
    ValueError."""
    found = sorted_below(folders, masks)
    if arrays := _unread_masks([video.name for video in videos], found):
        raise ValueError(f"{masks}/{arrays[0]}: masks in files of this kind aren't read; save them as pictures (PNG)")
    try:
        places = masks_of([video.name for video in videos], found, is_alone(videos))
    except ValueError as error:
        raise ValueError(f"{masks}: {error}") from None
    if not places:
        raise ValueError(f"{masks} holds no masks; expected pictures named like the frames, {masks}/VIDEO/FRAME.png")
    left = [f"{masks}/{path}" for here, some in found.items() for path in _paths(here, some.others)]
    done = [_masked(folders, masks, video, places.get(video.name, MaskPlaces())) for video in videos]
    return done, left, _faults(folders, masks, found)


def _unread_masks(videos: Sequence[str], found: Mapping[str, Sorted]) -> list[str]:
    """Files that hold masks in a way that isn't read: arrays, and text called like a video, or lying where its masks
    should."""
    others = [path for here, some in found.items() for path in _paths(here, some.others)]
    return [
        path
        for path in others
        if is_array(path) or (is_text(path) and any(f"{path}/".startswith((f"{name}/", f"{name}.")) for name in videos))
    ]


def is_alone(videos: Sequence[OwnVideo]) -> bool:
    """Whether there is one video, whose pictures lie in the folder of the frames itself."""
    return len(videos) == 1 and "{video}" not in videos[0].frames and videos[0].file is None


def _masked(folders: Folders, masks: str, video: OwnVideo, place: MaskPlaces) -> OwnVideo:
    """A video with the pattern, or the file, of its masks."""
    if place.file:
        return replace(video, mask_file=folders.path(_joined(masks, place.file)))
    if not place.folders:
        return video
    first = place.folders[0]
    if first in ("", video.name):
        return replace(video, masks=_joined(masks, first, "{frame}.*"))
    return replace(video, masks=_joined(masks, _parent(first), "{object}", "{frame}.*"))


# Paths


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _joined(*parts: str) -> str:
    """A path of those parts that aren't empty."""
    return "/".join(part for part in parts if part)


def _paths(folder: str, names: Iterable[str]) -> list[str]:
    return [_joined(folder, name) for name in names]


def _listed(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(sorted(names, key=natural)[:most]) + more
