"""The files of a data set's split, found once: a manifest and a folder give `Item`s."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from fusionseg.pipeline.basics.spread import spread
from fusionseg.pipeline.datasets.items import Boxes, Item, MaskFiles
from fusionseg.pipeline.datasets.manifest import BOXES_FROM_MASKS, DataManifest
from fusionseg.pipeline.datasets.own_folder import Fault, Own, OwnVideo, own_videos
from fusionseg.pipeline.datasets.patterns import Folders, Matches, filled, natural
from fusionseg.pipeline.datasets.splits import names_of
from fusionseg.pipeline.errors import MISSING, UNCLEAR, UNREADABLE, BadFile, UserError
from fusionseg.pipeline.formats.coco import is_instances, read_instances
from fusionseg.pipeline.names import SPARSE_PROTOCOL


class Extract(Protocol):
    """Gives the frames of a video file as pictures, of masks without loss. Raises UserError."""

    def __call__(self, path: Path, masks: bool = False) -> tuple[Path, ...]: ...


def load_items(
    manifest: DataManifest,
    split: str,
    root: Path,
    leave_out: Collection[str] = (),
    stride: int = 1,
    problems: list[BadFile] | None = None,
    extract: Extract | None = None,
    most: int = 0,
) -> list[Item]:
    """The items of one split, with all files found; `leave_out` names videos or still images to pass over, `stride`
    takes every n-th frame of a video, of these `most` at most `most` (0: all; see `thinned`), `extract` gives the
    frames of a video file (see `video_files.extractor`).

    Raises UserError (missing folder, unknown or empty split) and BadFile (missing file, no frames). With `problems`,
    every BadFile is added there instead and the items keep what is there: a frame without its mask or box counts as
    not annotated, a video or still without its picture is left out.
    """
    own = manifest.layout == "folder"
    if not (root.exists() if own else root.is_dir()):
        raise UserError(
            f"data set {manifest.name}: no folder {root}; give it with --data ROOT or --data {manifest.name}=ROOT"
        )
    folders = Folders(root)
    there = _own(manifest, root)
    videos = {video.name: video for video in there.videos}
    left = [name for name in _split_names(manifest, split, folders, list(videos)) if name not in leave_out]
    if not left:
        raise UserError(f"data set {manifest.name}: nothing is left of the split {split!r} after leaving out bad files")
    finder = _Finder(manifest, split, folders, stride, problems)
    finder.tell(there.faults, left, leave_out)
    if own:
        found = [finder.own(videos[name], extract) for name in left]
    else:
        found = [finder.stills(left)] if manifest.kind == "stills" else [finder.video(name) for name in left]
    return [thinned(item, most) for item in found if item.frames]


def thinned(item: Item, most: int) -> Item:
    """At most `most` frames of a video (0: all), evenly spread over those whose boxes are annotated, or over all."""
    if item.stills or not most or len(item.frames) <= most:
        return item
    sources = (item.boxes.paths or [mask.paths for mask in item.boxes.masks]) if item.boxes else ()
    annotated = [index for index, source in enumerate(sources) if source]
    return item.at(spread(annotated or range(len(item.frames)), most))


def _own(manifest: DataManifest, root: Path) -> Own:
    """What a path of the layout `folder` holds; nothing for any other. Raises UserError."""
    try:
        return own_videos(root) if manifest.layout == "folder" else Own([])
    except ValueError as error:
        raise UserError(f"{root}: {error}") from None


def left_out(manifest: DataManifest, root: Path) -> list[str]:
    """Files below the root that are no pictures and no videos, or folders beside those of frames and masks; only of the
    layout `folder`, since others have rules of what belongs to them. Raises UserError."""
    return list(_own(manifest, root).left_out) if root.exists() else []


def left_out_line(names: Sequence[str]) -> str:
    """What was left out, in words.

    >>> left_out_line(["notes.txt", "list.csv"])
    'left out, neither frames nor masks (2): notes.txt, list.csv'
    """
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"left out, neither frames nor masks ({len(names)}): {', '.join(names[:_NAMED])}{more}"


def split_names(manifest: DataManifest, split: str, root: Path) -> list[str]:
    """The names in a split. Raises UserError for an unknown split or a missing, wrong or empty list."""
    return _split_names(manifest, split, Folders(root), [video.name for video in _own(manifest, root).videos])


def check_split(manifest: DataManifest, split: str) -> None:
    """Raises UserError for an unknown split."""
    if split not in manifest.splits:
        raise UserError(f"data set {manifest.name} has no split {split!r}; it has: {', '.join(manifest.splits)}")


def _split_names(manifest: DataManifest, split: str, folders: Folders, own: Sequence[str]) -> list[str]:
    check_split(manifest, split)
    if manifest.layout == "folder":
        return list(own)
    try:
        names = names_of(manifest.splits[split], manifest.frames, split, folders)
    except OSError as error:
        raise UserError(
            f"data set {manifest.name}: its list of the split {split!r}, {error.filename}, is not there; "
            f"is --data the right folder? ({manifest.title}: {manifest.home or 'see the manifest'})"
        ) from None
    except ValueError as error:
        raise UserError(f"data set {manifest.name}: split {split!r}: {error}") from None
    if not names:
        raise UserError(f"data set {manifest.name}: split {split!r} is empty; expected at least one name")
    return names


_NAMED = 5  # of the files that are left out


@dataclass(frozen=True)
class _Wanted:
    """Files of one kind: what they are called, the patterns to try in turn, and whether a frame may have none."""

    what: str
    patterns: tuple[str, ...]
    sparse: bool = False


@dataclass(frozen=True)
class _Finder:
    """Finds the files of one split's items. Frames go by what `{frame}` stands for in their names, their key."""

    manifest: DataManifest
    split: str
    folders: Folders
    stride: int
    problems: list[BadFile] | None

    def stills(self, names: Sequence[str]) -> Item:
        """The pictures of these names, as one item."""
        image = _Wanted("image", (self.manifest.frames,))
        mask = _Wanted("mask", tuple(self.manifest.masks), self.manifest.sparse_masks)
        frames = {name: path for name in names for path in self._still(image, name, name)}
        item = replace(self._item(self.split, tuple(frames.values())), names=tuple(frames))
        if not mask.patterns:
            return item
        if is_instances(mask.patterns[0]):
            return replace(item, masks=self._instances(mask, item))
        masks = [self._still(mask, name, path.name) for name, path in frames.items()]
        return replace(item, masks=tuple(MaskFiles(paths) for paths in masks))

    def _instances(self, mask: _Wanted, item: Item) -> tuple[MaskFiles, ...]:
        """The entries of a COCO file that belong to the stills."""
        path = self._place(mask.patterns[0], "", "")
        try:
            known = read_instances(path).by_name
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: not COCO's instances ({error})") from None
        if not mask.sparse:
            for name in item.names:
                if name not in known:
                    self._report(f"{path}: no image {name!r} in it ({self.manifest.name}, {name})", name)
        return tuple(MaskFiles((path,), known[name]) if name in known else MaskFiles(()) for name in item.names)

    def video(self, name: str) -> Item:
        """One video; without frames where it has none."""
        frames = self._frames(self.manifest.frames, name)
        paths = tuple(frames.values())
        item = self._item(name, paths[:: self.stride], paths)
        return self._with_truth(item, {key: path.name for key, path in frames.items()}) if frames else item

    def _frames(self, pattern: str, video: str) -> dict[str, Path]:
        """A video's frames by key, in natural order."""
        (matches,) = self.folders.matches(pattern, video, self.split)
        keys = sorted(matches.names, key=natural)
        if not keys:
            whose = f"video {video!r} of {self.manifest.name}"
            self._report(
                f"{self._place(pattern, video, '*')}: {whose} has no frames; is --data the right folder?", video
            )
        found = self._find(_Wanted("frame", (pattern,)), keys, video, video)
        return {key: paths[0] for key, paths in zip(keys, found, strict=True)}

    def tell(self, faults: Sequence[Fault], videos: Sequence[str], leave_out: Collection[str]) -> None:
        """Files that can't be used, but must not be passed over, as belonging to the videos beside which they lie."""
        for place, path, what in faults:
            owner = next((name for name in videos if f"{place}/".startswith(f"{name}/")), place or path.name)
            if owner not in leave_out:
                self._report(f"{path}: {what} ({self.manifest.name}, {owner})", owner, UNREADABLE)

    def own(self, video: OwnVideo, extract: Extract | None) -> Item:
        """A video of the layout `folder`; where not every frame has a mask, those that have are scored."""
        frames = self._extracted(video, extract) if video.file else self._frames(video.frames, video.name)
        paths = tuple(frames.values())
        item = self._item(video.name, paths[:: self.stride], paths)
        found = self._own_masks(video.masks, frames, video.name) if video.masks else []
        if video.mask_file and frames:
            found = self._moving_masks(video.mask_file, extract, len(frames), video.name)
        if not any(found):
            return replace(item, protocol=None)
        masks = tuple(MaskFiles(paths) for paths in found[:: self.stride])
        return replace(item, masks=masks, protocol=item.protocol if all(found) else SPARSE_PROTOCOL)

    def _extracted(self, video: OwnVideo, extract: Extract | None) -> dict[str, Path]:
        """Frames of a video file by key; none where it is bad."""
        assert video.file is not None
        return {path.stem: path for path in self._extract(video.file, extract, video.name)}

    def _extract(self, path: Path, extract: Extract | None, video: str, masks: bool = False) -> tuple[Path, ...]:
        if extract is None:
            raise UserError(f"{path}: a video file, whose frames have to be extracted first")
        try:
            return extract(path, masks)
        except UserError as error:
            self._report(str(error.args[0]), video, UNREADABLE)
            return ()

    def _moving_masks(self, path: Path, extract: Extract | None, frames: int, video: str) -> list[tuple[Path, ...]]:
        """Masks of each frame out of a video of them."""
        masks = self._extract(path, extract, video, masks=True)
        if masks and len(masks) != frames:
            self._report(f"{path}: {len(masks)} masks, {video} has {frames} frames; expected as many", video, UNCLEAR)
        return [(mask,) for mask in masks] if len(masks) == frames else []

    def _own_masks(self, pattern: str, frames: Mapping[str, Path], video: str) -> list[tuple[Path, ...]]:
        """Masks of each frame; a mask without a frame is a mistake in its name."""
        for matches in self.folders.matches(pattern, video, self.split):
            if frames and (alien := sorted(set(matches.names) - set(frames), key=natural)):
                more = f" (and {len(alien) - 1} more)" if len(alien) > 1 else ""
                expected = f"no frame of {video} has its name{more}; they are called {next(iter(frames))} and so on"
                self._report(f"{matches.folder / matches.of(alien[0])[0]}: {expected}", video, UNCLEAR)
        return self._find(_Wanted("mask", (pattern,), sparse=True), frames, video, video)

    def _item(self, name: str, frames: tuple[Path, ...], all_frames: tuple[Path, ...] = ()) -> Item:
        manifest, stills = self.manifest, self.manifest.kind == "stills"
        return Item(
            manifest.name,
            name,
            stills,
            frames,
            void=manifest.void,
            masks_are=manifest.masks_are,
            allow_mask_resize=manifest.allow_mask_resize,
            protocol=None if stills else manifest.protocol,
            all_frames=all_frames,
            numbers=tuple(range(0, len(all_frames), self.stride)),
        )

    def _with_truth(self, item: Item, keys: Mapping[str, str]) -> Item:
        """The video with its masks, boxes and others; `keys`: those of all its frames -> file name."""
        manifest, boxes = self.manifest, None
        found = self._truth(_Wanted("mask", tuple(manifest.masks), manifest.sparse_masks), keys, item.name)
        regions = self._regions(item.name) if manifest.regions else None
        masks = tuple(MaskFiles(paths, regions=regions if paths else None) for paths in found)
        if manifest.boxes == BOXES_FROM_MASKS:
            boxes = Boxes(masks=masks)
        elif manifest.boxes:
            found = self._truth(_Wanted("box file", (manifest.boxes,), manifest.sparse_boxes), keys, item.name)
            boxes = Boxes(tuple(paths[0] if paths else None for paths in found))
        results = {title: self._results(pattern, keys, item.name) for title, pattern in manifest.others.items()}
        others = {title: paths for title, paths in results.items() if paths}
        return replace(item, masks=masks, boxes=boxes, others=others)

    def _regions(self, video: str) -> Path:
        path = self._place(self.manifest.regions or "", video, "")
        if not path.is_file():
            self._report(f"{path}: missing definition of the regions in the masks of {video!r}", video)
        return path

    def _truth(self, wanted: _Wanted, keys: Mapping[str, str], video: str) -> list[tuple[Path, ...]]:
        """Masks or box files of the frames in use."""
        if not wanted.patterns:
            return []
        if not wanted.sparse:
            return self._required(wanted, self._used(keys), video, video)
        found = self._find(wanted, keys, video, video)
        if not any(found):
            where = self._place(wanted.patterns[0], video, "*")
            self._report(f"{where}: video {video!r} of {self.manifest.name} has no {wanted.what} at all", video)
        return found[:: self.stride]

    def _results(self, pattern: str, keys: Mapping[str, str], video: str) -> tuple[Path, ...]:
        """Result masks of others are optional: a video that has none is scored without them."""
        wanted, used = _Wanted("result mask", (pattern,)), self._used(keys)
        if not any(self._find(wanted, used, video, video)):
            return ()
        found = self._required(wanted, used, video, video)
        return tuple(paths[0] for paths in found) if all(found) else ()

    def _still(self, wanted: _Wanted, name: str, frame: str) -> tuple[Path, ...]:
        """Files of one still, whose name may begin with folders."""
        folder, slash, key = name.rpartition("/")
        patterns = tuple(pattern.replace("{frame}", folder + slash + "{frame}") for pattern in wanted.patterns)
        (paths,) = self._required(replace(wanted, patterns=patterns), {key: frame}, "", name)
        return paths

    def _used(self, keys: Mapping[str, str]) -> dict[str, str]:
        return dict(list(keys.items())[:: self.stride])

    def _required(self, wanted: _Wanted, keys: Mapping[str, str], video: str, owner: str) -> list[tuple[Path, ...]]:
        """`_find`, where each frame must have a file unless `wanted` is sparse."""
        found = self._find(wanted, keys, video, owner)
        for paths, (key, frame) in zip(found, keys.items(), strict=True):
            if not paths and not wanted.sparse:
                where = self._place(wanted.patterns[0], video, key)
                self._report(f"{where}: missing {wanted.what} of {frame} ({self.manifest.name}, {owner})", owner)
        return found

    def _find(self, wanted: _Wanted, keys: Iterable[str], video: str, owner: str) -> list[tuple[Path, ...]]:
        """Files of each frame by the first pattern that has some: one, or one an object."""
        places = [self.folders.matches(pattern, video, self.split) for pattern in wanted.patterns]
        found = []
        for key in keys:
            some = next((here for place in places if (here := [m for m in place if m.of(key)])), [])
            found.append(tuple(self._single(matches, key, owner) for matches in some))
        return found

    def _single(self, matches: Matches, key: str, owner: str) -> Path:
        first, *more = sorted(matches.of(key))
        if more:
            self._report(f"{matches.folder / first} and {more[0]}: two files for one frame; remove one", owner, UNCLEAR)
        return matches.folder / first

    def _place(self, pattern: str, video: str, key: str) -> Path:
        place = filled(pattern, video, self.split).replace("{object}", "*")
        return self.folders.root / place.replace("{frame}", key).replace("{number}", key)

    def _report(self, message: str, owner: str, kind: str = MISSING) -> None:
        """Raise, or note, what is wrong with a video or still."""
        error = BadFile(message, dataset=self.manifest.name, name=owner, kind=kind)
        if self.problems is None:
            raise error
        self.problems.append(error)
