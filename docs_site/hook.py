"""What MkDocs calls while it builds the site: pages that are made of the code and of the checkout's own files.

`make docs` builds it. Nothing of the pipeline is run, and PyTorch isn't loaded: docstrings are read, not imported.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT))  # ahead of an installed copy

import api  # noqa: E402
import links  # noqa: E402
import settings_page  # noqa: E402
import stages_page  # noqa: E402
from mkdocs.config.defaults import MkDocsConfig  # noqa: E402
from mkdocs.plugins import event_priority  # noqa: E402
from mkdocs.structure.files import File, Files  # noqa: E402
from mkdocs.structure.pages import Page  # noqa: E402

_tree: Path | None = None


@event_priority(100)  # ahead of mkdocstrings, which reads its paths once
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Name the package's true shape to mkdocstrings, and put the API's pages last into the navigation."""
    global _tree
    _tree = Path(tempfile.mkdtemp(prefix="fusionseg-docs-"))
    api.link_package(CHECKOUT, _tree)
    handlers: dict[str, Any] = config.plugins["mkdocstrings"].config["handlers"]
    handlers["python"]["paths"] = [str(_tree)]
    assert config.nav is not None
    config.nav.append({"API": [{room.title: room.page} for room in api.rooms(CHECKOUT)]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that docs/ doesn't hold."""
    made = {page: links.of_root(name, CHECKOUT) for page, name in links.ROOT_PAGES.items()}
    made["stages.md"] = stages_page.page(CHECKOUT)
    made["settings.md"] = settings_page.page()
    made |= {room.page: room.markdown for room in api.rooms(CHECKOUT)}
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """README's diagram as a picture; links of the pages in docs/ to files beside docs/."""
    return stages_page.draw_graph(markdown) if page.file.src_uri == "index.md" else links.of_docs(markdown)


def on_post_build(config: MkDocsConfig) -> None:
    _remove_tree()


def on_build_error(error: Exception) -> None:
    _remove_tree()


def _remove_tree() -> None:
    if _tree is not None:
        shutil.rmtree(_tree, ignore_errors=True)
