"""Which frame goes to which, and reading each once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from builders import make_item, texture, write_png
from hypothesis import given
from hypothesis import strategies as st

from fusionseg.pipeline.datasets import pairs as flow_pairs
from fusionseg.pipeline.datasets.items import Item
from fusionseg.pipeline.datasets.pairs import PairReader, directions, partner, partner_numbers, with_partners
from fusionseg.pipeline.errors import BadFile
from fusionseg.pipeline.settings.sections import OpticalFlow


def test_the_last_frame_goes_back() -> None:
    assert [partner(n, 5) for n in range(5)] == [1, 2, 3, 4, 3]
    assert [partner(n, 2) for n in range(2)] == [1, 0]


def test_gap_and_direction() -> None:
    assert [partner(n, 5, 2) for n in range(5)] == [2, 3, 4, 1, 2]
    assert [partner(n, 5, 1, "backward") for n in range(5)] == [1, 0, 1, 2, 3]
    assert [partner(n, 3, 9) for n in range(3)] == [2, 2, 0]  # too short: as far as there is


@given(st.integers(2, 40), st.integers(1, 50), st.sampled_from(["forward", "backward"]))
def test_no_frame_goes_to_itself_and_all_to_frames_there_are(frames: int, gap: int, direction: str) -> None:
    for index in range(frames):
        other = partner(index, frames, gap, direction)
        assert 0 <= other < frames and other != index
        if 0 <= index + gap < frames and direction == "forward":
            assert other == index + gap


def video(root: Path, count: int, stride: int = 1) -> Item:
    paths = [write_png(root / f"{n}.png", texture((24, 40), n)) for n in range(count)]
    numbers = tuple(range(0, count, stride))
    return make_item(frames=paths[::stride], all_frames=tuple(paths), numbers=numbers)


def test_a_stride_leaves_out_frames_not_neighbours(tmp_path: Path) -> None:
    item = with_partners(video(tmp_path, 7, stride=3), OpticalFlow())
    assert [p.stem for p in item.frames] == ["0", "3", "6"]
    assert [p.stem for p in item.partners] == ["1", "4", "5"]
    assert partner_numbers(item, OpticalFlow()) == [1, 4, 5]
    assert [p.stem for p in item.files("partners")] == ["1", "4", "5"]


def test_partners_of_both_directions(tmp_path: Path) -> None:
    item = with_partners(video(tmp_path, 7, stride=3), OpticalFlow(direction="both"))
    assert [p.stem for p in item.partners] == ["1", "4", "5"] and [p.stem for p in item.partners_back] == [
        "1",
        "2",
        "5",
    ]
    assert {p.stem for p in item.files("partners")} == {"1", "2", "4", "5"}
    assert item.at([1]).partners_back == item.partners_back[1:2]


def test_partners_among_the_frames_are_no_files_of_their_own(tmp_path: Path) -> None:
    assert with_partners(video(tmp_path, 3), OpticalFlow()).files("partners") == ()


def test_one_frame_has_no_partner(tmp_path: Path) -> None:
    item = with_partners(video(tmp_path, 1), OpticalFlow())
    assert item.partners == () and partner_numbers(item, OpticalFlow()) == []


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_each_frame_is_decoded_once(
    tmp_path: Path, workers: int, direction: Literal["forward", "backward", "both"], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[bytes] = []
    original = flow_pairs.decode_frame
    monkeypatch.setattr(flow_pairs, "decode_frame", lambda data, beside: (decoded.append(data), original(data))[1])
    settings = OpticalFlow(direction=direction)
    reader = PairReader(with_partners(video(tmp_path, 12), settings), workers, 1)
    with ThreadPoolExecutor(workers) as pool:
        frames = list(pool.map(reader.pairs, range(12)))
    assert len(decoded) == 12
    for index, pairs in enumerate(frames):
        for one, (first, second) in zip(directions(settings), pairs, strict=True):
            assert np.array_equal(first[..., ::-1], texture((24, 40), index))
            assert np.array_equal(second[..., ::-1], texture((24, 40), partner(index, 12, 1, one)))


def test_it_keeps_few_frames(tmp_path: Path) -> None:
    reader = PairReader(with_partners(video(tmp_path, 40), OpticalFlow()), 1, 1)
    for index in range(40):
        reader.pairs(index)
    assert len(reader._frames) <= 5


def test_bad_and_odd_frames_are_named(tmp_path: Path) -> None:
    item = with_partners(video(tmp_path, 4), OpticalFlow())
    write_png(item.frames[2], texture((20, 40), 0))
    with pytest.raises(BadFile, match=r"2\.png: frame is 40x20, 1\.png 40x24; expected one size"):
        PairReader(item, 1, 1).pairs(1)
    item.frames[2].write_bytes(b"no picture")
    reader = PairReader(item, 1, 1)
    for index in (1, 2):
        with pytest.raises(BadFile, match=r"2\.png: not a picture"):
            reader.pairs(index)
