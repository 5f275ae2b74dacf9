"""The data sets that come as manifests, in words: what each is, and what the folder of `--data` must hold for it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import fusionseg.data_manifests
from fusionseg.pipeline.datasets.manifest import BOXES_FROM_MASKS, DataManifest, read_manifest
from fusionseg.pipeline.datasets.splits import Split, SplitFile, SplitUnion

_OWN = "a video file, or folders of pictures or of video files"
_RENDERED = "demo-"  # data sets that `demo` renders itself


def shipped_manifests() -> list[DataManifest]:
    """The manifests that come with the package, by name."""
    folder = Path(fusionseg.data_manifests.__file__ or "").parent
    return [read_manifest(name) for name in sorted(path.stem for path in folder.glob("*.yaml"))]


def text(manifests: list[DataManifest], width: int) -> list[str]:
    """Manifests for a terminal of this width."""
    return [line for manifest in manifests for line in [*_about(manifest, width), ""]][:-1]


def _about(manifest: DataManifest, width: int) -> Iterator[str]:
    yield f"{manifest.name}  ({manifest.kind})"
    splits = ", ".join(_split(manifest, name) for name in manifest.splits)
    origin = ", ".join(filter(None, (manifest.licence, manifest.home)))
    for head, words in (("", manifest.title), ("splits: ", splits), ("licence: ", origin)):
        yield from _wrapped(head + words, width)
    for number, (what, path) in enumerate(held(manifest)):
        yield f"  {'--data ROOT:' if number == 0 else '':12} {what:7} {path}"  # never broken: it is to be copied


def _wrapped(words: str, width: int) -> list[str]:
    """Lines of this width; an address that is longer stays whole."""
    return textwrap.wrap(
        words, width, initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False, break_long_words=False
    )


def _split(manifest: DataManifest, name: str) -> str:
    """A split, with how much it holds where the manifest says so."""
    split, expected = manifest.splits[name], manifest.expected.get(name)
    count = (expected.stills or expected.videos) if expected else None
    count = len(split) if isinstance(split, list) and split else count
    return f"{name} ({count})" if count else name


def held(manifest: DataManifest) -> list[tuple[str, str]]:
    """What the folder of a data set holds: frames, masks, boxes, lists, and where below it."""
    if manifest.layout == "folder":
        return [("frames", _OWN)]
    if manifest.name.startswith(_RENDERED):
        return [("nothing", "rendered where no --data is given")]
    boxes = [] if manifest.boxes in (None, BOXES_FROM_MASKS) else [str(manifest.boxes)]
    lists = dict.fromkeys(path for split in manifest.splits.values() for path in _lists(split))
    kinds = {"frames": [manifest.frames], "masks": manifest.masks, "boxes": boxes, "list": list(lists)}
    return [(kind, path) for kind, paths in kinds.items() for path in paths]


def _lists(split: Split) -> list[str]:
    if isinstance(split, SplitFile):
        return [split.file]
    if isinstance(split, SplitUnion):
        return [*split.union, *split.without]
    return []
