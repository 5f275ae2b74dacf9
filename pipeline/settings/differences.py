"""What differs between the settings of two runs, as dotted keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from fusionseg.pipeline.settings.profile import Profile

ABSENT = "–"  # where one of the two has no such setting
_HOW = ("name", "description", "run")  # what a run is called, and how it is computed: results don't depend on it


class Change(NamedTuple):
    """A setting by its dotted key, its value before and now, in words."""

    key: str
    before: str
    now: str

    def __str__(self) -> str:
        return f"{self.key} {self.now} (was {self.before})"


def dotted(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as dotted keys with their values in words.

    >>> list(dotted({"flow-filter": {"min_overlap": 0.5}, "name": "x", "scored": [{"split": "val"}]}))
    [('flow-filter.min_overlap', '0.5'), ('name', 'x'), ('scored.0.split', 'val')]
    """
    if isinstance(value, Mapping):
        parts = value.items()
    elif isinstance(value, list) and any(isinstance(part, Mapping) for part in value):
        parts = {str(n): part for n, part in enumerate(value)}.items()
    else:
        yield key, str(value)
        return
    for name, part in parts:
        yield from dotted(part, f"{key}.{name}" if key else str(name))


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """What differs between two nested mappings of settings, in their order.

    >>> changes({"run": {"batch": 4}}, {"run": {"batch": 8, "workers": 2}})
    [Change(key='run.batch', before='4', now='8'), Change(key='run.workers', before='–', now='2')]
    """
    left, right = dict(dotted(before)), dict(dotted(now))
    every = [Change(key, left.get(key, ABSENT), right.get(key, ABSENT)) for key in dict.fromkeys([*left, *right])]
    return [change for change in every if change.before != change.now]


def changed_settings(before: Profile, now: Profile) -> list[Change]:
    """The settings that results depend on and that differ between two profiles."""
    left, right = ({n: part for n, part in one.as_dict().items() if n not in _HOW} for one in (before, now))
    return changes(left, right)


def listed(found: list[Change], most: int = 3) -> str:
    """A few of them in words.

    >>> listed([Change("run.batch", "4", "8"), Change("run.workers", "–", "2")], 1)
    'run.batch 8 (was 4) and 1 more'
    """
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(map(str, found[:most])) + more
