"""The command line. Prefect is imported only where a command runs under it."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from fusionseg.pipeline.errors import UserError

# Errors are ours to tell, in one line; OpenCV would add its own.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")

EXIT_PROBLEMS = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code: 0, 1 where `data check` found problems, 2 for bad input (one line says what and how
    to mend it), 130 for Ctrl-C."""
    parsed = make_parser().parse_args(arguments)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` is as orderly as Ctrl-C
    try:
        return parsed.command(parsed) or 0
    except UserError as error:
        tell(f"error: {error.args[0]}")
        return EXIT_BAD_INPUT
    except BrokenPipeError:  # `fusionseg artifacts | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        tell(f"error: {what}{error.strerror or error}; check path, permissions, free space")
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        tell("stopped; the same command goes on from here")
        return EXIT_INTERRUPTED
    return 0


def tell(text: str) -> None:
    """Why the run ends, in one line; of several processes, the first to end says it for all."""
    from fusionseg.pipeline.basics.processes import first_to_tell

    if first_to_tell():
        print(f"fusionseg: {text}", file=sys.stderr)


def make_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(prog="fusionseg", description="The object that moves in a video, as a mask.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    demo = add(commands, "demo", "run the whole chain on built-in data", "fusionseg demo --out out", run_demo)
    add_run_options(demo)

    run = add(
        commands, "run", "run a profile: the whole chain, or one stage",
        "fusionseg run davis --data ../data --set motion-training.steps=500", run_profile,
    )  # fmt: skip
    run.add_argument("profile", help="name of a profile that comes with the package, or path of a TOML file")
    add_data(run)
    add_run_options(run)

    artifacts = add(
        commands,
        "artifacts",
        "a table of all artifacts",
        "fusionseg artifacts --stage flow-filter",
        show_artifacts,
    )
    add_out(artifacts)
    artifacts.add_argument("--stage", help="only this stage's")
    artifacts.add_argument(
        "--verify", action="store_true", help="read every artifact whole and compare with its digest"
    )
    artifacts.add_argument("--csv", type=Path, metavar="FILE", help="write the whole table there")

    show = add(commands, "show", "what an artifact holds", "fusionseg show FILE.h5 --png pictures", show_artifact)
    show.add_argument("file", type=Path, nargs="+", help="artifacts (.h5) or weights (.safetensors)")
    show.add_argument("--png", type=Path, metavar="DIR", help="write pictures of it there")

    export = add(commands, "export", "results of a run as files", "fusionseg export davis --masks masks", export_run)
    export.add_argument("run", help="name of a run")
    wanted = export.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--masks", type=Path, metavar="DIR", help="indexed PNGs, DIR/SEQUENCE/00000.png")
    wanted.add_argument("--flow", type=Path, metavar="DIR", help="optical flow, DIR/VIDEO/00000.flo or DIR/VIDEO.npz")
    export.add_argument("--format", default="flo", choices=("flo", "kitti", "npz", "hdf5"), help="of --flow [flo]")
    export.add_argument("--method", default="joint", help="appearance, motion, average, joint or a baseline [joint]")
    add_out(export)

    caffe = add(
        commands, "import-caffe", "the authors' published Caffe weights as ours; for research use only, as theirs",
        "fusionseg import-caffe motion_stream.caffemodel --as motion -o motion.safetensors", import_caffe,
    )  # fmt: skip
    caffe.add_argument("file", type=Path, help="a .caffemodel")
    caffe.add_argument(
        "--as",
        dest="kind",
        required=True,
        choices=("appearance", "motion", "joint"),
        help="which of the networks it is",
    )
    caffe.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="where the weights go, a .safetensors"
    )

    onnx = add(
        commands, "export-onnx", "networks as ONNX files that need nothing of fusionseg",
        "fusionseg export-onnx davis -o onnx", export_networks,
    )  # fmt: skip
    onnx.add_argument("source", metavar="RUN|WEIGHTS", help="name of a run, or weights (.safetensors)")
    onnx.add_argument("-o", dest="folder", type=Path, required=True, metavar="DIR", help="where the .onnx files go")
    add_out(onnx)

    compare = add(
        commands, "compare", "what differs between two runs: settings, scores, masks",
        "fusionseg compare davis longer", compare_runs,
    )  # fmt: skip
    compare.add_argument("run_a", metavar="RUN_A", help="name of a run")
    compare.add_argument("run_b", metavar="RUN_B", help="name of another; differences are RUN_B less RUN_A")
    add_out(compare)

    scores = add(
        commands, "score", "score masks of any methods against the truth, as a benchmark does",
        "fusionseg score --protocol davis2016 --truth DAVIS --masks ours=masks --out scores", score_masks,
    )  # fmt: skip
    add_score_options(scores)

    title = "look at a run's weak labels, or measure what they are worth"
    example = "example: fusionseg weak-labels audit davis"
    labels = commands.add_parser("weak-labels", help=title, description=title, epilog=example)
    add_weak_label_commands(labels.add_subparsers(title="commands", required=True, metavar="COMMAND"))

    title = "check a data set, or convert it"
    example = "example: fusionseg data check davis2016 --data ../davis"
    data = commands.add_parser("data", help=title, description=title, epilog=example)
    add_data_commands(data.add_subparsers(title="commands", required=True, metavar="COMMAND"))
    return parser


