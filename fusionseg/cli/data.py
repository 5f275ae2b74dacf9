"""Data sets: checked, converted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusionseg.cli import names
from fusionseg.cli.exits import EXIT_PROBLEMS
from fusionseg.cli.options import OUT, Out

Manifest = Annotated[
    str,
    typer.Argument(
        metavar="MANIFEST",
        help="name of a manifest that comes with the package, or path of a YAML file",
        autocompletion=names.manifests,
    ),
]
Root = Annotated[Path, typer.Option("--data", metavar="ROOT", help="folder of the data set")]
Split = Annotated[str | None, typer.Option("--split", metavar="SPLIT", help="only this split")]


def list_manifests(
    find: Annotated[str, typer.Option("--find", metavar="WORD", help="only data sets with it in name or title")] = "",
) -> None:
    """The data sets that come as manifests: splits, licence, and what --data must hold."""
    import shutil

    from fusionseg.pipeline.datasets.listing import shipped_manifests, text
    from fusionseg.pipeline.errors import UserError

    found = [one for one in shipped_manifests() if find.lower() in f"{one.name} {one.title}".lower()]
    if not found:
        raise UserError(f"no data set has {find!r} in its name or title; `fusionseg data list` lists all")
    print("\n".join(text(found, min(shutil.get_terminal_size().columns, 100))))


def check(
    manifest: Manifest,
    root: Root,
    split: Split = None,
    deep: Annotated[bool, typer.Option("--deep", metavar="", help="decode everything, not only headers")] = False,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="write all problems there")] = None,
    out: Out = OUT,
) -> int:
    """Whether all files of a data set are there and can be read; exit code 1 if not."""
    from fusionseg.pipeline.basics.progress import say
    from fusionseg.pipeline.datasets.check import run_check

    problems = run_check(manifest, root, split, out=out, deep=deep, csv=csv, say=say)
    return EXIT_PROBLEMS if problems else 0


def convert(
    manifest: Manifest,
    root: Root,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="the new folder; frames are linked to")],
    split: Split = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="of the new data set", show_default="MANIFEST-boxes"),
    ] = None,
    store: Annotated[Path, typer.Option("--store", metavar="DIR", help="where frames of video files are kept")] = OUT,
) -> None:
    """Boxes from masks, as a tree in ImageNet-VID's layout with a manifest of its own."""
    from fusionseg.pipeline.basics.progress import say
    from fusionseg.pipeline.datasets.convert import run_convert

    run_convert(manifest, root, out, split=split, called=name, store=store, say=say)
