"""What a user asks for, and how it is handed on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import write_profile

from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.run.request import Request

WORDS = st.lists(st.text(max_size=5), max_size=3).map(tuple)
REQUESTS = st.builds(
    Request, profile=st.text(max_size=5), data=WORDS, out=st.text(max_size=5), name=st.none() | st.text(max_size=5),
    overrides=WORDS, device=st.just("cpu"), leave_out=WORDS, shard=st.none() | st.just("1/2"),
    only=st.none() | st.just("scoring"), refresh=WORDS,
)  # fmt: skip


@given(REQUESTS)
def test_parameters_are_json_and_lead_back(request: Request) -> None:
    parameters = request.as_parameters()
    assert Request.from_parameters(**json.loads(json.dumps(parameters))) == request


def test_what_is_not_said_is_the_default() -> None:
    assert Request.from_parameters(profile="demo", data=None, refresh=None, only=None) == Request("demo")


def test_the_profile_is_read_once_with_its_overrides(tmp_path: Path) -> None:
    path = write_profile(tmp_path)
    request = Request(str(path), overrides=("run.workers=7",))
    assert request.settings.run.workers == 7
    path.unlink()
    assert request.settings is request.settings, "read before"
    with pytest.raises(UserError, match="no profile"):
        _ = replace(request, out="elsewhere").settings


def test_a_run_is_named_after_its_profile_or_as_asked(tmp_path: Path) -> None:
    request = Request(str(write_profile(tmp_path)))
    assert (request.run_name, replace(request, name="own 1").run_name) == ("tiny", "own 1")
    for name in ("../x", "", ".hidden", "a/b", "x" * 101):
        with pytest.raises(UserError, match="it becomes a file name"):
            _ = replace(request, name=name or " ").run_name


def test_what_is_left_out_adds_up() -> None:
    request = Request("demo").without("set/a").without("set/b")
    assert request.leave_out == ("set/a", "set/b") and request.whole and not replace(request, only="scoring").whole
