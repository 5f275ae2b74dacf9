"""A run's settings. Every number has its one home here: a field with default, unit and reason, overridden by
`profiles/NAME.toml`, then by `--set section.key=value`. Unknown keys are errors."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, ValidationError, model_validator

import fusionseg.profiles
from fusionseg.pipeline.basics.text import nfc, read_text, user_path
from fusionseg.pipeline.basics.validation import explain
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.graph import Variant
from fusionseg.pipeline.settings.sections import (
    AppearanceTraining,
    BoxPruning,
    Data,
    FlowFilter,
    FlowImages,
    FusionTraining,
    MotionTraining,
    Network,
    OpticalFlow,
    Prediction,
    Render,
    Run,
    Scores,
    Settings,
    WeakLabels,
)

# Of a value that should have been text, as pydantic tells it.
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
    appearance_training: AppearanceTraining = AppearanceTraining()
    box_pruning: BoxPruning = BoxPruning()
    flow_filter: FlowFilter = FlowFilter()
    weak_labels: WeakLabels = WeakLabels()
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
    def _second_round_needs_weak_labels(self) -> Profile:
        if self.weak_labels.rounds > 1 and self.motion_training.labels == "masks":
            raise ValueError(
                'motion-training.labels = "masks" has no second round of weak labels; set weak-labels.rounds = 1, or '
                'labels = "weak"'
            )
        return self

    @property
    def variant(self) -> Variant:
        """What of it changes the graph. Given weights of the motion stream are its last: no labels are made at all."""
        training = self.motion_training
        return Variant(self.flow_images.store, training.labels, 1 if training.weights else self.weak_labels.rounds)

    def as_dict(self) -> dict[str, Any]:
        """All settings as JSON-able values, sections by their names in files."""
        return self.model_dump(mode="json", by_alias=True)

    def section(self, name: str) -> Settings:
        """One section, by its name in files."""
        found: Settings = getattr(self, name.replace("-", "_"))
        return found


def read_profile(name: str, overrides: Iterable[str] = ()) -> Profile:
    """A profile by the name of one that comes with the package, or by path, with `section.key=value` overrides.

    Raises UserError.
    """
    shipped = Path(fusionseg.profiles.__file__ or "").parent
    path = user_path(name) if name.lower().endswith(".toml") else shipped / f"{name}.toml"
    values = _read(path, name, shipped)
    values.setdefault("name", path.stem)
    typed = dict(_apply(values, nfc(override)) for override in overrides)
    try:
        return _validated(values, typed)
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error, Profile)}") from None


def _read(path: Path, name: str, shipped: Path) -> dict[str, Any]:
    """What a profile's file says. Raises UserError."""
    try:
        return tomllib.loads(nfc(read_text(path)))
    except OSError as error:
        if path.exists():
            raise UserError(f"{path}: can't be read ({error.strerror or error})") from None
        known = ", ".join(sorted(p.stem for p in shipped.glob("*.toml")))
        raise UserError(f"no profile {name!r} ({path}); known: {known}, or give the path of a .toml file") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: not valid TOML: {error}; mend it there") from None
    except RecursionError:
        raise UserError(f"{path}: not valid TOML: brackets nest too deeply") from None
    except ValueError as error:
        raise UserError(str(error)) from None


Key = tuple[str, ...]


def _validated(values: dict[str, Any], typed: Mapping[Key, str]) -> Profile:
    """The profile; where a text is expected, what TOML would read as a number (2017) or a date is what was typed."""
    try:
        return Profile.model_validate(values)
    except ValidationError as error:
        texts = {found["loc"] for found in error.errors() if found["type"] in _TEXT_WANTED}
        wrong = [key for key in typed if key in texts]
        if not wrong:
            raise
    for key in wrong:
        table = reduce(lambda table, section: table[section], key[:-1], values)
        table[key[-1]] = typed[key]
    return Profile.model_validate(values)


def _apply(values: dict[str, Any], override: str) -> tuple[Key, str]:
    """Put an override into the values; its key, and the value as it was typed. Raises UserError."""
    key, equals, text = override.partition("=")
    *sections, last = (part.strip() for part in key.split("."))
    if not equals or not sections:
        raise UserError(f"--set {override}: expected section.key=value, e.g. motion-training.steps=500")
    target = values
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            raise UserError(f"--set {override}: {section!r} is a value, not a section")
    target[last] = _value(text.strip())
    return (*sections, last), text.strip()


def _value(text: str) -> Any:
    """TOML's reading of a value; a bare word is a string."""
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
