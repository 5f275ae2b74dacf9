"""The model card of a set of weights, its licence, and what a set must have to be handed on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fusionseg.models.weights import WeightsError, read_weights
from fusionseg.pipeline.pages.render import render
from fusionseg.pipeline.settings.shipped import CARD, FILES, LICENCE, PREFIX, shipped_sets
from fusionseg.pipeline.store.runs import RunRecord

MOST_BYTES = 25_000_000  # of a set: what a package can carry
OPEN = "TO FILL"  # where a card waits for its author
SECTIONS = ("Intended use", "Data and terms", "Measured", "Limits", "How to make it again")
_FIELDS = ("settings", "software", "made", "original", "half_precision", "origin", "content")
_STAGES = {Path(file).stem: stage for stage, file in FILES.items()}


def card(name: str, run: RunRecord, headers: Mapping[str, Mapping[str, Any]]) -> str:
    """The card of the set `name`, in Markdown, as far as the run can tell; `headers`: of its files, by network."""
    origins = [header["origin"] for header in headers.values()]
    origin = next((one for one in origins if "profile" in one), origins[0])
    others = {one["command"] for one in origins} - {origin["command"]}
    return render("card.md.j2", name=name, run=run, headers=headers, origin=origin, others=sorted(others), open=OPEN)


def licence(name: str) -> str:
    """The text of a set's licence file."""
    return render("weights_licence.txt.j2", name=name)


def listed() -> list[str]:
    """The sets that come with the package, how to use them, and where their cards are."""
    lines = []
    for name, folder in shipped_sets().items():
        uses = " ".join(f"--set {stage}.weights={PREFIX}{name}" for stage in FILES)
        lines += [f"{name}: {size_of(folder) / 1e6:.1f} MB", f"  {uses}", f"  {folder / CARD}", f"  {folder / LICENCE}"]
    return lines or ["no weights come with this version; `fusionseg weights pack` makes a set of a run's"]


def size_of(folder: Path) -> int:
    """Bytes of all that a set holds."""
    return sum(path.stat().st_size for path in folder.glob("*") if path.is_file())


def problems(folder: Path) -> list[str]:
    """In words, what a set of weights lacks to be handed on."""
    return [*_files(folder), *_card(folder)]


def _files(folder: Path) -> Iterator[str]:
    for name in (*FILES.values(), CARD, LICENCE):
        if not (folder / name).is_file():
            yield f"{name} is missing"
    if (size := size_of(folder)) > MOST_BYTES:
        yield f"{size / 1e6:.1f} MB, at most {MOST_BYTES / 1e6:.0f} MB expected"
    for network, stage in _STAGES.items():
        yield from _weights(folder / FILES[stage], stage, network)


def _weights(path: Path, stage: str, network: str) -> Iterator[str]:
    if not path.is_file():
        return
    try:
        _, header = read_weights(path)
    except WeightsError as error:
        yield str(error)
        return
    if lacking := [name for name in _FIELDS if not header.get(name)]:
        yield f"{path.name}: its header lacks {', '.join(lacking)}"
    elif not header["origin"].get("command"):
        yield f"{path.name}: its header lacks the command that made it"
    if not str(header.get("stage", "")).startswith(stage):
        yield f"{path.name}: made by {header.get('stage', 'no stage')}, expected the {network} network of {stage}"
    if header["content"] not in _text(path.parent / CARD):
        yield f"{CARD}: doesn't name the digest {header['content']} of {path.name}"


def _card(folder: Path) -> Iterator[str]:
    text = _text(folder / CARD)
    headings = {line.lstrip("# ").strip() for line in text.splitlines() if line.startswith("## ")}
    if missing := [section for section in SECTIONS if section not in headings]:
        yield f"{CARD}: lacks the sections {', '.join(missing)}"
    if count := text.count(OPEN):
        yield f"{CARD}: {count} places say {OPEN}"


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
