"""Flow made elsewhere: found in every layout, and refused where size, gap or direction are others than declared."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from builders import texture

from fusionseg.pipeline.datasets.imported_flow import (
    FlowSource,
    better_step,
    check_flow,
    evenly,
    find_flow,
    warping_errors,
)
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.flow.estimation import estimate
from fusionseg.pipeline.formats.flow import SUFFIXES, VIDEO_SUFFIXES, Metadata, write_flow, write_flow_video
from fusionseg.pipeline.formats.pictures import decode_frame

NAMES = [f"{n:05}" for n in range(12)]
SIZE = (4, 6)


def numbered(n: float, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Return flow that tells its number."""
    return np.full((*size, 2), n, np.float32)


def write_pairs(folder: Path, names: Sequence[str], suffix: str = ".flo") -> None:
    """Write the flow of frames `names`, each telling its place in the list."""
    folder.mkdir(parents=True, exist_ok=True)
    for n, name in enumerate(names):
        write_flow(folder / f"{name}{suffix}", numbered(n))


def numbers(source: FlowSource) -> list[float | None]:
    """Return the numbers of the flows of all frames."""
    found = source.read(range(len(source.places)))
    return [None if flow is None else float(flow[0, 0, 0]) for flow in found]


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".FLO"])
def test_files_named_after_frames(tmp_path: Path, suffix: str) -> None:
    write_pairs(tmp_path / "clip", NAMES, suffix)
    (tmp_path / "clip" / "notes.txt").write_text("words")
    (tmp_path / "clip" / f".hidden{suffix}").write_text("words")
    source = find_flow(tmp_path, "clip", NAMES)
    assert numbers(source) == list(range(12)) and source.size == SIZE and source.missing == ()
    assert source.files == tuple(tmp_path / "clip" / f"{name}{suffix}" for name in NAMES)


@pytest.mark.parametrize("names", [[f"flow_{n}" for n in range(8, 20)], [str(n) for n in range(0, 60, 5)]])
def test_numbered_files_stand_in_natural_order(tmp_path: Path, names: list[str]) -> None:
    write_pairs(tmp_path / "clip", names)
    assert numbers(find_flow(tmp_path, "clip", NAMES)) == list(range(12))
    (tmp_path / "clip" / f"{names[-1]}.flo").unlink()
    assert numbers(find_flow(tmp_path, "clip", NAMES)) == [*range(11), None]


@pytest.mark.parametrize("suffix", VIDEO_SUFFIXES)
@pytest.mark.parametrize(
    ("count", "gap", "direction", "expected"),
    [
        (12, 1, "forward", [*range(12)]),
        (11, 1, "forward", [*range(11), None]),
        (10, 2, "forward", [*range(10), None, None]),
        (11, 1, "backward", [None, *range(11)]),
    ],
)
def test_video_files(
    tmp_path: Path, suffix: str, count: int, gap: int, direction: str, expected: list[int | None]
) -> None:
    path = tmp_path / f"cl.ip{suffix}"
    write_flow_video(path, map(numbered, range(count)), count, SIZE, Metadata(gap=gap))
    source = find_flow(tmp_path, "cl.ip", NAMES, gap, direction)
    assert numbers(source) == expected and source.files == (path,)
    assert source.missing == tuple(t for t, n in enumerate(expected) if n is None)
    assert source.metadata.gap == gap
    assert [flow[0, 0, 0] for flow in source.read([9, 3]) if flow is not None] == [expected[9], expected[3]]


def test_the_first_frames_may_lack_backward_flow(tmp_path: Path) -> None:
    write_pairs(tmp_path / "clip", NAMES[1:])
    assert find_flow(tmp_path, "clip", NAMES, direction="backward").missing == (0,)
    with pytest.raises(
        UserError, match=r"no flow of frame 00000 \(1 missing\), expected 12, or 11 \(none for the last 1"
    ):
        find_flow(tmp_path, "clip", NAMES)


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "clip" / name).unlink()


def add_video(folder: Path) -> None:
    write_flow_video(folder / "clip.npz", [numbered(0)], 1, SIZE)


def add_kind(folder: Path) -> None:
    write_flow(folder / "clip" / "00000.png", numbered(0))


def resize(folder: Path) -> None:
    write_flow(folder / "clip" / "00003.flo", numbered(0, (4, 7)))


def rename(old: str, new: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "clip" / old).replace(folder / "clip" / new)  # type: ignore[return-value]


