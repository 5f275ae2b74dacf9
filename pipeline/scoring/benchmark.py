"""`fusionseg score`: trees of masks against a tree of the truth, under a protocol, to tables and a page."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd

from fusionseg.pipeline.basics.progress import shown
from fusionseg.pipeline.basics.spread import spread
from fusionseg.pipeline.datasets.digests import file_digest
from fusionseg.pipeline.datasets.finding import Extract
from fusionseg.pipeline.datasets.videos import extract_frames
from fusionseg.pipeline.errors import UNREADABLE, WRONG_SIZE, UserError
from fusionseg.pipeline.formats.masks import decode_map, decode_mask, decode_objects
from fusionseg.pipeline.formats.planes import Raw
from fusionseg.pipeline.formats.readings import EVIDENCE
from fusionseg.pipeline.scoring.frames import frame_scores, joined, sequence_rows
from fusionseg.pipeline.scoring.measures import LabelScores
from fusionseg.pipeline.scoring.outputs import Scored, check_out, write_outputs
from fusionseg.pipeline.scoring.protocols import MOST_PROPOSALS, PROTOCOLS, Protocol
from fusionseg.pipeline.scoring.request import ScoreRequest, listed
from fusionseg.pipeline.scoring.trees import (
    UNSUITABLE,
    Problem,
    Tree,
    beyond,
    compare,
    find_method,
    find_truth,
    fit,
    problem_text,
    scored,
    unfold,
)

_CHUNK = 16  # frames that a process scores at a time
_TRUTH = ""  # among the names of methods


def run_score(request: ScoreRequest, out: Path, say: Callable[[str], None]) -> None:
    """Score, write tables and page to `out`, and print the overall figures. Raises UserError; nothing is written
    then."""
    check_out(out)  # before the work, not after it
    scored = score(request)
    write_outputs(out, scored)
    for line in scored.lines():
        say(line)
    say(f"tables and page: {out}")


def score(request: ScoreRequest) -> Scored:
    """The scores of all methods. Raises UserError, with all that is wrong in one message."""
    with tempfile.TemporaryDirectory(prefix="fusionseg-") as store:  # for frames of videos of masks
        return _score(request, _protocol(request), Path(store))


def _score(request: ScoreRequest, protocol: Protocol, store: Path) -> Scored:
    truth, trees, problems, left_out = _find(request, protocol, store)
    unclear = any(problem.kind == UNSUITABLE for problem in problems)  # nobody can tell which frames are scored
    frames = [] if unclear else list(_frames(protocol, truth, trees))
    # With wrong names there will be no result, but whatever else is wrong is to be told at the same time.
    results = _score_all(_Scorer(protocol, request.threshold, only_check=bool(problems)), frames, request.workers)
    problems += [problem for result in results for problem in result.problems]
    if not problems:
        tables, problems = _tables(protocol, list(trees), frames, [result.scores for result in results])
    if problems:
        raise UserError(problem_text(problems))
    empty = {method: sum(not frame.masks[method] for frame in frames) for method in trees}
    counted = {method: count for method, count in empty.items() if count}
    return Scored(protocol, joined(tables), counted, _read_lines(results), left_out)


def _read_lines(results: Sequence[_Result]) -> list[str]:
    """How masks were read, where that isn't the obvious way: a line for each method and way."""
    counts = Counter(note for result in results for note in result.notes)
    return [f"{method or 'truth'}: {count} masks: {note}" for (method, note), count in sorted(counts.items())]


_Found = tuple[Tree, dict[str, Tree], list[Problem], list[str]]


def _find(request: ScoreRequest, protocol: Protocol, store: Path) -> _Found:
    """The truth that is scored, the trees of masks, what is wrong with their names, and what is left out, in words.
    Raises UserError."""
    extract = _extractor(store)
    truth = find_truth(request.truth, protocol, extract)
    methods = {method: find_method(root, extract) for method, root in request.masks.items()}
    fit(truth, methods, protocol)
    unfold(truth, methods, extract)
    asked = listed(request, truth.tree)
    wanted = {name: truth.tree[name] for name in truth.tree if name in set(asked) or not asked}
    problems = [*truth.problems, *_short(protocol, wanted)]
    left_out = list(beyond("truth", truth.tree, truth, protocol, every=False))
    for method, masks in methods.items():
        if not any(name in masks.tree for name in wanted):
            example = next(iter(wanted))
            raise UserError(
                f"{masks.root}: no sequence of {request.truth} in it, such as {example}; is it the right folder?"
            )
        problems += masks.problems
        if not any(problem.kind == UNSUITABLE for problem in problems):
            problems += compare(method, wanted, masks.tree, protocol, request.zero)
        left_out += beyond(method, wanted, masks, protocol, every=not asked)
    return wanted, {method: masks.tree for method, masks in methods.items()}, problems, left_out


