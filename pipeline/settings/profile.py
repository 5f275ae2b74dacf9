"""A run's settings. Every number has its one home here: a field with default, unit and reason, overridden by
`profiles/NAME.toml`, then by `--set section.key=value`. Unknown keys are errors."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, ValidationError, model_validator

import fusionseg.profiles
from fusionseg.pipeline.basics.paths import AnyPath, as_path
from fusionseg.pipeline.basics.text import nfc, read_text
from fusionseg.pipeline.basics.validation import Fault, faults, meant
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.graph import EVERY, PRETRAINING, Role, Variant, required
from fusionseg.pipeline.settings.base import Settings
from fusionseg.pipeline.settings.plug_ins import reads_frame
from fusionseg.pipeline.settings.sections import (
    BoxPruning,
    Data,
    FlowFilter,
    FlowImages,
    Network,
    OpticalFlow,
    Prediction,
    Render,
    Run,
    Scores,
    WeakLabels,
)
from fusionseg.pipeline.settings.trainings import (
    AppearancePretraining,
    AppearanceTraining,
    FusionTraining,
    MotionPretraining,
    MotionTraining,
    Pretraining,
)

# Of a value that should have been text, as pydantic tells it.
_SHOWN = 200  # characters of an override that errors show
_TEXT_WANTED = ("string_type", "path_type")


def hyphens(name: str) -> str:
    """A section's name as files write it."""
    return name.replace("_", "-")


