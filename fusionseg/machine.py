"""What a machine must have for FusionSeg, and what to do where it has not.

`make` runs this file ahead of any download, with whatever Python there is: it takes the standard library alone, and no
syntax newer than Python 3.6. All faults are told at once, a line each; the exit code is then 2.

    python3 -I fusionseg/machine.py .venv --torch default   # is all there to install this build of PyTorch into .venv?
    .venv/bin/python -I fusionseg/machine.py --wheels constraints-cpu.txt   # can the build that is pinned there be had?
"""

import argparse
import importlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

OLDEST, NEWEST = (3, 11), (3, 14)  # the Pythons for which all that constraints.txt pins has wheels
GLIBC = (2, 28)  # the oldest for which the pinned wheels of PyTorch and OpenCV are made

# GB that an installation takes, by build of PyTorch: installed, tools for tests included; and packages as they come:
# pip keeps them in its temporary folder until all are there, and again in its cache.
SPACE = {"default": (7.4, 2.9), "cpu": (2.6, 0.6)}

# Of the standard library, what a Python that was built without some header lacks; torch, torchvision, pandas, Prefect
# and pip fail without them.
MODULES = ("bz2", "ctypes", "lzma", "sqlite3", "ssl", "zlib")

# What the pinned wheels link, don't bring along, and isn't part of glibc: PyTorch's three, then OpenCV's, for windows
# that nobody opens here.
LIBRARIES = (
    "libstdc++.so.6", "libgcc_s.so.1", "libz.so.1",
    "libGL.so.1", "libgthread-2.0.so.0", "libglib-2.0.so.0", "libxcb.so.1",
)  # fmt: skip

# The packages of these, in the same order.
_DEBIAN = ("libstdc++6", "libgcc-s1", "zlib1g", "libgl1", "libglib2.0-0", "libglib2.0-0", "libxcb1")
_FEDORA = ("libstdc++", "libgcc", "zlib", "libglvnd-glx", "glib2", "glib2", "libxcb")
_SUSE = ("libstdc++6", "libgcc_s1", "libz1", "libglvnd", "libgthread-2_0-0", "libglib-2_0-0", "libxcb1")
_ARCH = ("gcc-libs", "gcc-libs", "zlib", "libglvnd", "glib2", "glib2", "libxcb")
MANAGERS = {
    "apt-get": ("apt-get update && apt-get install --yes", _DEBIAN),
    "dnf": ("dnf install --assumeyes", _FEDORA),
    "microdnf": ("microdnf install --assumeyes", _FEDORA),
    "yum": ("yum install --assumeyes", _FEDORA),
    "zypper": ("zypper install", _SUSE),
    "pacman": ("pacman -Sy", _ARCH),
}
_GB = 10**9


def main(arguments: "Sequence[str] | None" = None) -> int:
    """Tell all faults; 2 where there are some, else 0."""
    parser = argparse.ArgumentParser(description="What a machine must have for FusionSeg.")
    parser.add_argument("venv", nargs="?", default=".venv", help="the virtual environment to install into")
    parser.add_argument("--torch", choices=sorted(SPACE), default="default", help="the build of PyTorch")
    parser.add_argument("--wheels", metavar="FILE", help="ask pip for the PyTorch that FILE pins, nothing else")
    given = parser.parse_args(arguments)
    found = [wheels_fault(given.wheels)] if given.wheels else machine_faults(given.venv, given.torch)
    lines = [f"error: {fault}" for fault in found if fault] or ([] if given.wheels else platform_notes())
    for line in lines:
        print(f"fusionseg: {line}", file=sys.stderr)
    return 2 if any(found) else 0


def machine_faults(venv: str, torch: str) -> "list[str]":
    """What keeps an installation of this build of PyTorch into `venv` from working; "" for what is well."""
    python = python_fault(sys.version_info[:2], platform.python_implementation())
    found = [platform_fault(sysconfig.get_config_var("SOABI") or "", _glibc()), libraries_fault(LIBRARIES)]
    found += [python] if python else [venv_fault(), modules_fault(MODULES)]
    return found if _is_installed(venv, torch) else found + space_faults(places(venv, torch))


def _is_installed(venv: str, torch: str) -> bool:
    """By make's stamps: a new installation of what is there takes no more space."""
    return Path(venv, "installed").exists() and Path(venv, "torch-cpu").exists() == (torch == "cpu")