def _extractor(store: Path) -> Extract:
    return lambda path, masks=False: extract_frames(path, store, file_digest, masks=masks)


def _protocol(request: ScoreRequest) -> Protocol:
    protocol = PROTOCOLS.get(request.protocol)
    if protocol is None:
        raise UserError(f"--protocol {request.protocol}: unknown; known: {', '.join(PROTOCOLS)}")
    if request.threshold is not None and protocol.objects:
        raise UserError(f"--threshold: {protocol.name} tells objects apart by number; give masks, not probabilities")
    if request.threshold is not None and not 0 <= request.threshold < 1:
        raise UserError(f"--threshold {request.threshold}: expected a share from 0 to below 1 of the largest value")
    if request.workers < 1:
        raise UserError(f"--workers {request.workers}: expected at least 1")
    return protocol


def _short(protocol: Protocol, truth: Tree) -> Iterator[Problem]:
    """Sequences without a frame to score."""
    for name, frames in truth.items():
        try:
            scored(protocol, frames)
        except ValueError as error:
            yield Problem(UNSUITABLE, f"truth: {name}: {error}; choose others with --sequences")


@dataclass(frozen=True)
class _Frame:
    """Files of one frame; none where a mask is missing and counts as empty. `beside`: by method, and "" the truth, a
    few masks of the same sequence, by which those that can't tell what they are are read."""

    sequence: str
    number: int
    truth: tuple[Path, ...]
    masks: Mapping[str, tuple[Path, ...]]
    beside: Mapping[str, tuple[Path, ...]]


def _frames(protocol: Protocol, truth: Tree, trees: Mapping[str, Tree]) -> Iterator[_Frame]:
    """All frames to score, sequence by sequence."""
    for name, files in truth.items():
        numbers = _numbers(list(files))
        sources = {_TRUTH: files} | {method: tree.get(name, {}) for method, tree in trees.items()}
        beside = {whose: _some([paths[0] for paths in one.values()]) for whose, one in sources.items()}
        for frame in scored(protocol, files):
            paths = {method: tree.get(name, {}).get(frame, ()) for method, tree in trees.items()}
            yield _Frame(name, numbers[frame], files[frame], paths, beside)


def _some(paths: Sequence[Path]) -> tuple[Path, ...]:
    return tuple(spread(paths, EVIDENCE))


def _numbers(names: Sequence[str]) -> dict[str, int]:
    """A number for each frame of a sequence: that of its name where all names are numbers, else its place.

    >>> _numbers(["00010", "00020"]), _numbers(["first", "last"])
    ({'00010': 10, '00020': 20}, {'first': 0, 'last': 1})
    """
    numbers = [int(name) for name in names if name.isdecimal()]
    return dict(zip(names, numbers if len(set(numbers)) == len(names) else range(len(names)), strict=True))


@dataclass(frozen=True)
class _Result:
    """The scores of all methods on one frame, what is wrong with its files, and how they were read: method (or "" for
    the truth) and what to say of that."""

    scores: Mapping[str, LabelScores]
    problems: Sequence[Problem] = ()
    notes: Sequence[tuple[str, str]] = ()


def _score_all(scorer: _Scorer, frames: Sequence[_Frame], workers: int) -> list[_Result]:
    """The results of every frame, in order, with progress."""
    chunks = [frames[start : start + _CHUNK] for start in range(0, len(frames), _CHUNK)]
    results: list[_Result] = []
    with shown("scoring", "frame") as show:
        for found in _mapped(scorer, chunks, min(workers, len(chunks))):
            results += found
            show(len(results), len(frames))
    return results


@dataclass(frozen=True)
class _Scorer:
    """Scores chunks of frames; plain data, so that it can be sent to another process."""

    protocol: Protocol
    threshold: float | None
    only_check: bool

    def __call__(self, frames: Sequence[_Frame]) -> list[_Result]:
        return [self._frame(frame) for frame in frames]

    def _frame(self, frame: _Frame) -> _Result:
        reader = _Reader(self.protocol, self.threshold, frame)
        truth = reader.truth()
        if truth is None:
            return _Result({}, reader.problems)
        masks = {}
        for method, paths in frame.masks.items():
            mask = reader.mask(method, paths) if paths else np.zeros(truth.shape, np.uint8)
            if mask is not None and mask.shape != truth.shape:
                sizes = f"{mask.shape[1]}x{mask.shape[0]}, the truth {truth.shape[1]}x{truth.shape[0]}"
                reader.problems.append(Problem(WRONG_SIZE, f"{method}: {paths[0]}: {sizes}"))
            elif mask is not None:
                masks[method] = mask
        if reader.problems or self.only_check:
            return _Result({}, reader.problems)
        return _Result(frame_scores(self.protocol, truth, masks), (), reader.notes)


