"""Trees of masks, SEQUENCE/FRAME.png: found, and compared with the tree of the truth.

Whatever doesn't fit is a `Problem`; all are told together, see `problem_text`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fusionseg.pipeline.datasets.patterns import PICTURE_SUFFIXES, natural
from fusionseg.pipeline.errors import MISSING, UNCLEAR, UNREADABLE, WRONG_SIZE, UserError
from fusionseg.pipeline.scoring.protocols import Protocol, scored_frames

EXTRA, MISNAMED, UNSUITABLE = "extra", "misnamed", "unsuitable"
_MEANING = {
    MISSING: "no mask of a frame that is scored",
    EXTRA: "no truth of that name",
    MISNAMED: "not called as the truth is",
    UNCLEAR: "more than one file for a frame",
    WRONG_SIZE: "not of the truth's size",
    UNREADABLE: "can't be decoded",
    UNSUITABLE: "not what the protocol can score",
}
_SHOWN = 20
# Kinds of which all are listed. What else is wrong with a file is most often wrong with all files of a method.
_ALL_LISTED = (MISSING, EXTRA, MISNAMED, UNCLEAR, WRONG_SIZE)
# Where DAVIS keeps its masks below its root; the first that is there is taken.
_DAVIS = ("Annotations/480p", "480p")
_DAVIS_OBJECTS = ("Annotations_unsupervised/480p", *_DAVIS)

Tree = Mapping[str, Mapping[str, tuple[Path, ...]]]  # sequence -> frame -> its files: one, or one an object


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, with the file or frame it is wrong with."""

    kind: str
    what: str


def find_truth(root: Path, protocol: Protocol) -> tuple[Tree, list[Problem]]:
    """The truth below `root`, which may be the root of DAVIS. Raises UserError where there is none."""
    places = [root / name for name in (_DAVIS_OBJECTS if protocol.objects else _DAVIS)]
    root = next((place for place in places if place.is_dir()), root)
    tree, problems = find_masks(root)
    return (_merged_folders(tree) if protocol.object_folders else tree), problems


def find_masks(root: Path) -> tuple[Tree, list[Problem]]:
    """All pictures below `root`, by folder and name without suffix, in natural order; hidden ones are passed over.

    Raises UserError where `root` is no folder or holds no pictures in folders.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; expected a tree SEQUENCE/FRAME.png")
    tree: dict[str, dict[str, tuple[Path, ...]]] = {}
    problems = []
    for folder, names, files in os.walk(root, followlinks=True):
        names[:] = [name for name in names if not name.startswith(".")]
        found, double = _pictures(Path(folder), files)
        if found and Path(folder) != root:
            tree[Path(folder).relative_to(root).as_posix()] = found
            problems += double
    if not tree:
        raise UserError(f"{root}: no masks in it; expected a tree SEQUENCE/FRAME.png")
    return {name: tree[name] for name in sorted(tree, key=natural)}, problems


def _pictures(folder: Path, files: Iterable[str]) -> tuple[dict[str, tuple[Path, ...]], list[Problem]]:
    """The pictures in one folder by frame, and where one frame has two."""
    found: dict[str, tuple[Path, ...]] = {}
    problems = []
    for name in sorted(files, key=natural):
        stem, dot, suffix = name.rpartition(".")
        if f"{dot}{suffix}".lower() not in PICTURE_SUFFIXES or name.startswith("."):
            continue
        if stem in found:
            problems.append(Problem(UNCLEAR, f"{found[stem][0]} and {name}"))
        found.setdefault(stem, (folder / name,))
    return found, problems


def _merged_folders(tree: Tree) -> Tree:
    """Sequences NAME/1, NAME/2 ... as one, NAME, with several files a frame."""
    merged: dict[str, dict[str, tuple[Path, ...]]] = {}
    for name, frames in tree.items():
        parent, _, last = name.rpartition("/")
        sequence = merged.setdefault(parent if parent and last.isdecimal() else name, {})
        for frame, paths in frames.items():
            sequence[frame] = (*sequence.get(frame, ()), *paths)
    return merged


def scored(protocol: Protocol, frames: Mapping[str, tuple[Path, ...]]) -> list[str]:
    """The frames of a sequence's truth that the protocol scores, in order. Raises ValueError where there are none."""
    names = list(frames)
    return [names[index] for index in scored_frames(protocol, len(names))]


def compare(method: str, truth: Tree, masks: Tree, protocol: Protocol, zero: bool, every: bool) -> Iterator[Problem]:
    """What is wrong with the names of a method's masks. `zero`: missing ones are no problem; `every`: nor may there be
    sequences that the truth doesn't have."""
    for name in [name for name in masks if name not in truth] if every else ():
        yield Problem(EXTRA, f"{method}: {name}, a sequence of {len(masks[name])} masks")
    for name, frames in truth.items():
        wanted, there = scored(protocol, frames), masks.get(name, {})
        lacking = [frame for frame in wanted if frame not in there]
        alien = [frame for frame in there if frame not in frames]
        numbers = {int(frame): frame for frame in lacking if frame.isdecimal()}
        for frame in alien:
            meant = numbers.get(int(frame)) if frame.isdecimal() else None
            if meant is not None:
                lacking.remove(numbers.pop(int(frame)))
                yield Problem(MISNAMED, f"{method}: {there[frame][0]}; expected {meant}")
            elif not protocol.annotated_only:
                yield Problem(EXTRA, f"{method}: {there[frame][0]}")
        if not zero and not there:
            yield Problem(MISSING, f"{method}: {name}, all {len(lacking)} masks")
        elif not zero:
            yield from (Problem(MISSING, f"{method}: {name}/{frame}") for frame in lacking)


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
