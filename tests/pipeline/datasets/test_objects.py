"""Objects one by one: by folder, palette index or region; void and other sizes."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from builders import make_item
from PIL import Image

from fusionseg.pipeline.datasets.items import Item, MaskFiles
from fusionseg.pipeline.datasets.objects import frame_objects, object_folders
from fusionseg.pipeline.errors import BadFile
from fusionseg.pipeline.formats.boxes import tight_box

SIZE = (12, 20)


def boxed(*boxes: tuple[int, int, int, int, int]) -> npt.NDArray[np.uint8]:
    """A mask of rectangles: value, x0, y0, x1, y1."""
    mask = np.zeros(SIZE, np.uint8)
    for value, x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = value
    return mask


def write(path: Path, mask: npt.NDArray[np.uint8], mode: str = "P") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(mask).convert("L")
    if mode == "P":
        image.putpalette([(37 * n) % 256 for n in range(768)])
    image.save(path)
    return path


def item(*masks: tuple[Path, ...], regions: Path | None = None, **more: object) -> Item:
    frames = [Path(f"{n}.jpg") for n in range(len(masks))]
    return make_item(frames=frames, masks=tuple(MaskFiles(paths, regions=regions) for paths in masks), **more)


def boxes(video: Item, index: int = 0, size: tuple[int, int] = SIZE) -> dict[int, object]:
    found = frame_objects(video, index, size, object_folders(video))
    assert all(mask.shape == size and mask.dtype == bool for mask in found.values())
    return {number: tight_box(mask) for number, mask in found.items()}


def test_indices_of_a_palette_are_objects(tmp_path: Path) -> None:
    path = write(tmp_path / "0.png", boxed((2, 1, 1, 4, 5), (7, 10, 2, 15, 6), (255, 4, 1, 5, 5)))
    assert boxes(item((path,), void=255)) == {2: (1, 1, 4, 5), 7: (10, 2, 15, 6)}
    assert boxes(item((path,))) == {2: (1, 1, 4, 5), 7: (10, 2, 15, 6), 255: (4, 1, 5, 5)}


def test_shades_of_grey_are_one_object(tmp_path: Path) -> None:
    path = write(tmp_path / "0.png", boxed((100, 1, 1, 4, 5), (200, 10, 2, 15, 6)), "L")
    assert boxes(item((path,))) == {1: (1, 1, 15, 6)}
    assert boxes(item((write(tmp_path / "1.png", boxed()),))) == {}


@pytest.mark.parametrize(
    ("names", "numbers"), [(("2", "10"), (2, 10)), (("cat", "dog"), (1, 2)), (("01", "1"), (1, 2))]
)
def test_folders_are_objects(tmp_path: Path, names: tuple[str, str], numbers: tuple[int, int]) -> None:
    """In every frame under the same number, in view or not."""
    first = [write(tmp_path / names[0] / f"{n}.png", boxed((5, n, 1, n + 3, 5), (9, 12, 8, 14, 9))) for n in range(2)]
    second = [write(tmp_path / names[1] / f"{n}.png", boxed((255, 10, 2, 15, 6)), "L") for n in range(3)]
    video = item((first[0], second[0]), (first[1], second[1]), (second[2],))
    assert boxes(video, 0) == {numbers[0]: (0, 1, 14, 9), numbers[1]: (10, 2, 15, 6)}
    assert boxes(video, 2) == {numbers[1]: (10, 2, 15, 6)}


def test_regions_are_objects(tmp_path: Path) -> None:
    regions = tmp_path / "Def.dat"
    regions.write_text("Total number of regions:\n3\nScale of region\n0\nScale of region\n80\nScale of region\n160\n")
    path = write(tmp_path / "0.pgm", boxed((80, 1, 1, 4, 5), (160, 10, 2, 15, 6), (33, 0, 8, 3, 9)), "L")
    assert boxes(item((path,), regions=regions)) == {1: (1, 1, 4, 5), 2: (10, 2, 15, 6)}


def test_objects_are_given_at_the_size_of_their_frame(tmp_path: Path) -> None:
    path = write(tmp_path / "0.png", boxed((1, 2, 2, 6, 4), (300 % 256, 10, 2, 16, 6)))
    found = boxes(item((path,), allow_mask_resize=True), size=(24, 40))
    assert found == {1: (4, 4, 12, 8), 44: (20, 4, 32, 12)}
    with pytest.raises(BadFile, match=r"0\.png: mask is 20x12, its frame 40x24"):
        boxes(item((path,)), size=(24, 40))


@pytest.mark.parametrize("data", [b"", b"words"])
def test_a_mask_that_cannot_be_read_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "0.png").write_bytes(data)
    with pytest.raises(BadFile, match=r"0\.png: mask can't be decoded"):
        boxes(item((tmp_path / "0.png",)))
