"""All commands, put together."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fusionseg.cli import artifacts, data, labels, masks, networks, runs, settings
from fusionseg.cli.exits import Stopped, ended

# Errors are ours to tell, in one line; OpenCV would add its own.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")

_RUNS, _KEPT, _NETWORKS, _MASKS, _DATA = "Runs", "What was computed", "Networks", "Masks and labels", "Data sets"


def _shown(wanted: bool) -> None:
    if wanted:
        import fusionseg

        print(f"fusionseg {fusionseg.__version__}")
        raise typer.Exit


class _Commands(TyperGroup):
    """The commands; how one ends is ours to say, not typer's."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        try:
            return super().make_context(*arguments, **options)
        except KeyboardInterrupt:  # typer would end without a word
            raise Stopped from None

    def invoke(self, ctx: Any) -> int:
        return ended(lambda: super(_Commands, self).invoke(ctx), typer.Exit)


def make_app() -> typer.Typer:
    """All commands."""
    app = _group("The object that moves in a video, as a mask.", cls=_Commands, add_completion=True, callback=_always)
    _add(app, "demo", runs.demo, "fusionseg demo --out out", _RUNS)
    _add(app, "run", runs.run, "fusionseg run davis --data ../data --set motion-training.steps=500", _RUNS)
    _add(app, "compare", runs.compare, "fusionseg compare davis longer", _RUNS)
    _add(app, "export", runs.export, "fusionseg export davis --masks masks", _RUNS)
    _add(app, "settings", settings.settings, "fusionseg settings davis --section motion-training", _RUNS)
    _add(app, "artifacts", artifacts.artifacts, "fusionseg artifacts --stage flow-filter", _KEPT)
    _add(app, "show", artifacts.show, "fusionseg show FILE.h5 --png pictures", _KEPT)
    example = "fusionseg import-caffe motion_stream.caffemodel --as motion -o motion.safetensors"
    _add(app, "import-caffe", networks.import_caffe, example, _NETWORKS)
    _add(app, "export-onnx", networks.export_onnx, "fusionseg export-onnx davis -o onnx", _NETWORKS)
    app.add_typer(_weights_commands(), name="weights", rich_help_panel=_NETWORKS)
    example = "fusionseg score --protocol davis2016 --truth DAVIS --masks ours=masks --out scores"
    _add(app, "score", masks.score, example, _MASKS)
    app.add_typer(_label_commands(), name="weak-labels", rich_help_panel=_MASKS)
    app.add_typer(_data_commands(), name="data", rich_help_panel=_DATA)
    return app


def _always(
    version: Annotated[
        bool, typer.Option("--version", help="show the version", is_eager=True, callback=_shown)
    ] = False,
) -> None:
    pass


def _label_commands() -> typer.Typer:
    example = "fusionseg weak-labels audit davis"
    group = _group("Look at a run's weak labels, or measure what they are worth.", example)
    _add(group, "audit", labels.audit, "fusionseg weak-labels audit davis --each 10")
    _add(group, "study", labels.study, "fusionseg weak-labels study davis --data ../data --part purity")
    return group


def _weights_commands() -> typer.Typer:
    group = _group("List the trained weights that come with the package, or pack a run's.", "fusionseg weights list")
    _add(group, "list", networks.list_weights, "fusionseg weights list")
    _add(group, "pack", networks.pack_weights, "fusionseg weights pack davis -o general")
    return group


def _data_commands() -> typer.Typer:
    group = _group(
        "List the data sets that are known, check one, or convert it.", "fusionseg data check davis2016 --data ../davis"
    )
    _add(group, "list", data.list_manifests, "fusionseg data list")
    _add(group, "check", data.check, "fusionseg data check davis2016-small --data ../data --deep")
    example = "fusionseg data convert davis2016-small --data ../data --split motion --out davis-boxes"
    _add(group, "convert", data.convert, example)
    return group


def _group(title: str, example: str = "", **options: Any) -> typer.Typer:
    """Commands below a name. Without one of them it shows its help; exceptions that are bugs stay Python's."""
    settings: dict[str, Any] = {"add_completion": False, "pretty_exceptions_enable": False, "no_args_is_help": True}
    names = {"help_option_names": ["-h", "--help"]}
    return typer.Typer(help=title, epilog=_epilog(example), context_settings=names, **settings | options)


def _add(
    group: typer.Typer, name: str, command: Callable[..., int | None], example: str, panel: str | None = None
) -> None:
    """A command with its help and an example."""
    group.command(name, epilog=_epilog(example), rich_help_panel=panel)(_with_user_paths(command))


def _with_user_paths(command: Callable[..., int | None]) -> Callable[..., int | None]:
    """The command, for which every path that was typed is the one that was meant."""

    @functools.wraps(command)
    def run(**values: Any) -> int | None:
        return command(**{name: _meant(name, value) for name, value in values.items()})

    return run


def _meant(name: str, value: Any) -> Any:
    from fusionseg.pipeline.basics.text import user_path

    if isinstance(value, list | tuple):
        return [_meant(name, one) for one in value]
    try:
        return user_path(value) if isinstance(value, Path) else value
    except ValueError as error:
        raise typer.BadParameter(f"{name}: {error}") from None


def _epilog(example: str) -> str | None:
    return f"example: {example}" if example else None
