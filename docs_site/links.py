"""Files of the checkout's root as pages of the site, with links that hold there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

# page of the site -> file in the checkout's root
ROOT_PAGES = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "notice.md": "NOTICE",
}
_PAGES = {name: page for page, name in ROOT_PAGES.items()}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|mailto:|#)([^)\s#]*)(#[^)\s]*)?\)")
_FENCE = re.compile(r"^(`{3,}).*?^\1[ ]*$", re.MULTILINE | re.DOTALL)


def of_root(name: str, checkout: Path) -> str:
    """The page made of a file in the root."""
    text = (checkout / name).read_text(encoding="utf-8")
    if not name.endswith(".md"):
        return f"# {name.capitalize()}\n\n```text\n{text}```\n"
    return _outside_code(text, lambda link: _moved(link, link[3]))


def of_docs(text: str) -> str:
    """A page of docs/, whose links to the root begin with `../`."""

    def moved(link: re.Match[str]) -> str:
        return _moved(link, link[3][3:]) if link[3].startswith("../") else link[0]

    return _outside_code(text, moved)


def _moved(link: re.Match[str], target: str) -> str:
    """The link to `target`, a path from the root, as the site has it; a file that it hasn't is named, not linked to."""
    mark, text, anchor = link[1], link[2], link[4] or ""
    page = target.removeprefix("docs/") if target.startswith("docs/") else _PAGES.get(target)
    if page is None:
        return text
    bare = text.removeprefix("docs/").removesuffix(".md")
    return f"{mark}[{bare if text == target else text}]({page}{anchor})"


def _outside_code(text: str, change: Callable[[re.Match[str]], str]) -> str:
    """`text` with its links changed, fenced blocks left alone."""
    done, begin = [], 0
    for fence in _FENCE.finditer(text):
        done += [_LINK.sub(change, text[begin : fence.start()]), fence[0]]
        begin = fence.end()
    return "".join([*done, _LINK.sub(change, text[begin:])])
