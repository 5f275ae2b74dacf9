"""All commands: help, what is refused, shell completion, and that none of it loads what only commands need."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import fails
from typer.main import get_command

import fusionseg
from fusionseg.cli import main
from fusionseg.cli.app import make_app

CHECKOUT = Path(__file__).resolve().parents[2]
GROUPS = (["weak-labels"], ["data"], ["weights"])


def tree(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that lead there."""
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from tree(below, (*path, name))


COMMANDS = dict(tree(get_command(make_app())))


def test_commands_are_known() -> None:
    assert {" ".join(path) for path in COMMANDS} == {
        "", "demo", "run", "compare", "export", "settings", "artifacts", "show", "import-caffe", "export-onnx", "score",
        "weak-labels", "weak-labels audit", "weak-labels study", "data", "data list", "data check", "data convert",
        "weights", "weights list", "weights pack",
    }  # fmt: skip


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_shows_options_and_an_example(
    path: tuple[str, ...], option: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main([*path, option]) == 0
    text = capsys.readouterr().out
    assert not path or f"example: fusionseg {' '.join(path)}" in text
    for parameter in COMMANDS[path].params:
        shown = parameter.opts if parameter.param_type_name == "option" else [parameter.metavar]
        assert all(f" {name} " in text.replace(",", " ") for name in shown), shown
        assert parameter.help in text.replace(r"\[", "[") or r"\[" in parameter.help
    assert all(name in text for name in getattr(COMMANDS[path], "commands", {}))


def test_brackets_in_help_are_no_markup(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    main(["run", "--help"])
    text = capsys.readouterr().out
    assert "auto, cpu or cuda[:N]" in text and "[NAME=]ROOT" in text and "[default: out]" in text


@pytest.mark.parametrize("words", [[], *GROUPS])
def test_without_a_command_there_is_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    told = capsys.readouterr()
    assert f"Usage: {' '.join(['fusionseg', *words])}" in told.out and not told.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--nonesuch", "no such option: --nonesuch (fusionseg --help)"),
        ("rnu davis", "no such command 'rnu'. Did you mean 'run'?"),
        ("data chekc x", "no such command 'chekc'. Did you mean 'check'? (fusionseg data --help)"),
        ("run", "missing argument 'PROFILE' (fusionseg run --help)"),
        ("run davis --dat x", "no such option: --dat (Possible options: "),
        ("run davis --data", "option '--data' requires an argument"),
        ("run davis longer", "got unexpected extra argument(s) (longer)"),
        ("run davis --plain=yes", "option '--plain' does not take a value"),
        ("show", "missing argument 'FILE...'"),
        ("export davis --flow x --format zip", "'--format': 'zip' is not one of 'flo', 'kitti', 'npz', 'hdf5'"),
        ("import-caffe x --as fusion -o y", "'--as': 'fusion' is not one of 'appearance', 'motion', 'joint'"),
        ("import-caffe x --as joint", "missing option '--output' / '-o'"),
        ("weak-labels audit davis --each 0", "'--each': expected 1 or more, found 0"),
        ("weak-labels audit davis --seed -1", "'--seed': expected 0 or more, found -1"),
        ("weak-labels study davis --part half", "'half' is not one of 'purity', 'training', 'second-round'"),
        ("score --protocol davis2016 --truth a --masks b=c", "missing option '--out'"),
        ("score --protocol x --truth a --masks b=c --out d --threshold half", "'--threshold': "),
        ("score --protocol x --truth a --masks b=c --out d --sequences e --list f", "one of --sequences and --list"),
    ],
)
def test_what_is_typed_wrong_is_one_line(
    words: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in fails(capsys, tmp_path, *words.split())


def understood(words: list[str]) -> dict[str, Any]:
    """What the arguments and options of a command line are, without running it."""
    found: dict[str, Any] = {}
    whole = get_command(make_app())
    for _, command in tree(whole):
        if not hasattr(command, "commands"):
            command.callback = lambda **values: found.update(values or {"": True})
    assert not whole.main(words, prog_name="fusionseg", standalone_mode=False)
    return found


def written() -> Iterator[str]:
    """Every command line that the documentation and the examples show."""
    for page in (CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))):
        yield from re.findall(r"^(?:\S*/)?fusionseg (.+)$", page.read_text().replace("\\\n", " "), re.MULTILINE)
    for command in COMMANDS.values():
        if command.epilog:
            yield command.epilog.removeprefix("example: fusionseg ")


@pytest.mark.parametrize("line", sorted(set(written())))
def test_documented_commands_are_understood(line: str) -> None:
    assert understood(shlex.split(line, comments=True))


