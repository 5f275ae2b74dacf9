"""A run in progress: its profile, its data found and checked, each stage's jobs planned, and the run's record kept."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fusionseg.pipeline.basics.atomic import write_json
from fusionseg.pipeline.basics.device import resolve_device
from fusionseg.pipeline.basics.digests import json_digest
from fusionseg.pipeline.basics.memory import peak_memory, start_measuring
from fusionseg.pipeline.basics.processes import ALONE, Processes
from fusionseg.pipeline.basics.progress import shown
from fusionseg.pipeline.datasets.digests import LEDGER, Ledger
from fusionseg.pipeline.datasets.finding import load_items
from fusionseg.pipeline.datasets.imported_flow import find_flow
from fusionseg.pipeline.datasets.items import Item
from fusionseg.pipeline.datasets.manifest import read_manifest
from fusionseg.pipeline.datasets.pairs import with_partners
from fusionseg.pipeline.datasets.reading import read_boxes
from fusionseg.pipeline.datasets.videos import extractor
from fusionseg.pipeline.demo_data.render import RENDER_VERSION, RenderSettings, render
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.graph import FINAL, MASKS, STAGES, Stage, required, stages_for, variant_of
from fusionseg.pipeline.names import PROTOCOL_INPUT
from fusionseg.pipeline.networks.trained import given_record
from fusionseg.pipeline.settings.profile import Profile, read_profile
from fusionseg.pipeline.settings.sections import OUTSIDE, DataRef, Render
from fusionseg.pipeline.store.artifact import Record, software
from fusionseg.pipeline.store.artifacts import find, read_run, run_path
from fusionseg.pipeline.store.job import Context, Job

Unit = tuple[str, str]  # data set, video
Execute = Callable[[Stage, Job, Context, bool], Record]


@dataclass(frozen=True)
class Request:
    """What a user asks for, as plain values. `data`: ROOT or NAME=ROOT; `overrides`: section.key=value; `leave_out`:
    videos or stills as "data set/name"; `shard`: "K/N", only the K-th of N parts of the videos, for one stage."""

    profile: str
    data: tuple[str, ...] = ()
    out: str = "out"
    name: str | None = None
    overrides: tuple[str, ...] = ()
    device: str = "auto"
    leave_out: tuple[str, ...] = ()
    shard: str | None = None


class Session:
    """One run in progress: profile, data, and the records of the stages so far."""

    def __init__(self, request: Request, say: Callable[[str], None] = print, processes: Processes = ALONE) -> None:
        self.request = request
        self.profile = read_profile(request.profile, request.overrides)
        root, self.name = place(request)
        self.context = Context(root, resolve_device(request.device), self.profile.run, say, processes)
        self.given = given_weights(self.profile)
        variant = variant_of(self.profile.as_dict())
        self.by_name, self.stages = stages_for(*variant), required(frozenset(self.given), *variant)
        self.ledger = Ledger(self.context.root / LEDGER)
        self.roots = data_roots(self.profile, request, self.context)
        self.items = self._load_items()
        # By unit, unrestricted: masks are compared with their frames in size, whatever a stage may see.
        self._whole = {(i.dataset, i.name): i for group in reversed(self.items.values()) for i in group}
        self.records: dict[str, dict[Unit, Record]] = {name: {_unit(r): r} for name, r in self.given.items()}

    def _load_items(self) -> dict[str, list[Item]]:
        data = self.profile.data
        items: dict[str, list[Item]] = {}
        trained = [stage for stage in self.stages if stage.trained and stage.name not in self.given]
        wanted = {"scored"}.union(*(stage.data for stage in trained))  # others serve no training of this run
        for role, refs in {
            "stills": [data.stills], "boxed": [data.boxed], "fusion": [data.fusion],
            "validation": [data.validation] if data.validation else [], "scored": data.scored,
        }.items():  # fmt: skip
            items[role] = [item for ref in refs for item in self._load(role, ref)] if role in wanted else []
        check_apart(items)
        check_frames(items)
        if "box-pruning" in {stage.name for stage in self.stages} and not self.request.shard:
            check_boxes(items["boxed"], data.boxed)
        return items

    def _load(self, role: str, ref: DataRef) -> list[Item]:
        manifest = read_manifest(ref.manifest)
        if (manifest.kind == "stills") != (role == "stills"):
            wanted = "stills" if role == "stills" else "videos"
            raise UserError(f"data.{role}: {ref.manifest} holds {manifest.kind}, expected {wanted}")
        if role == "boxed" and manifest.boxes is None:
            raise UserError(
                f"data.boxed: {ref.manifest} has no boxes, and the weak labels need them; name `boxes` in the manifest"
            )
        root = self.roots.get(manifest.name) or self.roots.get("")
        if root is None:
            raise UserError(
                f"no folder for the data set {manifest.name}; give it with --data ROOT or --data {manifest.name}=ROOT"
            )
        out = [name.partition("/")[2] for name in self.request.leave_out if name.partition("/")[0] == manifest.name]
        items = load_items(manifest, ref.split, root, out, ref.stride, extract=self._extract, most=ref.frames)
        trained = [stage for stage in self.by_name.values() if stage.trained]
        masked = {role for stage in trained for role, kinds in stage.data.items() if MASKS in kinds}
        if role in masked and (without := [item.name for item in items if not item.masks]):
            which = f" ({', '.join(without)})" if len(without) < len(items) else ""
            wanted = ', or motion-training.labels = "weak"' if role == "boxed" else ""
            raise UserError(f"data.{role}: {ref.manifest} has no masks{which}; expected a data set with masks{wanted}")
        if role == "stills":
            return items
        return [self._paired(item) for item in items]

    def _paired(self, item: Item) -> Item:
        """The video with what its optical flow is made of."""
        settings = self.profile.optical_flow
        item = with_partners(item, settings)
        if settings.folder is None or not item.partners:
            return item
        names = [path.stem for path in item.all_frames]
        folder = settings.folder.expanduser()
        if (folder / item.dataset).is_dir():  # as `fusionseg export --flow` writes it of several data sets
            folder /= item.dataset
        return replace(item, flow=find_flow(folder, item.name, names, settings.gap, settings.direction))

    def _extract(self, path: Path) -> tuple[Path, ...]:
        """The frames of a video file, extracted now if they aren't in the store."""
        with shown(f"frames of {path.name}", "frame") as show:
            return extractor(self.ledger, show)(path)

    def jobs(self, stage: Stage, whole: bool = False) -> list[Job]:
        """What `stage` has to do, in order; its inputs must have records. `whole`: also what belongs to other parts of
        the videos. Raises BadFile."""
        if stage.unit == "model":
            return [self._model_job(stage)]
        kinds: dict[Unit, set[str]] = {}
        found: dict[Unit, Item] = {}
        for role, allowed in stage.data.items():
            for item in self.items[role] if whole else self._own_part(self.items[role]):
                found.setdefault((item.dataset, item.name), item)
                kinds.setdefault((item.dataset, item.name), set()).update(allowed)
        return [self._video_job(stage, item, sorted(kinds[unit])) for unit, item in found.items()]

    def _own_part(self, items: Sequence[Item]) -> list[Item]:
        return [item for item in items if item.stills or in_shard(item, self.request.shard)]

    def _video_job(self, stage: Stage, item: Item, kinds: Sequence[str]) -> Job:
        unit = (item.dataset, item.name)
        inputs = []
        for need in stage.needs:
            records = self.records[need]
            inputs.append(records[unit] if self.by_name[need].unit == "video" else next(iter(records.values())))
        return self._job(stage, *unit, {"video": (item.only(kinds),)}, {"video": kinds}, inputs)

    def _model_job(self, stage: Stage) -> Job:
        items = {role: tuple(item.only(kinds) for item in self.items[role]) for role, kinds in stage.data.items()}
        units = dict.fromkeys((i.dataset, i.name) for role in items.values() for i in role)
        inputs = [self.records[need][unit] for need in stage.needs for unit in units if unit in self.records[need]]
        source = next(role for role in stage.data)
        dataset = self.items[source][0].dataset
        return self._job(stage, dataset, "model", items, dict(stage.data.items()), inputs)

    def _job(
        self,
        stage: Stage,
        dataset: str,
        video: str,
        items: Mapping[Any, tuple[Item, ...]],
        kinds: dict[Any, Sequence[str]],
        inputs: Sequence[Record],
    ) -> Job:
        sources = tuple(
            (role, f"{item.dataset}/{item.name}", kind, self.ledger.digest(self._whole[item.dataset, item.name], kind))
            for role, group in items.items()
            for item in group
            for kind in kinds[role]
            if item.files(kind)
        )
        if stage.name == FINAL:  # how it scores stands in the manifest, not in a file
            sources += tuple(
                (role, f"{item.dataset}/{item.name}", PROTOCOL_INPUT, item.protocol or "")
                for role, group in items.items()
                for item in group
            )
        settings = {name: self.profile.section(name) for name in stage.settings}
        paths = {name: section.pop(name) for section in settings.values() for name in OUTSIDE if name in section}
        files = {name: Path(path).expanduser() for name, path in paths.items() if path and name != "weights"}
        named = [name for name in files if name != "folder"]  # what is in that one, its items know
        sources += tuple(("settings", name, "file", self._file_digest(name, files[name])) for name in named)
        suffix = ".h5" if stage.unit == "video" else ".safetensors"
        return Job(stage.name, stage.version, dataset, video, suffix, settings, items, sources, tuple(inputs), files)

    def _file_digest(self, setting: str, path: Path) -> str:
        try:
            return self.ledger.file_digest(path)
        except OSError as error:
            raise UserError(f"{setting} = {path}: can't be read ({error.strerror})") from None

    def plan(self, stage: Stage, whole: bool = False) -> list[Job]:
        """`jobs`, with what was learnt of the data saved."""
        try:
            return self.jobs(stage, whole)
        finally:
            self._save_ledger()

    def _save_ledger(self) -> None:
        if self.context.processes.main:
            self.ledger.save()

    def find(self, jobs: Sequence[Job]) -> list[Record | None]:
        """The artifacts of `jobs`, or None for those to compute. Of several processes, one looks: all agree."""
        return self.context.processes.from_main(lambda: [find(job, self.context) for job in jobs])

    def resolve(self, stage: Stage, whole: frozenset[str] | None = None) -> None:
        """Find the records that `stage` needs of stages computed before. Raises UserError if one is missing.

        `whole`: stages of which all videos are needed even where only a part of them is worked on, since a model was
        made of all.
        """
        whole = self._behind_models(stage) if whole is None else whole
        for need in stage.needs:
            if need in self.records:
                continue
            earlier = self.by_name[need]
            self.resolve(earlier, whole)
            found = {}
            jobs = self.plan(earlier, need in whole)
            for job, record in zip(jobs, self.find(jobs), strict=True):
                if record is None:
                    raise UserError(
                        f"{stage.name} needs {need} of {job.dataset}/{job.video} with these settings, which is "
                        f"not there; run `fusionseg run {self.request.profile}` without --only, or --only {need} first"
                    )
                found[job.dataset, job.video] = record
            self.records[need] = found

    def _behind(self, stage: Stage) -> set[str]:
        """All stages that `stage` needs, directly or not; given weights need none."""
        needs = [need for need in stage.needs if stage.name not in self.given]
        return set(needs).union(*(self._behind(self.by_name[need]) for need in needs))

    def _behind_models(self, stage: Stage) -> frozenset[str]:
        models = [self.by_name[name] for name in self._behind(stage) if self.by_name[name].unit == "model"]
        return frozenset[str]().union(*(self._behind(model) for model in models))

    def inspect(self, names: Sequence[str]) -> None:
        """Look at all outside data of these stages once, so that what can't be used stops the run before it starts.

        Costs nothing more: digests are remembered. Raises BadFile.
        """
        try:
            for stage in (self.by_name[name] for name in names if name not in self.given):
                for role, kinds in stage.data.items():
                    for item in self.items[role] if stage.unit == "model" else self._own_part(self.items[role]):
                        for kind in kinds:
                            if item.files(kind):
                                self.ledger.digest(item, kind)
        finally:
            self._save_ledger()

    def is_cached(self, name: str) -> bool:
        """Whether a stage has nothing to compute."""
        if name in self.given:
            return True
        self.resolve(self.by_name[name])
        return all(find(job, self.context) for job in self.plan(self.by_name[name]))

    def run_stage(
        self,
        name: str,
        execute: Execute,
        refresh: bool = False,
        all_cached: Callable[[Stage, list[Record]], None] | None = None,
    ) -> list[Record]:
        """Compute one stage, or find it computed; tell the user; note it in the run's record.

        `all_cached` is told of a stage with nothing to compute, whose jobs are then not executed one by one.
        """
        stage, begun = self.by_name[name], time.monotonic()
        start_measuring(self.context.device)
        if name in self.given:
            return self._note(stage, "given", [self.given[name]], begun)
        self.resolve(stage)
        jobs = self.plan(stage)
        found: list[Record | None] = [None] * len(jobs) if refresh else self.find(jobs)
        records = [replace(record, cached=True) for record in found if record is not None]
        if len(records) == len(jobs):
            if all_cached:
                all_cached(stage, records)
        else:
            records = self._execute(stage, jobs, found, execute, refresh)
        self.records[name] = {_unit(record): record for record in records}
        state = "cached" if all(r.cached for r in records) else "computed"
        return self._note(stage, state, records, begun)

    def _execute(
        self, stage: Stage, jobs: list[Job], found: list[Record | None], execute: Execute, refresh: bool
    ) -> list[Record]:
        """Compute what isn't found: models by all processes at once, videos by one each."""
        processes = self.context.processes
        if stage.unit == "model":  # shows its own steps
            # None may come late, find what the others have just written, and leave them alone.
            anew = refresh or not processes.alone
            return processes.together(lambda: [execute(stage, job, self.context, anew) for job in jobs])[0]
        if processes.alone:  # also those that are found, so that whoever executes can show it
            return self._execute_share(stage, jobs, execute, refresh)
        missing = [job for job, record in zip(jobs, found, strict=True) if record is None]
        share = [missing[number] for number in processes.share(len(missing))]
        shares = processes.together(lambda: self._execute_share(stage, share, execute, refresh))
        computed = iter([record for records in shares for record in records])
        return [next(computed) if record is None else replace(record, cached=True) for record in found]

    def _execute_share(self, stage: Stage, jobs: list[Job], execute: Execute, refresh: bool) -> list[Record]:
        records = []
        with self.context.progress(stage.name, len(jobs), "video") as bar:
            for job in jobs:
                records.append(execute(stage, job, self.context, refresh))
                bar.update()
        return records

    def _note(self, stage: Stage, state: str, records: list[Record], begun: float) -> list[Record]:
        seconds = time.monotonic() - begun
        new = sum(not record.cached for record in records)
        what = f"{len(records)} {'videos' if stage.unit == 'video' else 'model'}"
        number = (
            f"[{[s.name for s in self.stages].index(stage.name) + 1:2}/{len(self.stages)}]"
            if stage in self.stages
            else "      "
        )
        detail = f"{new} computed, {len(records) - new} cached" if 0 < new < len(records) else state
        self.context.say(f"{number} {stage.name:20} {what:11} {detail:28} {seconds:7.1f} s")
        for note in notes(records):
            self.context.say(f"        {note}")
        if self.request.shard or not self.context.processes.main:  # a part of a stage is no state of a run
            return records
        run = self._run_record()
        run["stages"][stage.name] = {
            "state": state,
            "seconds": seconds,
            "peak_memory": peak_memory(self.context.device),
            "records": [r.as_dict() for r in records],
        }
        run["finished"] = _now()
        write_json(run_path(self.context.root, self.name), run)
        return records

    def _run_record(self) -> dict[str, Any]:
        try:
            run = read_run(self.context.root, self.name)
        except UserError:
            run = {"name": self.name, "started": _now(), "stages": {}}
        settings = self.profile.as_dict()
        run["stages"] = still_valid(run["stages"], run.get("profile", settings), settings)
        roles = {role: [f"{i.dataset}/{i.name}" for i in items] for role, items in self.items.items()}
        return run | {
            "profile": settings,
            "videos": roles,
            "left_out": list(self.request.leave_out),
            "software": software(),
            "device": str(self.context.device),
            "data": {k or "(default)": str(v) for k, v in self.roots.items()},
        }


