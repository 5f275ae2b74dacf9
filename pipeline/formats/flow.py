"""Optical flow made elsewhere, in and out: `.flo`, KITTI's 16-bit PNG, `.npz` and HDF5.

Flow is (H, W, 2) float32, u and v in pixels, NaN in both where it is unknown. A file holds one pair's flow; `.npz` and
HDF5 files may hold a whole video's, (T, H, W, 2), with metadata beside it (see `Metadata`).
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import cv2
import h5py
import numpy as np
import numpy.typing as npt

from fusionseg.pipeline.basics.atomic import atomic_path, write_atomically
from fusionseg.pipeline.errors import UserError

Flow = npt.NDArray[np.float32]
Get = Callable[[int], Flow]

VIDEO_SUFFIXES = (".npz", ".h5", ".hdf5")  # of files that may hold a whole video
SUFFIXES = (".flo", ".png", *VIDEO_SUFFIXES)
UNKNOWN = 1e9  # px; larger values mark unknown flow in .flo files
_FILL = 1e10  # what Middlebury's own files hold there
_KEY = "flow"

_FLO_MAGIC = struct.pack("<f", 202021.25)  # reads "PIEH"
_FLO_HEADER = 12  # bytes: magic, width, height

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_RGB = 2  # colour type
# KITTI's encoding: value = flow * 64 + 2^15, in 0..65535.
_KITTI_SCALE, _KITTI_ZERO, _KITTI_MOST = 64.0, 2.0**15, 2**16 - 1

# What the readers raise where they meet damage.
_DAMAGE = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, cv2.error)


@dataclass(frozen=True)
class Metadata:
    """What a video file says of its pairs: attributes (HDF5) or arrays (.npz) of these names, each optional.

    `partners`: for each flow the number of the frame that it goes to; `gap`: frames between the two of a pair;
    `direction`: "forward" or "backward".
    """

    partners: tuple[int, ...] | None = None
    gap: int | None = None
    direction: str | None = None


METADATA = ("partners", "gap", "direction")


@dataclass(frozen=True)
class FlowHeader:
    """What is known of a flow file without reading it all: number of flows (None: one pair's), (height, width)."""

    frames: int | None
    size: tuple[int, int]
    metadata: Metadata = Metadata()


def flow_header(path: Path) -> FlowHeader:
    """The header of a flow file; no more than that is read. Raises UserError."""
    with open_flow(path) as (header, _):
        return header


def read_flow(path: Path, index: int | None = None) -> Flow:
    """The flow in a pair's file, or number `index` of a video's: (H, W, 2) float32 px, NaN where unknown.

    Raises UserError: a file that is damaged or no flow, an `index` where there is none, or none where one is needed.
    """
    with open_flow(path) as (header, get):
        if (index is None) != (header.frames is None):
            held = "one pair's flow" if header.frames is None else f"a video's flow of {header.frames} frames"
            raise UserError(f"{path}: holds {held}, expected {'one pair' if index is None else 'a video'}'s")
        if header.frames is not None and index is not None and not 0 <= index < header.frames:
            raise UserError(f"{path}: holds {header.frames} frames, expected one of number {index}")
        return get(index or 0)


@contextmanager
def open_flow(path: Path) -> Iterator[tuple[FlowHeader, Get]]:
    """A flow file's header, and a function that reads the flow of a number (0 for a pair's).

    Read a compressed .npz in rising order: going back starts again at its beginning. Raises UserError, also from the
    function.
    """
    with ExitStack() as stack:
        with _refusing(path):
            header, get = stack.enter_context(_opened(path))

        def known(index: int) -> Flow:
            with _refusing(path):
                return _with_unknown(get(index))

        yield header, known


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Damage, in whatever words, as one line that names the file."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path}: no such flow file") from None
    except _DAMAGE as error:
        words = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: not a usable flow file: {words}") from None


