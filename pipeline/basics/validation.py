"""Errors of pydantic's as one line for people."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError

Kinds = Mapping[str, type[BaseModel]]
_PREFIXES = {"Value error, ": "", "Input should be ": "expected "}
# What was expected, by the type of pydantic's error, with the names of its context.
_EXPECTED = {
    "missing": "missing",
    "greater_than_equal": "expected {ge:g} or more",
    "greater_than": "expected more than {gt:g}",
    "less_than_equal": "expected {le:g} or less",
    "less_than": "expected less than {lt:g}",
    "bool_parsing": "expected true or false",
    "bool_type": "expected true or false",
    "int_parsing": "expected a whole number",
    "int_parsing_size": "expected a whole number with fewer digits",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_parsing": "expected a number",
    "float_type": "expected a number",
    "string_type": "expected text",
    "tuple_type": "expected a list",
    "list_type": "expected a list",
    "too_short": "expected {min_length} or more in the list",
    "too_long": "expected at most {max_length} in the list",
}


_SHOWN = 120  # characters of what was found


class Fault(NamedTuple):
    """One thing that is wrong: the keys that lead there, and in words what was found and is expected."""

    keys: tuple[str, ...]
    words: str

    @property
    def text(self) -> str:
        """Where, and what."""
        return (
            f"{'.'.join(self.keys)}: {self.words}" if self.keys and not self.words.startswith("unknown") else self.words
        )


def explain(error: ValidationError, model: type[BaseModel], kinds: Kinds | None = None) -> str:
    """All faults of a validation in one line: field, what was found, what is known or expected. `kinds`: models that a
    value may be of, by their tag in an error's location."""
    return "; ".join(fault.text for fault in faults(error, model, kinds))


def faults(error: ValidationError, model: type[BaseModel], kinds: Kinds | None = None) -> list[Fault]:
    """The same one by one, each once."""
    errors = error.errors()
    outer = {one["loc"][:n] for one in errors for n in range(len(one["loc"]))}
    # A list whose only entry is wrong counts as empty: that entry's faults say it all.
    told = [one for one in errors if one["type"] != "too_short" or one["loc"] not in outer]
    found = [_fault(one, model, kinds or {}) for one in told]
    return list({fault.text: fault for fault in found}.values())


def _fault(error: Any, model: type[BaseModel], kinds: Kinds) -> Fault:
    keys, inner = tuple(map(str, error["loc"])), list(_models(model, error["loc"], kinds))
    if error["type"] == "extra_forbidden":
        *_, outer = _models(model, error["loc"][:-1], kinds)
        return Fault(keys, _unknown(keys, _keys(outer)))
    if error["type"] in ("model_type", "model_attributes_type", "dict_type") and len(inner) > 1:
        what = f"expected a table of {', '.join(_keys(inner[-1]))}"
    else:
        said = _EXPECTED.get(error["type"])
        what = said.format_map(error.get("ctx", {})) if said else _plain(error["msg"])
    nothing = error["type"] == "missing" or isinstance(error["input"], dict)
    return Fault(keys, what if nothing else f"{what}, found {_short(repr(error['input']))}")


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _plain(message: str) -> str:
    for begin, instead in _PREFIXES.items():
        if message.startswith(begin):
            return instead + message.removeprefix(begin)
    return message


def _unknown(keys: Sequence[str], known: Sequence[str]) -> str:
    return f"unknown key {'.'.join(keys)!r}; known here: {', '.join(known)}{meant(keys[-1], known)}"


def meant(word: str, known: Iterable[str]) -> str:
    """What was probably meant by a word that isn't known, in brackets; "" where nothing is like it.

    >>> meant("motion_training", ["motion-training", "run"]), meant("x", ["run"])
    (" (did you mean 'motion-training'?)", '')
    """
    plain: Callable[[str], str] = lambda text: text.lower().replace("_", "-")  # noqa: E731
    names = {plain(name): name for name in known}
    close = difflib.get_close_matches(plain(word), names, 1)
    return f" (did you mean {names[close[0]]!r}?)" if close else ""


def _models(model: type[BaseModel], loc: Sequence[int | str], kinds: Kinds) -> Iterator[type[BaseModel]]:
    """The models that a location leads through."""
    yield model
    for part in loc:
        for name, info in model.model_fields.items():
            for inner in (info.annotation, *get_args(info.annotation)):  # itself, or what a mapping holds
                if part in (name, info.alias) and isinstance(inner, type) and issubclass(inner, BaseModel):
                    yield (model := inner)
        if str(part) in kinds:
            yield (model := kinds[str(part)])


def _keys(model: type[BaseModel]) -> list[str]:
    return [info.alias or name for name, info in model.model_fields.items()]