def foreign_names(folder: Path) -> None:
    for n, name in enumerate(NAMES):
        (folder / "clip" / f"{name}.flo").replace(folder / "clip" / f"x{n + (n > 5)}.flo")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove("00004.flo"), r"clip: no flow of frame 00004 \(1 missing\), expected 12, or 11 \(none for the las"),
        (rename("00004.flo", "00099.flo"), r"00005\.flo: expected the name of a frame, or files numbered"),
        (rename("00004.flo", "extra.flo"), r"00005\.flo: expected the name of a frame, or files numbered"),
        (rename("00011.flo", "extra.flo"), r"extra\.flo: expected the name of a frame, or files numbered"),
        (foreign_names, r"x7\.flo: expected the name of a frame, or files numbered without a gap in .*clip; is one"),
        (add_video, r"flow of 'clip' in several forms, .*clip\.npz, .*clip/\*\.flo; keep one of them"),
        (add_kind, r"flow of 'clip' in several forms, .*clip/\*\.flo, .*clip/\*\.png; keep one"),
        (resize, r"00003\.flo: flow of 7x4, 00000\.flo of 6x4; expected one size in a video"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit_are_refused(tmp_path: Path, change: Callable[[Path], None], message: str) -> None:
    write_pairs(tmp_path / "clip", NAMES)
    change(tmp_path)
    with pytest.raises(UserError, match=message):
        find_flow(tmp_path, "clip", NAMES)


def test_other_wrong_layouts(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"no flow of 'clip'; looked for .*/clip/FRAME with \.flo, .*, and for .*/clip wi"
    ):
        find_flow(tmp_path / "none", "clip", NAMES)
    write_pairs(tmp_path / "many", [f"f{n}" for n in range(14)])
    with pytest.raises(UserError, match=r"many: flow of 14 frames, expected 12, or 11"):
        find_flow(tmp_path, "many", NAMES)
    write_flow(tmp_path / "single.npz", numbered(0))
    with pytest.raises(UserError, match=r"single\.npz: holds one pair's flow \(H, W, 2\), expected a video's"):
        find_flow(tmp_path, "single", NAMES)
    write_flow_video(tmp_path / "short.h5", map(numbered, range(9)), 9, SIZE)
    with pytest.raises(UserError, match=r"short\.h5: flow of 9 frames, expected 12, or 10 \(none for the first 2\)"):
        find_flow(tmp_path, "short", NAMES, 2, "backward")
    (tmp_path / "video").mkdir()
    write_flow_video(tmp_path / "video" / "00000.h5", [numbered(0)], 1, SIZE)
    with pytest.raises(UserError, match=r"00000\.h5: holds a video's flow, expected one pair's"):
        find_flow(tmp_path, "video", ["00000", "00001"])


# --- what the flow is


def forbidden(number: int) -> np.ndarray:
    """Stand in for the frames where none may be read."""
    raise AssertionError(f"frame {number} was read")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (Metadata((1, 2, 3, 2)), None),
        (Metadata(gap=1, direction="forward"), None),
        (Metadata((1, 2, 3, 3)), r"clip\.npz: flow of frame 3 goes to frame 3 \(metadata partners\), expected frame 2"),
        (Metadata((1, 0, 1, 2)), r"flow of frame 1 goes to frame 0 .*; set optical-flow\.gap and optical-flow\.direct"),
        (Metadata(gap=2, direction="forward"), r"clip\.npz: its metadata gap is 2, expected 1; set"),
        (Metadata(direction="backward"), r"clip\.npz: its metadata direction is backward, expected forward; set"),
    ],
)
def test_what_the_metadata_say_is_believed(tmp_path: Path, metadata: Metadata, message: str | None) -> None:
    write_flow_video(tmp_path / "clip.npz", map(numbered, range(4)), 4, SIZE, metadata)
    source = find_flow(tmp_path, "clip", NAMES[:4])
    if message is None:
        check_flow(source, SIZE, [1, 2, 3, 2], forbidden)
        return
    with pytest.raises(UserError, match=message):
        check_flow(source, SIZE, [1, 2, 3, 2], forbidden)


def test_partners_of_a_partial_video(tmp_path: Path) -> None:
    write_flow_video(tmp_path / "clip.h5", map(numbered, range(3)), 3, SIZE, Metadata((0, 1, 2)))
    source = find_flow(tmp_path, "clip", NAMES[:4], direction="backward")
    check_flow(source, SIZE, [1, 0, 1, 2], forbidden)


def test_another_size_is_refused(tmp_path: Path) -> None:
    write_pairs(tmp_path / "clip", NAMES)
    with pytest.raises(UserError, match=r"clip: flow of 6x4, its frames are 12x8; expected one size"):
        check_flow(find_flow(tmp_path, "clip", NAMES), (8, 12), [*range(1, 12), 10], forbidden)


def moving(frames: int, step: float) -> list[np.ndarray]:
    """Return frames (40, 60, 3) whose content moves `step` px to the right a frame."""
    canvas = texture((40, 160), 3)
    grid = np.mgrid[:40, :60].astype(np.float32)
    return [
        np.asarray(cv2.remap(canvas, grid[1] + 80 - np.float32(step * n), grid[0], cv2.INTER_LINEAR))
        for n in range(frames)
    ]


def stored(folder: Path, frames: int, vector: float) -> FlowSource:
    """Write uniform flow of a video and find it."""
    flow = np.zeros((40, 60, 2), np.float32)
    flow[..., 0] = vector
    write_flow_video(folder / "clip.h5", [flow] * frames, frames, (40, 60))
    return find_flow(folder, "clip", NAMES[:frames])


