"""What a user asks for, as plain values, and what follows from it before any data is looked at."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from fusionseg.pipeline.basics.digests import json_digest
from fusionseg.pipeline.basics.paths import AnyPath, as_path
from fusionseg.pipeline.datasets.items import Item
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.graph import BY_NAME, EVERY
from fusionseg.pipeline.settings.profile import Profile, read_profile
from fusionseg.pipeline.store.runs import check_run_name


@dataclass(frozen=True)
class Request:
    """`data`: ROOT or NAME=ROOT; `out`: folder of artifacts and runs; `name`: of the run (None: the profile's);
    `overrides`: section.key=value; `leave_out`: videos or stills as "data set/name"; `shard`: "K/N", only the K-th of N
    parts of the videos, for one stage; `only`: that stage alone; `refresh`: stages to compute anew. Each path may be a
    string or any `os.PathLike`, and where there are several of something, one alone needs no tuple."""

    profile: AnyPath
    data: Sequence[AnyPath] = ()
    out: AnyPath = "out"
    name: str | None = None
    overrides: Sequence[str] = ()
    device: str = "auto"
    leave_out: Sequence[str] = ()
    shard: str | None = None
    only: str | None = None
    refresh: Sequence[str] = ()

    def __post_init__(self) -> None:
        """All of it plain strings and tuples of them, whatever was given."""
        for name in ("profile", "out"):
            object.__setattr__(self, name, os.fspath(getattr(self, name)))
        for name in ("data", "overrides", "leave_out", "refresh"):
            object.__setattr__(self, name, _strings(getattr(self, name)))

    def as_parameters(self) -> dict[str, Any]:
        """As JSON has it, for whoever hands it on by name: a flow, another process."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_parameters(cls, **values: Any) -> Request:
        """The request that `as_parameters` was made of; None is what isn't said."""
        given = {name: value for name, value in values.items() if value is not None}
        plain: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in given.items()}
        return cls(**plain)

    @cached_property
    def settings(self) -> Profile:
        """The profile with the overrides, read once. Raises UserError."""
        return read_profile(self.profile, self.overrides)

    @cached_property
    def root(self) -> Path:
        """The store's root. Raises UserError."""
        try:
            return as_path(self.out).resolve()
        except UserError as error:
            raise UserError(f"--out: {error}") from None

    @property
    def run_name(self) -> str:
        """The run's name. Raises UserError for one that can't be a file's."""
        name = self.name or self.settings.name
        check_run_name(name)
        return name

    @property
    def whole(self) -> bool:
        """Whether it asks for the whole chain."""
        return self.only is None

    def without(self, name: str) -> Request:
        """The same without a video or still ("data set/name") that can't be used."""
        return replace(self, leave_out=(*self.leave_out, name))


def _strings(given: Sequence[AnyPath] | AnyPath) -> tuple[str, ...]:
    several = (given,) if isinstance(given, str | os.PathLike) else given
    return tuple(os.fspath(one) for one in several)


def check_shard(request: Request) -> None:
    """Parts of videos are for one stage of videos. Raises UserError."""
    if request.shard is None:
        return
    parse_shard(request.shard)
    if request.only is None or BY_NAME[request.only].unit != "video":
        videos = [stage.name for stage in EVERY if stage.unit == "video"]
        raise UserError(f"--shard works on one stage of videos: add --only with one of {', '.join(videos)}")


def parse_shard(text: str) -> tuple[int, int]:
    """ "K/N" as numbers. Raises UserError.

    >>> parse_shard("2/8")
    (2, 8)
    """
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise UserError(f"--shard {text}: expected K/N with 1 <= K <= N, e.g. 3/8 for the third of eight parts")
    return int(found[1]), int(found[2])


def in_shard(item: Item, shard: str | None) -> bool:
    """Whether a video belongs to a part. Its name decides, so the parts of all stages agree on every machine."""
    if shard is None:
        return True
    part, parts = parse_shard(shard)
    return int(json_digest([item.dataset, item.name]), 16) % parts == part - 1
