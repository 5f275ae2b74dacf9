"""Trees of masks, SEQUENCE/FRAME.png: found, and compared with the tree of the truth.

Whatever doesn't fit is a `Problem`; all are told together, see `problem_text`. What is there beyond the truth is left
out, and told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fusionseg.pipeline.datasets.finding import Extract, left_out, load_items
from fusionseg.pipeline.datasets.items import Item
from fusionseg.pipeline.datasets.manifest import read_manifest
from fusionseg.pipeline.datasets.own_folder import frames_and_masks, sorted_below
from fusionseg.pipeline.datasets.patterns import Folders, natural
from fusionseg.pipeline.errors import MISSING, UNCLEAR, UNREADABLE, WRONG_SIZE, UserError
from fusionseg.pipeline.formats.kinds import is_array, is_video, stem
from fusionseg.pipeline.scoring.protocols import Protocol, scored_frames

MISNAMED, UNSUITABLE = "misnamed", "unsuitable"
_MEANING = {
    MISSING: "no mask of a frame that is scored",
    MISNAMED: "not called as the truth is",
    UNCLEAR: "which file is meant can't be told",
    WRONG_SIZE: "not of the truth's size",
    UNREADABLE: "can't be decoded",
    UNSUITABLE: "not what the protocol can score",
}
_SHOWN, _NAMED = 20, 5
# Kinds of which all are listed. What else is wrong with a file is most often wrong with all files of a method.
_ALL_LISTED = (MISSING, MISNAMED, UNCLEAR, WRONG_SIZE)
# Where DAVIS keeps its masks below its root; the first that is there is taken.
_DAVIS = ("Annotations/480p", "480p")
_DAVIS_OBJECTS = ("Annotations_unsupervised/480p", *_DAVIS)
_ALONE = ""  # the name of the one sequence of a folder that holds its masks itself

Files = Mapping[str, tuple[Path, ...]]  # frame -> its files: one, or one an object
Tree = Mapping[str, Files]  # sequence -> frames


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, with the file or frame it is wrong with."""

    kind: str
    what: str


@dataclass
class Masks:
    """What lies below a folder: `tree`, by folder; `moving`, videos of masks by sequence; what is wrong; the paths of
    what was left out; and the sequences whose objects, in folders of their own, were merged."""

    root: Path
    tree: dict[str, dict[str, tuple[Path, ...]]]
    moving: dict[str, Path] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    merged: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """All sequences, in natural order."""
        return sorted({*self.tree, *self.moving}, key=natural)


def find_truth(root: Path, protocol: Protocol, extract: Extract) -> Masks:
    """The truth below `root`, which may be the root of DAVIS, or of a user's own frames and masks. Raises UserError
    where there is none."""
    places = [root / name for name in (_DAVIS_OBJECTS if protocol.objects else _DAVIS)]
    place = next((place for place in places if place.is_dir()), None)
    masks = _of_own(root, extract) if place is None else None
    if masks is None:
        masks = find_masks(place or root)
        if protocol.object_folders:
            _merge(masks, {_parent(name) for name in masks.tree if name.rpartition("/")[2].isdecimal()})
    return masks


def _of_own(root: Path, extract: Extract) -> Masks | None:
    """The masks beside a user's own frames, as a run finds them; None where there is no such folder. Raises
    UserError."""
    if not root.is_dir():
        return None
    folders = Folders(root)
    try:
        frames, below = frames_and_masks(folders)
    except ValueError as error:
        if any(name.lower() in ("frames", "masks") for name in folders.subfolders("")):
            raise UserError(f"{root}: {error}") from None
        return None
    if not (frames and below):
        return None
    manifest = read_manifest("folder")
    items = load_items(manifest, "all", root, extract=extract)
    tree = {item.name: _by_frame(item) for item in items if item.masks}
    if len(items) == 1 and items[0].name == root.resolve().name:  # it has no name but the folder's
        tree = dict.fromkeys([_ALONE], *tree.values())
    return Masks(root, tree, left_out=[name for name in left_out(manifest, root) if name.startswith(f"{below}/")])


def _by_frame(item: Item) -> dict[str, tuple[Path, ...]]:
    return {frame.stem: masks.paths for frame, masks in zip(item.frames, item.masks, strict=True) if masks.paths}


def _joined(trees: Sequence[Files]) -> dict[str, tuple[Path, ...]]:
    """Several objects' masks as one, by frame."""
    frames = sorted({frame for tree in trees for frame in tree}, key=natural)
    return {frame: tuple(path for tree in trees for path in tree.get(frame, ())) for frame in frames}


def find_method(root: Path, extract: Extract) -> Masks:
    """A method's masks below `root`, which may be a folder of frames and masks too. Raises UserError."""
    return _of_own(root, extract) or find_masks(root)


