"""`fusionseg data check`: whether all files of a data set are there and can be read, before anything is computed.

All problems are found, not the first alone. Normally only headers and ends of pictures are read, which show what is cut
off; `deep` decodes everything.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from fusionseg.pipeline.basics.columns import aligned, write_table
from fusionseg.pipeline.basics.progress import shown
from fusionseg.pipeline.basics.threads import batches, in_order
from fusionseg.pipeline.datasets.digests import LEDGER, Ledger
from fusionseg.pipeline.datasets.finding import Extract, left_out, left_out_line, load_items
from fusionseg.pipeline.datasets.items import Item, MaskFiles
from fusionseg.pipeline.datasets.manifest import DataManifest, read_manifest
from fusionseg.pipeline.datasets.reading import (
    bad_file,
    frame_size_text,
    how_read,
    read_boxes,
    read_frame,
    read_mask,
    read_size,
    size_text,
)
from fusionseg.pipeline.datasets.videos import extractor
from fusionseg.pipeline.errors import MISSING, UNCLEAR, UNREADABLE, WRONG_SIZE, BadFile, UserError

T = TypeVar("T")
Size = tuple[int, int]  # width, height
WRONG_COUNT, EMPTY = "wrong count", "empty mask"
KINDS = (MISSING, UNCLEAR, UNREADABLE, WRONG_SIZE, WRONG_COUNT)
_FRAMES_A_TASK = 64  # one frame's headers take a fraction of a millisecond: too little for a thread's task
_SHOWN = 20  # problems of a kind, on the terminal


@dataclass(frozen=True)
class Problem:
    """One thing wrong: which of `KINDS`, of which video or still, and what, in one line."""

    split: str
    kind: str
    name: str
    problem: str


@dataclass
class Found:
    """What a split holds; `boxes` and `empty` (masks that show no object, which may well be so) are None where they
    weren't counted. `read`: how files are read, where that isn't the obvious way, and of which videos; `left_out`:
    files that aren't looked at."""

    split: str
    items: list[Item] = field(default_factory=list)
    masks: int = 0
    boxes: int | None = None
    empty: list[Problem] | None = None
    problems: list[Problem] = field(default_factory=list)
    read: dict[str, list[str]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    @property
    def frames(self) -> int:
        return sum(len(item.frames) for item in self.items)

    def note(self, error: BadFile) -> None:
        """Add what is wrong."""
        self.problems.append(Problem(self.split, error.kind, error.name, str(error.args[0])))


@dataclass
class _Seen:
    """What was seen of one frame."""

    size: Size | None = None
    boxes: int = 0
    empty: bool = False
    wrong: list[BadFile] = field(default_factory=list)


def run_check(
    name: str,
    root: Path,
    split: str | None = None,
    *,
    out: Path,
    deep: bool = False,
    csv: Path | None = None,
    say: Callable[[str], None] = print,
) -> int:
    """Check the data set of a manifest and tell; the number of problems. `out` is the store that frames of video files
    are extracted into; `csv` gets all problems. Raises UserError."""
    manifest, ledger = read_manifest(name), Ledger(out.expanduser().resolve() / LEDGER)
    workers = os.cpu_count() or 1
    with shown("extracting", "frame") as extracting, shown("checking", "frame") as checking:
        extract = extractor(ledger, extracting)
        splits = [split] if split else []
        root = root.expanduser().resolve()
        found = check(manifest, root, splits, deep=deep, workers=workers, extract=extract, progress=checking)
    ledger.save()
    if csv is not None:
        write_table(csv, problem_table(found))
    problems = sum(len(one.problems) for one in found)
    verdict = "all well" if not problems else "1 problem" if problems == 1 else f"{problems} problems"
    lines = *table_lines(manifest, found), *problem_lines(found), *note_lines(found)
    for line in (*lines, f"{manifest.name}: {verdict}"):
        say(line)
    say(summary_line(manifest))
    return problems


def check(
    manifest: DataManifest,
    root: Path,
    splits: Sequence[str] = (),
    *,
    deep: bool = False,
    workers: int = 2,
    extract: Extract | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Found]:
    """What each split (all, where none is named) holds, and everything that is wrong with it.

    `extract` gives the frames of a video file, `progress` is told of frames done and of their total number. Raises
    UserError for a folder or split that isn't there.
    """
    if not (root.exists() if manifest.layout == "folder" else root.is_dir()):
        raise UserError(f"data set {manifest.name}: no folder {root}; give it with --data ROOT")
    for split in splits:
        if split not in manifest.splits:
            raise UserError(f"data set {manifest.name} has no split {split!r}; it has: {', '.join(manifest.splits)}")
    found = [_load(manifest, split, root, extract) for split in splits or manifest.splits]
    done, total = 0, sum(one.frames for one in found)
    for one in found:
        one.empty = [] if deep and any(item.masks for item in one.items) else None
        for item in one.items:
            for frames in _check_item(one, item, deep, workers):
                done += frames
                progress(done, total)
        _compare_counts(one, manifest)
    return found


def _load(manifest: DataManifest, split: str, root: Path, extract: Extract | None) -> Found:
    """The split's items, with what is missing."""
    found, bad = Found(split), list[BadFile]()
    try:
        found.items = load_items(manifest, split, root, problems=bad, extract=extract)
    except UserError as error:
        kind = UNCLEAR if manifest.layout == "folder" else MISSING  # what is a video, or the split's list
        found.problems.append(Problem(split, kind, "", str(error.args[0])))
    for one in bad:
        found.note(one)
    found.masks = sum(len(item.annotated) for item in found.items)
    with contextlib.suppress(UserError):  # told above
        found.left_out = left_out(manifest, root)
    return found


def _check_item(found: Found, item: Item, deep: bool, workers: int) -> Iterator[int]:
    """Look at all frames of a video, or at all stills; gives the number of frames looked at, now and then."""
    tasks = list(batches(len(item.frames), _FRAMES_A_TASK))
    if item.boxes and (deep or not item.boxes.derived):
        found.boxes = found.boxes or 0
    first: Size | None = None
    looked = in_order(lambda n: [_look(item, index, deep) for index in tasks[n]], len(tasks), workers)
    for task, seen in zip(tasks, looked, strict=True):
        for index, one in zip(task, seen, strict=True):
            first = first or one.size
            if not item.stills and one.size and first and one.size != first:
                text = frame_size_text(one.size, first)
                one.wrong.append(bad_file(item, index, item.frames[index], text, WRONG_SIZE))
            _add(found, item, index, one)
        yield len(task)
    if not found.problems:
        _note_reading(found, item)


def _note_reading(found: Found, item: Item) -> None:
    """How a few of the files are read."""
    for kind in ("frames", "masks", "others"):
        try:
            for note in how_read(item, kind):
                found.read.setdefault(f"{kind}: {note}", []).append(item.name)
        except BadFile as error:
            found.note(error)


def _add(found: Found, item: Item, index: int, seen: _Seen) -> None:
    for error in seen.wrong:
        found.note(error)
    if found.boxes is not None:
        found.boxes += seen.boxes
    if found.empty is not None and seen.empty:
        path = item.masks[index].paths[0]
        found.empty.append(Problem(found.split, EMPTY, item.name_of(index), f"{path}: shows no object"))


def _look(item: Item, index: int, deep: bool) -> _Seen:
    """Headers of one frame and its masks, its boxes, and `deep` everything that its header doesn't rule out."""
    seen = _Seen()
    seen.size = _tried(seen, read_size, item, index, item.frames[index])
    if deep and seen.size:
        _tried(seen, read_frame, item, index)
    truth = item.masks[index] if item.masks else MaskFiles(())
    for files in (truth, *(MaskFiles((paths[index],)) for paths in item.others.values())):
        sizes = [_mask_size(item, index, path, files.entry, seen) for path in files.paths]
        if deep and files.paths and all(sizes):
            mask = _tried(seen, read_mask, item, index, files)
            if mask is not None and files is truth:
                seen.empty = not (mask == 1).any()
                seen.boxes = int(bool(item.boxes and item.boxes.derived) and not seen.empty)
    if item.boxes and not item.boxes.derived:
        seen.boxes = len(_tried(seen, read_boxes, item, index) or ())
    return seen


def _mask_size(item: Item, index: int, path: Path, entry: str, seen: _Seen) -> Size | None:
    """The size of a mask that can be read, compared with its frame's."""
    size = _tried(seen, read_size, item, index, path, entry)
    if size and seen.size and size != seen.size and not item.allow_mask_resize:
        seen.wrong.append(bad_file(item, index, path, size_text(size, seen.size), WRONG_SIZE))
    return size


def _tried(seen: _Seen, read: Callable[..., T], *arguments: Any) -> T | None:
    try:
        return read(*arguments)
    except BadFile as error:
        seen.wrong.append(error)
        return None


def _compare_counts(found: Found, manifest: DataManifest) -> None:
    """Note where a split differs from what its owners publish."""
    expected = manifest.expected.get(found.split) if found.items else None  # that nothing is there was said
    counts = {"frames": found.frames, "masks": found.masks, "boxes": found.boxes}
    counts["stills" if manifest.kind == "stills" else "videos"] = _items(found, manifest)
    for name, count in counts.items():
        wanted = getattr(expected, name, None)
        if wanted is not None and count is not None and count != wanted:
            text = f"{found.split}: {count} {name} found, {wanted} expected"
            found.problems.append(Problem(found.split, WRONG_COUNT, "", text))


def _items(found: Found, manifest: DataManifest) -> int:
    return found.frames if manifest.kind == "stills" else len(found.items)


def table_lines(manifest: DataManifest, found: Sequence[Found]) -> list[str]:
    """The table, one line a split; "-" for what wasn't counted."""
    rows = [["split", manifest.kind, "frames", "masks", "boxes", *KINDS, "empty masks"]]
    for one in found:
        kinds = [problem.kind for problem in one.problems]
        counts = [_items(one, manifest), one.frames, one.masks, one.boxes, *map(kinds.count, KINDS)]
        counts.append(None if one.empty is None else len(one.empty))
        rows.append([one.split, *("-" if count is None else str(count) for count in counts)])
    return aligned(rows, right=range(1, len(rows[0])))


def problem_lines(found: Sequence[Found]) -> list[str]:
    """Every problem on a line, by kind; of many of one kind, how many more there are."""
    lines = []
    for kind in KINDS:
        some = [problem.problem for one in found for problem in one.problems if problem.kind == kind]
        lines += [f"{kind}: {text}" for text in some[:_SHOWN]]
        if len(some) > _SHOWN:
            lines.append(f"{kind}: and {len(some) - _SHOWN} more; --csv FILE writes all")
    return lines


def note_lines(found: Sequence[Found]) -> list[str]:
    """What is to be known though nothing is wrong: how files are read, and what isn't looked at."""
    lines = [
        f"{one.split}: {note} ({names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''})"
        for one in found
        for note, names in one.read.items()
    ]
    return lines + [left_out_line(one.left_out) for one in found if one.left_out]


def summary_line(manifest: DataManifest) -> str:
    """What the data set is, under which licence, where it comes from and how to cite it."""
    parts = [manifest.title, f"licence: {manifest.licence}", manifest.home, manifest.citation]
    return "; ".join(part for part in parts if part)


def problem_table(found: Sequence[Found]) -> pd.DataFrame:
    """All problems and all empty masks: split, kind, name, problem."""
    rows = [row for one in found for row in (*one.problems, *(one.empty or ()))]
    return pd.DataFrame(rows, columns=["split", "kind", "name", "problem"])
