"""What the docs name is there: paths, links, commands with their options; and their Python can be read."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer import TyperException
from typer.main import get_command

from fusionseg.cli.app import make_app

CHECKOUT = Path(__file__).resolve().parents[1]
PAGES = sorted([*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").glob("*.md"), *(CHECKOUT / ".github").rglob("*.md")])
GUIDES = [page for page in PAGES if page.name != "CHANGELOG.md"]  # that may name what is gone
# What a path in the checkout begins with; `out/...` and paths of data sets are somewhere else.
FOLDERS = {
    ".ci", ".github", "benchmarks", "data_manifests", "docs", "docs_site", "flows", "fusionseg", "models", "pipeline",
    "profiles", "tests",
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


def commands(block: Block) -> list[list[str]]:
    """The words behind `fusionseg` of every line that begins with it, up to a pipe or a comment."""
    found = []
    for line in block.text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=OPERATORS)
        lexer.commenters, lexer.whitespace_split = "#", True
        words = []
        for word in lexer:
            if set(word) <= set(OPERATORS):
                break
            words.append(word)
        if words and words[0] in ("fusionseg", ".venv/bin/fusionseg"):
            found.append(words[1:])
    return found


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


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_compiles(block: Block) -> None:
    compile(block.text, str(block), "exec")


def test_the_changelog_begins_with_this_version_and_has_days() -> None:
    headings = re.findall(r"^## (.+)$", (CHECKOUT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    released = [heading.split(" - ") for heading in headings if heading != "Unreleased"]
    versions, days = zip(*released, strict=True)
    assert versions[0] == tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", day) for day in days)
    assert list(days) == sorted(days, reverse=True)