class Profile(Settings):
    """A whole run. Sections are named after stages; `network` and `scores` serve two each."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=hyphens, populate_by_name=True)
    name: str
    description: str = ""
    data: Data
    render: Render | None = None
    network: Network = Network()
    scores: Scores = Scores()
    optical_flow: OpticalFlow = OpticalFlow()
    flow_images: FlowImages = FlowImages()
    appearance_pretraining: AppearancePretraining = AppearancePretraining()
    appearance_training: AppearanceTraining = AppearanceTraining()
    box_pruning: BoxPruning = BoxPruning()
    flow_filter: FlowFilter = FlowFilter()
    weak_labels: WeakLabels = WeakLabels()
    motion_pretraining: MotionPretraining = MotionPretraining()
    motion_training: MotionTraining = MotionTraining()
    fusion_training: FusionTraining = FusionTraining()
    prediction: Prediction = Prediction()
    run: Run = Run()

    @model_validator(mode="after")
    def _flow_is_there_for_what_needs_it(self) -> Profile:
        training = self.motion_training
        needy = training.weights is None and (training.mirror or training.scales != (1.0, 1.0))
        if self.flow_images.store == "images" and needy:
            raise ValueError(
                'flow-images.store = "images" drops u and v, and motion-training.mirror and .scales act on them before '
                'colouring; set mirror = false and scales = [1.0, 1.0], or store = "both" or "flow"'
            )
        if self.flow_images.store == "images" and self.flow_filter.contrast == "vector" and training.weights is None:
            raise ValueError(
                'flow-images.store = "images" drops u and v, and flow-filter.contrast = "vector" compares them; '
                'choose contrast = "colour", or store = "both" or "flow"'
            )
        return self

    @model_validator(mode="after")
    def _what_trains_is_there(self) -> Profile:
        given = frozenset(stage.name for stage in EVERY if stage.trained and self.gives(stage.name))
        for stage in required(given, self._roles_variant):
            for role in stage.data if stage.trained and stage.name not in given else ():
                if role != "validation" and not self.data.of(role):
                    raise ValueError(
                        f"data.{role}: missing, and {stage.name} needs it; name the data, or give {stage.name}.weights"
                    )
        return self

    @model_validator(mode="after")
    def _second_round_needs_weak_labels(self) -> Profile:
        if self.weak_labels.rounds > 1 and self.motion_training.labels == "masks":
            raise ValueError(
                'motion-training.labels = "masks" has no second round of weak labels; set weak-labels.rounds = 1, or '
                'labels = "weak"'
            )
        return self

    @property
    def variant(self) -> Variant:
        """What of it changes the graph; asks a plug-in fusion whether it reads frames, which loads it."""
        return self._roles_variant._replace(framed=reads_frame(self.fusion_training.fusion))

    @property
    def _roles_variant(self) -> Variant:
        """The same as far as roles and stages go. Given weights of the motion stream are its last: no labels are made
        at all. A per-frame model comes trained."""
        training = self.motion_training
        per_frame = self.appearance_training.model != "stream"
        sections = {stage.name: self.section(stage.name) for stage in PRETRAINING}
        needless = {"appearance-pretraining"} if per_frame else set()
        return Variant(
            store=self.flow_images.store,
            labels="all-masks" if training.frames == "all" else training.labels,
            rounds=1 if training.weights else self.weak_labels.rounds,
            pretraining=tuple(
                name for name, found in sections.items() if isinstance(found, Pretraining) and found.wanted
                and name not in needless
            ),
            optional=self._optional,
            per_frame=per_frame,
        )  # fmt: skip

    @property
    def _optional(self) -> tuple[Role, ...]:
        """The roles that are played and need not be."""
        roles: tuple[Role, ...] = ("annotated", "pairs")
        return tuple(role for role in roles if self.data.of(role))

    def gives(self, stage: str) -> bool:
        """Whether it gives the weights that `stage` would train."""
        return getattr(getattr(self, stage.replace("-", "_"), None), "weights", None) is not None

    def as_dict(self) -> dict[str, Any]:
        """All settings as JSON-able values, sections by their names in files."""
        return self.model_dump(mode="json", by_alias=True)

    def section(self, name: str) -> Settings:
        """One section, by its name in files."""
        found: Settings = getattr(self, name.replace("-", "_"))
        return found


def shipped_profiles() -> dict[str, Path]:
    """The profiles that come with the package, by name."""
    folder = Path(fusionseg.profiles.__file__ or "").parent
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def read_profile(name: AnyPath, overrides: Iterable[str] = ()) -> Profile:
    """A profile by the name of one that comes with the package, or by path, with `section.key=value` overrides.

    Raises UserError, which tells all faults and whose each is: an override's, or the file's.
    """
    given, settings = str(name), [_Override.of(text) for text in overrides]
    where, path = _file_of(given)
    values = _read(given, where, path)
    whole = copy.deepcopy(values)
    for setting in settings:
        setting.apply(whole)
    _as_typed(whole, settings)
    if found := _faults(whole):
        raise UserError("; ".join(_told(found, settings, where, _faults(values))))
    return Profile.model_validate(whole)


def _as_typed(values: dict[str, Any], settings: Sequence[_Override]) -> None:
    """Where a text is expected, what TOML would read as a number (2017) or a date is what was typed."""
    try:
        Profile.model_validate(values)
    except ValidationError as error:
        wrong = {_as_written(found["loc"], values) for found in error.errors() if found["type"] in _TEXT_WANTED}
        for setting in settings:
            if setting.keys in wrong:
                replace(setting, value=setting.typed).apply(values)


def _faults(values: Mapping[str, Any]) -> list[Fault]:
    try:
        Profile.model_validate(values)
    except ValidationError as error:
        return [fault._replace(keys=_as_written(fault.keys, values)) for fault in faults(error, Profile)]
    return []


def _as_written(keys: Iterable[Any], values: Any) -> tuple[str, ...]:
    """Keys without the number of an entry where it stands alone in the place of a list of one.

    >>> _as_written(("stills", 0, "split"), {"stills": {"split": 1}}), _as_written(("a", 0), {"a": [1]})
    (('stills', 'split'), ('a', '0'))
    """
    written: list[str] = []
    for key in map(str, keys):
        if key == "0" and not isinstance(values, list) and not (isinstance(values, dict) and key in values):
            continue
        written.append(key)
        if isinstance(values, list):
            values = values[int(key)] if key.isdecimal() and int(key) < len(values) else None
        else:
            values = values.get(key) if isinstance(values, dict) else None
    return tuple(written)


def _file_of(given: str) -> tuple[str, Path]:
    """How to call the profile that somebody names, and its file."""
    if given.lower().endswith(".toml"):
        return given, as_path(given)
    shipped = shipped_profiles()
    if given not in shipped:
        beside = f"; there is a file {given}.toml" if Path(f"{given}.toml").is_file() else ""
        known = ", ".join(shipped)
        raise UserError(
            f"no profile {given!r}{meant(given, shipped)}; known: {known}, or give the path of a .toml file{beside}"
        )
    return f"profile {given}", shipped[given]


def _read(given: str, where: str, path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(nfc(read_text(path)))
    except OSError as error:
        known = ", ".join(shipped_profiles())
        raise UserError(
            f"no profile {given!r}: can't be read ({error.strerror}); known: {known}, or a .toml file"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{where}: not valid TOML: {error}; mend it there") from None
    except RecursionError:
        raise UserError(f"{where}: not valid TOML: brackets nest too deeply") from None
    except ValueError as error:
        said = str(error)  # of read_text's, or that a number has thousands of digits
        raise UserError(said if str(path) in said else f"{where}: a number with too many digits; shorten it") from None
    values.setdefault("name", path.stem)
    return values


def _told(found: Iterable[Fault], settings: Sequence[_Override], where: str, own: Sequence[Fault]) -> list[str]:
    """The faults after whose they are: the file's, where they are among its `own`, or those of the overrides."""
    told: dict[str, list[str]] = {}
    for fault in found:
        guilty = [] if fault in own else [one for one in settings if one.concerns(fault.keys)] or list(settings)
        whose = ", ".join(f"--set {one.text}" for one in guilty) or where
        said = fault.words if [one.keys for one in guilty] == [fault.keys] else fault.text
        told.setdefault(whose, []).append(said)
    return [f"{whose}: {'; '.join(said)}" for whose, said in told.items()]