@dataclass
class _Reader:
    """Reads the masks of one frame, and keeps what is wrong with them and how they were read."""

    protocol: Protocol
    threshold: float | None
    frame: _Frame
    problems: list[Problem] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)

    def truth(self) -> Raw | None:
        """The true mask, its files' objects merged; None where it can't be used."""
        found = self._merged(_TRUTH, "truth", self.frame.truth)
        return None if self.problems else found

    def mask(self, method: str, paths: Sequence[Path]) -> Raw | None:
        """A predicted mask; None where it can't be used."""
        raw = self._merged(method, method, paths)
        if raw is None or self.threshold is not None:
            return raw
        if what := _unsuitable(self.protocol, raw):
            self.problems.append(Problem(UNSUITABLE, f"{method}: {paths[0]}: {what}"))
            return None
        return raw

    def _merged(self, whose: str, title: str, paths: Sequence[Path]) -> Raw | None:
        """What the files of one frame show together: an object in any is an object."""
        found: Raw | None = None
        for path in paths:
            one = self._read(whose, title, path)
            if one is not None and found is not None and one.shape != found.shape:
                self.problems.append(Problem(WRONG_SIZE, f"{title}: {path}: not of the size of {paths[0]}"))
            elif one is not None:
                found = one if found is None else (found != 0) | (one != 0)
        return found

    def _read(self, whose: str, title: str, path: Path) -> Raw | None:
        try:
            if whose != _TRUTH and self.threshold is not None:
                values, white = decode_map(path)
                return values > self.threshold * white
            if self.protocol.objects:
                return decode_objects(path)
            values, notes = decode_mask(path, siblings=lambda: self.frame.beside[whose])
        except (OSError, ValueError, SyntaxError) as error:
            said = error.strerror if isinstance(error, OSError) and error.strerror else error
            self.problems.append(Problem(UNREADABLE, f"{title}: {path}: {said}"))
            return None
        self.notes += [(whose, note) for note in notes]
        return values


def _mapped(scorer: _Scorer, chunks: Sequence[Sequence[_Frame]], workers: int) -> Iterator[list[_Result]]:
    """The results of all chunks, in order. Processes: threads would wait for each other, as Python holds its lock
    while numbers are shifted (benchmarks/scoring.py)."""
    if workers <= 1:
        yield from map(scorer, chunks)
        return
    # Forked processes start at once; elsewhere that isn't safe.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    pool = ProcessPoolExecutor(workers, context, _quiet)
    try:
        yield from pool.map(scorer, chunks)
    except BrokenProcessPool:
        raise UserError("a process that scores was killed, perhaps for want of memory; try --workers 1") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _quiet() -> None:
    """Ctrl-C reaches all processes; the first one speaks for them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _unsuitable(protocol: Protocol, raw: Raw) -> str:
    """Why a predicted mask can't be what the protocol scores; empty where it can."""
    if raw.dtype == np.bool_ or not protocol.objects:
        return ""
    values = np.flatnonzero(np.bincount(raw.ravel()))
    objects = values[(values != 0) & (values != protocol.void)]
    if len(objects) > MOST_PROPOSALS:
        return f"{len(objects)} objects; expected at most {MOST_PROPOSALS}, numbered"
    if not len(objects) and values[-1]:
        return f"nothing but {protocol.void}, which is void; number its objects from 1"
    return ""


def _tables(
    protocol: Protocol, methods: Sequence[str], frames: Sequence[_Frame], scores: Sequence[Mapping[str, LabelScores]]
) -> tuple[list[pd.DataFrame], list[Problem]]:
    """The rows of every method and sequence, and what can't be matched."""
    tables, problems = [], []
    pairs = list(zip(frames, scores, strict=True))
    for method in methods:
        for sequence, group in groupby(pairs, key=lambda pair: pair[0].sequence):
            found = [(frame.number, some[method]) for frame, some in group]
            numbers, pairs_of_labels = zip(*found, strict=True)
            try:
                table = sequence_rows(protocol, method, sequence, numbers, pairs_of_labels)
            except ValueError as error:
                problems.append(Problem(UNSUITABLE, f"{method}: {sequence}: {error}"))
                continue
            if table.empty:
                problems.append(Problem(UNSUITABLE, f"truth: {sequence}: no object in its first frame"))
            tables.append(table)
    return tables, problems
