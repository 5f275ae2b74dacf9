"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import fusionseg  # noqa: F401  (before torch: sets how its threads wait)

# No test is timed, and all see the same examples: what fails fails for everybody. `--hypothesis-profile=explore` looks
# for new ones.
settings.register_profile("same", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", settings.get_profile("same"), derandomize=False, max_examples=1000)
settings.load_profile("same")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real data: FUSIONSEG_DATA, by default ../shared/data beside the checkout."""
    beside_checkout = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("FUSIONSEG_DATA") or beside_checkout)
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set FUSIONSEG_DATA")
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run of tests/tiny.py, computed once; not to be changed."""
    from tiny import Said, request, run

    from fusionseg.pipeline.graph import STAGES

    folder, said = tmp_path_factory.mktemp("chain"), Said()
    run(request(folder), say=said)
    assert said.states() == {stage.name: "computed" for stage in STAGES}
    return folder
