"""The networks that the package rembg publishes as ONNX files, by the names that it gives them.

rembg itself isn't needed: of it this takes a few facts about each file, and the folders that it keeps them in. Its own
masks are 8 bits a pixel and stretched over 0..1 in each picture, so a picture without an object is full of one; what
the networks give is kept here as it is. Source of the facts: rembg 2.0.86 (MIT).
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

UInt8 = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]
Triple = tuple[float, float, float]
Segment = Callable[[UInt8], Float32]

_RELEASE = "https://github.com/danielgatis/rembg/releases/download/v0.0.0"
_IMAGENET: tuple[Triple, Triple] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_TYPES: Mapping[str, type[np.floating[Any]]] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


@dataclass(frozen=True)
class Published:
    """`side`: of the square picture that it takes, px; `mean`, `std`: of RGB, as shares of the picture's largest value;
    `logits`: whether it gives logits, not shares; `released`: the file's name in rembg's release, where it is another.
    """

    side: int
    mean: Triple = _IMAGENET[0]
    std: Triple = _IMAGENET[1]
    logits: bool = False
    released: str = ""


def _birefnet(released: str) -> Published:
    return Published(1024, logits=True, released=f"BiRefNet-{released}.onnx")


# Left out: those that mark no one object (clothes, prompts), and those without a file of their own.
PUBLISHED: Mapping[str, Published] = {
    "u2net": Published(320),
    "u2netp": Published(320),
    "u2net_human_seg": Published(320),
    "silueta": Published(320),
    "isnet-general-use": Published(1024, (0.5, 0.5, 0.5), (1.0, 1.0, 1.0)),
    "isnet-anime": Published(1024, _IMAGENET[0], (1.0, 1.0, 1.0)),
    "birefnet-general": _birefnet("general-epoch_244"),
    "birefnet-general-lite": _birefnet("general-bb_swin_v1_tiny-epoch_232"),
    "birefnet-portrait": _birefnet("portrait-epoch_150"),
    "birefnet-dis": _birefnet("DIS-epoch_590"),
    "birefnet-hrsod": _birefnet("HRSOD_DHU-epoch_115"),
    "birefnet-cod": _birefnet("COD-epoch_125"),
    "birefnet-massive": _birefnet("massive-TR_DIS5K_TR_TEs-epoch_420"),
    "bria-rmbg": Published(1024, released="bria-rmbg-2.0.onnx"),
}


def known_model(name: str) -> str:
    """`name`, if it is one of these. Raises ValueError."""
    if name not in PUBLISHED:
        raise ValueError(f"no model {name!r} of rembg's that marks an object; known: {', '.join(PUBLISHED)}")
    return name


@dataclass(frozen=True)
class RembgModel:
    """A model whose file `path` is here. `version`: "sha256:" and the file's digest."""

    name: str
    path: Path
    version: str

    @classmethod
    def of(cls, name: str) -> RembgModel:
        """By rembg's name. Raises ValueError for one that isn't known, isn't here, or can't be run."""
        known_model(name)
        path = _found(name)
        if importlib.util.find_spec("onnxruntime") is None:
            raise ValueError("needs onnxruntime; install it with: pip install 'fusionseg[rembg]'")
        try:
            stat = path.stat()
            return cls(name, path, f"sha256:{_digest(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)}")
        except OSError as error:
            raise ValueError(f"{path}: can't be read ({error.strerror})") from None

    def __call__(self, device: str) -> Segment:
        """What makes soft masks on a device ("cpu", "cuda" ...): (H, W, 3) uint8 RGB -> (side, side) float32, shares of
        an object in 0..1 where the facts are right. Raises ValueError for a file that isn't such a network."""
        published = PUBLISHED[self.name]
        session = _session(self.path, device)
        taken, given = session.get_inputs()[0], session.get_outputs()[0].name
        kind = _TYPES.get(taken.type)
        wanted = [1, 3, published.side, published.side]
        free = [want if isinstance(have, str | None) else have for have, want in zip(taken.shape, wanted, strict=False)]
        if kind is None or len(taken.shape) != len(wanted) or free != wanted:
            raise ValueError(f"{self.path}: takes {taken.shape} {taken.type}, expected {wanted} of floats")

        def segment(frame: UInt8) -> Float32:
            found = session.run([given], {taken.name: prepare(frame, published)[None].astype(kind)})[0]
            soft = np.asarray(found, np.float32)[0, 0]
            return 1 / (1 + np.exp(-soft)) if published.logits else soft

        return segment


def prepare(frame: UInt8, published: Published) -> Float32:
    """(H, W, 3) uint8 RGB -> (3, side, side) float32, as rembg prepares pictures."""
    size = (published.side, published.side)
    small = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS), np.float32)
    shares = small / max(float(small.max()), 1.0)
    done = (shares - np.array(published.mean, np.float32)) / np.array(published.std, np.float32)
    return np.ascontiguousarray(done.transpose(2, 0, 1), np.float32)


def _found(name: str) -> Path:
    """The model's file. Raises ValueError that says how to get it."""
    places = _places(name)
    for path in places:
        if path.is_file():
            return path
    source = f"{_RELEASE}/{PUBLISHED[name].released or f'{name}.onnx'}"
    raise ValueError(
        f"its file isn't here; fetch {source} as {places[0]} (`rembg d {name}` does), or set U2NET_HOME to the folder "
        f"that {name}.onnx is in"
    )


def _places(name: str) -> tuple[Path, Path]:
    """Where rembg keeps a model: a folder a model now, all in one before; it looks at both, too."""
    shared = os.environ.get("XDG_DATA_HOME", "")
    flat = os.environ.get("U2NET_HOME") or (f"{shared}/.u2net" if shared else "~/.u2net")
    home = os.environ.get("U2NET_HOME") or os.environ.get("REMBG_HOME") or (f"{shared}/rembg" if shared else "~/.rembg")
    file = f"{name}.onnx"
    return Path(home).expanduser() / "models" / name / file, Path(flat).expanduser() / file


@lru_cache(maxsize=8)
def _digest(path: Path, *stamp: int) -> str:
    """SHA-256 of a file that is as `stamp` says; half a second for a large one, and every job asks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _session(path: Path, device: str) -> Any:
    """The network, ready to run with as many threads as PyTorch has. Raises ValueError."""
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # its advice on graphs isn't for users
    wanted = ["CUDAExecutionProvider"] if device.startswith("cuda") else []
    there = [name for name in wanted if name in onnxruntime.get_available_providers()]
    try:
        return onnxruntime.InferenceSession(path, options, providers=[*there, "CPUExecutionProvider"])
    except Exception as error:  # its errors have no class of their own in common
        raise ValueError(f"{path}: no ONNX file that onnxruntime can run ({' '.join(str(error).split())})") from None
