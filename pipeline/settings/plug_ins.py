"""Which plug-ins a profile's settings name: their code changes results, so their versions enter keys."""

from __future__ import annotations

from collections.abc import Mapping

from fusionseg.models.outside.plugins import PluginError, Plugins, backbones, decoders, frame_models, fusions
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.names import flow_methods
from fusionseg.pipeline.settings.base import Settings

# Section and field of a setting that may name a plug-in.
CHOICES: Mapping[tuple[str, str], Plugins] = {
    ("optical-flow", "method"): flow_methods,
    ("network", "backbone"): backbones,
    ("network", "decoder"): decoders,
    ("appearance-training", "model"): frame_models,
    ("fusion-training", "fusion"): fusions,
}


def plug_ins(sections: Mapping[str, Settings]) -> list[tuple[str, str]]:
    """Setting and "NAME VERSION" of each plug-in that `sections`, by their names in files, name; of what comes with
    FusionSeg nothing. Loads them, so that a broken one is told before anything is computed. Raises UserError."""
    found = []
    for (section, field), known in CHOICES.items():
        if section in sections and (name := getattr(sections[section], field)) not in known.shipped:
            setting = f"{section}.{field}"
            try:
                found.append((setting, f"{name} {known.get(name).version}"))
            except (PluginError, ValueError) as error:
                raise UserError(f"{setting} = {name}: {error}") from None
    return found


def reads_frame(fusion: str) -> bool:
    """Whether a fusion takes the frame too. False for a plug-in that can't be loaded: old runs are looked at without
    it, and whoever computes with it is told by `plug_ins`."""
    try:
        return fusions.reads_frame(fusion)
    except PluginError:
        return False
