"""Sets of weights that come with the package, by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.graph import STAGES
from fusionseg.pipeline.settings import shipped
from fusionseg.pipeline.settings.profile import read_profile


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the shipped sets, which are two and something else."""
    for name in ("general", "small", "notes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / ("card.md" if name != "notes" else "README")).touch()
    monkeypatch.setattr(shipped, "shipped_folder", lambda: tmp_path)
    return tmp_path


def test_every_stage_that_trains_has_a_file() -> None:
    assert list(shipped.FILES) == [stage.name for stage in STAGES if stage.trained]


def test_the_package_s_own_folder_is_looked_into() -> None:
    assert shipped.shipped_folder().name == "weights" and (shipped.shipped_folder() / "__init__.py").is_file()


def test_a_name_is_the_stage_s_file_of_that_set(sets: Path) -> None:
    assert list(shipped.shipped_sets()) == ["general", "small"]
    for stage, name in shipped.FILES.items():
        assert shipped.weights_file(stage, Path("shipped:small")) == sets / "small" / name


@pytest.mark.parametrize("given", ["mine.safetensors", "/data/shipped:general", "shipped/general.safetensors"])
def test_a_path_stays_a_path(given: str) -> None:
    assert shipped.set_name(given) is None
    assert shipped.weights_file("motion-training", Path(given)) == Path(given)


def test_a_set_that_is_not_there_is_told_in_one_line(sets: Path) -> None:
    with pytest.raises(UserError) as caught:
        shipped.weights_file("motion-training", Path("shipped:generl"))
    assert str(caught.value) == (
        "motion-training.weights = shipped:generl: no such set of shipped weights (did you mean 'general'?); there "
        "are: shipped:general, shipped:small; or give the path of a .safetensors file"
    )


def test_without_any_set_the_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "shipped_folder", lambda: tmp_path)
    with pytest.raises(UserError, match=r"no such set of shipped weights; there are: none in this version"):
        shipped.weights_file("fusion-training", Path("shipped:general"))


@pytest.mark.parametrize("value", ["shipped:general", '"shipped:general"', "'shipped:general'"])
def test_settings_keep_the_name(value: str) -> None:
    """So that a run's record names the set, not a folder of one machine."""
    profile = read_profile("davis", [f"motion-training.weights={value}"])
    assert profile.as_dict()["motion-training"]["weights"] == "shipped:general"
