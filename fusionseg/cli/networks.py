"""Networks: the authors' weights come in, ours go out, and some are shipped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from fusionseg.cli.options import OUT, Out, RunName, run_argument


def import_caffe(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="a .caffemodel")],
    kind: Annotated[Literal["appearance", "motion", "joint"], typer.Option("--as", help="which of the networks it is")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="where the weights go, a .safetensors")
    ],
) -> None:
    """The authors' published Caffe weights as ours; for research use only, as theirs."""
    from fusionseg.pipeline.basics.progress import say
    from fusionseg.pipeline.networks.caffe import run_import

    run_import(file, kind, output, say)


def export_onnx(
    source: Annotated[str, run_argument("RUN|WEIGHTS", "name of a run, shipped:NAME, or weights (.safetensors)")],
    folder: Annotated[Path, typer.Option("-o", metavar="DIR", help="where the .onnx files go")],
    out: Out = OUT,
) -> None:
    """Networks as ONNX files that need nothing of fusionseg."""
    from fusionseg.pipeline.basics.progress import say
    from fusionseg.pipeline.networks.onnx import run_export

    run_export(source, out, folder, say)


def pack_weights(
    run: RunName,
    folder: Annotated[Path, typer.Option("-o", metavar="DIR", help="where the set goes; its name is the folder's")],
    out: Out = OUT,
) -> None:
    """A run's networks in half precision, with a model card to complete and a licence: a set to be shipped."""
    from fusionseg.pipeline.basics.progress import say
    from fusionseg.pipeline.report.packing import pack

    pack(out.resolve(), run, folder, say)


def list_weights() -> None:
    """The trained weights that come with the package, and how to use them."""
    from fusionseg.pipeline.report.card import listed

    print("\n".join(listed()))
