"""What a machine lacks is told in one line each, ahead of any download."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fusionseg import machine
from fusionseg.cli.exits import EXIT_FAULT, ended

CHECKOUT = Path(__file__).resolve().parents[1]
SCRIPT = CHECKOUT / "fusionseg" / "machine.py"


def only(*there: str) -> Callable[[str], object]:
    """A finder, or loader, that knows these alone."""

    def find(name: str) -> object:
        if name not in there:
            raise OSError(f"{name}: cannot open shared object file: No such file or directory")
        return name

    return find


def test_any_python_3_can_read_it() -> None:
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 6))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names
    froms = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert froms <= {"collections.abc", "ctypes", "pathlib", "typing"}  # no __future__.annotations: 3.6 lacks it


def python3(minor: int) -> str:
    """A Python of this version, from the path or of pyenv's; the test is skipped where there is none."""
    found = [shutil.which(f"python3.{minor}")]
    if shutil.which("pyenv"):
        done = subprocess.run(["pyenv", "prefix", f"3.{minor}"], capture_output=True, text=True)
        found.append(f"{done.stdout.strip()}/bin/python")
    for python in filter(None, found):
        if shutil.which(python) and subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
            return python
    pytest.skip(f"no Python 3.{minor} at hand")


@pytest.mark.system
@pytest.mark.parametrize("minor", range(6, 11))
def test_an_old_python_says_so_in_one_line(minor: int, tmp_path: Path) -> None:
    (tmp_path / "installed").touch()  # so that this machine's free space plays no part
    done = subprocess.run([python3(minor), "-I", str(SCRIPT), str(tmp_path)], capture_output=True, text=True)
    (line,) = done.stderr.splitlines()
    assert line.startswith("fusionseg: error: needs CPython 3.11 to 3.14, and ") and f"is CPython 3.{minor}; " in line
    assert done.returncode == 2


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 14)])
def test_pythons_with_wheels(version: tuple[int, int]) -> None:
    assert machine.python_fault(version) == ""


