"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

import fusionseg  # noqa: F401  (before torch: sets how its threads wait)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real data: FUSIONSEG_DATA, by default ../shared/data beside the checkout."""
    beside_checkout = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("FUSIONSEG_DATA") or beside_checkout)
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set FUSIONSEG_DATA")
    return folder
