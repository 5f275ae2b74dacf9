"""What people write: text files in any Unicode encoding that says what it is, names in either Unicode form, paths."""

from __future__ import annotations

import codecs
import difflib
import os
import unicodedata
from collections.abc import Collection
from pathlib import Path

# Encodings that a byte-order mark tells; UTF-32's begins with UTF-16's, so it comes first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ALIKE = 0.5  # of difflib's ratio: what is less like a name isn't a slip of it
_ADVICE = "save it as UTF-8"


def nfc(name: str) -> str:
    """A name in Unicode's composed form: é is one letter, however it was typed or stored.

    >>> nfc("cafe\\u0301") == "caf\\u00e9"
    True
    """
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def read_text(path: Path, unmarked: str = "utf-8") -> str:
    """A text file in UTF-8, UTF-16 or UTF-32 with a byte-order mark, which is left out, or `unmarked` without one.

    Raises OSError, and ValueError, with the words to say (they begin with the path), for any other.
    """
    data = path.read_bytes()
    mark, encoding = next((found for found in _MARKS if data.startswith(found[0])), (b"", unmarked))
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        line = data[len(mark) : len(mark) + error.start].count(b"\n") + 1
        byte = f"byte 0x{error.object[error.start]:02x}"
        raise ValueError(f"{path}, line {line}: not {encoding.upper()} text ({byte}); {_ADVICE}") from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise ValueError(f"{path}, line {line}: holds a byte 0, as no text does; is it the right file? {_ADVICE}")
    return text


def closest(name: str, known: Collection[str], most: int = 3) -> str:
    """What may have been meant by a name that isn't known, or, where none is like it, some that are.

    >>> closest("beer", ["bear", "dog"]), closest("x", ["bear", "dog"])
    ("did you mean 'bear'?", 'it has: bear, dog')
    """
    folded = {one.casefold(): one for one in reversed(list(known))}
    if near := difflib.get_close_matches(name.casefold(), folded, most, _ALIKE):
        return f"did you mean {' or '.join(repr(folded[one]) for one in near)}?"
    names = list(known)
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return f"it has: {', '.join(names[:20])}{more}" if names else "it has none"


def user_path(text: str | Path) -> Path:
    """The path that a person means: `~` is a home, quotes that no shell took off are no part of it, and é is found in
    either Unicode form. What is there as it was typed stays so. Raises ValueError for no path at all.

    >>> user_path("data/").name, user_path("'my data'").name
    ('data', 'my data')
    """
    typed = os.fspath(text)
    if not typed.strip() or "\0" in typed:
        raise ValueError(f"{typed!r} is no path")
    meant = os.path.expanduser(_unquoted(typed.strip()))  # noqa: PTH111 (leaves ~nobody as it is)
    forms = (typed, meant, nfc(meant), unicodedata.normalize("NFD", meant))
    return Path(next((form for form in forms if os.path.lexists(form)), meant))


def _unquoted(text: str) -> str:
    quoted = len(text) > 2 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1] if quoted else text


def named_path(text: str) -> tuple[str, Path] | None:
    """NAME=PATH as name and path; None where it isn't written so. A folder's own name may have a `=`.

    >>> named_path("davis=data"), named_path("../a=b")
    (('davis', PosixPath('data')), None)
    """
    name, sign, path = text.partition("=")
    if not (name.strip() and sign and path.strip()) or "/" in name:
        return None
    return nfc(name.strip()), user_path(path)