def add_score_options(parser: argparse.ArgumentParser) -> None:
    """The options of `score`."""
    parser.add_argument(
        "--protocol", required=True, metavar="NAME",
        help="davis2016, davis2017-unsupervised, youtube-objects, segtrack-v2 or fbms",
    )  # fmt: skip
    parser.add_argument("--truth", type=Path, required=True, metavar="DIR", help="DIR/SEQUENCE/FRAME.png, or DAVIS's")
    parser.add_argument(
        "--masks", action="append", required=True, metavar="NAME=DIR",
        help="a method's masks, named like the truth's; repeatable",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where tables and page go")
    parser.add_argument(
        "--missing", choices=("fail", "zero"), default="fail", help="zero: missing masks count as empty [fail]"
    )
    parser.add_argument(
        "--threshold", type=float, metavar="T", help="masks are probabilities: object above T times the largest value"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--sequences", metavar="A,B", help="only these")
    which.add_argument("--list", type=Path, metavar="FILE", help="only those in this list, one a line")
    parser.add_argument("--workers", type=int, metavar="N", help="processes [as many as there are cores]")


def add_weak_label_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The commands below `weak-labels`."""
    audit = add(
        commands, "audit", "a page to judge them by eye: boxes by verdict, and what other thresholds would yield",
        "fusionseg weak-labels audit davis --each 10", audit_weak_labels,
    )  # fmt: skip
    audit.add_argument("run", help="name of a run")
    audit.add_argument("--each", type=at_least(1), default=6, metavar="N", help="boxes shown of each verdict [6]")
    audit.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="which boxes are drawn [0]")
    add_out(audit)

    study = add(
        commands, "study", "measure weak labels against true masks, and a motion stream trained on them",
        "fusionseg weak-labels study davis --data ../data --part purity", study_labels,
    )  # fmt: skip
    study.add_argument("profile", help="name of a profile that comes with the package, or path of a TOML file")
    add_data(study)
    add_out(study)
    study.add_argument(
        "--part", choices=("purity", "training", "second-round"), help="labels against masks, or trainings [all]"
    )
    study.add_argument("--seeds", default="0,1,2", metavar="A,B", help="of the trainings [0,1,2]")
    add_set(study)
    study.add_argument("--device", default="auto", help="auto, cpu or cuda[:N] [auto]")


def at_least(least: int) -> Callable[[str], int]:
    """The type of an option that is a whole number."""

    def number(text: str) -> int:
        if (found := int(text)) < least:
            raise argparse.ArgumentTypeError(f"expected {least} or more, found {found}")
        return found

    return number


def add_data_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The commands below `data`."""
    check = add(
        commands, "check", "whether all files of a data set are there and can be read; exit code 1 if not",
        "fusionseg data check davis2016-small --data ../data --deep", check_data,
    )  # fmt: skip
    add_data_set(check)
    check.add_argument("--deep", action="store_true", help="decode everything, not only headers")
    check.add_argument("--csv", type=Path, metavar="FILE", help="write all problems there")
    add_out(check)

    convert = add(
        commands, "convert", "boxes from masks, as a tree in ImageNet-VID's layout with a manifest of its own",
        "fusionseg data convert davis2016-small --data ../data --split motion --out davis-boxes", convert_data,
    )  # fmt: skip
    add_data_set(convert)
    convert.add_argument("--out", type=Path, required=True, metavar="DIR", help="the new folder; frames are linked to")
    convert.add_argument("--name", help="of the new data set [MANIFEST-boxes]")
    convert.add_argument(
        "--store", type=Path, default=Path("out"), metavar="DIR", help="where frames of video files are kept [out]"
    )


def add_data_set(parser: argparse.ArgumentParser) -> None:
    """What the commands below `data` share."""
    parser.add_argument("manifest", help="name of a manifest that comes with the package, or path of a YAML file")
    parser.add_argument("--data", type=Path, required=True, metavar="ROOT", help="folder of the data set")
    parser.add_argument("--split", help="only this split")


def add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    title: str,
    example: str,
    command: Callable[[argparse.Namespace], int | None],
) -> argparse.ArgumentParser:
    """A command with its help and an example."""
    parser = commands.add_parser(name, help=title, description=title, epilog=f"example: {example}")
    parser.set_defaults(command=command)
    return parser


def add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, default=Path("out"), metavar="DIR", help="where artifacts and runs are kept [out]"
    )


