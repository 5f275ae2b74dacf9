"""Artifacts: what a stage leaves behind, one file a video (HDF5) or a model (safetensors).

An HDF5 artifact begins with a user block, ahead of the HDF5 data proper, that holds a JSON line: schema, stage, key,
content digest, file size, counts, and a digest of the line itself. Reading it costs one small read, so every run can
check every artifact. The same facts stand in the file's attributes, for plain h5py.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

import cv2
import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd

from fusionseg.pipeline.basics.atomic import atomic_path
from fusionseg.pipeline.basics.digests import json_digest, short_key
from fusionseg.pipeline.errors import DamagedArtifact, UserError

try:
    from isal import isal_zlib as deflate  # the same format, ten times as fast
except ImportError:  # a machine that has only the essentials
    import zlib as deflate  # type: ignore[no-redef]

SCHEMA = "fusionseg.artifact"
SCHEMA_VERSION = 2
# Of 0 to 3 in isal, 0 to 9 in zlib. benchmarks/compression.py has the figures.
_COMPRESSION_LEVEL = 1
EXPECTED = f"expected an artifact of fusionseg ({SCHEMA}, .h5)"
_USER_BLOCK = 4096  # bytes; HDF5 wants a power of two of at least 512
# HDF5's format of 2018: its structures carry checksums, so damage is noticed instead of misread.
_LIBVER = ("v110", "v110")
# What h5py raises where it meets damage.
_HDF5_ERRORS = (OSError, KeyError, ValueError, RuntimeError, TypeError)
_DEFLATE_ERROR = cast(type[Exception], deflate.error)
_LIBRARIES = ("fusionseg", "torch", "opencv-contrib-python", "opencv-contrib-python-headless", "numpy", "h5py")


Unit = tuple[str, str]  # data set, video


@dataclass(frozen=True)
class Record:
    """What is known of an artifact without opening it. `path` is relative to the store's root, or absolute for
    given weights; `content` is the digest of its content; `counts` are the stage's own figures."""

    stage: str
    dataset: str
    video: str
    key: str
    path: str
    content: str
    counts: Mapping[str, int | float] = field(default_factory=dict)
    made: str = ""
    seconds: float = 0.0
    cached: bool = False

    @property
    def unit(self) -> Unit:
        """Whose artifact it is."""
        return self.dataset, self.video


def artifact_path(stage: str, dataset: str, video: str, key: str, suffix: str) -> Path:
    """Where an artifact lies below the store's root."""
    return Path("artifacts") / stage / dataset / f"{video.replace('/', '_')}-{short_key(key)}{suffix}"


def software() -> dict[str, str]:
    """Versions of what takes part in computing."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # e.g. another build of OpenCV on a GPU machine
            continue
    return found


@dataclass(frozen=True)
class Packed:
    """A frame ready to be written: one compressed chunk, and the digest of what was compressed."""

    chunk: bytes
    digest: bytes


class FrameWriter:
    """A dataset written frame by frame, one compressed chunk a frame.

    `pack` does the work and may run in any thread; `append` only puts the chunk into the file, which HDF5 allows one
    thread at a time. The chunks are what HDF5's own filters (byte shuffle, deflate) would make, so any reader reads
    them; deflate's checksum shows damage.
    """

    def __init__(self, file: h5py.File, name: str, frames: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        self._dtype, self._shape = np.dtype(dtype), shape
        filters = {"compression": "gzip", "compression_opts": _COMPRESSION_LEVEL, "shuffle": self._dtype.itemsize > 1}
        chunked = {"chunks": (1, *shape), **filters} if frames else {}  # HDF5 chunks no empty dataset
        self._data = file.create_dataset(name, (frames, *shape), self._dtype, **chunked)
        self._next = 0
        self._digest = _dataset_digest(name, (frames, *shape), dtype)

    def pack(self, frame: npt.NDArray[Any]) -> Packed:
        """Compress a frame; its dtype is converted to the dataset's."""
        array = np.asarray(frame, self._dtype, order="C")
        if array.shape != self._shape:  # HDF5 would stretch it
            raise ValueError(f"{self._data.name}: frame of shape {array.shape}, expected {self._shape}")
        return Packed(deflate.compress(_shuffled(array), _COMPRESSION_LEVEL), _frame_digest(array))

    def append(self, frame: npt.NDArray[Any] | Packed) -> None:
        """Write the next frame."""
        packed = frame if isinstance(frame, Packed) else self.pack(frame)
        if self._next == self._data.shape[0]:
            raise ValueError(f"{self._data.name}: more than its {self._next} frames")
        self._data.id.write_direct_chunk((self._next, *(0 for _ in self._shape)), packed.chunk)
        self._digest.update(packed.digest)
        self._next += 1

    def finish(self) -> str:
        """The digest, after checking that every frame was written."""
        if self._next != self._data.shape[0]:
            raise RuntimeError(f"{self._data.name}: {self._next} of {self._data.shape[0]} frames written")
        return self._digest.hexdigest()