def find_masks(root: Path) -> Masks:
    """All pictures below `root`, by folder and name without suffix, and all videos, in natural order.

    Raises UserError where `root` is no folder, or holds neither.
    """
    if root.is_file() and is_video(root.name):
        return Masks(root, {}, {_ALONE: root})
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; expected a tree SEQUENCE/FRAME.png")
    folders, masks = Folders(root), Masks(root, {})
    for here, some in sorted_below(folders, "").items():
        if some.pictures:
            masks.tree[here], double = _pictures(folders, here, some.pictures)
            masks.problems += double
        at = f"{here}/" if here else ""
        masks.moving |= {stem(f"{at}{name}"): folders.path(f"{at}{name}") for name in some.videos}
        for name in some.unread:
            what = f"{folders.path(f'{at}{name}')}: masks in files of this kind aren't read; save them as PNG"
            masks.problems.append(Problem(UNREADABLE, what))
        broken = [f"{folders.path(f'{at}{name}')}: a link that leads nowhere" for name in folders.broken(here)]
        masks.problems += [Problem(UNREADABLE, what) for what in broken]
        masks.left_out += [f"{at}{name}" for name in some.others]
    if not masks.names:
        arrays = [name for name in masks.left_out if is_array(name)]
        unread = f"; {arrays[0]}: masks in files of this kind aren't read, save them as PNG" if arrays else ""
        told = f"; {masks.problems[0].what}" if masks.problems else unread
        raise UserError(f"{root}: no masks in it; expected a tree SEQUENCE/FRAME.png{told}")
    return masks


def _pictures(folders: Folders, here: str, names: Sequence[str]) -> tuple[dict[str, tuple[Path, ...]], list[Problem]]:
    """The pictures in one folder by frame, and where one frame has two."""
    found: dict[str, tuple[Path, ...]] = {}
    problems = []
    for name in names:
        frame, path = stem(name), folders.path(f"{here}/{name}" if here else name)
        if frame in found:
            problems.append(Problem(UNCLEAR, f"{found[frame][0]} and {name}"))
        found.setdefault(frame, (path,))
    return found, problems


def _merge(masks: Masks, parents: Collection[str]) -> None:
    """Sequences PARENT/A, PARENT/B ... as one, PARENT, with several files a frame."""
    for parent in parents:
        parts = [name for name in masks.tree if _parent(name) == parent and "/" in name] if parent else []
        if parts and parent not in masks.tree:
            masks.merged.append(parent)
            masks.tree[parent] = _joined([masks.tree.pop(name) for name in sorted(parts, key=natural)])
    masks.tree = {name: masks.tree[name] for name in sorted(masks.tree, key=natural)}


def fit(truth: Masks, methods: Mapping[str, Masks], protocol: Protocol) -> None:
    """Give what is one sequence one name: of a folder that holds its masks itself, the other's only one; objects in
    folders of their own are merged where the other has them in one (unless the protocol tells them apart); a folder
    around all of a method's is passed through. Of a sequence both as pictures and as a video, the pictures count."""
    every = [truth, *methods.values()]
    for masks in every:
        for name in [name for name in masks.moving if name in masks.tree]:
            masks.left_out.append(masks.moving.pop(name).name)
    only = {masks.names[0] for masks in every if len(masks.names) == 1} - {_ALONE}
    for masks in every:
        if masks.names == [_ALONE]:
            _rename(masks, only.pop() if len(only) == 1 else truth.root.resolve().name)
    for masks in methods.values():
        _strip(masks, truth.names)
    if not protocol.objects:
        for masks in every:
            others = {name for other in every if other is not masks for name in other.names}
            _merge(masks, {_parent(name) for name in masks.tree if _parent(name) in others and name not in others})


def _strip(masks: Masks, names: Collection[str]) -> None:
    """Leave out the folder that all sequences lie in, as DAVIS's 480p, where they are called as the truth's then."""
    tops = {name.partition("/")[0] for name in masks.names}
    inner = {name.partition("/")[2] for name in masks.names}
    inner |= {_parent(name) for name in inner}
    if len(tops) == 1 and not set(masks.names) & set(names) and inner & set(names):
        masks.tree = {name.partition("/")[2]: files for name, files in masks.tree.items()}
        masks.moving = {name.partition("/")[2]: path for name, path in masks.moving.items()}


def _rename(masks: Masks, name: str) -> None:
    masks.tree = {name: masks.tree[_ALONE]} if masks.tree else {}
    masks.moving = {name: masks.moving[_ALONE]} if masks.moving else {}