# Python


def python_fault(version: "tuple[int, ...]", implementation: str = "CPython") -> str:
    """A Python without wheels, and one that would do where it is at hand."""
    if OLDEST <= version <= NEWEST and implementation == "CPython":
        return ""
    names = [f"python3.{minor}" for minor in range(NEWEST[1], OLDEST[1] - 1, -1)]
    other = next((name for name in names if _runs(name)), None)
    advice = f"add PYTHON={other}" if other else f"install one, then add PYTHON={names[-1]}"
    found = f"{sys.executable} is {implementation} {version[0]}.{version[1]}"
    return f"needs CPython 3.{OLDEST[1]} to 3.{NEWEST[1]}, and {found}; {advice}"


def _runs(name: str) -> bool:
    """Whether it is there and works: a shim may stand for a Python that isn't chosen."""
    path = shutil.which(name)
    nowhere = subprocess.DEVNULL
    return path is not None and subprocess.call([path, "-c", ""], stdout=nowhere, stderr=nowhere) == 0


def venv_fault(has: "Callable[[str], object]" = importlib.util.find_spec) -> str:
    """No virtual environments: Debian has them in a package of their own."""
    missing = [name for name in ("venv", "ensurepip") if not has(name)]
    if not missing:
        return ""
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    debian = shutil.which("apt-get") is not None
    advice = f"install: {_command('apt-get', [package])}" if debian else "install it, or choose a Python by PYTHON="
    return f"{sys.executable} has no module {' and '.join(missing)}, needed to make .venv; {advice}"


def modules_fault(names: "Iterable[str]", load: "Callable[[str], object]" = importlib.import_module) -> str:
    """Parts of the standard library that this Python was built without."""
    missing = [name for name in names if not _succeeds(load, name)]
    advice = "build it with the headers for them, or choose another by PYTHON="
    return f"{sys.executable} was built without {', '.join(missing)}; {advice}" if missing else ""


def _succeeds(load: "Callable[[str], object]", name: str) -> bool:
    try:
        load(name)
    except (ImportError, OSError):
        return False
    return True


# The system


def platform_fault(abi: str, libc: str) -> str:
    """A Linux without wheels, by the ABI of its Python and the C library: "glibc 2.36"."""
    if "musl" in abi:
        return "PyTorch has no wheels for musl, the C library here (Alpine); take a system with glibc, such as Debian"
    found = re.match(r"glibc (\d+)\.(\d+)", libc)
    if found and (int(found.group(1)), int(found.group(2))) < GLIBC:
        return f"the pinned wheels need glibc {GLIBC[0]}.{GLIBC[1]} or newer, and here is {libc}; take a newer system"
    return ""


def _glibc() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, ValueError, OSError):  # not Linux, or another C library
        return ""


def platform_notes() -> "list[str]":
    """Where the pinned versions were never tried."""
    if sys.platform.startswith("linux") and platform.machine() == "x86_64":
        return []
    return [f"note: tried on Linux x86_64 only, not on {platform.system()} {platform.machine()}"]


def libraries_fault(names: "Iterable[str]", load: "Callable[[str], object] | None" = None) -> str:
    """Shared libraries that the loader of Linux doesn't find."""
    missing = lacking(names, load) if sys.platform.startswith("linux") else []
    return _lacks(missing) if missing else ""


def lacking(names: "Iterable[str]", load: "Callable[[str], object] | None" = None) -> "list[str]":
    """Those of these shared libraries that can't be loaded."""
    return [name for name in names if not _succeeds(load or _load, name)]


def _load(library: str) -> object:
    try:
        from ctypes import CDLL
    except ImportError:  # told as a missing module; of libraries nothing is known then
        return None
    return CDLL(library)


def _lacks(names: "Sequence[str]", which: "Callable[[str], str | None]" = shutil.which) -> str:
    manager = next((name for name in MANAGERS if which(name)), None)
    managers = [manager] if manager else ["apt-get", "dnf"]
    commands = " or ".join(_command(manager, packages(manager, names)) for manager in managers)
    return f"this system lacks {', '.join(names)}; install: {commands}"


def packages(manager: str, names: "Iterable[str]") -> "list[str]":
    """The packages that have these shared libraries, each once."""
    return list(dict.fromkeys(MANAGERS[manager][1][LIBRARIES.index(name)] for name in names))


