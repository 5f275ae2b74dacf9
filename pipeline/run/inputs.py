"""The outside data of a run: found, in its roles, and checked against each other before anything starts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fusionseg.pipeline.basics.digests import json_digest
from fusionseg.pipeline.basics.progress import shown
from fusionseg.pipeline.basics.text import named_path, user_path
from fusionseg.pipeline.datasets.digests import Ledger
from fusionseg.pipeline.datasets.finding import check_split, left_out, load_items
from fusionseg.pipeline.datasets.imported_flow import find_flow
from fusionseg.pipeline.datasets.items import Item
from fusionseg.pipeline.datasets.manifest import DataManifest, read_manifest
from fusionseg.pipeline.datasets.pairs import with_partners
from fusionseg.pipeline.datasets.reading import read_boxes
from fusionseg.pipeline.datasets.videos import extractor
from fusionseg.pipeline.errors import NotMadeYet, UserError
from fusionseg.pipeline.graph import ROLES, STILLS, Role
from fusionseg.pipeline.run.request import Request
from fusionseg.pipeline.settings.profile import Profile, hyphens
from fusionseg.pipeline.settings.sections import OUTSIDE, DataRef, OpticalFlow, Render
from fusionseg.pipeline.settings.shipped import weights_file
from fusionseg.pipeline.store.artifact import Unit
from fusionseg.pipeline.store.job import Context

RENDERED = "rendered"  # where built-in data lies below the store's root


@dataclass(frozen=True)
class Inputs:
    """`items`: by role; `roots`: the folder by data set name, "" for all others; `passed_over`: by
    data set, files that are no pictures and no videos; `by_unit`: all items, unrestricted."""

    items: Mapping[str, Sequence[Item]]
    roots: Mapping[str, Path]
    passed_over: Mapping[str, Sequence[str]] = field(default_factory=dict)
    by_unit: Mapping[Unit, Item] = field(init=False)

    def __post_init__(self) -> None:
        groups = reversed(list(self.items.values()))
        found = {(i.dataset, i.name): i for group in groups for i in group}
        object.__setattr__(self, "by_unit", found)


@dataclass(frozen=True)
class Wanted:
    """What a run's stages want: `roles` that are needed at all, `masked` ones, whose data must have masks, and whether
    boxes are looked into."""

    roles: frozenset[str]
    masked: frozenset[str]
    boxes: bool


def find_inputs(request: Request, wanted: Wanted, ledger: Ledger, context: Context, make: bool = True) -> Inputs:
    """The data of a run; what can be rendered or extracted is made where it isn't there, after what is named wrongly is
    told. Raises UserError, BadFile, and without `make` NotMadeYet."""
    check_paths(request.settings)
    roots = given_roots(request)
    asked = {role: request.settings.data.of(role) for role in ROLES if role in wanted.roles}
    for role, refs in asked.items():
        check_refs(role, refs)
    for ref in (ref for refs in asked.values() for ref in refs):
        if (manifest := read_manifest(ref.manifest)).layout == "folder" or request.settings.render is None:
            root_of(manifest, roots)
    check_place(request.root)
    roots = with_rendered(roots, request, context, make)
    finder = _Finder(request, wanted, roots, ledger, make)
    items: dict[str, list[Item]] = {role: finder.of(role) if role in wanted.roles else [] for role in ROLES}
    check_apart(items)
    check_frames(items)
    if wanted.boxes and request.shard is None:
        check_boxes(items["boxed"], asked["boxed"][0])
    return Inputs(items, roots, {name: left for name, left in finder.passed_over.items() if left})


@dataclass(frozen=True)
class _Finder:
    """Finds what plays a role."""

    request: Request
    wanted: Wanted
    roots: Mapping[str, Path]
    ledger: Ledger
    make: bool = True
    passed_over: dict[str, Sequence[str]] = field(default_factory=dict)

    def of(self, role: Role) -> list[Item]:
        """All items of a role."""
        return [item for ref in self.request.settings.data.of(role) for item in self._load(role, ref)]

    def _load(self, role: Role, ref: DataRef) -> list[Item]:
        manifest = read_manifest(ref.manifest)
        root = root_of(manifest, self.roots)
        parts = [name.partition("/") for name in self.request.leave_out]
        out = [name for dataset, _, name in parts if dataset == manifest.name]
        items = load_items(manifest, ref.split, root, out, ref.stride, extract=self._extract, most=ref.frames)
        self.passed_over[manifest.name] = left_out(manifest, root)
        if role in self.wanted.masked:
            check_masked(role, ref, items)
        return items if role in STILLS else [paired(item, self.request.settings.optical_flow) for item in items]

    def _extract(self, path: Path, masks: bool = False) -> tuple[Path, ...]:
        """The frames of a video file, extracted now if they aren't in the store."""
        with shown(f"frames of {path.name}", "frame") as show:
            return extractor(self.ledger, show, self.make)(path, masks)