@contextmanager
def _opened(path: Path) -> Iterator[tuple[FlowHeader, Get]]:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"unknown kind {suffix!r}; expected {', '.join(SUFFIXES)}")
    if suffix in VIDEO_SUFFIXES:
        with (_opened_npz if suffix == ".npz" else _opened_hdf5)(path) as found:
            yield found
    else:
        size = (_flo_size if suffix == ".flo" else _png_size)(path)
        decode = _decode_flo if suffix == ".flo" else _decode_kitti
        yield FlowHeader(None, size), lambda index: decode(path.read_bytes(), size)


def _with_unknown(values: npt.NDArray[Any]) -> Flow:
    """(H, W, 2) float32 with NaN in both components of vectors that are NaN, infinite or beyond `UNKNOWN`."""
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite, and so unknown
        flow = np.array(values, np.float32)
    if not cv2.checkRange(flow, minVal=-UNKNOWN, maxVal=UNKNOWN)[0]:
        flow[~(np.abs(flow) <= UNKNOWN).all(-1)] = np.nan
    return flow


# --- .flo


def _flo_size(path: Path) -> tuple[int, int]:
    with path.open("rb") as file:
        head = file.read(_FLO_HEADER)
    if not head.startswith(_FLO_MAGIC):
        raise ValueError(f"begins with {head[:4]!r}, expected {_FLO_MAGIC!r} of a Middlebury .flo file")
    if len(head) < _FLO_HEADER:
        raise ValueError(f"{len(head)} bytes, expected at least {_FLO_HEADER}; it is truncated")
    width, height = struct.unpack("<ii", head[4:])
    if width < 1 or height < 1:
        raise ValueError(f"its header says {width}x{height}, expected at least 1x1")
    found, expected = path.stat().st_size, _FLO_HEADER + 8 * width * height
    if found != expected:
        raise ValueError(f"{found} bytes, expected {expected} of {width}x{height}; it is truncated or damaged")
    return height, width


def _decode_flo(data: bytes, size: tuple[int, int]) -> npt.NDArray[Any]:
    return np.frombuffer(data, "<f4", offset=_FLO_HEADER).reshape(*size, 2)


def _encode_flo(flow: Flow) -> bytes:
    values = np.where(np.isnan(flow), np.float32(_FILL), flow)
    return _FLO_MAGIC + struct.pack("<ii", flow.shape[1], flow.shape[0]) + values.astype("<f4").tobytes()


# --- KITTI's PNG


def _png_size(path: Path) -> tuple[int, int]:
    with path.open("rb") as file:
        head = file.read(26)
    if not head.startswith(_PNG_MAGIC) or head[12:16] != b"IHDR" or len(head) < 26:
        raise ValueError(f"begins with {head[:8]!r}, expected a PNG")
    width, height, bits, colours = struct.unpack(">IIBB", head[16:])
    if (bits, colours) != (16, _PNG_RGB):
        raise ValueError(
            f"PNG of {bits} bits and colour type {colours}, expected KITTI's 16-bit RGB (u, v, valid); "
            "pictures of flow in 8-bit colours can't be turned back into flow"
        )
    return height, width


def _decode_kitti(data: bytes, size: tuple[int, int]) -> npt.NDArray[Any]:
    _check_png(data)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.shape != (*size, 3) or image.dtype != np.uint16:
        raise ValueError("the PNG can't be decoded")
    flow = (image[..., :0:-1].astype(np.float32) - _KITTI_ZERO) / _KITTI_SCALE  # channels: valid, v, u
    flow[image[..., 0] == 0] = np.nan
    return flow


def _check_png(data: bytes) -> None:
    """Refuse a PNG that is cut off or whose checksums don't match; decoders fill what is missing and say nothing."""
    place = len(_PNG_MAGIC)
    while place + 12 <= len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        end = place + 8 + length
        if data[end : end + 4] != struct.pack(">I", zlib.crc32(data[place + 4 : end])):
            break
        if kind == b"IEND":
            return
        place = end + 4
    raise ValueError(f"PNG truncated or damaged at byte {place} of {len(data)}")