def parse_shard(text: str) -> tuple[int, int]:
    """ "K/N" as numbers. Raises UserError.

    >>> parse_shard("2/8")
    (2, 8)
    """
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise UserError(f"--shard {text}: expected K/N with 1 <= K <= N, e.g. 3/8 for the third of eight parts")
    return int(found[1]), int(found[2])


def in_shard(item: Item, shard: str | None) -> bool:
    """Whether a video belongs to a part. Its name decides, so the parts of all stages agree on every machine."""
    if shard is None:
        return True
    part, parts = parse_shard(shard)
    return int(json_digest([item.dataset, item.name]), 16) % parts == part - 1


def still_valid(stages: dict[str, Any], old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Of a run's record, the stages that the new settings lead to as well; a single stage run with other settings
    leaves none behind that were computed from what it replaced."""
    before, after = (stages_for(*variant_of(settings)) for settings in (old, new))
    stale = set(before) - set(after)
    for stage in after.values():
        sections = (*stage.settings, "data", "render")
        moved = stage.name in before and before[stage.name].needs != stage.needs
        if moved or stale.intersection(stage.needs) or any(old.get(name) != new.get(name) for name in sections):
            stale.add(stage.name)
    return {name: record for name, record in stages.items() if name not in stale}


def place(request: Request) -> tuple[Path, str]:
    """The store's root and the run's name. Raises UserError for a name that can't be a file's."""
    root = Path(request.out).expanduser().resolve()
    name = request.name or read_profile(request.profile, request.overrides).name
    if not re.fullmatch(r"\w[\w. +-]{0,99}", name):
        raise UserError(f"run name {name!r}: expected letters, digits, '.', '_', '-', since it becomes a file name")
    return root, name


def given_weights(profile: Profile) -> dict[str, Record]:
    """Records of the weights that a profile names, by the stage they take the place of."""
    given = {}
    for stage in STAGES:
        if stage.trained:
            path = getattr(profile, stage.name.replace("-", "_")).weights
            if path is not None:
                given[stage.name] = given_record(stage.name, path, profile)
    return given


def data_roots(profile: Profile, request: Request, context: Context) -> dict[str, Path]:
    """Folder by data set name; "" is for all others. Renders built-in data where none is given."""
    roots = {}
    for text in request.data:
        name, equals, root = text.partition("=")
        if not equals or "/" in name:  # a folder's own name may have a "="
            name, root = "", text
        if not root:
            raise UserError(f"--data {text!r}: no folder; expected ROOT or NAME=ROOT")
        roots[name] = Path(root).expanduser().resolve()
    data = profile.data
    refs = [
        data.stills,
        data.boxed,
        data.fusion,
        *([data.validation] if data.validation else []),
        *data.scored,
    ]
    known = {read_manifest(ref.manifest).name for ref in refs}
    for name in roots:
        if name and name not in known:
            raise UserError(
                f"--data {name}=...: the profile uses no data set {name!r}; it uses: {', '.join(sorted(known))}"
            )
    if "" not in roots and known - roots.keys() and profile.render is not None:
        roots[""] = rendered(profile.render, context)
    return roots


def rendered(settings: Render, context: Context) -> Path:
    """The folder of the built-in data, rendered now if it isn't there."""
    values = settings.model_dump()
    root = context.root / "rendered" / json_digest([RENDER_VERSION, values])[:12]
    if not root.exists():
        context.say("rendering the built-in data (once)")
        with shown("rendering", "picture") as show:
            render(root, RenderSettings(**values), show)
    return root


def check_apart(items: dict[str, list[Item]]) -> None:
    """No file that is scored may train or choose anything, whatever its data set is called. Raises UserError."""
    scored = {_identity(path) for item in items["scored"] for path in item.frames}
    for role in ("stills", "boxed", "fusion", "validation"):
        both = sorted(i.name for i in items[role] if not scored.isdisjoint(map(_identity, i.frames)))
        if both:
            raise UserError(
                f"data.{role} and data.scored share {', '.join(both)}; what is scored may not train anything"
            )


def check_frames(items: Mapping[str, list[Item]]) -> None:
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


def _identity(path: Path) -> tuple[int, int] | Path:
    """What makes two paths one file, however many links there are; cheaper than resolving a million paths."""
    try:
        stat = path.stat()
    except OSError:  # a link to nowhere: the ledger says so, and whose it is
        return path
    return stat.st_dev, stat.st_ino


def check_boxes(items: list[Item], ref: DataRef) -> None:
    """At least one frame has a box. Raises UserError."""
    if not any(len(read_boxes(item, index)) for item in items for index in range(len(item.frames))):
        raise UserError(
            f"data.boxed: {ref.manifest}/{ref.split} has no box in any of its "
            f"{sum(len(i.frames) for i in items)} frames; the weak labels need boxes"
        )


def notes(records: list[Record]) -> list[str]:
    """What a user must be told of results: videos without flow, videos that aren't scored, frames without boxes."""
    texts = {
        "appearance_only": "no flow (one frame): segmented by appearance alone",
        "unscored": "too short for its protocol: nothing scored",
        "no_truth": "no masks: predicted, not scored",
        "no_protocol": "no protocol to score it by: predicted, not scored",
        "frames_without_boxes": "frames without boxes, skipped",
        "filled_flow": "frames without imported flow: the other way's flow, negated",
        "not_stabilised": "frames whose camera motion can't be told: flow kept as it is",
    }
    found = []
    for name, text in texts.items():
        if text.startswith("frames"):
            total = sum(int(r.counts.get(name, 0)) for r in records)
            found += [f"{total} {text}"] if total else []
        else:
            found += [f"{r.video}: {text}" for r in records if r.counts.get(name)]
    return found


def _unit(record: Record) -> Unit:
    return record.dataset, record.video


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