def paired(item: Item, settings: OpticalFlow) -> Item:
    """The video with what its optical flow is made of."""
    item = with_partners(item, settings)
    if settings.folder is None or not item.partners:
        return item
    names = [path.stem for path in item.all_frames]
    folder = settings.folder
    if (folder / item.dataset).is_dir():  # as `fusionseg export --flow` writes it of several data sets
        folder /= item.dataset
    return replace(item, flow=find_flow(folder, item.name, names, settings.gap, settings.direction))


def check_paths(settings: Profile) -> None:
    """All that settings name outside is there and may be read. Raises UserError."""
    for section in Profile.model_fields:
        for name in sorted(OUTSIDE):
            path = getattr(getattr(settings, section), name, None)
            if path is not None:
                path = weights_file(hyphens(section), path) if name == "weights" else path
                check_readable(f"{hyphens(section)}.{name} = {path}", path, is_folder=name == "folder")


def check_readable(what: str, path: Path, is_folder: bool) -> None:
    """A path that was given is there, what it should be, and may be read. Raises UserError."""
    kind = "folder" if is_folder else "file"
    if not (path.is_dir() if is_folder else path.is_file()):
        there = f"that is no {kind}" if path.exists() else f"there is no {kind} {path.absolute()}"
        raise UserError(f"{what}: {there}; give the path of one")
    if not os.access(path, os.R_OK | (os.X_OK if is_folder else 0)):
        raise UserError(f"{what}: may not be read by this user; change its permissions, or give another")


def check_place(root: Path) -> None:
    """The store can be there. Raises UserError."""
    above = next(path for path in (root, *root.parents) if path.exists())
    if not above.is_dir():
        raise UserError(f"--out {root}: {above} is a file; expected a folder, or a name for a new one")
    if not os.access(above, os.W_OK | os.X_OK):
        raise UserError(
            f"--out {root}: nothing may be written in {above}; change its permissions, or give another --out"
        )


def check_refs(role: Role, refs: Sequence[DataRef]) -> None:
    """What plays a role is of the right kind, and has such a split. Raises UserError."""
    for ref in refs:
        manifest = read_manifest(ref.manifest)
        if (manifest.kind == "stills") != (role in STILLS):
            kind = "stills" if role in STILLS else "videos"
            raise UserError(f"data.{role}: {ref.manifest} holds {manifest.kind}, expected {kind}")
        if role == "boxed" and manifest.boxes is None:
            raise UserError(
                f"data.boxed: {ref.manifest} has no boxes, and the weak labels need them; name `boxes` in the manifest"
            )
        check_split(manifest, ref.split)


def given_roots(request: Request) -> dict[str, Path]:
    """Folder by data set name, as --data gives them; "" is for all others. Raises UserError for what isn't there."""
    data = request.settings.data
    manifests = [read_manifest(ref.manifest) for role in ROLES for ref in data.of(role)]
    known = {manifest.name: manifest.layout == "folder" for manifest in manifests}
    roots: dict[str, Path] = {}
    for text in (os.fspath(one) for one in request.data):
        name, root = split_root(text)
        if name and name not in known:
            raise UserError(
                f"--data {name}=...: the profile uses no data set {name!r}; it uses: {', '.join(sorted(known))}"
            )
        if name in roots:
            what = f"the data set {name}" if name else "all data sets"
            raise UserError(f"--data {text}: the folder of {what} is given twice; give one")
        # A single video file is a data set of the layout `folder`.
        file = root.is_file() and (known[name] if name else any(known.values()))
        check_readable(f"--data {text}", root, is_folder=not file)
        roots[name] = root.resolve()
    return roots