def _encode_kitti(flow: Flow) -> bytes:
    valid = ~np.isnan(flow[..., :1])
    codes = np.where(valid, np.round(flow * _KITTI_SCALE + _KITTI_ZERO), 0)
    outside = np.argwhere((codes < 0) | (codes > _KITTI_MOST))
    if len(outside):
        y, x, part = outside[0]
        least, most = -_KITTI_ZERO / _KITTI_SCALE, (_KITTI_MOST - _KITTI_ZERO) / _KITTI_SCALE
        raise ValueError(
            f"{'uv'[part]} is {flow[y, x, part]:.2f} px at x {x}, y {y}; KITTI's 16-bit PNG holds {least:g} to "
            f"{most:.2f} px: export .flo, .npz or .h5 instead"
        )
    image = np.concatenate([valid, codes[..., ::-1]], -1).astype(np.uint16)
    return cv2.imencode(".png", image)[1].tobytes()


# --- .npz


@contextmanager
def _opened_npz(path: Path) -> Iterator[tuple[FlowHeader, Get]]:
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        key = _choose([name for name in names if name not in METADATA])
        with archive.open(f"{key}.npy") as file:
            shape, dtype = _npy_header(file, key)
            begin, step = file.tell(), int(np.prod(shape[-3:])) * dtype.itemsize
            expected = begin + step * (shape[0] if len(shape) == 4 else 1)
            held = archive.getinfo(f"{key}.npy").file_size
            if held != expected:
                raise ValueError(f"its array {key!r} has {held} bytes, expected {expected} of {shape}")

            def get(index: int) -> npt.NDArray[Any]:
                file.seek(begin + index * step)
                return np.frombuffer(file.read(step), dtype).reshape(shape[-3:])

            stated = {name: _read_npy(archive, name) for name in METADATA if name in names}
            yield _header(shape, stated), get