def add_data(parser: argparse.ArgumentParser) -> None:
    help = "folder of all data sets, or of one; repeatable"
    parser.add_argument("--data", action="append", default=[], metavar="[NAME=]ROOT", help=help)


def add_set(parser: argparse.ArgumentParser) -> None:
    help = "override a setting, e.g. motion-training.steps=500"
    parser.add_argument("--set", action="append", default=[], metavar="K=V", dest="overrides", help=help)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """What `run` and `demo` share."""
    add_out(parser)
    parser.add_argument("--name", help="name of the run [the profile's]")
    parser.add_argument("--only", metavar="STAGE", help="run this stage alone, on what is there")
    parser.add_argument(
        "--refresh", action="append", default=[], metavar="STAGE", help="compute this stage anew; repeatable"
    )
    add_set(parser)
    parser.add_argument(
        "--shard", metavar="K/N", help="with --only: the K-th of N parts of the videos, e.g. for one of N machines"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda[:N] [auto]")
    parser.add_argument("--plain", action="store_true", help="without Prefect")


def run_demo(parsed: argparse.Namespace) -> None:
    parsed.profile, parsed.data = "demo", []
    run_profile(parsed)


def run_profile(parsed: argparse.Namespace) -> None:
    from fusionseg.pipeline.basics.processes import launched, leave
    from fusionseg.pipeline.run.request import Request
    from fusionseg.pipeline.run.runner import run_plain

    request = Request(
        parsed.profile,
        tuple(parsed.data),
        str(parsed.out),
        parsed.name,
        tuple(parsed.overrides),
        parsed.device,
        shard=parsed.shard,
        only=parsed.only,
        refresh=tuple(parsed.refresh),
    )
    if launched() > 1 and not parsed.plain:
        raise UserError("several processes under one launcher work without Prefect only; add --plain")
    if parsed.plain:
        run_plain(request, say)
    else:
        load_prefect_runner()(request)
    leave()


def load_prefect_runner() -> Callable[..., None]:
    """The function that runs the chain under Prefect. Raises UserError where Prefect isn't installed."""
    try:
        from fusionseg.flows.local import run_under_prefect
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "prefect":
            raise
        raise UserError("Prefect is not installed; install it (pip install prefect), or add --plain") from None
    return run_under_prefect


def say(text: str) -> None:
    """One line to the user, at once and without cutting through a progress bar."""
    from tqdm import tqdm

    tqdm.write(text)
    sys.stdout.flush()


def show_artifacts(parsed: argparse.Namespace) -> None:
    from fusionseg.pipeline.report.listing import print_artifacts

    print_artifacts(parsed.out, parsed.stage, parsed.verify, parsed.csv)


def show_artifact(parsed: argparse.Namespace) -> None:
    from fusionseg.pipeline.report.listing import describe

    for path in parsed.file:
        describe(path, parsed.png / path.stem if parsed.png and len(parsed.file) > 1 else parsed.png)


def export_run(parsed: argparse.Namespace) -> None:
    from fusionseg.pipeline.report.export import export_flow, export_masks

    if parsed.flow is not None:
        count = export_flow(parsed.out, parsed.run, parsed.format, parsed.flow)
        say(f"flow of {count} frames written to {parsed.flow}")
        return
    count = export_masks(parsed.out, parsed.run, parsed.method, parsed.masks)
    say(f"{count} masks written to {parsed.masks}")


def import_caffe(parsed: argparse.Namespace) -> None:
    from fusionseg.pipeline.networks.caffe import run_import

    run_import(parsed.file, parsed.kind, parsed.output, say)


def export_networks(parsed: argparse.Namespace) -> None:
    from fusionseg.pipeline.networks.onnx import run_export

    run_export(parsed.source, parsed.out, parsed.folder, say)


def study_labels(parsed: argparse.Namespace) -> None:
    from fusionseg.pipeline.run.request import Request
    from fusionseg.pipeline.study.study import PARTS, parse_seeds, run_study

    request = Request(parsed.profile, tuple(parsed.data), str(parsed.out), None, tuple(parsed.overrides), parsed.device)
    run_study(request, [parsed.part] if parsed.part else PARTS, parse_seeds(parsed.seeds), say)


def compare_runs(parsed: argparse.Namespace) -> None:
    from fusionseg.pipeline.report.compare import finish_comparison

    finish_comparison(parsed.out.expanduser().resolve(), parsed.run_a, parsed.run_b, say)


def audit_weak_labels(parsed: argparse.Namespace) -> None:
    from fusionseg.pipeline.report.audit import finish_audit

    finish_audit(parsed.out.expanduser().resolve(), parsed.run, parsed.each, parsed.seed, say)


def score_masks(parsed: argparse.Namespace) -> None:
    from fusionseg.pipeline.scoring.benchmark import ScoreRequest, listed, named_folders, run_score

    sequences = listed(parsed.list) if parsed.list else parsed.sequences.split(",") if parsed.sequences else []
    workers = os.cpu_count() or 1 if parsed.workers is None else parsed.workers
    request = ScoreRequest(
        parsed.protocol,
        parsed.truth,
        named_folders(parsed.masks),
        parsed.missing == "zero",
        parsed.threshold,
        tuple(sequences),
        workers,
    )
    run_score(request, parsed.out, say)


def check_data(parsed: argparse.Namespace) -> int:
    from fusionseg.pipeline.datasets.check import run_check

    problems = run_check(
        parsed.manifest, parsed.data, parsed.split, out=parsed.out, deep=parsed.deep, csv=parsed.csv, say=say
    )
    return EXIT_PROBLEMS if problems else 0


def convert_data(parsed: argparse.Namespace) -> None:
    from fusionseg.pipeline.datasets.convert import run_convert

    run_convert(
        parsed.manifest, parsed.data, parsed.out, split=parsed.split, called=parsed.name, store=parsed.store, say=say
    )