def split_root(text: str) -> tuple[str, Path]:
    """[NAME=]ROOT as name ("" without) and path. Raises UserError."""
    try:
        name, root = named_path(text) or ("", user_path(text))
    except ValueError:
        name, root = "", Path("=")
    if str(root).endswith("=") and not root.exists():
        raise UserError(f"--data {text!r}: no folder; expected ROOT or NAME=ROOT")
    return name, root


def root_of(manifest: DataManifest, roots: Mapping[str, Path]) -> Path:
    """The folder of a data set. Raises UserError."""
    root = roots.get(manifest.name) or roots.get("")
    if root is None:
        raise UserError(
            f"no folder for the data set {manifest.name}; give it with --data ROOT or --data {manifest.name}=ROOT"
        )
    return root


def with_rendered(roots: Mapping[str, Path], request: Request, context: Context, make: bool = True) -> dict[str, Path]:
    """Also the folder of the built-in data, rendered now, where the profile has such data and none is given for it."""
    data, render = request.settings.data, request.settings.render
    names = {read_manifest(ref.manifest).name for role in ROLES for ref in data.of(role)}
    if "" not in roots and names - roots.keys() and render is not None:
        return {**roots, "": rendered(render, context, make)}
    return dict(roots)


def rendered(settings: Render, context: Context, make: bool = True) -> Path:
    """The folder of the built-in data, rendered now if it isn't there. Without `make` raises NotMadeYet."""
    from fusionseg.pipeline.demo_data.render import RENDER_VERSION, render

    root = context.root / RENDERED / json_digest([RENDER_VERSION, settings.model_dump()])[:12]
    if not root.exists():
        if not make:
            raise NotMadeYet("the built-in data is rendered")
        context.say("rendering the built-in data (once)")
        with shown("rendering", "picture") as show:
            render(root, settings, show)
    return root


def check_masked(role: Role, ref: DataRef, items: Sequence[Item]) -> None:
    """Where masks train or choose, there are masks. Raises UserError."""
    if without := [item.name for item in items if not item.masks]:
        which = f" ({', '.join(without)})" if len(without) < len(items) else ""
        instead = ', or motion-training.labels = "weak"' if role == "boxed" else ""
        raise UserError(f"data.{role}: {ref.manifest} has no masks{which}; expected a data set with masks{instead}")


def check_apart(items: Mapping[str, Sequence[Item]]) -> None:
    """No file that is scored may train or choose anything, whatever its data set is called. Raises UserError."""
    scored = {_identity(path) for item in items["scored"] for path in item.frames}
    for role in (role for role in ROLES if role != "scored"):
        both = sorted(i.name for i in items[role] if not scored.isdisjoint(map(_identity, i.frames)))
        if both:
            raise UserError(
                f"data.{role} and data.scored share {', '.join(both)}; what is scored may not train anything"
            )


def _identity(path: Path) -> tuple[int, int] | Path:
    """What makes two paths one file, however many links there are; cheaper than resolving a million paths."""
    try:
        stat = path.stat()
    except OSError:  # a link to nowhere: the ledger says so, and whose it is
        return path
    return stat.st_dev, stat.st_ino


def check_frames(items: Mapping[str, Sequence[Item]]) -> None:
    """A video that plays several roles has one artifact a stage, so all must take the same frames. Raises UserError."""
    known: dict[Unit, tuple[str, tuple[int, ...]]] = {}
    for role, group in items.items():
        for item in group:
            other, numbers = known.setdefault((item.dataset, item.name), (role, item.numbers))
            if numbers != item.numbers:
                raise UserError(
                    f"data.{other} and data.{role} share {item.name} and use {len(numbers)} and {len(item.numbers)} of "
                    f"its {len(item.all_frames)} frames; give both the same stride and frames"
                )


def check_boxes(items: Sequence[Item], ref: DataRef) -> None:
    """At least one frame has a box. Raises UserError."""
    if not any(len(read_boxes(item, index)) for item in items for index in range(len(item.frames))):
        raise UserError(
            f"data.boxed: {ref.manifest}/{ref.split} has no box in any of its "
            f"{sum(len(i.frames) for i in items)} frames; the weak labels need boxes"
        )
