"""The docs as a site: it builds strictly, tells of every stage and setting, and loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fusionseg.pipeline.graph import EVERY, STAGES
from fusionseg.pipeline.settings.profile import Profile

pytest.importorskip("mkdocs")
CHECKOUT = Path(__file__).resolve().parents[1]
LOADED = {"src", "srcset", "poster", "data", "action", "formaction"}  # attributes whose address a browser fetches
OUTSIDE = re.compile(r"^\s*(?:\w+:)?//")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        command, cwd=CHECKOUT, capture_output=True, text=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Loads(HTMLParser):
    """What a page has a browser fetch from elsewhere; links that a reader clicks are none of it."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.classes: set[str] = set()
        self.ids: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.classes |= set(found.get("class", "").split())
        self.ids.add(found.get("id", ""))
        fetched = {name for name in found if name in LOADED or (tag in ("link", "use", "image") and "href" in name)}
        self.outside += [f"<{tag} {name}={found[name]}>" for name in fetched if OUTSIDE.match(found[name])]
        self.outside += outside_of_style(found.get("style", ""))

    handle_startendtag = handle_starttag


def outside_of_style(text: str) -> list[str]:
    """Addresses elsewhere that a style sheet loads: pictures, fonts, other sheets."""
    named = re.findall(r"url\(\s*[\"']?([^\"')]+)|@import\s+[\"']([^\"']+)", text)
    return [address for pair in named for address in pair if OUTSIDE.match(address)]


@pytest.mark.system
def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = {path: Loads(path) for path in site.rglob("*.html")}
    assert len(pages) > 30
    assert {path.name: page.outside for path, page in pages.items() if page.outside} == {}
    assert {path.name: found for path in site.rglob("*.css") if (found := outside_of_style(path.read_text()))} == {}
    for path, page in pages.items():  # for each of these the theme's script would fetch something
        assert "mermaid" not in page.classes, path
        assert "md-source" not in page.classes, path
        assert not re.search(r"url\(\s*[\"']?https?:", path.read_text(encoding="utf-8")), path


def test_what_is_loaded_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(
        '<a href="https://a.org">a</a><script src="https://b.org/b.js"></script><link href="//c.org/c.css">'
        '<p style="background: url(https://d.org/d.png)"></p><img src="e.png">'
    )
    assert len(Loads(page).outside) == 3
    assert outside_of_style('@import "https://f.org/f.css"; @font-face { src: url("https://g.org/g.woff") }') == [
        "https://f.org/f.css", "https://g.org/g.woff",
    ]  # fmt: skip


@pytest.mark.system
def test_every_stage_and_every_setting_has_its_place(site: Path) -> None:
    stages, settings = ((site / f"{name}.html").read_text(encoding="utf-8") for name in ("stages", "settings"))
    assert {stage.name for stage in STAGES} <= Loads(site / "stages.html").ids
    assert all(f"<code>{stage.name}</code>" in stages and stage.title in stages for stage in EVERY)
    for name, info in Profile.model_fields.items():
        section = getattr(info.annotation, "model_fields", {})
        assert not section or f'id="{info.alias or name}"' in settings
        assert all(f"<code>{key}</code>" in settings for key in section)


@pytest.mark.system
def test_pages_of_the_checkout_and_of_the_api_are_there(site: Path) -> None:
    assert "graph" in Loads(site / "index.html").classes, "the graph as a picture"
    for name in ("contributing", "changelog", "notice"):
        assert (site / f"{name}.html").exists()
    assert "fusionseg.run" in (site / "api" / "fusionseg.html").read_text(encoding="utf-8")
    assert "fusionseg.pipeline.graph.Stage" in Loads(site / "api" / "pipeline.html").ids
    assert "fusionseg.models.stream.Stream" in Loads(site / "api" / "models.html").ids
