"""Flow made elsewhere: every format in and out, against other readers, and every way a file can be wrong."""

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.formats.flow import (
    SUFFIXES,
    VIDEO_SUFFIXES,
    FlowHeader,
    Metadata,
    flow_header,
    open_flow,
    read_flow,
    write_flow,
    write_flow_video,
)

SIZE = (5, 7)


def some_flow(seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Return flow (H, W, 2) of eighths of a pixel, which every format holds exactly, one vector unknown."""
    flow = np.random.default_rng(seed).integers(-2000, 2000, (*size, 2)) / 8
    flow[1, 2] = np.nan
    return flow.astype(np.float32)


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    return found.dtype == np.float32 and np.array_equal(found, expected, equal_nan=True)


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".FLO", ".Png"])
def test_one_file_a_pair(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a b å{suffix}"
    write_flow(path, some_flow())
    assert flow_header(path) == FlowHeader(None, SIZE)
    assert same(read_flow(path), some_flow())
    with pytest.raises(UserError, match="holds one pair's flow, expected a video's"):
        read_flow(path, 0)


@pytest.mark.parametrize("suffix", VIDEO_SUFFIXES)
def test_one_file_a_video(tmp_path: Path, suffix: str) -> None:
    path, metadata = tmp_path / f"clip{suffix}", Metadata((1, 2, 1), 1, "forward")
    write_flow_video(path, (some_flow(n) for n in range(3)), 3, SIZE, metadata)
    assert flow_header(path) == FlowHeader(3, SIZE, metadata)
    with open_flow(path) as (_, get):
        for index in (1, 2, 0):  # back again too
            assert same(get(index), some_flow(index))
    assert same(read_flow(path, 2), some_flow(2))
    for index in (-1, 3):
        with pytest.raises(UserError, match=f"holds 3 frames, expected one of number {index}"):
            read_flow(path, index)
    with pytest.raises(UserError, match="holds a video's flow of 3 frames, expected one pair's"):
        read_flow(path)


@pytest.mark.parametrize("suffix", VIDEO_SUFFIXES)
@pytest.mark.parametrize(("count", "size"), [(2, SIZE), (4, SIZE), (3, (5, 6))])
def test_a_video_is_written_whole_or_not_at_all(tmp_path: Path, suffix: str, count: int, size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"zip\(\)|expected \(5, 7, 2\)"):
        write_flow_video(tmp_path / f"clip{suffix}", (some_flow(size=size) for _ in range(count)), 3, SIZE)
    assert not list(tmp_path.iterdir())


vectors = arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 4), st.just(2)),
    elements=st.floats(-1e9, 1e9, width=32) | st.just(float("nan")),
)


def unknown_whole(flow: np.ndarray) -> np.ndarray:
    """Return `flow` with both components unknown where one is."""
    return np.where(np.isnan(flow).any(-1, keepdims=True), np.float32(np.nan), flow)


@pytest.mark.parametrize("suffix", [".flo", ".npz", ".h5"])
@settings(max_examples=25)
@given(flow=vectors)
def test_round_trip_is_exact(tmp_path_factory: pytest.TempPathFactory, suffix: str, flow: np.ndarray) -> None:
    path = tmp_path_factory.getbasetemp() / f"round{suffix}"
    write_flow(path, flow)
    assert same(read_flow(path), unknown_whole(flow))


@settings(max_examples=50)
@given(flow=vectors.map(lambda flow: np.remainder(flow, np.float32(1023)) - np.float32(512)))
def test_kitti_keeps_a_64th_of_a_pixel(tmp_path_factory: pytest.TempPathFactory, flow: np.ndarray) -> None:
    path = tmp_path_factory.getbasetemp() / "round.png"
    write_flow(path, flow)
    found, expected = read_flow(path), unknown_whole(flow)
    assert np.array_equal(np.isnan(found), np.isnan(expected))
    assert np.nanmax(np.abs(found - expected), initial=0) <= 1 / 128


@pytest.mark.parametrize(("u", "fits"), [(-512.0, True), (511.98, True), (-512.01, False), (512.0, False)])
def test_kitti_refuses_what_it_cannot_hold(tmp_path: Path, u: float, fits: bool) -> None:
    flow, path = some_flow(), tmp_path / "00007.png"
    flow[3, 4, 0] = u
    if fits:
        write_flow(path, flow)
        assert abs(read_flow(path)[3, 4, 0] - u) <= 1 / 128
        return
    with pytest.raises(UserError, match=rf"00007\.png: u is {u:.2f} px at x 4, y 3; KITTI's .* holds -512 to 511\.98"):
        write_flow(path, flow)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("value", [1e10, -2e9, np.inf, np.nan])
def test_unknown_flow_is_nan(tmp_path: Path, suffix: str, value: float) -> None:
    flow, path = some_flow(), tmp_path / f"flow{suffix}"
    flow[0, 3, 1] = value
    write_flow(path, flow)
    assert np.isnan(read_flow(path)[0, 3]).all() and np.isnan(read_flow(path)).sum() == 4


def test_opencv_reads_and_writes_the_same_flo(tmp_path: Path) -> None:
    flow, path = np.nan_to_num(some_flow()), tmp_path / "flow.flo"
    write_flow(path, flow)
    assert np.array_equal(cv2.readOpticalFlow(str(path)), flow)
    ours = path.read_bytes()
    cv2.writeOpticalFlow(str(path), flow)
    assert path.read_bytes() == ours


@pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")
def test_torchvision_reads_the_same_kitti(tmp_path: Path) -> None:
    root = tmp_path / "KittiFlow" / "training"
    for name in ("image_2/000000_10.png", "image_2/000000_11.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE[::-1]).save(root / name)
    (root / "flow_occ").mkdir()
    write_flow(root / "flow_occ" / "000000_10.png", some_flow())
    _, _, flow, valid = torchvision.datasets.KittiFlow(tmp_path)[0]
    assert np.array_equal(valid, ~np.isnan(some_flow()[..., 0]))
    assert np.array_equal(flow.transpose(1, 2, 0)[valid], some_flow()[valid])


@pytest.mark.parametrize("dtype", [np.float16, ">f4", np.float64])
def test_arrays_of_others(tmp_path: Path, dtype: str) -> None:
    flow = np.stack([np.nan_to_num(some_flow(n)) for n in range(2)])
    flow[1, 0, 0, 0] = np.nan
    stored = flow.astype(dtype)
    np.savez(tmp_path / "plain.npz", anything=stored)
    np.savez_compressed(tmp_path / "several.npz", flow=stored, mask=np.ones(3), gap=2, direction="backward")
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        file["uv"] = stored
        file["scalar"] = 3.0
        file.attrs["direction"] = np.bytes_("forward")
        file["uv"].attrs["partners"] = [4, 5]
    for name in ("plain.npz", "several.npz", "theirs.h5"):
        path = tmp_path / name
        assert flow_header(path).frames == 2
        found = read_flow(path, 1)
        assert np.isnan(found[0, 0]).all()
        assert np.array_equal(found[1:], flow[1, 1:]) and np.array_equal(read_flow(path, 0), flow[0])
    assert flow_header(tmp_path / "several.npz").metadata == Metadata(None, 2, "backward")
    assert flow_header(tmp_path / "theirs.h5").metadata == Metadata((4, 5), None, "forward")


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "expected an array 'flow', or one array only; found none"),
        ({"a": np.zeros((3, 4, 2)), "b": np.zeros((3, 4, 2))}, "expected an array 'flow', .*found a, b"),
        ({"flow": np.zeros((2, 3, 4))}, r"'flow' has shape \(2, 3, 4\), expected \(H, W, 2\)"),
        ({"flow": np.zeros((3, 4))}, r"'flow' has shape \(3, 4\)"),
        ({"flow": np.zeros((0, 3, 4, 2))}, r"'flow' has shape \(0, 3, 4, 2\)"),
        ({"flow": np.zeros((3, 4, 2), np.int16)}, "'flow' is of type int16, expected floating-point"),
        ({"flow": np.zeros((3, 4, 2)), "gap": 1.5}, r"metadata gap is array\(1\.5\), expected a whole number"),
        ({"flow": np.zeros((3, 4, 2)), "gap": [1]}, r"metadata gap is array\(\[1\]\), expected a whole number"),
        ({"flow": np.zeros((2, 3, 4, 2)), "partners": 3}, "partners is .*, expected a list of whole numbers"),
        ({"flow": np.zeros((2, 3, 4, 2)), "partners": [1, 2, 3]}, "partners has 3 numbers, expected 2, one a flow"),
        ({"flow": np.zeros((3, 4, 2)), "direction": "up"}, "direction is 'up', expected forward or backward"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, suffix: str, arrays: dict[str, Any], message: str) -> None:
    path = tmp_path / f"flow{suffix}"
    if suffix == ".npz":
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, value in arrays.items():
                if name in ("partners", "gap", "direction"):
                    file.attrs[name] = value
                else:
                    file[name] = value
    with pytest.raises(UserError, match=rf"flow{suffix}: not a usable flow file: .*{message}"):
        flow_header(path)


def test_other_odd_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "columns.npz", flow=np.asfortranarray(some_flow()))
    np.savez(tmp_path / "objects.npz", flow=np.full((3, 4, 2), None))
    with zipfile.ZipFile(tmp_path / "short.npz", "w") as archive:
        data = io.BytesIO()
        np.save(data, some_flow())
        archive.writestr("flow.npy", data.getvalue()[:-8])
    for name, message in (
        ("columns", "stored column by column; save it with numpy.ascontiguousarray"),
        ("objects", "'flow' is of type object"),
        ("short", r"'flow' has \d+ bytes, expected \d+ of \(5, 7, 2\)"),
    ):
        with pytest.raises(UserError, match=rf"{name}\.npz: not a usable flow file: .*{message}"):
            read_flow(tmp_path / f"{name}.npz")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"12345678")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def words(path: Path) -> None:
    path.write_bytes(b"flow, flow, flow")


def header_only(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:10])


def no_width(path: Path) -> None:
    path.write_bytes(b"PIEH" + struct.pack("<ii", 0, 5))


def flipped(path: Path) -> None:
    """Damage in the middle, among the compressed values."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(bytes(data))


def eight_bits(path: Path) -> None:
    Image.new("RGB", SIZE[::-1]).save(path)


def grey(path: Path) -> None:
    cv2.imwrite(str(path), np.zeros(SIZE, np.uint16))


@pytest.mark.parametrize(
    ("suffix", "damage", "message"),
    [
        (".flo", cut, "283 bytes, expected 292 of 7x5; it is truncated or damaged"),
        (".flo", lengthen, "300 bytes, expected 292"),
        (".flo", empty, r"begins with b'', expected b'PIEH'"),
        (".flo", words, r"begins with b'flow', expected b'PIEH' of a Middlebury"),
        (".flo", header_only, "10 bytes, expected at least 12; it is truncated"),
        (".flo", no_width, "its header says 0x5"),
        (".png", cut, r"PNG truncated or damaged at byte \d+"),
        (".png", flipped, r"PNG truncated or damaged at byte \d+"),
        (".png", words, "begins with b'flow, fl', expected a PNG"),
        (".png", eight_bits, r"PNG of 8 bits and colour type 2, expected KITTI's 16-bit RGB \(u, v, valid\); pictures"),
        (".png", grey, "PNG of 16 bits and colour type 0"),
        (".npz", cut, "."),
        (".npz", flipped, "."),
        (".npz", empty, "File is not a zip file"),
        (".h5", cut, "."),
        (".h5", flipped, "."),
        (".h5", words, "."),
    ],
)
def test_a_damaged_file_is_refused_by_name(
    tmp_path: Path, suffix: str, damage: Callable[[Path], None], message: str
) -> None:
    path = tmp_path / f"00003{suffix}"
    write_flow(path, some_flow(size=SIZE if suffix == ".flo" else (40, 50)))  # large: most bytes are data
    damage(path)
    with pytest.raises(UserError, match=rf"00003\{suffix}: not a usable flow file: {message}") as refused:
        read_flow(path)
    assert "\n" not in str(refused.value)


def test_wrong_paths(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        with pytest.raises(UserError, match=rf"none\{suffix}: no such flow file"):
            read_flow(tmp_path / f"none{suffix}")
        (tmp_path / f"folder{suffix}").mkdir()
        with pytest.raises(UserError, match=rf"folder\{suffix}: not a usable flow file"):
            flow_header(tmp_path / f"folder{suffix}")
    with pytest.raises(UserError, match=r"flow\.mat: not a usable flow file: unknown kind '\.mat'; expected \.flo"):
        read_flow(tmp_path / "flow.mat")


def test_an_error_of_the_reader_keeps_its_words(tmp_path: Path) -> None:
    write_flow(tmp_path / "flow.npz", some_flow())
    with pytest.raises(ValueError, match="my own"), open_flow(tmp_path / "flow.npz"):
        raise ValueError("my own")


def test_a_header_costs_no_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for suffix in SUFFIXES:
        write_flow(tmp_path / f"flow{suffix}", some_flow())
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} was read"))
    for suffix in SUFFIXES:
        assert flow_header(tmp_path / f"flow{suffix}").size == SIZE


@pytest.mark.real
def test_rubberwhale(real_data: Path, tmp_path: Path) -> None:
    path = real_data / "rubberwhale" / "flow10.flo"
    flow, opencv = read_flow(path), cv2.readOpticalFlow(str(path))
    known = ~np.isnan(flow[..., 0])
    assert flow_header(path) == FlowHeader(None, (388, 584))
    assert np.array_equal(known, (np.abs(opencv) <= 1e9).all(-1)) and 0.9 < known.mean() < 1
    assert np.array_equal(flow[known], opencv[known])
    assert np.abs(flow[known]).max() < 5
    write_flow(tmp_path / "copy.flo", flow)
    assert same(read_flow(tmp_path / "copy.flo"), flow)