def _command(manager: str, wanted: "Sequence[str]") -> str:
    root = getattr(os, "geteuid", lambda: 0)() == 0
    command = MANAGERS[manager][0] + " " + " ".join(wanted)
    return command if root else "sudo " + command.replace("&& ", "&& sudo ")


def explained(error: BaseException, load: "Callable[[str], object] | None" = None) -> str:
    """One line for what failed because a shared library can't be loaded; "" for any other error."""
    found = re.search(r"(?:^|[\s/])([^\s/:]+\.so[.\d]*): (?:cannot open shared object file|file too short)", str(error))
    if found is None:
        return ""
    name = found.group(1)
    if name in LIBRARIES:  # the loader names one; who lacks it mostly lacks others too
        return _lacks([name, *(other for other in lacking(LIBRARIES, load) if other != name)])
    return f"{name} can't be loaded; install the system's package that has it, or, if it is of a wheel, FusionSeg anew"


# Space


class Place(NamedTuple):
    """What comes into a folder, in GB."""

    what: str
    folder: str
    size: float


def places(venv: str, torch: str, environment: "Mapping[str, str]" = os.environ) -> "list[Place]":
    """What comes where while pip installs."""
    installed, fetched = SPACE[torch]
    temporary = next((environment[name] for name in ("TMPDIR", "TEMP", "TMP") if environment.get(name)), "/tmp")
    found = [Place("installed", venv, installed), Place("pip's temporary files", temporary, fetched)]
    if environment.get("PIP_NO_CACHE_DIR", "").lower() in ("", "0", "f", "false", "n", "no", "off"):
        found.append(Place("pip's cache", _cache(environment), fetched))
    return found


def _cache(environment: "Mapping[str, str]") -> str:
    above = environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME") or "/", ".cache")
    return environment.get("PIP_CACHE_DIR") or str(Path(above, "pip"))


def space_faults(
    wanted: "Iterable[Place]",
    free: "Callable[[str], int]" = lambda folder: shutil.disk_usage(folder).free,
    device: "Callable[[str], int]" = lambda folder: Path(folder).stat().st_dev,
) -> "list[str]":
    """File systems with too little space for what comes there, a line each."""
    shared = {}  # type: dict[int, list[Place]]
    for place in wanted:
        folder = _existing(place.folder)
        shared.setdefault(device(folder), []).append(place._replace(folder=folder))
    return [_space_fault(parts, free(parts[0].folder) / _GB) for parts in shared.values()]


def _existing(folder: str) -> str:
    """The folder, or the nearest above it that is there."""
    path = Path(folder).absolute()
    return str(next((above for above in (path, *path.parents) if above.is_dir()), path))


def _space_fault(parts: "Sequence[Place]", free: float) -> str:
    needed = sum(place.size for place in parts)
    if free >= needed:
        return ""
    listed = ", ".join(f"{place.size:.1f} {place.what}" for place in parts)
    advice = "free some, or spare some: PIP_NO_CACHE_DIR=1 (no cache), TMPDIR=FOLDER (another disk), CPU=1 (no CUDA)"
    return f"{parts[0].folder}: {free:.1f} GB free, {needed:.1f} needed ({listed}); {advice}"


# The build of PyTorch


def wheels_fault(constraints: str) -> str:
    """That pip can't get the build of torch and torchvision that this file pins, asked ahead of everything else."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--quiet", "-c", constraints]
    command += ["--disable-pip-version-check", "torch", "torchvision"]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if done.returncode == 0:
        return ""
    pins = re.findall(r"^[\w-]+==[^\s;]+", Path(constraints).read_text(encoding="utf-8"), re.MULTILINE)
    said = done.stderr.decode("utf-8", "replace")
    # That there is none is said in several ways, at length; what else went wrong is worth telling.
    none = "No matching|Could not find|Cannot install|ResolutionImpossible"
    others = re.findall(f"^ERROR: (?!{none})(.*)", said, re.MULTILINE)
    found = "".join([f"pip finds no {' with '.join(pins)}", *(f" ({other})" for other in others[-1:])])
    return f"{found}; name an index of CPU builds in PIP_EXTRA_INDEX_URL (PyTorch keeps one), or leave out CPU=1"


if __name__ == "__main__":
    sys.exit(main())
