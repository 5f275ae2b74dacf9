"""Settings as data and as text."""

from __future__ import annotations

import tomllib

import pytest

from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.settings.listing import collect, sections, text, toml
from fusionseg.pipeline.settings.profile import Profile, read_profile, shipped_profiles


def by_name(profile: Profile | None = None) -> dict[str, object]:
    return {one.name: one.value for one in collect(profile)}


def test_all_fields_of_all_sections_are_there_with_a_reason() -> None:
    found = collect()
    assert list(dict.fromkeys(one.section for one in found)) == list(sections())
    names = [one.name for one in found]
    assert len(set(names)) == len(names) > 100
    for name, section in sections().items():
        assert all(any(one.startswith(f"{name}.{key}") for one in names) for key in section.model_fields), name
    assert [one.name for one in found if not one.description] == []


@pytest.mark.parametrize("name", shipped_profiles())
def test_what_is_shown_can_be_typed(name: str) -> None:
    """Every name and value, given back with --set, leads to the same profile."""
    profile = read_profile(name)
    given = [one for one in collect(profile) if one.value is not None and (one.section != "render" or profile.render)]
    again = read_profile(name, [f"{one.name}={toml(one.value)}" for one in given])
    assert again == profile


def test_values_are_a_profiles_or_the_defaults() -> None:
    assert by_name()["motion-training.steps"] == 700
    davis = {one.name: one for one in collect(read_profile("davis"))}
    steps = davis["motion-training.steps"]
    assert (steps.value, steps.default, steps.changed, steps.values) == (400, 700, True, "integer, 1 or more")
    assert davis["data.boxed.manifest"].value == "davis2016-small" and davis["data.boxed.manifest"].required
    assert davis["data.scored"].value[0]["split"] == "test"
    assert not davis["motion-training.batch"].changed
    assert davis["motion-training.momentum"].values == "number, 0 or more, less than 1"
    assert davis["flow-images.store"].values == '"both", "flow" or "images"'
    assert '"dis-medium"' in davis["optical-flow.method"].values
    assert by_name()["data.validation"] is None and davis["data.validation.split"].value == "validation"


def test_some_of_them() -> None:
    assert {one.section for one in collect(section="run")} == {"run"}
    found = collect(word="GrabCut")
    assert [one.name for one in found] == ["box-pruning.refine"]
    assert [one.name for one in collect(section="run", word="workers")] == ["run.workers"]
    with pytest.raises(UserError, match=r"no section 'motion'; the sections are: data, .*run"):
        collect(section="motion")


@pytest.mark.parametrize("width", [60, 80, 100])
def test_lines_fit(width: int) -> None:
    lines = text(collect(read_profile("paper")), width)
    assert max(map(len, lines)) <= width
    assert "[motion-training]" in lines and "  motion-training.steps=20000  (default 700)" in lines
    assert "  data.fusion.stride=1" in lines
    words = " ".join(" ".join(lines).split())
    assert all(one.description in words for one in collect())


def test_defaults_are_toml() -> None:
    for one in collect():
        if one.value is not None:
            assert tomllib.loads(f"x = {toml(one.value)}")["x"] == one.value
