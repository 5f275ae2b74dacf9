"""`fusionseg data convert`: boxes made from a data set's masks, as a tree in ImageNet-VID's layout, so that the stages
that make weak labels can be tried on any videos with masks.

A frame with a true mask gets an annotation, without objects where its mask shows none. A frame without a mask gets no
file, and the manifest then says `sparse_boxes: true`: nothing claims that no object is there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import yaml
from pydantic import ValidationError

from fusionseg.pipeline.basics.atomic import atomic_folder
from fusionseg.pipeline.basics.progress import shown
from fusionseg.pipeline.basics.threads import in_order
from fusionseg.pipeline.basics.validation import explain
from fusionseg.pipeline.datasets.digests import LEDGER, Ledger
from fusionseg.pipeline.datasets.finding import Extract, load_items
from fusionseg.pipeline.datasets.items import Item
from fusionseg.pipeline.datasets.manifest import DataManifest, read_manifest
from fusionseg.pipeline.datasets.objects import frame_objects, object_folders
from fusionseg.pipeline.datasets.reading import read_size
from fusionseg.pipeline.datasets.videos import extractor
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.formats.boxes import VidObject, tight_box, vid_xml

MANIFEST = "manifest.yaml"
# ImageNet-VID's own; a manifest fills in what stands in braces.
_FRAMES, _BOXES = "Data/VID/{split}/{video}", "Annotations/VID/{split}/{video}"
_LIST = "ImageSets/VID/{split}.txt"
_NAME = "object"  # of each object; masks don't tell what they show
_SOURCE = "FusionSeg_from_masks"


def run_convert(
    name: str,
    root: Path,
    out: Path,
    *,
    split: str | None = None,
    called: str | None = None,
    store: Path,
    say: Callable[[str], None] = print,
) -> DataManifest:
    """Convert a split, or all, of the data set `name` at `root` into the new folder `out`, and tell; its manifest, with
    the name `called` ("NAME-boxes" if None). `store`: where frames of video files are extracted to.

    Raises UserError for a data set without masks, stills, and an `out` that holds something else; BadFile.
    """
    manifest, out = read_manifest(name), out.expanduser().resolve()
    _check_place(out)
    ledger = Ledger(store.expanduser().resolve() / LEDGER)
    with shown("extracting", "frame") as extracting:
        items = _load(manifest, root.expanduser().resolve(), [split] if split else [], extractor(ledger, extracting))
    ledger.save()
    for which, some in items.items():
        for item in some:
            if not item.annotated:
                say(f"{item.name} ({which}): has no masks; left out")
    items = {which: [item for item in some if item.annotated] for which, some in items.items()}
    with shown("converting", "frame") as progress:
        made = convert(manifest, items, out, called or f"{manifest.name}-boxes", progress)
    for which, counts in made.expected.items():
        say(f"{which}: {counts.boxes} boxes in {counts.frames} frames of {counts.videos} videos")
    first = next(iter(made.splits))
    say(f'{out}: use as boxed = {{manifest = "{out / MANIFEST}", split = "{first}"}} with --data {made.name}={out}')
    return made


def _check_place(out: Path) -> None:
    """Refuse at once what can't be a tree of an earlier conversion. Raises UserError."""
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / MANIFEST).is_file())):
        raise UserError(f"{out}: there already, with other content; give another --out")


def _load(manifest: DataManifest, root: Path, splits: Sequence[str], extract: Extract) -> dict[str, list[Item]]:
    """The videos by split. Raises UserError, BadFile."""
    if manifest.kind == "stills":
        raise UserError(f"data set {manifest.name}: stills; expected videos, which ImageNet-VID's layout is for")
    if not manifest.masks and manifest.layout != "folder":
        raise UserError(f"data set {manifest.name}: has no masks; boxes are made from masks")
    items = {}
    for split in splits or manifest.splits:
        if split in ("", ".", "..") or PurePath(split).name != split:
            raise UserError(
                f"data set {manifest.name}: the split {split!r} can't be a folder's name; name it otherwise"
            )
        items[split] = load_items(manifest, split, root, extract=extract)
        if not any(item.annotated for item in items[split]):
            raise UserError(f"data set {manifest.name}, split {split!r}: has no masks; boxes are made from masks")
    return items