def _npy_header(file: IO[bytes], key: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an array in a .npz file, which must lie there row by row."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, columns_first, dtype = read(file)
    if columns_first:
        raise ValueError(f"its array {key!r} is stored column by column; save it with numpy.ascontiguousarray")
    _check_array(key, shape, dtype)
    return shape, dtype


def _read_npy(archive: zipfile.ZipFile, name: str) -> Any:
    return np.load(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)


def _write_npz(path: Path, flows: Iterable[Flow], shape: tuple[int, ...], stated: dict[str, Any]) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    # Quick compression: stronger takes three times as long and saves little of what looks like noise.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open(f"{_KEY}.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, header)
            for flow in flows:
                file.write(flow.astype("<f4").tobytes())
        for name, value in stated.items():
            data = io.BytesIO()
            np.save(data, np.asarray(value), allow_pickle=False)
            archive.writestr(f"{name}.npy", data.getvalue())


# --- HDF5


@contextmanager
def _opened_hdf5(path: Path) -> Iterator[tuple[FlowHeader, Get]]:
    path.stat()  # h5py's own words for a missing file are many
    with h5py.File(path, "r") as file:
        key = _choose([name for name, node in file.items() if isinstance(node, h5py.Dataset) and node.ndim])
        data = file[key]
        _check_array(key, data.shape, data.dtype)
        stated = {name: node.attrs[name] for name in METADATA for node in (file, data) if name in node.attrs}
        yield _header(data.shape, stated), lambda index: data[index] if data.ndim == 4 else data[()]


def _write_hdf5(path: Path, flows: Iterable[Flow], shape: tuple[int, ...], stated: dict[str, Any]) -> None:
    with h5py.File(path, "w") as file:
        chunks = (1, *shape[-3:]) if len(shape) == 4 else shape
        # gzip, because every HDF5 library reads it; its quickest level, as in .npz.
        filters = {"compression": "gzip", "compression_opts": 1, "shuffle": True, "fletcher32": True}
        data = file.create_dataset(_KEY, shape, "<f4", chunks=chunks, **filters)
        for index, flow in enumerate(flows):
            data[index if len(shape) == 4 else ...] = flow
        for name, value in stated.items():
            data.attrs[name] = value


# --- what .npz and HDF5 share


def _choose(names: list[str]) -> str:
    """The name of the array that holds flow."""
    if _KEY in names:
        return _KEY
    if len(names) != 1:
        found = ", ".join(sorted(names)) or "none"
        raise ValueError(f"expected an array {_KEY!r}, or one array only; found {found}")
    return names[0]


def _check_array(key: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if len(shape) not in (3, 4) or shape[-1] != 2 or 0 in shape:
        raise ValueError(f"its array {key!r} has shape {shape}, expected (H, W, 2) or, for a video, (T, H, W, 2)")
    if dtype.kind != "f":
        raise ValueError(f"its array {key!r} is of type {dtype}, expected floating-point pixels")


def _header(shape: tuple[int, ...], stated: dict[str, Any]) -> FlowHeader:
    frames = shape[0] if len(shape) == 4 else None
    arrays = {name: np.asarray(value) for name, value in stated.items()}
    for name, rank in (("partners", 1), ("gap", 0)):
        if name in arrays and (arrays[name].ndim != rank or arrays[name].dtype.kind not in "iu"):
            raise ValueError(f"its metadata {name} is {arrays[name]!r}, expected {_WHOLE[rank]}")
    partners = tuple(int(number) for number in arrays["partners"]) if "partners" in arrays else None
    if partners is not None and len(partners) != (frames or 1):
        raise ValueError(f"its metadata partners has {len(partners)} numbers, expected {frames or 1}, one a flow")
    gap = int(arrays["gap"]) if "gap" in arrays else None
    return FlowHeader(frames, (shape[-3], shape[-2]), Metadata(partners, gap, _direction(stated.get("direction"))))


_WHOLE = ("a whole number", "a list of whole numbers")  # by rank


def _direction(stated: Any) -> str | None:
    if stated is None:
        return None
    value = np.asarray(stated).reshape(-1).tolist()[0]
    direction = value.decode() if isinstance(value, bytes) else str(value)
    if direction not in ("forward", "backward"):
        raise ValueError(f"its metadata direction is {direction!r}, expected forward or backward")
    return direction


# --- writing


def write_flow(path: Path, flow: Flow) -> None:
    """Write one pair's flow (H, W, 2) float32 px, in the format that the name's suffix says; NaN is unknown.

    Raises UserError for flow that the format can't hold.
    """
    suffix, flow = path.suffix.lower(), _with_unknown(flow)
    if suffix in VIDEO_SUFFIXES:
        _write_arrays(path, [flow], flow.shape, Metadata())
        return
    try:
        write_atomically(path, (_encode_flo if suffix == ".flo" else _encode_kitti)(flow))
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def write_flow_video(
    path: Path, flows: Iterable[Flow], frames: int, size: tuple[int, int], metadata: Metadata = Metadata()
) -> None:
    """Write a video's flow, `frames` times (H, W, 2) float32 px of (height, width) `size`, one after the other, so that
    memory doesn't grow with the video. The suffix says the format: .npz, .h5 or .hdf5. Raises ValueError for another
    number or shape of flows."""
    _write_arrays(path, _exactly(flows, frames, size), (frames, *size, 2), metadata)


def _exactly(flows: Iterable[Flow], frames: int, size: tuple[int, int]) -> Iterator[Flow]:
    for _, flow in zip(range(frames), flows, strict=True):
        if flow.shape != (*size, 2):
            raise ValueError(f"flow of shape {flow.shape}, expected {(*size, 2)}")
        yield _with_unknown(flow)


def _write_arrays(path: Path, flows: Iterable[Flow], shape: tuple[int, ...], metadata: Metadata) -> None:
    stated = {name: getattr(metadata, name) for name in METADATA if getattr(metadata, name) is not None}
    write = _write_npz if path.suffix.lower() == ".npz" else _write_hdf5
    with atomic_path(path) as temporary:
        write(temporary, flows, shape, stated)
