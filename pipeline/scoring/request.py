"""What `fusionseg score` is asked for: methods and sequences, as they are typed or listed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fusionseg.pipeline.basics.lists import Known, Line, read_lines
from fusionseg.pipeline.basics.text import named_path, nfc
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.formats.kinds import PICTURE_SUFFIXES


@dataclass(frozen=True)
class ScoreRequest:
    """What to score. `masks`: method -> tree; `zero`: missing masks count as empty; `threshold`: of probability maps,
    a share of the largest value of their type; `sequences`: only these, or those that the file `listing` lists, all
    where neither is given; `workers`: processes."""

    protocol: str
    truth: Path
    masks: Mapping[str, Path]
    zero: bool = False
    threshold: float | None = None
    sequences: tuple[str, ...] = ()
    workers: int = 1
    listing: Path | None = None


def named_folders(texts: Sequence[str]) -> dict[str, Path]:
    """NAME=DIR of each text. Raises UserError."""
    found: dict[str, Path] = {}
    for text in texts:
        named = named_path(text)
        if named is None:
            raise UserError(f"--masks {text}: expected NAME=DIR, a method's name and the folder of its masks")
        name, folder = named
        if name in found:
            raise UserError(f"--masks {text}: there are two of the name {name!r}; give each its own")
        found[name] = folder
    return found


def listed(request: ScoreRequest, names: Collection[str]) -> list[str]:
    """Which of the truth's sequences, `names`, are asked for: by name, or by the paths of their frames; none where all
    are. Raises UserError."""
    if not request.sequences and request.listing is None:
        return []
    known = Known(names, PICTURE_SUFFIXES)
    if request.listing is None:
        asked = [Line(number, name.strip()) for number, name in enumerate(request.sequences, 1)]
        for _, name in asked:
            if " " in name and nfc(name) not in known.names and "/" not in name and name[0] not in "\"'":
                raise UserError(f"--sequences {name}: no sequence of that name; several are divided by commas")
        return _known(known, [line for line in asked if line.text], "--sequences, name")
    where = f"--list {request.listing}"
    try:
        lines = read_lines(request.listing, lambda name: name in known.names)
    except OSError as error:
        raise UserError(f"{where}: can't be read ({error.strerror or error})") from None
    except ValueError as error:
        raise UserError(f"--list {error}") from None
    return _known(known, lines, f"{where}, line")


def _known(known: Known, lines: Sequence[Line], where: str) -> list[str]:
    """The sequences that lines name. Raises UserError; `where` and a line's number tell which."""
    if not lines:
        raise UserError(f"{where.partition(',')[0]}: is empty; expected names of sequences")
    try:
        return known.all_of(lines, where)
    except ValueError as error:
        raise UserError(str(error)) from None
