"""What the docs name is there: paths, links, commands with their options; and what they show to run runs.

A page's blocks are run in order, in a folder with a tiny run `davis` (tests/workshop.py). What can't be run here stands
in `NOT_RUN`, with the reason, and is parsed only.
"""

from __future__ import annotations

import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import workshop
import yaml
from typer import TyperException
from typer.main import get_command

from fusionseg.cli.app import make_app
from fusionseg.pipeline.datasets.manifest import DataManifest
from fusionseg.pipeline.settings.listing import sections

CHECKOUT = Path(__file__).resolve().parents[1]
PAGES = sorted([*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").glob("*.md"), *(CHECKOUT / ".github").rglob("*.md")])
GUIDES = [page for page in PAGES if page.name != "CHANGELOG.md"]  # that may name what is gone
# What a path in the checkout begins with; `out/...` and paths of data sets are somewhere else.
FOLDERS = {
    ".ci", ".github", "benchmarks", "data_manifests", "docs", "docs_site", "flows", "fusionseg", "models", "pipeline",
    "profiles", "tests", "weights",
}  # fmt: skip
PATH = re.compile(r"[\w.-]+(?:/[\w.*-]+)*/?")
FENCE = re.compile(r"^(?P<mark>`{3,})(?P<language>\w*)\n(?P<text>.*?)^(?P=mark)`*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
OPERATORS = "();<>|&"


class Block(NamedTuple):
    """A fenced block of a page, `line` its first."""

    page: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def blocks(language: str) -> list[Block]:
    """Every fenced block of that language."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for fence in FENCE.finditer(text):
            if fence["language"] == language:
                line = text.count("\n", 0, fence.start("text")) + 1
                found.append(Block(str(page.relative_to(CHECKOUT)), line, fence["text"]))
    return found


def is_there(path: str) -> bool:
    """Whether a path of the checkout exists, `fusionseg/cli` as module or package; words in capitals stand for any."""
    if (CHECKOUT / path).exists() or (CHECKOUT / f"{path}.py").exists():
        return True
    pattern = re.sub(r"\b[A-Z]{2,}\b", "*", path).rstrip("/")
    return "*" in pattern and any(CHECKOUT.glob(pattern))


def named_paths(page: Path) -> list[str]:
    """What stands in backticks and looks like a path of the checkout."""
    spans = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose(page))
    own = {path.name for path in CHECKOUT.iterdir() if path.is_file()}
    found = filter(PATH.fullmatch, spans)
    return [span for span in found if span in own or (span.partition("/")[0] in FOLDERS and "/" in span)]


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_paths_exist(page: Path) -> None:
    assert [path for path in named_paths(page) if not is_there(path)] == []


def test_paths_are_found() -> None:
    assert "pipeline/graph.py" in named_paths(CHECKOUT / "CONTRIBUTING.md")
    assert is_there("pipeline/graph.py") and is_there("profiles/NAME.toml") and is_there("pipeline/stages/")
    assert not is_there("pipeline/nowhere.py") and not is_there("nowhere/NAME.toml")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_resolve(page: Path) -> None:
    targets = [link.partition("#")[0] for link in LINK.findall(prose(page)) if not re.match(r"\w+:|#", link)]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def lines(block: Block) -> list[list[str]]:
    """The words of every line of a shell block, up to a pipe or a comment."""
    found = []
    for line in block.text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=OPERATORS)
        lexer.commenters, lexer.whitespace_split = "#", True
        words = []
        for word in lexer:
            if set(word) <= set(OPERATORS):
                break
            words.append(word)
        found += [words] if words else []
    return found


def commands(block: Block) -> list[list[str]]:
    """The words behind `fusionseg` of every line that begins with it."""
    return [words[1:] for words in lines(block) if words[0] in ("fusionseg", ".venv/bin/fusionseg")]


def parse(words: list[str]) -> None:
    """Have the command line read `words` without running anything; an exception, if it can't.

    The one place that knows what the command line is made with.
    """
    command: Any = get_command(make_app())
    name, context = "fusionseg", None
    while hasattr(command, "resolve_command"):  # a group: its own options, then the command it leads to
        context = command.make_context(name, list(words), parent=context)
        name, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
    command.make_context(name, list(words), parent=context)


@pytest.mark.parametrize("block", blocks("sh"), ids=str)
def test_commands_are_known(block: Block) -> None:
    for words in commands(block):
        try:
            parse(words)
        except TyperException as error:
            pytest.fail(f"fusionseg {shlex.join(words)}: {error}")


def test_commands_are_found() -> None:
    assert sum(len(commands(block)) for block in blocks("sh")) >= 20
    assert commands(Block("", 1, "fusionseg run a --set 'b=[{c=\"d\"}]' | head # e\nmake\n")) == [
        ["run", "a", "--set", 'b=[{c="d"}]']
    ]
    for words in (["nonsense"], ["run", "davis", "--nonsense"]):
        with pytest.raises(TyperException, match="nonsense"):
            parse(words)


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_commands_in_sentences_are_known(page: Path) -> None:
    for text in re.findall(r"(?<!`)`fusionseg ((?!->)[^`\n]+)`(?!`)", prose(page)):
        words = [word for word in shlex.split(text) if word != "..."]
        command: Any = get_command(make_app())
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        known = {name for one in command.params for name in one.opts} | {"--help", "--install-completion"}
        named = {word.partition("=")[0] for word in words if word.startswith("-")}
        group = hasattr(command, "commands") and words and words[0] != "COMMAND" and not words[0].startswith("-")
        assert not group and named <= known, text


# Lines of shell blocks that aren't run, and why. A test fails for one that no page has any more.
_MAKE = "installs packages; CI itself runs the targets"
_SERVER = "a server; tests/flows/test_server.py runs a chain under one"
_HOURS = "a training of its real length; shorter ones run"
_WEIGHTS = "the authors' files, which are not to be had; tests/pipeline/networks/test_caffe.py imports generated ones"
_PLUG_INS = "tests/test_extending.py installs the page's package and runs it"
_REMBG = "a download of 176 MB; tests/pipeline/run/test_per_frame_runs.py runs a chain with a stand-in"
_SEVERAL = "several processes; tests/pipeline/training/test_processes.py starts them"
_STUDY = "hours; tests/pipeline/study/test_study.py runs all parts on tiny data"
NOT_RUN = {
    "make demo": _MAKE,
    "make test": _MAKE,
    "make fast": _MAKE,
    "make lint types": _MAKE,
    "make docs": _MAKE,
    ".venv/bin/python -m pytest tests/pipeline/scoring": "the tests themselves",
    ".venv/bin/pre-commit install": "changes the checkout's hooks",
    "pip install 'fusionseg[onnx]'": _MAKE,
    "pip install 'fusionseg[rembg]'": _MAKE,
    "fusionseg run davis --data ../data --set appearance-training.model=rembg:u2net": _REMBG,
    ".venv/bin/fusionseg run davis --data ../data --set motion-training.steps=1500 --name longer": _HOURS,
    "fusionseg run general --data ../data --data duts=../duts --data ecssd=../ecssd": _HOURS,
    "python benchmarks/cross_validation.py --data ../data --data duts=../duts --data ecssd=../ecssd "
    "--folds 1,2,3": _HOURS,
    ".venv/bin/fusionseg export-onnx davis -o onnx": "docs/inference.md's are run",
    ".venv/bin/fusionseg weak-labels study davis --data ../data": _STUDY,
    "fusionseg weak-labels study davis --data ../data --out out --part purity": _STUDY,
    "fusionseg weak-labels study davis --data ../data --out out --part training": _STUDY,
    "fusionseg weak-labels study davis --data ../data --out out --part second-round": _STUDY,
    ".venv/bin/tensorboard --logdir out/logs": _SERVER,
    "tensorboard --logdir out/logs": _SERVER,
    ".venv/bin/fusionseg import-caffe motion_stream.caffemodel --as motion -o motion.safetensors": _WEIGHTS,
    "fusionseg import-caffe appearance_stream.caffemodel --as appearance -o appearance.safetensors": _WEIGHTS,
    "fusionseg import-caffe motion_stream.caffemodel --as motion -o motion.safetensors": _WEIGHTS,
    "fusionseg import-caffe joint_stream.caffemodel --as joint -o joint.safetensors": _WEIGHTS,
    "fusionseg run paper --data davis2016=../DAVIS --set scores.long_side=513 --set "
    "appearance-training.weights=appearance.safetensors --set motion-training.weights=motion.safetensors --set "
    "fusion-training.weights=joint.safetensors --set fusion-training.fusion=release": _WEIGHTS,
    "export PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_API_URL=http://127.0.0.1:4200/api": _SERVER,
    ".venv/bin/prefect server start": _SERVER,
    ".venv/bin/prefect work-pool create fusionseg --type process": _SERVER,
    ".venv/bin/prefect --no-prompt deploy --all": _SERVER,
    ".venv/bin/prefect worker start --pool fusionseg": _SERVER,
    ".venv/bin/prefect deployment run fusionseg/chain --param profile=demo": _SERVER,
    ".venv/bin/prefect deployment run flow-filter/stage --param profile=demo": _SERVER,
    "fusionseg run davis --data ../data --only motion-training --set motion-training.steps=2000 --set "
    "motion-training.ema=0.99": _HOURS,
    "OMP_NUM_THREADS=1 torchrun --standalone --nproc-per-node 2 -m fusionseg.cli run davis --data ../data --plain "
    "--device cpu": _SEVERAL,
    "accelerate launch --num_processes 4 -m fusionseg.cli run paper --data ../data --plain": _SEVERAL,
    "fusionseg run davis --data ../data --set network.backbone=plain --set network.pretrained=false --set "
    "network.decoder=stacked": _PLUG_INS,
    "fusionseg run my-run.toml --data my-videos=/data/videos --data ../data": "files of the reader's own",
}
# What a page takes for granted that another shows.
BEFORE = {"docs/scoring.md": "export davis --masks masks"}
SLOW = {"docs/inference.md": "exports four networks and compares each with PyTorch: half a minute"}
# Pages whose Python is run elsewhere.
PYTHON_NOT_RUN = {"docs/extending.md": _PLUG_INS}


def typed(words: list[str]) -> str:
    """A line as it stands in `NOT_RUN`."""
    return " ".join(shlex.quote(word) if " " in word or "[" in word else word for word in words)


def test_what_is_not_run_is_still_in_the_docs() -> None:
    shown = {typed(words) for block in blocks("sh") for words in lines(block)}
    assert [line for line in NOT_RUN if line not in shown] == []
    assert [page for page in PYTHON_NOT_RUN if page not in {block.page for block in blocks("python")}] == []


def run_in_order() -> Iterator[tuple[str, list[tuple[str, Block]]]]:
    """Pages with something to run, and its blocks in order, with their languages."""
    every = sorted(
        [(language, block) for language in ("sh", "python") for block in blocks(language)], key=lambda b: b[1]
    )
    for page in dict.fromkeys(block.page for _, block in every):
        yield page, [(language, block) for language, block in every if block.page == page]


RUN = {
    page: found
    for page, found in run_in_order()
    if any(
        page not in PYTHON_NOT_RUN
        if language == "python"
        else any(typed(words) not in NOT_RUN for words in lines(block))
        for language, block in found
    )
}


@pytest.fixture(scope="module")
def prepared(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of tests/workshop.py, made once."""
    folder = tmp_path_factory.mktemp("docs")
    workshop.prepare(finished, folder)
    return folder


@pytest.mark.parametrize("page", [pytest.param(p, marks=[pytest.mark.system] if p in SLOW else []) for p in RUN])
def test_what_a_page_shows_runs(
    page: str, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work = shutil.copytree(prepared, tmp_path / "copy") / "work"
    workshop.enter(work, monkeypatch)
    values = workshop.names(work)
    assert page not in BEFORE or workshop.run_command(shlex.split(BEFORE[page])) == 0
    for language, block in RUN[page]:
        if language == "python" and page not in PYTHON_NOT_RUN:
            exec(compile(block.text, str(block), "exec"), values)
        for words in lines(block) if language == "sh" else ():
            if typed(words) not in NOT_RUN:
                assert words in [[words[0], *one] for one in commands(block)], f"{block}: who runs {typed(words)}?"
                code = workshop.run_command(words[1:])
                assert code == 0, f"{block}: {typed(words)}: exit code {code}: {capsys.readouterr().err}"
    monkeypatch.undo()


def test_pages_with_something_to_run_are_found() -> None:
    assert {"README.md", "docs/artifacts.md", "docs/flow.md", "docs/weak-labels.md", "docs/your-data.md"} <= set(RUN)
    run = [w for found in RUN.values() for language, b in found if language == "sh" for w in lines(b)]
    assert sum(typed(words) not in NOT_RUN for words in run) >= 20


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_settings_of_profiles_are_known(block: Block) -> None:
    values = tomllib.loads(block.text)
    if "project" not in values:  # a package's
        known, whole = sections(), {"data"} | set(values) if not set(values) & set(sections()) else set(values)
        for name in set(values) & set(known):
            assert set(values[name]) <= set(known[name].model_fields), name
        assert whole <= set(known) | set(known["data"].model_fields), block


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_manifests_are_valid(block: Block) -> None:
    values = yaml.safe_load(block.text)
    if "frames" in values:  # a workflow has none
        DataManifest.model_validate(values)


def test_the_changelog_begins_with_this_version_and_has_days() -> None:
    headings = re.findall(r"^## (.+)$", (CHECKOUT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    released = [heading.split(" - ") for heading in headings if heading != "Unreleased"]
    versions, days = zip(*released, strict=True)
    assert versions[0] == tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", day) for day in days)
    assert list(days) == sorted(days, reverse=True)