def convert(
    manifest: DataManifest,
    items: Mapping[str, Sequence[Item]],
    out: Path,
    name: str,
    progress: Callable[[int, int], None] = lambda done, total: None,
    workers: int = 2,
) -> DataManifest:
    """Write the tree of these videos, by split, as the folder `out`, whole or not at all; its manifest.

    Frames are links to where they are. Raises UserError for an `out` that holds something else, and for a name that
    can't be a data set's; BadFile for a mask that can't be read.
    """
    done, total = 0, sum(len(item.frames) for some in items.values() for item in some)
    boxes = dict.fromkeys(items, 0)
    made_manifest(manifest, items, name, boxes)  # so that a name that is refused costs no time
    with atomic_folder(out) as temporary:
        for split, some in items.items():
            for item in some:
                for count in _write_video(temporary, split, item, workers):
                    boxes[split] += count
                    done += 1
                    progress(done, total)
            path = temporary / _LIST.format(split=split)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{item.name}\n" for item in some), encoding="utf-8")
        made = made_manifest(manifest, items, name, boxes)
        text = yaml.safe_dump(made.model_dump(exclude_defaults=True), sort_keys=False, allow_unicode=True)
        (temporary / MANIFEST).write_text(text, encoding="utf-8")
        if out.exists() and _content(out) not in (_content(temporary), {}):
            raise UserError(f"{out}: there already, with other content; give another --out")
    return made


def made_manifest(
    manifest: DataManifest, items: Mapping[str, Sequence[Item]], name: str, boxes: Mapping[str, int]
) -> DataManifest:
    """The manifest of the converted tree. Raises UserError."""
    values: dict[str, Any] = {
        "name": name,
        "title": f"{manifest.title}: boxes made from its masks",
        "kind": "videos",
        **{field: getattr(manifest, field) for field in ("licence", "home", "citation")},
        "frames": f"{_FRAMES}/{{frame}}.*",
        "boxes": f"{_BOXES}/{{frame}}.xml",
        "sparse_boxes": any(len(item.annotated) < len(item.frames) for some in items.values() for item in some),
        # Named here, not by the list: its lines end at the first space, which names of videos may have.
        "splits": {split: [item.name for item in some] for split, some in items.items()},
        "expected": {
            split: {"videos": len(some), "frames": sum(len(item.frames) for item in some), "boxes": boxes[split]}
            for split, some in items.items()
        },
    }
    try:
        return DataManifest.model_validate(values)
    except ValidationError as error:
        raise UserError(f"--name {name!r}: {explain(error, DataManifest)}") from None


def _write_video(root: Path, split: str, item: Item, workers: int) -> Iterator[int]:
    """Write links and annotations of one video; gives the number of boxes frame by frame."""
    folders = object_folders(item)
    frames, boxes = (root / place.format(split=split, video=item.name) for place in (_FRAMES, _BOXES))
    for folder in (frames, boxes):
        folder.mkdir(parents=True)
    found = in_order(lambda index: _objects(item, index, folders), len(item.frames), workers)
    for frame, (size, objects) in zip(item.frames, found, strict=True):
        (frames / frame.name).symlink_to(frame.absolute())
        if objects is not None:
            (boxes / f"{frame.stem}.xml").write_bytes(vid_xml(item.name, frame.stem, size, objects, _SOURCE))
        yield len(objects or ())


def _objects(item: Item, index: int, folders: Mapping[Path, int]) -> tuple[tuple[int, int], list[VidObject] | None]:
    """Size (width, height) of a frame and its objects by number; None where it has no truth. Raises BadFile."""
    size = read_size(item, index, item.frames[index])
    if not item.masks[index].paths:
        return size, None
    masks = frame_objects(item, index, size[::-1], folders)
    boxes = {number: tight_box(mask) for number, mask in sorted(masks.items())}
    # "generated" is what ImageNet-VID says of boxes that nobody drew.
    return size, [VidObject(number, _NAME, box, generated=True) for number, box in boxes.items() if box]


def _content(folder: Path) -> dict[str, str]:
    """Every file below a folder: a link's target, or a digest of the bytes."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_symlink():
            found[str(path.relative_to(folder))] = str(path.readlink())
        elif path.is_file():
            found[str(path.relative_to(folder))] = hashlib.blake2b(path.read_bytes()).hexdigest()
    return found