@dataclass(frozen=True)
class _Override:
    """`text`: as typed; `keys`: what leads to the setting; `typed`: the text of its value."""

    text: str
    keys: tuple[str, ...]
    value: Any
    typed: str

    @classmethod
    def of(cls, text: str) -> _Override:
        """Raises UserError for what isn't section.key=value."""
        key, equals, value = nfc(text).partition("=")
        keys = tuple(part.strip() for part in key.split("."))
        if not equals or len(keys) < 2 or not all(keys):
            hint = _sections_with(keys[-1]) or "motion-training.steps=500"
            raise UserError(f"--set {' '.join(text.split())}: expected section.key=value, e.g. {hint}")
        said = " ".join(text.split())
        return cls(said if len(said) <= _SHOWN else f"{said[:_SHOWN]}...", keys, _value(value.strip()), value.strip())

    def apply(self, values: dict[str, Any]) -> None:
        """Put it into a profile's values. Raises UserError where a value stands in its way."""
        target = values
        for section in self.keys[:-1]:
            target = target.setdefault(section, {})
            if not isinstance(target, dict):
                kind = "a list; set all of it" if isinstance(target, list) else "a value, not a section"
                raise UserError(f"--set {self.text}: {section!r} is {kind}")
        target[self.keys[-1]] = self.value

    def concerns(self, keys: tuple[str, ...]) -> bool:
        """Whether what is wrong lies in what it sets, or in the section that it sets a part of."""
        least = min(len(keys), len(self.keys))
        return least > 0 and keys[:least] == self.keys[:least]


def _sections_with(key: str) -> str:
    """The settings of this name, as one types them."""
    fields = {info.alias or name: info.annotation for name, info in Profile.model_fields.items()}
    return " or ".join(f"{name}.{key}=..." for name, kind in fields.items() if key in getattr(kind, "model_fields", {}))


def _value(text: str) -> Any:
    """TOML's reading of a value; a bare word is a string."""
    try:
        found = tomllib.loads(f"x = {text}")
    except (ValueError, RecursionError):  # TOML's own errors are ValueErrors
        return text
    return found["x"] if len(found) == 1 else text  # several lines are no value