def _shuffled(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """The bytes of an array as HDF5's shuffle filter orders them: first bytes of all elements, then the second ones."""
    plain = array.reshape(-1).view(np.uint8)
    if array.itemsize == 1:
        return plain
    return np.concatenate(cv2.split(plain.reshape(-1, 1, array.itemsize)), axis=None, dtype=np.uint8)


def _unshuffled(data: bytes, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """What `_shuffled` was given. Raises ValueError for data of another size."""
    plain = np.frombuffer(data, np.uint8)
    # A copy either way, since PyTorch wants arrays that can be written to. OpenCV's merge is 20 times as fast as
    # NumPy's copy of a transposed array.
    values = plain.copy() if dtype.itemsize == 1 else cv2.merge(list(plain.reshape(dtype.itemsize, -1)))
    return np.asarray(values).reshape(-1).view(dtype).reshape(shape)


class ArtifactWriter:
    """What a stage writes to: frame datasets, tables, facts (small JSON values that belong to the content)."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self._frames: dict[str, FrameWriter] = {}
        self._tables: dict[str, str] = {}
        self.facts: dict[str, Any] = {}
        self.counts: dict[str, float] = {}

    def frames(self, name: str, frames: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> FrameWriter:
        """A new dataset (frames, *shape)."""
        self._frames[name] = FrameWriter(self._file, name, frames, shape, dtype)
        return self._frames[name]

    def table(self, name: str, table: pd.DataFrame) -> None:
        """A table as a group of columns, one 1-D dataset each."""
        group = self._file.create_group(name)
        _set_attribute(group, "columns", json.dumps(list(table.columns)))
        for column in table.columns:
            values = _column(table[column])
            group.create_dataset(str(column), data=values, chunks=bool(len(values)) or None, fletcher32=len(values) > 0)
        self._tables[name] = _digest_table(name, table)

    def content(self) -> str:
        """Digest of all that was written."""
        parts = {name: writer.finish() for name, writer in self._frames.items()}
        return json_digest({"frames": parts, "tables": self._tables, "facts": self.facts})


def _set_attribute(node: h5py.Group, name: str, value: Any) -> None:
    """Strings of fixed length: those of variable length lie in a heap without checksum, and HDF5 may not come back
    from reading a damaged one."""
    if isinstance(value, str):
        data = value.encode()
        node.attrs.create(name, np.array(data, h5py.string_dtype("utf-8", max(1, len(data)))))
    else:
        node.attrs[name] = value


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


@contextmanager
def create_artifact(path: Path, identity: Mapping[str, Any]) -> Iterator[ArtifactWriter]:
    """Write an artifact to `path`: whole, or not at all.

    `identity`: stage, dataset, video, key, settings, inputs.
    """
    with atomic_path(path) as temporary:
        with h5py.File(temporary, "w", userblock_size=_USER_BLOCK, libver=_LIBVER) as file:
            writer = ArtifactWriter(file)
            yield writer
            header = {
                "schema": SCHEMA,
                "schema_version": SCHEMA_VERSION,
                **{name: identity[name] for name in ("stage", "stage_version", "dataset", "video", "key")},
                "content": writer.content(),
                "counts": writer.counts,
                "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            }
            own = {"settings": identity["settings"], "inputs": identity["inputs"], "facts": writer.facts}
            for name, value in {**header, **own, "software": software()}.items():
                _set_attribute(file, name, json.dumps(value) if isinstance(value, dict | list) else value)
        header["size"] = temporary.stat().st_size
        with temporary.open("r+b") as raw:
            raw.write(_pack_header(header))


def _pack_header(header: Mapping[str, Any]) -> bytes:
    text = json.dumps({**header, "header": json_digest(dict(header))}).encode()
    if len(text) >= _USER_BLOCK:
        raise RuntimeError(f"artifact header of {len(text)} bytes; at most {_USER_BLOCK - 1}")
    return text.ljust(_USER_BLOCK, b"\n")


def read_artifact_header(path: Path) -> dict[str, Any]:
    """The header, after the cheap checks (its own digest, the file's size). Raises DamagedArtifact, or UserError for
    a file of another schema."""
    try:
        with path.open("rb") as file:
            block = file.read(_USER_BLOCK)
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror}); expected an artifact (.h5)") from None
    if block.startswith(b"\x89HDF"):
        raise UserError(f"{path}: an HDF5 file of another schema; {EXPECTED}")
    try:
        header: dict[str, Any] = json.loads(block)
        found = header.pop("header")
    except (ValueError, KeyError, AttributeError, TypeError):
        raise DamagedArtifact(path, "no FusionSeg header") from None
    if found != json_digest(header):
        raise DamagedArtifact(path, "header doesn't match its digest")
    if (header["schema"], header["schema_version"]) != (SCHEMA, SCHEMA_VERSION):
        raise UserError(
            f"{path}: schema {header['schema']} {header['schema_version']}, expected {SCHEMA} {SCHEMA_VERSION}; "
            "it was written by another version of fusionseg: run again with this one"
        )
    if path.stat().st_size != header["size"]:
        raise DamagedArtifact(path, f"{path.stat().st_size} bytes, expected {header['size']}")
    return header


class Artifact:
    """An artifact opened for reading. Damage shows as DamagedArtifact at the first read of the damaged chunk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header = read_artifact_header(path)
        try:
            self._file = h5py.File(path, "r")
            self.attributes: dict[str, Any] = {name: _text(value) for name, value in self._file.attrs.items()}
            self.facts: dict[str, Any] = json.loads(self.attributes["facts"])
        except _HDF5_ERRORS as error:
            raise DamagedArtifact(path, str(error)) from None

    def __enter__(self) -> Artifact:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __contains__(self, name: str) -> bool:
        return name in self._file

    def length(self, name: str) -> int:
        """Number of frames of a dataset."""
        return int(self._dataset(name).shape[0])

    def _dataset(self, name: str) -> h5py.Dataset:
        try:
            return self._file[name]
        except _HDF5_ERRORS as error:
            raise DamagedArtifact(self.path, f"{name}: {error}") from None

    def frame(self, name: str, index: int) -> npt.NDArray[Any]:
        """One frame of a dataset."""
        data = self._dataset(name)
        if not 0 <= index < data.shape[0]:
            raise IndexError(f"{self.path}: {name} has {data.shape[0]} frames, none has number {index}")
        try:
            # Not `data[index]`: HDF5 would decompress under its one lock, and more slowly.
            mask, chunk = data.id.read_direct_chunk((index, *(0 for _ in data.shape[1:])))
            if mask:
                raise ValueError("filters left out")
            return _unshuffled(deflate.decompress(chunk), data.shape[1:], data.dtype)
        except (*_HDF5_ERRORS, _DEFLATE_ERROR) as error:
            raise DamagedArtifact(self.path, f"{name}[{index}]: {error}") from None

    def table(self, name: str) -> pd.DataFrame:
        """A table."""
        try:
            group = self._file[name]
            columns = json.loads(_text(group.attrs["columns"]))
            data = {c: group[c].asstr()[:] if group[c].dtype.kind == "S" else group[c][:] for c in columns}
        except _HDF5_ERRORS as error:
            raise DamagedArtifact(self.path, f"{name}: {error}") from None
        return pd.DataFrame(data, columns=columns)

    def datasets(self) -> dict[str, h5py.Dataset]:
        """Frame datasets by name."""
        return {name: node for name, node in self._nodes() if isinstance(node, h5py.Dataset)}

    def tables(self) -> list[str]:
        """Names of tables."""
        return [name for name, node in self._nodes() if isinstance(node, h5py.Group)]

    def _nodes(self) -> list[tuple[str, Any]]:
        try:
            return list(self._file.items())
        except _HDF5_ERRORS as error:
            raise DamagedArtifact(self.path, str(error)) from None

    def verify(self) -> None:
        """Read everything and compare with the content digest. Raises DamagedArtifact."""
        parts = {}
        for name, data in self.datasets().items():
            digest = _dataset_digest(name, data.shape, data.dtype)
            for index in range(data.shape[0]):
                digest.update(_frame_digest(self.frame(name, index)))
            parts[name] = digest.hexdigest()
        tables = {name: _digest_table(name, self.table(name)) for name in self.tables()}
        if json_digest({"frames": parts, "tables": tables, "facts": self.facts}) != self.header["content"]:
            raise DamagedArtifact(self.path, "content doesn't match its digest")


def _dataset_digest(name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> hashlib.blake2b:
    return hashlib.blake2b(f"{name}:{tuple(shape)}:{np.dtype(dtype)}".encode(), digest_size=20)


def _frame_digest(array: npt.NDArray[Any]) -> bytes:
    """SHA-256: processors have instructions for it, which makes it the fastest safe one at hand."""
    return hashlib.sha256(np.ascontiguousarray(array).data).digest()


def _column(values: pd.Series) -> npt.NDArray[Any]:
    array = values.to_numpy()
    if array.dtype.kind in "iufb":
        return array
    # Fixed-length: HDF5 can't checksum strings of variable length.
    encoded = [str(value).encode() for value in array]
    return np.array(encoded, dtype=h5py.string_dtype(length=max([1, *map(len, encoded)])))


def _digest_table(name: str, table: pd.DataFrame) -> str:
    digest = hashlib.blake2b(name.encode(), digest_size=20)
    for column in table.columns:
        values = _column(table[column])
        digest.update(f"{column}:{values.dtype};".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()
