"""`make` on machines that lack something, and its choice of PyTorch's build: nothing here reaches for a registry."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
LIBRARIES = "/lib/x86_64-linux-gnu"
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not sys.platform.startswith("linux") or not shutil.which("make"), reason="Linux with make"),
]
# A package of FusionSeg's name that needs both of PyTorch's, built by itself, in place of all that pip would fetch.
PROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
BACKEND = """\
from wheels import write_wheel

def build_editable(folder, config_settings=None, metadata_directory=None):
    return write_wheel(folder, "fusionseg", "1", "torch", "torchvision")

build_wheel = build_editable
"""
WHEELS = """\
import zipfile

def write_wheel(folder, name, version, *needs):
    about = f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n"
    about += "".join(f"Requires-Dist: {need}\\n" for need in needs)
    kind = "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    file = f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{file}", "w") as wheel:
        inside = f"{name}-{version}.dist-info"
        for member, text in (("METADATA", about), ("WHEEL", kind), ("RECORD", "")):
            wheel.writestr(f"{inside}/{member}", text)
    return file
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What make needs of a checkout ahead of an installation."""
    folder = tmp_path / "checkout"
    for name in ("Makefile", "fusionseg/machine.py", "constraints.txt", "constraints-cpu.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / name, folder / name)
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "backend.py").write_text(BACKEND)
    (folder / "wheels.py").write_text(WHEELS)
    (folder / "fusionseg/flows").mkdir()
    (folder / "fusionseg/flows/derived.py").write_text("")
    (tmp_path / "index").mkdir()
    return folder


def environment(checkout: Path) -> dict[str, str]:
    """Only the wheels in `index` can be had."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON", "MAKE", "CPU"))}
    index = checkout.parent / "index"
    return kept | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index), "PIP_CONFIG_FILE": os.devnull}


def made(
    checkout: Path, *arguments: str, hide: tuple[str, ...] = (), space: str = ""
) -> subprocess.CompletedProcess[str]:
    """`make`, where these libraries aren't, or only so much space is."""
    command = ["make", "-C", str(checkout), f"PYTHON={sys.executable}", *arguments]
    mounts = [f"mount --bind /dev/null $(readlink -f {LIBRARIES}/{name})" for name in hide]
    if space:
        copy = f"cp -r {checkout} {checkout}.kept && mount -t tmpfs -o size={space} tmpfs {checkout}"
        mounts.append(f"{copy} && cp -r {checkout}.kept/. {checkout}")
    if mounts:
        command = ["unshare", "-m", "sh", "-c", " && ".join([*mounts, f"exec {shlex.join(command)}"])]
    return subprocess.run(command, env=environment(checkout), capture_output=True, text=True)


def needs_mounts(*libraries: str) -> None:
    """Skip where this user can't hide files from a process, or they lie elsewhere."""
    if subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True).returncode:
        pytest.skip("no rights to mount")
    absent = [name for name in libraries if not Path(LIBRARIES, name).exists()]
    if absent:
        pytest.skip(f"{absent} not in {LIBRARIES}")


def refused(done: subprocess.CompletedProcess[str], checkout: Path) -> str:
    """The one line of an installation that must not have begun."""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert done.returncode == 2 and len(lines) == 1, done.stdout + done.stderr
    assert not (checkout / ".venv").exists()
    return lines[0]


@pytest.mark.parametrize("hidden", [("libstdc++.so.6",), ("libGL.so.1", "libglib-2.0.so.0"), ("libxcb.so.1",)])
def test_a_missing_library_is_told_ahead_of_any_download(checkout: Path, hidden: tuple[str, ...]) -> None:
    needs_mounts(*hidden)
    line = refused(made(checkout, "demo", hide=hidden), checkout)
    lacks, advice = line.split("; ", 1)
    assert lacks.startswith("fusionseg: error: this system lacks ") and all(name in lacks for name in hidden)
    assert advice.startswith("install: ")


def test_too_small_a_disk_is_told_ahead_of_any_download(checkout: Path) -> None:
    needs_mounts()
    line = refused(made(checkout, "demo", space="100m"), checkout)
    assert line.startswith(f"fusionseg: error: {checkout}: 0.1 GB free, 7.4 needed (7.4 installed); ")


def test_no_python_is_told(checkout: Path) -> None:
    line = refused(made(checkout, "demo", "PYTHON=python3.99"), checkout)
    assert line == "fusionseg: error: no python3.99 here; install it, or name one by PYTHON="


def test_a_choice_that_is_none(checkout: Path) -> None:
    done = made(checkout, "demo", "CPU=yes")
    assert done.returncode == 2 and "CPU=yes: say CPU=1 for PyTorch without CUDA" in done.stderr


def write_wheels(index: Path, *wheels: tuple[str, ...]) -> None:
    scope: dict[str, object] = {}
    exec(WHEELS, scope)
    for wheel in wheels:
        scope["write_wheel"](str(index), *wheel)  # type: ignore[operator]


def installed(checkout: Path) -> set[str]:
    """Versions of what is in .venv, pip and setuptools left out."""
    found = {
        path.name.removesuffix(".dist-info")
        for path in (checkout / ".venv/lib").glob("python*/site-packages/*.dist-info")
    }
    return {name for name in found if not name.startswith(("pip-", "setuptools-"))}


def test_the_build_of_pytorch_is_chosen_and_stays_so(checkout: Path) -> None:
    script = checkout / "fusionseg/machine.py"
    script.write_text(
        script.read_text().replace('"default": (7.4, 2.9), "cpu": (2.6, 0.6)', '"default": (0, 0), "cpu": (0, 0)')
    )
    index = checkout.parent / "index"
    write_wheels(index, ("torch", "2.15.0", "nvidia-x"), ("torchvision", "0.29.2"), ("nvidia_x", "1"))
    default = {"fusionseg-1", "torch-2.15.0", "torchvision-0.29.2", "nvidia_x-1"}
    cpu = {"fusionseg-1", "torch-2.15.0+cpu", "torchvision-0.29.2+cpu"}

    def make(*arguments: str) -> set[str]:
        done = made(checkout, ".venv/installed", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return installed(checkout)

    assert make() == default
    # A .venv that lost its pip is made anew.
    (pip,) = (checkout / ".venv/lib").glob("python*/site-packages/pip")
    shutil.rmtree(pip)
    os.utime(checkout / "pyproject.toml")
    assert make() == default and pip.exists()
    # It can't be had: one line, and what was there stays.
    done = made(checkout, ".venv/installed", "CPU=1")
    (line,) = (line for line in done.stderr.splitlines() if not line.startswith("make"))
    assert done.returncode == 2
    assert line.startswith("fusionseg: error: pip finds no torch==2.15.0+cpu with torchvision==0.29.2+cpu; ")
    assert installed(checkout) == make() == default
    # It can be had: in place of the other, with nothing of CUDA. Without a choice it stays.
    write_wheels(index, ("torch", "2.15.0+cpu"), ("torchvision", "0.29.2+cpu"))
    assert make("CPU=1") == cpu
    stamp = (checkout / ".venv/installed").stat().st_mtime_ns
    assert make() == make("CPU=1") == cpu
    assert (checkout / ".venv/installed").stat().st_mtime_ns == stamp
    os.utime(checkout / "pyproject.toml")
    shutil.rmtree(index)
    assert make() == cpu  # asks for nothing that is there
    index.mkdir()
    write_wheels(index, ("torch", "2.15.0", "nvidia-x"), ("torchvision", "0.29.2"), ("nvidia_x", "1"))
    assert make("CPU=0") == default
