"""What can be chosen by name: what comes with FusionSeg, and what others add, in this process or as a package.

Light: settings are checked with it, and nothing is loaded for names that come with FusionSeg.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

Make = TypeVar("Make", bound=Callable[..., Any])
TIMM = "timm:"  # what precedes the name of any model of timm's
REMBG = "rembg:"  # and of rembg's


class PluginError(ValueError):
    """A plug-in that can't be used; one line names it, where it comes from, and what is wrong."""


@dataclass(frozen=True)
class Plugin:
    """`make`: what was registered; `version`: of its code, "PACKAGE==VERSION" for an entry point's; it enters the keys
    of all that is made with it."""

    kind: str
    name: str
    make: Callable[..., Any]
    version: str

    def __call__(self, *arguments: Any) -> Any:
        """What `make` gives. Raises `PluginError`, whatever it raises."""
        return self.called(self.make, *arguments)

    def called(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function of the plug-in's gives. Raises `PluginError`."""
        try:
            return function(*arguments)
        except Exception as error:
            raise self.failed(error) from error

    def failed(self, error: Exception) -> PluginError:
        """What to raise for an error of its code."""
        return self.refused(f"failed with {type(error).__name__}: {error}")

    def refused(self, why: str) -> PluginError:
        """What to raise where it isn't what it should be."""
        return PluginError(f"the {self.kind} {self.name!r} ({self.version}) {' '.join(why.split())}")


class Plugins:
    """The names that one setting may have.

    `kind`: what they are, in words; `group`: of entry points; `shipped`: the names that come with FusionSeg, which
    nothing can take from it. Entry points are looked at only for names that are neither shipped nor registered.
    """

    def __init__(self, kind: str, group: str, shipped: tuple[str, ...]) -> None:
        self.kind, self.group, self.shipped = kind, group, shipped
        self._registered: dict[str, Plugin] = {}

    def register(self, name: str, version: str) -> Callable[[Make], Make]:
        """A decorator that makes something known by `name` in this process. `version`: to be changed whenever its
        results do. Raises ValueError for a name that is taken."""
        if name in self.shipped or name.startswith((TIMM, REMBG)):
            raise ValueError(f"the {self.kind} {name!r} comes with FusionSeg; choose another name")

        def note(make: Make) -> Make:
            self._registered[name] = Plugin(self.kind, name, make, version)
            return make

        return note

    def names(self) -> list[str]:
        """All that is known now."""
        return list(dict.fromkeys([*self.shipped, *self._registered, *sorted(e.name for e in self._entry_points())]))

    def find(self, name: str) -> Plugin | None:
        """What isn't shipped, by name; None for what is, and for an unknown name. Raises `PluginError`."""
        if name in self.shipped or name in self._registered:
            return self._registered.get(name)
        found = [entry for entry in self._entry_points() if entry.name == name]
        if len(found) > 1:
            packages = ", ".join(sorted(_package(entry) for entry in found))
            raise PluginError(f"several packages have a {self.kind} {name!r}: {packages}; uninstall all but one")
        return self._loaded(found[0]) if found else None

    def get(self, name: str) -> Plugin:
        """`find`, where it must be there. Raises ValueError for an unknown name, `PluginError`."""
        if (found := self.find(name)) is None:
            raise ValueError(self.unknown(name))
        return found

    def unknown(self, name: str) -> str:
        """What to say of a name that isn't known."""
        return f"unknown {self.kind} {name!r}; known: {', '.join(self.names())}"

    def check(self, name: str) -> str:
        """`name`, if it is known; loads nothing. Raises ValueError that doesn't name it."""
        if name not in self.shipped and name not in self.names():
            raise ValueError(f"expected one of {', '.join(self.names())}")
        return name

    def _entry_points(self) -> list[EntryPoint]:
        return [entry for entry in entry_points(group=self.group) if entry.name not in self.shipped]

    def _loaded(self, entry: EntryPoint) -> Plugin:
        version = _package(entry)
        try:
            make = entry.load()
        except Exception as error:  # the package's own code runs, and may do anything
            raise Plugin(self.kind, entry.name, entry.load, version).failed(error) from error
        plugin = Plugin(self.kind, entry.name, make, version)
        if not callable(make):
            raise plugin.refused(f"is no function or class, but {type(make).__name__}")
        return self._registered.setdefault(entry.name, plugin)


def _package(entry: EntryPoint) -> str:
    return f"{entry.dist.name}=={entry.dist.version}" if entry.dist else entry.value


class Backbones(Plugins):
    """Backbones; also every model of timm's, as "timm:NAME"."""

    def names(self) -> list[str]:
        return [*super().names(), f"{TIMM}NAME"]

    def find(self, name: str) -> Plugin | None:
        if not name.startswith(TIMM):
            return super().find(name)
        from fusionseg.models.outside.timm_backbones import TimmBackbone  # timm takes seconds to load

        model = TimmBackbone.of(name.removeprefix(TIMM))
        return Plugin(self.kind, name, model, model.name)

    def check(self, name: str) -> str:
        if name.startswith(TIMM):
            self.find(name)
            return name
        return super().check(name)


class Fusions(Plugins):
    """Fusions, some of which read the frame too."""

    def reads_frame(self, name: str) -> bool:
        """Whether the fusion says so, by an attribute `reads_frame` of its class (or function); loads a plug-in. False
        for what isn't known here. Raises `PluginError`."""
        if name in self.shipped:
            return name == "guided"
        found = self.find(name)
        return bool(found and getattr(found.make, "reads_frame", False))


class FrameModels(Plugins):
    """Models that mark the object in a frame by itself; also those of rembg's, as "rembg:NAME"."""

    def names(self) -> list[str]:
        return [*super().names(), f"{REMBG}NAME"]

    def find(self, name: str) -> Plugin | None:
        if not name.startswith(REMBG):
            return super().find(name)
        from fusionseg.models.outside.rembg_models import RembgModel

        model = RembgModel.of(name.removeprefix(REMBG))
        return Plugin(self.kind, name, model, model.version)

    def check(self, name: str) -> str:
        if name.startswith(REMBG):
            from fusionseg.models.outside.rembg_models import known_model

            known_model(name.removeprefix(REMBG))
            return name
        return super().check(name)


backbones = Backbones(
    "backbone",
    "fusionseg.backbones",
    (
        "efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2", "resnet18", "resnet50", "resnet101",
        "convnext-tiny",
    ),
)  # fmt: skip
decoders = Plugins("decoder", "fusionseg.decoders", ("parallel-dilated", "skip", "pyramid"))
fusions = Fusions("fusion", "fusionseg.fusions", ("paper", "release", "gated", "guided", "average"))
frame_models = FrameModels("per-frame model", "fusionseg.frame_models", ("stream",))
