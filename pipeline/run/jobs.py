"""What a stage has to do: its jobs, each with digests of all that its result depends on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusionseg.pipeline.datasets.digests import Ledger
from fusionseg.pipeline.datasets.items import Item
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.graph import FINAL, Stage
from fusionseg.pipeline.names import PROTOCOL_INPUT
from fusionseg.pipeline.run.inputs import Inputs
from fusionseg.pipeline.run.request import Request, in_shard
from fusionseg.pipeline.settings.base import Settings
from fusionseg.pipeline.settings.plug_ins import plug_ins
from fusionseg.pipeline.settings.sections import OUTSIDE
from fusionseg.pipeline.store.artifact import Record, Unit
from fusionseg.pipeline.store.job import SUFFIXES, Job, inner_settings

Items = Mapping[str, tuple[Item, ...]]  # by role
Kinds = Mapping[str, Sequence[str]]  # what may be read of them, by role
Records = Mapping[str, Mapping[Unit, Record]]  # by stage
Source = tuple[str, str, str, str]  # role, data set/video, kind, digest


@dataclass(frozen=True)
class Jobs:
    """Makes the jobs of a run's stages; `stages`: by name."""

    request: Request
    stages: Mapping[str, Stage]
    inputs: Inputs
    ledger: Ledger

    def of(self, stage: Stage, records: Records, whole: bool = False, ready: bool = False) -> list[Job]:
        """The jobs of a stage whose inputs have `records`, in order. `whole`: also those that belong to other parts of
        the videos; `ready`: of a stage of videos, only those whose inputs are there. Raises BadFile."""
        if stage.unit == "model":
            return [self._model_job(stage, records)]
        found, kinds = self._videos(stage, whole)
        chosen = [unit for unit in found if not ready or self._ready(stage, records, unit)]
        return [self._video_job(stage, records, found[unit], sorted(kinds[unit])) for unit in chosen]

    def units(self, stage: Stage, whole: bool = False) -> list[Unit]:
        """Of what a stage makes an artifact each."""
        return [self._model_unit(stage)] if stage.unit == "model" else list(self._videos(stage, whole)[0])

    def settings(self, stage: Stage) -> dict[str, dict[str, Any]]:
        """`Job.settings` of a stage's jobs."""
        return inner_settings(self._sections(stage))

    def _sections(self, stage: Stage) -> dict[str, Settings]:
        return {name: self.request.settings.section(name) for name in stage.settings}

    def _ready(self, stage: Stage, records: Records, unit: Unit) -> bool:
        return all(unit in records[need] or self.stages[need].unit == "model" for need in stage.needs)

    def own_part(self, role: str) -> list[Item]:
        """The items of a role that belong to this part of the videos."""
        return [item for item in self.inputs.items[role] if item.stills or in_shard(item, self.request.shard)]

    def _videos(self, stage: Stage, whole: bool) -> tuple[dict[Unit, Item], dict[Unit, set[str]]]:
        """The videos of a stage, and what it may read of each."""
        kinds: dict[Unit, set[str]] = {}
        found: dict[Unit, Item] = {}
        for role, allowed in stage.data.items():
            for item in self.inputs.items[role] if whole else self.own_part(role):
                found.setdefault((item.dataset, item.name), item)
                kinds.setdefault((item.dataset, item.name), set()).update(allowed)
        return found, kinds

    def _model_unit(self, stage: Stage) -> Unit:
        return self.inputs.items[next(iter(stage.data))][0].dataset, "model"

    def _video_job(self, stage: Stage, records: Records, item: Item, kinds: Sequence[str]) -> Job:
        unit = (item.dataset, item.name)
        inputs = []
        for need in stage.needs:
            made = records[need]
            inputs.append(made[unit] if self.stages[need].unit == "video" else next(iter(made.values())))
        return self._job(stage, unit, {"video": (item.only(kinds),)}, {"video": kinds}, inputs)

    def _model_job(self, stage: Stage, records: Records) -> Job:
        kinds = {str(role): read for role, read in stage.data.items()}
        items = {role: tuple(item.only(read) for item in self.inputs.items[role]) for role, read in kinds.items()}
        units = dict.fromkeys((i.dataset, i.name) for role in items.values() for i in role)
        inputs = [record for need in stage.needs for record in self._made(records, need, units)]
        return self._job(stage, self._model_unit(stage), items, kinds, inputs)

    def _made(self, records: Records, need: str, units: Iterable[Unit]) -> list[Record]:
        """What a model reads of the stage `need`: another model, or the artifacts of its own `units`."""
        found = records[need]
        if self.stages[need].unit == "model":
            return list(found.values())
        return [found[unit] for unit in units if unit in found]

    def _job(self, stage: Stage, unit: Unit, items: Items, kinds: Kinds, inputs: Sequence[Record]) -> Job:
        sections = self._sections(stage)
        sources = [*self._data(items, kinds), *self._protocols(stage, items), *self._files(sections)]
        sources += [*self.plug_ins(stage), *self._fused_at(stage)]
        suffix = SUFFIXES[stage.unit]
        return Job(stage.name, stage.version, *unit, suffix, sections, items, tuple(sources), tuple(inputs))

    def _data(self, items: Items, kinds: Kinds) -> list[Source]:
        """Digests of outside data. Masks are compared with their frames in size, whatever a stage may see."""
        whole = self.inputs.by_unit
        return [
            (role, f"{i.dataset}/{i.name}", kind, self.ledger.digest(whole[i.dataset, i.name], kind))
            for role, group in items.items()
            for i in group
            for kind in kinds[role]
            if i.files(kind)
        ]

    def _protocols(self, stage: Stage, items: Items) -> list[Source]:
        """How data is scored stands in its manifest, not in a file."""
        if stage.name != FINAL:
            return []
        return [
            (role, f"{i.dataset}/{i.name}", PROTOCOL_INPUT, i.protocol or "")
            for role, group in items.items()
            for i in group
        ]

    def _files(self, sections: Mapping[str, Settings]) -> list[Source]:
        """Digests of files that settings name. Given weights have a record instead, and what is in a folder of flow,
        its items know."""
        named = [
            (name, path)
            for section in sections.values()
            for name in sorted(OUTSIDE - {"weights", "folder"})
            if (path := getattr(section, name, None)) is not None
        ]
        return [("settings", name, "file", self._file_digest(name, path)) for name, path in named]

    def _file_digest(self, setting: str, path: Path) -> str:
        try:
            return self.ledger.file_digest(path)
        except OSError as error:
            raise UserError(f"{setting} = {path}: can't be read ({error.strerror})") from None

    def _fused_at(self, stage: Stage) -> list[Source]:
        """The size that a fusion works at, where it has its own: it is no tensor, so weights' content doesn't tell."""
        size = self.request.settings.fusion_training.long_side
        if not size or "fusion-training" not in stage.needs:
            return []
        return [("settings", "fusion-training.long_side", "px", str(size))]

    def plug_ins(self, stage: Stage) -> list[Source]:
        """Versions of the plug-ins whose code the stage runs: of its own settings, and of the models that it reads.
        Raises UserError for one that can't be used."""
        models = [self.stages[need] for need in stage.needs if self.stages[need].unit == "model"]
        names = dict.fromkeys(name for one in (stage, *models) for name in one.settings)
        found = plug_ins({name: self.request.settings.section(name) for name in names})
        return [("settings", setting, "plug-in", version) for setting, version in found]
