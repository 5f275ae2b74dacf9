"""Digests of files outside the artifacts (frames, masks, boxes): taken once, remembered by the stamps of their files.

The same pass looks at each picture's header, so a truncated frame or a mask of another size is refused before any
stage starts.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fusionseg.pipeline.basics.atomic import write_atomically
from fusionseg.pipeline.basics.digests import changed_at, stamp
from fusionseg.pipeline.datasets.items import Item
from fusionseg.pipeline.datasets.reading import bad_file, frame_size_text, how_read, size_text
from fusionseg.pipeline.formats.coco import instances_size
from fusionseg.pipeline.formats.pictures import image_header, mat_header

LEDGER = "digests.json"  # below the store's root
# A file changed this recently may change again within one tick of its time stamps: don't remember it yet (git's
# "racily clean" rule).
_RACY_SECONDS = 2.0
# Files of masks that hold no picture of their own: COCO's instances, FBMS's definitions.
_NO_PICTURES = (".json", ".dat")


class Ledger:
    """Remembers digests in one JSON file. Not meant for two processes at a time: the last one to save wins, and what
    is lost is only taken again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._changed = False
        try:
            known = json.loads(path.read_text())
        except (OSError, ValueError):  # damaged or not there: digests are taken again
            known = {}
        self._known: dict[str, dict[str, Any]] = known if isinstance(known, dict) else {}
        # How files were read, where that isn't the obvious way: the videos by data set, kind and note.
        self.readings: dict[tuple[str, str, str], list[str]] = {}

    def digest(self, item: Item, kind: str) -> str:
        """Digest of names and bytes of all files of `kind` ("frames", "masks", "boxes", "others") of `item`.

        Raises BadFile for a picture that is cut off or of the wrong size.
        """
        entry = self._entry(item, kind)
        for note in entry["read"]:
            self.readings.setdefault((item.dataset, kind, note), []).append(item.name)
        derived = kind == "boxes" and item.boxes is not None and item.boxes.derived
        if (derived or kind in ("masks", "others")) and not item.allow_mask_resize:
            self._compare_sizes(item, kind, entry["sizes"])
        if kind == "frames" and not item.stills:
            _same_size(item, entry["sizes"])
        how = ":".join((_how_read(item, kind), *entry["read"]))
        return _digest([kind.encode(), how.encode(), entry["digest"].encode()])

    def file_digest(self, path: Path) -> str:
        """Digest of the bytes of one file of any size, which isn't looked into (a video, weights). Raises OSError."""
        stat = path.stat()
        name = f"file/{_digest([f'{path}:{stamp(stat)}'.encode()])}"
        if name in self._known:
            return str(self._known[name]["digest"])
        found = file_digest(path)
        if time.time() - changed_at(stat) >= _RACY_SECONDS:
            self._known[name] = {"digest": found}
            self._changed = True
        return found

    def how_read(self) -> list[str]:
        """How files were read, where that isn't the obvious way, in words."""
        lines = []
        for (dataset, kind, note), names in self.readings.items():
            several = f" and {len(set(names)) - 1} more" if len(set(names)) > 1 else ""
            lines.append(f"{kind} of {dataset} ({names[0]}{several}): {note}")
        return lines

    def save(self) -> None:
        """Write what was learnt."""
        if self._changed:
            write_atomically(self.path, json.dumps(self._known).encode())
            self._changed = False

    def _entry(self, item: Item, kind: str) -> dict[str, Any]:
        owners = item.owners(kind)
        paths, stats = tuple(owners), [_stat(item, index, path) for path, index in owners.items()]
        found = _digest(f"{p}:{stamp(s)}".encode() for p, s in zip(paths, stats, strict=True))
        # Two splits or runs may see different frames of one item: the stamp is part of the name.
        name = f"{item.dataset}/{item.name}/{kind}/{item.masks_are}/{found}"
        if name not in self._known:
            entry = _read(item, kind, owners)
            if stats and time.time() - max(map(changed_at, stats)) < _RACY_SECONDS:
                return entry
            self._known[name] = entry
            self._changed = True
        return self._known[name]

    def _compare_sizes(self, item: Item, kind: str, sizes: list[list[int]]) -> None:
        expected = _expand(self._entry(item, "frames")["sizes"], len(item.frames))
        owners = item.owners(kind)
        found = [
            (path, frame, size) for (path, frame), size in zip(owners.items(), _expand(sizes, len(owners)), strict=True)
        ]
        found += [
            (mask.paths[0], frame, list(instances_size(mask.paths[0], mask.entry)))
            for frame, mask in enumerate(item.masks if kind == "masks" else ())
            if mask.entry
        ]
        for path, frame, size in found:
            if size and size != expected[frame]:
                raise bad_file(item, frame, path, size_text(tuple(size), tuple(expected[frame])))


def _stat(item: Item, index: int, path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise bad_file(item, index, path, f"can't be read ({error.strerror})") from None


def _same_size(item: Item, sizes: list[list[int]]) -> None:
    for index, size in enumerate(sizes):
        if size != sizes[0]:
            raise bad_file(item, index, item.frames[index], frame_size_text(tuple(size), tuple(sizes[0])))


def _how_read(item: Item, kind: str) -> str:
    """What, beside the files, determines what is read from them."""
    if kind == "frames":
        return ""
    tag = f"{item.void}:{item.allow_mask_resize}:{item.boxes.derived if item.boxes else ''}"
    paths = item.boxes.paths if kind == "boxes" and item.boxes else ()
    if None in paths:
        return f"{tag}:{[path is not None for path in paths]}"
    masks = item.masks if kind == "masks" else item.boxes.masks if kind == "boxes" and item.boxes else ()
    # Which files are merged, and where the truth is sparse; of one file a frame, their names say all.
    several = any(len(mask.paths) != 1 or mask.entry for mask in masks)
    return f"{tag}:{[(len(mask.paths), mask.entry) for mask in masks]}" if several else tag


def _read(item: Item, kind: str, owners: dict[Path, int]) -> dict[str, Any]:
    digest = hashlib.blake2b(digest_size=20)
    sizes: list[list[int]] = []  # empty where a file is no picture
    boxes = kind == "boxes" and item.boxes is not None and not item.boxes.derived
    for path, index in owners.items():
        try:
            if kind == "flow":  # one file may hold a whole video
                digest.update(f"{path.name}:{file_digest(path)};".encode())
                continue
            data = path.read_bytes()
        except OSError as error:
            raise bad_file(item, index, path, f"can't be read ({error.strerror})") from None
        digest.update(f"{path.name}:{len(data)};".encode())
        digest.update(data)
        try:
            sizes.append([] if boxes else _size(path, data))
        except ValueError as error:
            raise bad_file(item, index, path, str(error)) from None
    sizes = sizes[:1] if all(size == sizes[0] for size in sizes) else sizes
    return {"digest": digest.hexdigest(), "sizes": sizes, "read": how_read(item, kind)}


def file_digest(path: Path) -> str:
    """Digest of the bytes of a file of any size. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=20)).hexdigest()


def _size(path: Path, data: bytes) -> list[int]:
    if path.suffix.lower() == ".mat":
        return list(mat_header(data))
    return [] if path.suffix.lower() in _NO_PICTURES else list(image_header(data))


def _expand(sizes: list[list[int]], count: int) -> list[list[int]]:
    return sizes * count if len(sizes) == 1 else sizes


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.blake2b(digest_size=20)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(os.fsencode(part))
    return digest.hexdigest()
