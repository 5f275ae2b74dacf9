"""Lists of names that people write: what each line names, by one set of rules for all commands.

Blank lines and lines that begin with `#` are passed over. A line is a name as a whole where there is such a name ("red
ball"), else by its first words, at least the first; quotes around a name are taken off. The path of a frame, or of a
folder, stands for the video that lies on it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from fusionseg.pipeline.basics.text import closest, nfc, read_text

_SHOWN = 80  # characters of a line that an error shows
_QUOTED = re.compile(r"""(["'])(?P<name>.+?)\1(?=\s|$)""")


class Line(NamedTuple):
    """A line that says something: its number from 1, and its text without space around it, in Unicode's NFC."""

    number: int
    text: str


def read_lines(path: Path, known: Callable[[str], bool] = lambda name: False) -> list[Line]:
    """The lines of a list that say something; a name that is `known` may begin with `#`. Raises OSError, ValueError
    with the words to say."""
    lines = [Line(number, nfc(text.strip())) for number, text in enumerate(read_text(path).splitlines(), 1)]
    return [line for line in lines if line.text and (not line.text.startswith("#") or known(line.text))]


def candidates(text: str) -> Iterator[str]:
    """What a line may name, the likeliest first: all of it, or what is quoted, then ever fewer of its words.

    >>> list(candidates("red ball 1")), list(candidates("'red ball' 1"))
    (['red ball 1', 'red ball', 'red'], ["'red ball' 1", 'red ball'])
    """
    yield text
    if quoted := _QUOTED.match(text):
        yield quoted["name"]
        return
    ends = [space.start() for space in re.finditer(r"\s+", text)]
    yield from (text[:end] for end in reversed(ends))


class Known:
    """Names that there are, to be found again in what people write. `pictures`: suffixes of frames' files."""

    def __init__(self, names: Collection[str], pictures: Collection[str]) -> None:
        self.names = {nfc(name): name for name in names}
        self._deepest = max((name.count("/") + 1 for name in names), default=1)
        suffixes = "|".join(re.escape(suffix) for suffix in pictures)
        self._frame = re.compile(rf".+?(?:{suffixes})(?=\s|$)", re.IGNORECASE)

    def find(self, text: str) -> str | None:
        """The name that a line stands for, as it is known; None where it names nothing that is."""
        text = nfc(text)
        names = [name.removeprefix("*") if name not in self.names else name for name in candidates(text)]
        found = next((name for name in names if name in self.names), None) or self._on_path(text, names)
        return None if found is None else self.names[found]

    def _on_path(self, text: str, names: list[str]) -> str | None:
        """The longest name on the path of a frame or folder that a line begins with; of equal ones the last."""
        frame = self._frame.match(text.strip("\"'"))
        paths = [path.replace("\\", "/").rstrip("/").split("/") for path in ([frame.group()] if frame else names)]
        for parts in paths:
            if frame or parts[-1].isdecimal():  # a frame, which lies somewhere below its sequence
                found = self._longest(parts[:-1])
            else:
                found = self._longest(parts, only_last=True)
            if found:
                return found
        return None

    def _longest(self, parts: list[str], only_last: bool = False) -> str | None:
        for length in range(min(len(parts), self._deepest), 0, -1):
            last = len(parts) - length
            for start in (last,) if only_last else range(last, -1, -1):
                if (name := "/".join(parts[start : start + length])) in self.names:
                    return name
        return None

    def all_of(self, lines: Collection[Line], where: str) -> list[str]:
        """The names of all lines, each once, in order. Raises ValueError, with the words to say, for the first line
        that names nothing; `where` is said ahead of its number."""
        found: dict[str, None] = {}
        for number, text in lines:
            name = self.find(text)
            if name is None:
                raise ValueError(f"{where} {number}: {self.unknown(text)}")
            found[name] = None
        return list(found)

    def unknown(self, text: str) -> str:
        """What is said of a line that names nothing."""
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
        return f"no sequence {shown!r}; {closest(shown, self.names)}"
