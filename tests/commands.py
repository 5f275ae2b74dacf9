"""Commands that must fail, and how."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import write_profile

from fusionseg.cli import main


def fails(capsys: pytest.CaptureFixture[str], out: Path, *arguments: object) -> str:
    """Run a command that must fail with exit code 2, one line of error and no artifact half-written; the line."""
    assert main([str(argument) for argument in arguments]) == 2
    error = capsys.readouterr().err.strip()
    lines = [line for line in error.splitlines() if not line.startswith("  ")]  # progress is indented
    assert len(lines) == 1 and lines[0].startswith("fusionseg: error: "), error
    assert not list(out.rglob("*.part")) if out.exists() else True
    return lines[0]


def run_arguments(tmp_path: Path, data: Path, *more: str) -> list[object]:
    profile = tmp_path / "tiny.toml"
    if not profile.exists():
        write_profile(tmp_path)
    return ["run", profile, "--data", data, "--out", tmp_path / "out", "--plain", *more]