def test_options_stand_anywhere_and_repeat() -> None:
    found = understood(["run", "--data", "a", "--plain", "davis", "--data=b", "--set", "x.y=[1, 2]", "--out", "c"])
    assert found["profile"] == "davis" and found["plain"] is True and found["out"] == Path("c")
    assert list(found["data"]) == ["a", "b"] and list(found["overrides"]) == ["x.y=[1, 2]"] and not found["refresh"]
    assert list(understood(["show", "a.h5", "--png", "p", "b.h5"])["files"]) == [Path("a.h5"), Path("b.h5")]


def test_defaults() -> None:
    found = understood(["run", "davis"])
    assert not found.pop("data") and not found.pop("refresh") and not found.pop("overrides")
    assert found == {
        "profile": "davis", "out": Path("out"), "name": None, "only": None, "shard": None, "device": "auto",
        "plain": False, "dry_run": False,
    }  # fmt: skip
    found = understood(["score", "--protocol", "fbms", "--truth", "t", "--masks", "a=b", "--out", "o"])
    assert (found["missing"], found["threshold"], found["workers"]) == ("fail", None, None)
    found = understood(["weak-labels", "study", "davis"])
    assert (found["part"], found["seeds"], found["device"]) == (None, "0,1,2", "auto")
    found = understood(["weak-labels", "audit", "davis"])
    assert (found["each"], found["seed"]) == (6, 0)
    found = understood(["export", "davis"])
    assert (found["format"], found["method"]) == ("flo", "joint")


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("words", [[], ["--help"], ["--version"], ["run", "--help"], ["run", "--nonesuch"]])
def test_nothing_heavy_is_loaded_for_help(words: list[str]) -> None:
    heavy = ["torch", "pandas", "numpy", "cv2", "prefect", "h5py", "scipy"]
    code = (
        f"import sys; from fusionseg.cli import main; main({words!r})\n"
        f"print('loaded:', [name for name in {heavy} if name in sys.modules])\n"
        "print(*[line for line in open('/proc/self/status') if line.startswith('VmHWM')])"
    )
    text = python(code)
    assert "loaded: []" in text
    assert int(re.findall(r"VmHWM:\s+(\d+) kB", text)[0]) < 60_000


@pytest.mark.parametrize("words", [["settings", "davis"], ["settings", "--json"], ["data", "list"]])
def test_what_only_tells_loads_no_engine(words: list[str]) -> None:
    heavy = ["torch", "pandas", "cv2", "prefect", "h5py", "scipy", "timm"]
    code = (
        f"import sys; from fusionseg.cli import main; code = main({words!r})\n"
        f"print('code', code, 'loaded:', [name for name in {heavy} if name in sys.modules])"
    )
    assert python(code).endswith("code 0 loaded: []\n")


def test_the_version_is_the_one_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    assert capsys.readouterr().out == f"fusionseg {project['version']}\n"
    assert fusionseg.__version__ == project["version"]


def test_the_completion_script_of_the_shell_is_printed() -> None:
    ask = f"{shlex.quote(sys.executable)} -m fusionseg.cli --show-completion; exit $?"
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "_FUSIONSEG_COMPLETE=complete_bash" in done.stdout and done.stdout.rstrip().endswith(" fusionseg")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("fusionseg ex", ["export", "export-onnx"]),
        ("fusionseg run ", ["davis", "demo", "general", "paper", "segment"]),
        ("fusionseg run davis --re", ["--refresh"]),
        ("fusionseg settings --section mo", ["motion-pretraining", "motion-training"]),
        ("fusionseg run davis --only motion-t", ["motion-training", "motion-training-2"]),
        ("fusionseg data check davis2016", ["davis2016", "davis2016-folds", "davis2016-small"]),
        ("fusionseg compare --out {store} lo", ["longer"]),
        ("fusionseg export --out {store} ", ["davis", "longer"]),
        ("fusionseg export davis --format k", ["kitti"]),
        ("fusionseg run davis --device c", ["cpu", "cuda"]),
        ("fusionseg score --protocol d", ["davis2016", "davis2017-unsupervised"]),
    ],
)
def test_names_are_completed(typed: str, offered: list[str], tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    for name in ("davis", "longer"):
        (tmp_path / "runs" / f"{name}.json").touch()
    line = typed.format(store=tmp_path)
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1), "_FUSIONSEG_COMPLETE": "complete_bash"}
    command = [sys.executable, "-m", "fusionseg.cli"]
    done = subprocess.run(command, env=os.environ | asked, capture_output=True, text=True, check=True)
    assert done.stdout.split() == offered