@pytest.mark.parametrize("frames", [6, 12])
@pytest.mark.parametrize(("true", "declared"), [(1, 1), (-1, -1), (1, -1), (-1, 1), (2, 1), (1, 2), (-2, -1), (3, 3)])
def test_the_frames_tell_gap_and_direction(tmp_path: Path, frames: int, true: int, declared: int) -> None:
    pictures = moving(frames, 2)
    partners = [t + declared if 0 <= t + declared < frames else t - declared for t in range(frames)]
    source = stored(tmp_path, frames, 2.0 * true)
    if true == declared:
        check_flow(source, (40, 60), partners, pictures.__getitem__)
        return
    words = f"clip.h5: the flow looks like that from frame t to t{true:+d}, not to t{declared:+d}: warping error 0.0"
    with pytest.raises(UserError, match=re.escape(words)):
        check_flow(source, (40, 60), partners, pictures.__getitem__)


@pytest.mark.parametrize("step", [0.0, 0.3])
def test_still_videos_give_no_verdict(tmp_path: Path, step: float) -> None:
    pictures = moving(12, step)
    check_flow(stored(tmp_path, 12, -step), (40, 60), [*range(1, 12), 10], pictures.__getitem__)


@pytest.mark.parametrize("vector", [2.0, np.nan])
def test_frames_that_say_nothing_give_no_verdict(tmp_path: Path, vector: float) -> None:
    """Blank frames, and flow that is unknown."""
    blank = [np.full((40, 60, 3), 90, np.uint8)] * 12
    check_flow(stored(tmp_path, 12, vector), (40, 60), [*range(1, 12), 10], blank.__getitem__)


def test_cuts_between_scenes_do_not_matter(tmp_path: Path) -> None:
    """Flow across a cut fits nothing; the frame before often fits better than the one after."""
    pictures = moving(12, 2)
    for t in evenly(range(2, 10))[1:3]:
        pictures[t + 1] = texture((40, 60), t)
    check_flow(stored(tmp_path, 12, 2.0), (40, 60), [*range(1, 12), 10], pictures.__getitem__)


def test_warping_errors() -> None:
    pictures = moving(3, 2)
    flow = np.zeros((40, 60, 2), np.float32)
    flow[..., 0] = 2
    found = warping_errors(flow, pictures[1], {1: pictures[2], -1: pictures[0]})
    assert found[1] < 1 < 5 < found[-1]
    flow[:, 10:] = np.nan  # what is unknown doesn't count
    assert warping_errors(flow, pictures[1], {1: pictures[2]})[1] < 1
    assert warping_errors(flow * 0, pictures[1], {1: pictures[2]}) == {}
    assert warping_errors(flow + 70, pictures[1], {1: pictures[2]}) == {}  # leaves the frame


def test_better_step() -> None:
    assert better_step([{1: 10.0, -1: 4.0, 2: 5.0}] * 3, 1) == (-1, 4.0, 10.0)
    assert better_step([{1: 10.0, -1: 9.0}] * 3, 1) is None
    assert better_step([{1: 10.0, -1: 4.0}] * 2, 1) is None  # too few
    assert better_step([{1: 10.0, -1: 4.0}] * 2 + [{1: 10.0, -1: 30.0}] * 3, 1) is None
    assert better_step([{5: 10.0, 1: 7.0}] * 3, 5) is None
    assert better_step([{5: 10.0, 1: 4.0}] * 3, 5) == (1, 4.0, 10.0)
    assert better_step([{1: 0.1, -1: 0.0}] * 3, 1) is None  # rounding
    assert better_step([{}, {}, {}], 1) is None and better_step([], 1) is None


@pytest.mark.real
def test_real_flow_is_accepted_reversed_and_double_steps_are_not(real_data: Path) -> None:
    """All 30 sequences; benchmarks/flow_direction.py tries more steps, methods and frames."""
    passed, refused = [], []
    for folder in sorted((real_data / "davis2016_train" / "JPEGImages" / "480p").iterdir()):
        paths = sorted(folder.iterdir())
        errors: dict[int, list[dict[int, float]]] = {1: [], 2: []}
        for t in evenly(range(2, len(paths) - 2))[::2]:
            near = {n: decode_frame(paths[t + n].read_bytes()) for n in (-2, -1, 0, 1, 2)}
            first = near.pop(0)
            for true in errors:
                errors[true].append(warping_errors(estimate(first, near[true]), first, near))
        refused += [f"{folder.name} {true:+d}" for true in errors if better_step(errors[true], true)]
        passed += [
            f"{folder.name} {true:+d} as {declared:+d}"
            for true, declared in ((1, -1), (1, 2), (2, 1), (2, -2))
            if (better_step(errors[true], declared) or (0,))[0] != true
        ]
    assert refused == [] and passed == []
