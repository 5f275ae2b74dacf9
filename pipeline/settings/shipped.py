"""Sets of trained weights that come with the package, and the names by which settings take them: a folder a set, with a
file for each network, a model card and a licence."""

from __future__ import annotations

from pathlib import Path

import fusionseg.weights
from fusionseg.pipeline.basics.validation import meant
from fusionseg.pipeline.errors import UserError

PREFIX = "shipped:"
# Of a set: the file that takes a stage's place, and what tells of all three.
FILES = {
    "appearance-training": "appearance.safetensors",
    "motion-training": "motion.safetensors",
    "fusion-training": "fusion.safetensors",
}
CARD, LICENCE = "card.md", "LICENSE"


def shipped_folder() -> Path:
    """Where the sets lie."""
    return Path(fusionseg.weights.__file__ or "").parent


def shipped_sets() -> dict[str, Path]:
    """The folders of the sets that come with the package, by name."""
    return {path.parent.name: path.parent for path in sorted(shipped_folder().glob(f"*/{CARD}"))}


def weights_file(stage: str, given: Path) -> Path:
    """The file that a setting `weights` of `stage` means: the stage's in a shipped set where it names one, else itself.
    Raises UserError for a set that isn't there.

    >>> weights_file("motion-training", Path("mine.safetensors"))
    PosixPath('mine.safetensors')
    """
    name = set_name(str(given))
    return given if name is None else shipped_set(name, f"{stage}.weights =") / FILES[stage]


def set_name(text: str) -> str | None:
    """The set that a text names; None where it names none.

    >>> set_name("shipped:general"), set_name("general.safetensors")
    ('general', None)
    """
    return text.removeprefix(PREFIX) if text.startswith(PREFIX) else None


def shipped_set(name: str, what: str) -> Path:
    """The folder of a set; `what` named it, in words. Raises UserError."""
    known = shipped_sets()
    if name not in known:
        named = ", ".join(f"{PREFIX}{one}" for one in known) or "none in this version"
        raise UserError(
            f"{what} {PREFIX}{name}: no such set of shipped weights{meant(name, known)}; there are: {named}; or give "
            "the path of a .safetensors file"
        )
    return known[name]