def unfold(truth: Masks, methods: Mapping[str, Masks], extract: Extract) -> None:
    """Videos of masks as pictures, named like those of the truth (or, of a truth that is a video, like a method's);
    where there aren't as many it is a problem. Raises UserError for a video that can't be read."""
    for masks in (truth, *methods.values()):
        for name, path in masks.moving.items():
            if masks is not truth and name not in truth.tree:
                continue  # left out
            frames = extract(path, masks=True)
            trees = [one.tree[name] for one in (truth, *methods.values()) if name in one.tree]
            wanted = list(trees[0]) if trees else [frame.stem for frame in frames]
            if len(frames) != len(wanted):
                whose = "the truth" if masks is not truth else "a method"
                what = f"{path}: {len(frames)} masks, {whose} has {len(wanted)}; expected as many"
                masks.problems.append(Problem(UNCLEAR, what))
            masks.tree[name] = {frame: (one,) for frame, one in zip(wanted, frames, strict=False)}


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def scored(protocol: Protocol, frames: Files) -> list[str]:
    """The frames of a sequence's truth that the protocol scores, in order. Raises ValueError where there are none."""
    names = list(frames)
    return [names[index] for index in scored_frames(protocol, len(names))]


def compare(method: str, truth: Tree, masks: Tree, protocol: Protocol, zero: bool) -> Iterator[Problem]:
    """What is wrong with the names of a method's masks. `zero`: missing ones are no problem."""
    for name, frames in truth.items():
        there = masks.get(name, {})
        if there and not protocol.annotated_only:
            yield from _shifted(method, name, frames, there)
        lacking = [frame for frame in scored(protocol, frames) if frame not in there]
        numbers = {int(frame): frame for frame in lacking if frame.isdecimal()}
        for frame in (frame for frame in there if frame not in frames and frame.isdecimal()):
            if (meant := numbers.pop(int(frame), None)) is not None:
                lacking.remove(meant)
                yield Problem(MISNAMED, f"{method}: {there[frame][0]}; expected {meant}")
        if not zero and not there:
            yield Problem(MISSING, f"{method}: {name}, all {len(lacking)} masks")
        elif not zero:
            yield from (Problem(MISSING, f"{method}: {name}/{frame}") for frame in lacking)


def _shifted(method: str, name: str, frames: Files, there: Files) -> Iterator[Problem]:
    """Frames counted from another number: then every mask would be scored on a neighbour."""
    if not all(frame.isdecimal() for frame in (*frames, *there)):
        return
    true, own = ({int(frame) for frame in some} for some in (frames, there))
    if own != true and own == {number + min(own) - min(true) for number in true}:
        what = f"{method}: {name}: its frames go from {min(own)} to {max(own)}"
        yield Problem(MISNAMED, f"{what}, the truth's from {min(true)} to {max(true)}")


def beyond(method: str, truth: Tree, masks: Masks, protocol: Protocol, every: bool) -> Iterator[str]:
    """What a method has that the truth hasn't, and files that are no masks, in words. `every`: all sequences are
    scored, so that others of the method are worth a word."""
    if every:
        alien = [name for name in masks.names if name not in truth]
        yield from _told(method, "sequences", alien)
    if not protocol.annotated_only:
        frames = [f"{name}/{f}" for name, some in truth.items() for f in masks.tree.get(name, {}) if f not in some]
        yield from _told(method, "frames", frames)
    if masks.merged:
        yield f"{method}: folders of objects merged: {_some(masks.merged)}"
    if masks.left_out:
        yield f"{method}: left out, no masks ({len(masks.left_out)}): {_some(masks.left_out)}"


def _told(method: str, what: str, names: Sequence[str]) -> Iterator[str]:
    if names:
        yield f"{method}: left out, {len(names)} {what} that the truth hasn't: {_some(names)}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def problem_text(problems: Sequence[Problem]) -> str:
    """All problems as a message for people: a line that says how many of what, then a list of each kind; of unreadable
    and unsuitable files the first twenty."""
    kinds = [kind for kind in _MEANING if any(problem.kind == kind for problem in problems)]
    by_kind = {kind: [problem.what for problem in problems if problem.kind == kind] for kind in kinds}
    counts = ", ".join(f"{len(found)} {kind}" for kind, found in by_kind.items())
    advice = "; --missing zero counts missing masks as empty" if MISSING in by_kind else ""
    lines = [f"the masks can't be scored: {counts}; nothing was written{advice}"]
    for kind, found in by_kind.items():
        lines.append(f"{kind} ({_MEANING[kind]}): {len(found)}")
        shown = len(found) if kind in _ALL_LISTED else _SHOWN
        lines += [f"  {what}" for what in found[:shown]]
        if len(found) > shown:
            lines.append(f"  and {len(found) - shown} more")
    return "\n".join(lines)