@pytest.mark.parametrize(
    ("version", "kind"), [((3, 10), "CPython"), ((2, 7), "CPython"), ((3, 15), "CPython"), ((3, 11), "PyPy")]
)
def test_pythons_without_wheels(version: tuple[int, int], kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_runs", lambda name: name in ("python3.12", "python3.11"))
    fault = machine.python_fault(version, kind)
    assert f"is {kind} {version[0]}.{version[1]}; add PYTHON=python3.12" in fault
    monkeypatch.setattr(machine, "_runs", lambda name: False)
    assert "install one, then add PYTHON=python3.11" in machine.python_fault(version, kind)


def test_bounds_are_those_of_the_package() -> None:
    about = (CHECKOUT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'requires-python = ">=3.{machine.OLDEST[1]}"' in about
    minors = [int(minor) for minor in re.findall(r"Python :: 3\.(\d+)", about)]
    assert (min(minors), max(minors)) == (machine.OLDEST[1], machine.NEWEST[1])


def test_a_python_without_venv(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.venv_fault() == ""
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    fault = machine.venv_fault(lambda name: name == "venv")
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    assert "has no module ensurepip, needed to make .venv; install: " in fault and fault.endswith(package)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert machine.venv_fault(lambda name: False).endswith("choose a Python by PYTHON=")


def test_a_python_built_without_headers() -> None:
    assert machine.modules_fault(machine.MODULES) == ""
    fault = machine.modules_fault(machine.MODULES, only("bz2", "ctypes", "ssl", "zlib"))
    assert "was built without lzma, sqlite3; build it" in fault


@pytest.mark.parametrize("manager", machine.MANAGERS)
def test_missing_libraries_come_with_the_command_that_brings_them(
    manager: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = machine.LIBRARIES
    assert len(machine.MANAGERS[manager][1]) == len(names)
    monkeypatch.setattr(machine.os, "geteuid", lambda: 0)
    line = machine._lacks(names, lambda name: name if name == manager else None)
    command, packages = machine.MANAGERS[manager]
    assert line.startswith("this system lacks libstdc++.so.6, libgcc_s.so.1, libz.so.1, libGL.so.1")
    assert line.endswith(f"install: {command} {' '.join(dict.fromkeys(packages))}")


def test_who_is_not_root_needs_sudo_in_each_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.os, "geteuid", lambda: 1000)
    line = machine._lacks(["libz.so.1"], lambda name: "it" if name == "apt-get" else None)
    assert line.endswith("install: sudo apt-get update && sudo apt-get install --yes zlib1g")
    unknown = machine._lacks(["libz.so.1"], lambda name: None)
    assert unknown.endswith("--yes zlib1g or sudo dnf install --assumeyes zlib")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the loader of Linux")
def test_only_what_cannot_be_loaded_is_missing() -> None:
    assert machine.libraries_fault(machine.LIBRARIES) == ""
    assert machine.libraries_fault(machine.LIBRARIES, only(*machine.LIBRARIES[1:])).startswith(
        "this system lacks libstdc++.so.6; install: "
    )
    assert machine.lacking(["libnonesuch.so.7"]) == ["libnonesuch.so.7"]


@pytest.mark.parametrize(
    ("abi", "libc", "said"),
    [
        ("cpython-311-x86_64-linux-gnu", "glibc 2.36", ""),
        ("cpython-311-x86_64-linux-gnu", "glibc 2.28", ""),
        ("cpython-311-darwin", "", ""),
        ("cpython-311-x86_64-linux-gnu", "glibc 2.17", "need glibc 2.28 or newer, and here is glibc 2.17"),
        ("cpython-312-x86_64-linux-musl", "", "no wheels for musl"),
    ],
)
def test_systems_without_wheels(abi: str, libc: str, said: str) -> None:
    fault = machine.platform_fault(abi, libc)
    assert said in fault and bool(said) == bool(fault)


NO = "cannot open shared object file: No such file or directory"


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (f"libGL.so.1: {NO}", "this system lacks libGL.so.1, libglib-2.0.so.0; install: "),
        (
            f"libgthread-2.0.so.0: {NO}",
            "this system lacks libgthread-2.0.so.0, libGL.so.1, libglib-2.0.so.0; install: ",
        ),
        ("/lib/x/libGL.so.1: file too short", "this system lacks libGL.so.1, libglib-2.0.so.0; install: "),
        (
            f"from numpy: libstdc++.so.6: {NO}",
            "this system lacks libstdc++.so.6, libGL.so.1, libglib-2.0.so.0; install: ",
        ),
        (f"libcudart.so.13: {NO}", "libcudart.so.13 can't be loaded; install "),
        (f"libXau-154567c4.so.6.0.0: {NO}", "libXau-154567c4.so.6.0.0 can't be loaded; install "),
        ("No module named 'cv2'", ""),
        ("cannot import name 'x' from 'y'", ""),
    ],
)
def test_an_import_that_fails_for_a_library(message: str, said: str) -> None:
    there = only("libgthread-2.0.so.0", "libxcb.so.1", *machine.LIBRARIES[:3])
    line = machine.explained(ImportError(message), there)
    assert line.startswith(said) and bool(said) == bool(line)


def test_a_command_ends_in_that_line(capsys: pytest.CaptureFixture[str]) -> None:
    def lacks() -> None:
        raise ImportError(f"libcudart.so.13: {NO}")

    assert ended(lacks) == 2
    assert capsys.readouterr().err.startswith("fusionseg: error: libcudart.so.13 can't be loaded; ")
    assert ended(lambda: __import__("nonesuch")) == EXIT_FAULT


def test_so_does_a_public_name(tmp_path: Path) -> None:
    (tmp_path / "cv2.py").write_text(f"raise ImportError('libGL.so.1: {NO}')", encoding="utf-8")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport fusionseg; fusionseg.estimate_flow"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].startswith("ImportError: this system lacks libGL.so.1")


# Space


GB = 10**9


def place(size: float, folder: str, what: str = "installed") -> machine.Place:
    return machine.Place(what, folder, size)


def test_space_is_counted_by_file_system(tmp_path: Path) -> None:
    wanted = [place(7, str(tmp_path / "a/b/.venv")), place(2, "/tmp", "temporary"), place(3, "/", "cache")]
    free = {str(tmp_path): 8 * GB, "/tmp": 5 * GB, "/": 5 * GB}
    separate = machine.space_faults(wanted, free.__getitem__, list(free).index)
    assert [bool(fault) for fault in separate] == [False, False, False]
    assert machine.space_faults(wanted, lambda folder: 12 * GB, lambda folder: 1) == [""]
    (fault,) = machine.space_faults(wanted, lambda folder: 11 * GB, lambda folder: 1)
    assert fault.startswith(f"{tmp_path}: 11.0 GB free, 12.0 needed (7.0 installed, 2.0 temporary, 3.0 cache); ")


def test_where_pip_puts_what_it_fetches() -> None:
    def folders(**environment: str) -> list[str]:
        return [place.folder for place in machine.places(".venv", "cpu", environment)]

    assert folders(HOME="/home/me") == [".venv", "/tmp", "/home/me/.cache/pip"]
    assert folders(HOME="/home/me", TMPDIR="/big", XDG_CACHE_HOME="/c") == [".venv", "/big", "/c/pip"]
    assert folders(PIP_CACHE_DIR="/c", PIP_NO_CACHE_DIR="0") == [".venv", "/tmp", "/c"]
    assert folders(PIP_NO_CACHE_DIR="1") == [".venv", "/tmp"]


def test_what_is_installed_takes_no_more_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "space_faults", lambda places: ["full"])
    assert "full" in machine.machine_faults(str(tmp_path), "default")
    (tmp_path / "installed").touch()
    assert "full" not in machine.machine_faults(str(tmp_path), "default")
    assert "full" in machine.machine_faults(str(tmp_path), "cpu")
    (tmp_path / "torch-cpu").touch()
    assert "full" not in machine.machine_faults(str(tmp_path), "cpu")
    assert "full" in machine.machine_faults(str(tmp_path), "default")


def test_all_faults_are_told_at_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(machine, "space_faults", lambda places: ["full", ""])
    monkeypatch.setattr(machine, "libraries_fault", lambda names: "no library")
    monkeypatch.setattr(machine, "python_fault", lambda *found: "too old")
    assert machine.main(["nowhere"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert told == [f"fusionseg: error: {fault}" for fault in ("no library", "too old", "full")]


# The pinned packages


def pinned(name: str) -> dict[str, str]:
    lines = (CHECKOUT / name).read_text(encoding="utf-8").splitlines()
    return dict(line.partition(";")[0].split("==") for line in lines if line[:1] not in "#-")


def test_cpu_builds_are_of_the_same_versions() -> None:
    default, cpu = pinned("constraints.txt"), pinned("constraints-cpu.txt")
    assert cpu == {name: f"{default[name]}+cpu" for name in ("torch", "torchvision")}
