"""`fusionseg score`: trees in, tables and a page out; all that is wrong is told at once, and nothing written then."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from builders import moving_square, write_bytes, write_davis2017, write_indexed, write_png, write_segtrack
from PIL import Image

from fusionseg.cli import main
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.formats.readings import SOFT_NOTE
from fusionseg.pipeline.scoring.benchmark import score
from fusionseg.pipeline.scoring.measures import contour_accuracy, region_similarity
from fusionseg.pipeline.scoring.outputs import Scored, outputs, write_outputs
from fusionseg.pipeline.scoring.request import ScoreRequest, listed, named_folders

FRAMES = 5


def squares(frames: int = FRAMES) -> list[npt.NDArray[np.bool_]]:
    return [mask for _, mask in moving_square(frames)]


def write_tree(root: Path, videos: Sequence[str], masks: Sequence[npt.NDArray[Any]], name: str = "{:05}.png") -> Path:
    for video in videos:
        for index, mask in enumerate(masks):
            write_png(root / video / name.format(index), mask)
    return root


@pytest.fixture
def request_(tmp_path: Path) -> ScoreRequest:
    """Truth of two sequences, and a method that is 2 px late."""
    truth = write_tree(tmp_path / "truth", ["bear", "surf"], squares())
    late = write_tree(tmp_path / "late", ["bear", "surf"], [np.roll(mask, 2, 1) for mask in squares()])
    return ScoreRequest("davis2016", truth, {"late": late})


def problems(request: ScoreRequest) -> list[str]:
    with pytest.raises(UserError) as caught:
        score(request)
    return str(caught.value).splitlines()


# ---- scores


def test_scores_are_those_of_the_measures(request_: ScoreRequest) -> None:
    table = score(request_).per_frame
    assert table.columns.tolist() == ["method", "sequence", "frame", "J", "F"]
    assert table[["sequence", "frame"]].to_numpy().tolist() == [[v, n] for v in ("bear", "surf") for n in (1, 2, 3)]
    truth = squares()[2]
    expected = region_similarity(truth, np.roll(truth, 2, 1)), contour_accuracy(truth, np.roll(truth, 2, 1))
    assert tuple(table.loc[1, ["J", "F"]]) == expected and expected[0] == pytest.approx(0.6)


def test_processes_do_not_matter(request_: ScoreRequest) -> None:
    one, three = (score(replace(request_, workers=workers)).per_frame for workers in (1, 3))
    pd.testing.assert_frame_equal(one, three, check_exact=True)


@pytest.mark.parametrize("form", ["indexed", "grey", "grey 1", "colours", "one bit", "16 bits", "bmp"])
def test_every_form_of_a_mask_is_read_alike(request_: ScoreRequest, tmp_path: Path, form: str) -> None:
    for video in ("bear", "surf"):
        for index, mask in enumerate(squares()):
            path, byte = tmp_path / "other" / video / f"{index:05}.png", mask.astype(np.uint8)
            array = {
                "grey": byte * 255, "grey 1": byte, "colours": byte[..., None] * np.array([128, 0, 0], np.uint8),
                "one bit": mask, "16 bits": byte * np.uint16(300), "bmp": byte * 255,
            }.get(form, byte)  # fmt: skip
            (write_indexed if form == "indexed" else write_png)(
                path.with_suffix(".bmp" if form == "bmp" else ".png"), array
            )
    scored = score(replace(request_, masks={"other": tmp_path / "other"}))
    assert (scored.per_frame[["J", "F"]] == 1).all(axis=None)


@pytest.mark.parametrize(("kind", "top"), [(np.uint8, 255), (np.uint16, 65535)])
@pytest.mark.parametrize(("threshold", "expected"), [(0.5, 1.0), (0.1, 64 / 960), (0.8, 0.0)])
def test_probabilities_are_cut(
    request_: ScoreRequest, tmp_path: Path, kind: type[Any], top: int, threshold: float, expected: float
) -> None:
    maps = [(np.where(mask, 0.7, 0.3) * top).astype(kind) for mask in squares()]
    masks = {"soft": write_tree(tmp_path / "soft", ["bear", "surf"], maps)}
    assert score(replace(request_, masks=masks, threshold=threshold)).overall.loc[0, "J"] == pytest.approx(expected)


@pytest.mark.parametrize(("threshold", "expected"), [(0.2, 1.0), (0.5, 0.0)])
def test_probabilities_in_a_jpeg_are_cut_at_the_threshold(
    request_: ScoreRequest, tmp_path: Path, threshold: float, expected: float
) -> None:
    maps = [np.where(mask, 100, 0).astype(np.uint8) for mask in squares()]
    for video in ("bear", "surf"):
        for index, values in enumerate(maps):
            (tmp_path / "soft" / video).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(tmp_path / f"soft/{video}/{index:05}.jpg", quality=100)
    found = score(replace(request_, masks={"soft": tmp_path / "soft"}, threshold=threshold))
    assert found.overall.loc[0, "J"] == pytest.approx(expected)


def test_indexed_masks_are_no_probabilities(request_: ScoreRequest, tmp_path: Path) -> None:
    for video in ("bear", "surf"):
        for index, mask in enumerate(squares()):
            write_indexed(tmp_path / f"labels/{video}/{index:05}.png", mask.astype(np.uint8))
    request = replace(request_, masks={"labels": tmp_path / "labels"})
    assert score(request).overall.loc[0, "J"] == 1
    assert any("no probabilities; score it without" in line for line in problems(replace(request, threshold=0.5)))


def test_probabilities_without_a_threshold_are_cut_at_half(request_: ScoreRequest, tmp_path: Path) -> None:
    maps = [cv2.GaussianBlur(np.where(mask, 255, 0).astype(np.uint8), (5, 5), 0) for mask in squares()]
    exact = [soft > 127 for soft in maps]
    soft = write_tree(tmp_path / "soft", ["bear", "surf"], maps)
    for truth, masks in ((write_tree(tmp_path / "t", ["bear", "surf"], exact), soft), (soft, tmp_path / "t")):
        found = score(replace(request_, truth=truth, masks={"one": masks}))
        assert found.overall.loc[0, "J"] == 1
        assert found.notes() == [f"{'one' if masks is soft else 'truth'}: {2 * (FRAMES - 2)} masks: {SOFT_NOTE}"]


def test_numbers_that_are_no_labels_are_told(request_: ScoreRequest, tmp_path: Path) -> None:
    wild = np.full((24, 40), -1, np.int32)
    masks = {"wild": write_tree(tmp_path / "wild", ["bear", "surf"], [wild] * FRAMES, "{:05}.tif")}
    assert any("values from -1 to -1; expected 0 to 65535" in line for line in problems(replace(request_, masks=masks)))
    masks = {"soft": write_tree(tmp_path / "soft", ["bear", "surf"], [wild.astype(np.float32)] * FRAMES, "{:05}.tif")}
    assert any("floating-point numbers; save it as" in line for line in problems(replace(request_, masks=masks)))


def test_davis_is_found_below_its_root(tmp_path: Path, request_: ScoreRequest) -> None:
    expected = score(request_).per_frame
    write_tree(tmp_path / "davis/Annotations/480p", ["bear", "surf"], squares())
    write_tree(tmp_path / "davis/JPEGImages/480p", ["bear", "surf"], squares())
    for root in ("davis", "davis/Annotations", "davis/Annotations/480p"):
        pd.testing.assert_frame_equal(score(replace(request_, truth=tmp_path / root)).per_frame, expected)


def test_sequences_are_chosen_by_name(request_: ScoreRequest, tmp_path: Path) -> None:
    table = score(replace(request_, sequences=("surf",))).per_frame
    assert table["sequence"].unique().tolist() == ["surf"]
    with pytest.raises(UserError, match=r"--sequences, name 1: no sequence 'cow'; it has: bear, surf"):
        score(replace(request_, sequences=("cow", "surf")))
    with pytest.raises(UserError, match=r"name 2: no sequence 'Baer'; did you mean 'bear'\?"):
        score(replace(request_, sequences=(" surf ", "Baer")))
    with pytest.raises(UserError, match="--sequences: is empty"):
        score(replace(request_, sequences=(" ", "")))


NAMES = [
    "surf",
    "bear",
    "red ball",
    "red",
    "my car",
    "caf\u00e9",
    "cat/data/0001/shots/001",
    "shots/001",
    "#1",
    "ducks 2",
]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"surf 1\n\nbear\n", ["surf", "bear"]),
        (b"\xef\xbb\xbfbear\r\nsurf\r\n", ["bear", "surf"]),
        ("bear\r\nred ball\r\n".encode("utf-16"), ["bear", "red ball"]),
        (b"\xfe\xff" + "bear".encode("utf-16-be"), ["bear"]),
        (b"# those that move\nbear\n#1\n  # surf\n", ["bear", "#1"]),
        (b"red ball\nmy car 7 8\nred 1\nducks 2\n", ["red ball", "my car", "red", "ducks 2"]),
        (b"'red ball'\n\"my car\" 3\n'bear'\n", ["red ball", "my car", "bear"]),
        ("cafe\u0301\n".encode(), ["caf\u00e9"]),
        (b"*bear\n*surf dog\n", ["bear", "surf"]),
        (b"/JPEGImages/480p/bear/00000.jpg /Annotations/480p/surf/00000.png\n" * 2, ["bear"]),
        (b"JPEGImages/480p/surf/00000.jpg\n/Annotations/480p/bear/1/00000.png\n", ["surf", "bear"]),
        (b"cat/data/0001/shots/001/00012.png\nx/shots/001/00012.JPG\n", ["cat/data/0001/shots/001", "shots/001"]),
        (b"D:\\data\\red ball\\00000.jpg\nJPEGImages\\480p\\my car\\\n", ["red ball", "my car"]),
        (b"my car/00000.jpg my car/00000.png\n./bear/\nDAVIS/surf\n", ["my car", "bear", "surf"]),
        (b"cat/data/0001/shots/001/000012 1\n", ["cat/data/0001/shots/001"]),
        (b'"JPEGImages/my car/00000.jpg"\n', ["my car"]),
    ],
)
def test_lists_say_what_a_person_means(
    request_: ScoreRequest, tmp_path: Path, content: bytes, expected: list[str]
) -> None:
    listing = write_bytes(tmp_path / "list.txt", content)
    assert listed(replace(request_, listing=listing), NAMES) == expected
    turned = [name.replace("\u00e9", "e\u0301") for name in NAMES]
    assert listed(replace(request_, listing=listing), turned) == [
        name.replace("\u00e9", "e\u0301") for name in expected
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"bear\n\nbaer\n", r"list\.txt, line 3: no sequence 'baer'; did you mean 'bear'"),
        (b"# none\n", r"list\.txt: is empty"),
        (b"bear\nf\xfcr\n", r"list\.txt, line 2: not UTF-8 text \(byte 0xfc\); save it as UTF-8"),
        (b"\xff\xfeb\0e", r"list\.txt, line 1: not UTF-16-LE text"),
        (b"b\0e\0a\0r\0", r"list\.txt, line 1: holds a byte 0"),
        (b"J/480p/cow/00000.jpg\n", r"line 1: no sequence 'J/480p/cow/00000\.jpg'; it has: "),
        (b"x" * 500, r"no sequence 'x{80}\.\.\.'"),
    ],
)  # fmt: skip
def test_lists_that_name_nothing_say_which_line(
    request_: ScoreRequest, tmp_path: Path, content: bytes, said: str
) -> None:
    with pytest.raises(UserError, match=said) as caught:
        listed(replace(request_, listing=write_bytes(tmp_path / "list.txt", content)), NAMES)
    assert "\n" not in str(caught.value)


def test_a_list_that_is_not_there(request_: ScoreRequest, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--list .*nowhere: can't be read \(No such file or directory\)"):
        score(replace(request_, listing=tmp_path / "nowhere"))


def test_names_are_divided_by_commas(request_: ScoreRequest) -> None:
    with pytest.raises(UserError, match="bear surf: no sequence of that name; several are divided by commas"):
        score(replace(request_, sequences=("bear surf",)))


def test_objects_are_matched(tmp_path: Path) -> None:
    write_davis2017(tmp_path / "davis", {"dogs": 2})
    for index, mask in enumerate(squares(2)):
        label = mask.astype(np.uint8) * 7
        label[18:22, 30:36] = 3
        write_indexed(tmp_path / f"ours/dogs/{index:05}.png", label)
    scored = score(ScoreRequest("davis2017-unsupervised", tmp_path / "davis", {"ours": tmp_path / "ours"}))
    assert scored.per_frame["object"].tolist() == [1, 1, 2, 2] and (scored.per_frame[["J", "F"]] == 1).all(axis=None)
    assert scored.per_sequence["object"].tolist() == [1, 2]
    files = outputs(scored)
    assert b"dogs, object 2" in files["comparison.html"]


@pytest.mark.parametrize(
    ("label", "what"),
    [
        (np.full((24, 40), 255, np.uint8), "nothing but 255, which is void; number its objects from 1"),
        (np.arange(960, dtype=np.uint8).reshape(24, 40) % 23, "22 objects; expected at most 20"),
        (np.dstack([squares(1)[0] * np.uint8(n) for n in (9, 5, 0)]), "colours, expected palette indices"),
    ],
)
def test_what_numbers_no_objects_is_told(tmp_path: Path, label: npt.NDArray[Any], what: str) -> None:
    write_davis2017(tmp_path / "davis", {"dogs": 2})
    masks = write_tree(tmp_path / "ours", ["dogs"], [label] * 2)
    found = problems(ScoreRequest("davis2017-unsupervised", tmp_path / "davis", {"ours": masks}))
    assert sum(what in line for line in found) == 2


def test_proposals_of_a_whole_sequence_are_counted(tmp_path: Path) -> None:
    write_davis2017(tmp_path / "davis", {"dogs": 2})
    labels = [np.zeros((24, 40), np.uint8), np.zeros((24, 40), np.uint8)]
    labels[0][0, :15], labels[1][0, :15] = np.arange(1, 16), np.arange(11, 26)
    masks = write_tree(tmp_path / "ours", ["dogs"], labels)
    found = problems(ScoreRequest("davis2017-unsupervised", tmp_path / "davis", {"ours": masks}))
    assert "  ours: dogs: 25 proposals; at most 20 are allowed" in found


def test_objects_in_folders_of_their_own_are_merged(tmp_path: Path) -> None:
    write_segtrack(tmp_path / "data")
    for video, stem in (("girl", "girl_{:04}.png"), ("cheetah", "chasedeer_{:05}.png")):
        write_tree(tmp_path / "ours", [video], squares(3), stem)
    scored = score(ScoreRequest("segtrack-v2", tmp_path / "data/GroundTruth", {"ours": tmp_path / "ours"}))
    per_sequence = scored.per_sequence.set_index("sequence")["J"]
    assert per_sequence["girl"] == 1 and per_sequence["cheetah"] == pytest.approx(64 / 88)
    assert scored.overall["mean"].tolist() == ["sequences", "frames"]


def test_masks_of_frames_without_truth_are_no_mistake_where_truth_is_sparse(tmp_path: Path) -> None:
    masks = squares()
    write_tree(tmp_path / "ours", ["cat/data/1", "dog/data/1"], masks)
    for video, index in (("cat/data/1", 1), ("cat/data/1", 4), ("dog/data/1", 2)):
        write_png(tmp_path / "truth" / video / f"{index:05}.png", masks[index])
    scored = score(ScoreRequest("youtube-objects", tmp_path / "truth", {"ours": tmp_path / "ours"}))
    assert scored.per_frame["frame"].tolist() == [1, 4, 2]
    assert scored.overall["mean"].tolist() == ["classes", "sequences"]
    (tmp_path / "ours/cat/data/1/00004.png").rename(tmp_path / "ours/cat/data/1/4.png")
    found = problems(ScoreRequest("fbms", tmp_path / "truth", {"ours": tmp_path / "ours"}))
    assert found[-1].endswith("cat/data/1/4.png; expected 00004")


# ---- what is wrong


def test_everything_that_is_wrong_is_told_at_once(request_: ScoreRequest, tmp_path: Path) -> None:
    late, good = request_.masks["late"], write_tree(tmp_path / "good", ["bear", "surf"], squares())
    (late / "bear/00001.png").unlink()
    (late / "bear/00002.png").rename(late / "bear/2.png")
    write_png(late / "bear/00009.png", squares()[0])
    write_png(late / "bear/00003.png", np.zeros((12, 20), bool))
    write_bytes(late / "surf/00001.png", b"no picture")
    write_tree(late, ["cow"], squares())
    write_png(good / "surf/00002.bmp", squares()[2])
    lines = problems(replace(request_, masks={"late": late, "good": good}))
    assert lines[0] == (
        "the masks can't be scored: 1 missing, 1 misnamed, 1 unclear, 1 wrong size, 1 unreadable; "
        "nothing was written; --missing zero counts missing masks as empty"
    )
    text = "\n".join(lines)
    for expected in (
        "late: bear/00001", "bear/2.png; expected 00002",
        "00002.bmp and 00002.png", "bear/00003.png: 20x12, the truth 40x24", "surf/00001.png: not a picture (10 bytes)",
    ):  # fmt: skip
        assert text.count(expected) == 1, expected


def test_what_the_truth_does_not_have_is_left_out_and_told(request_: ScoreRequest, tmp_path: Path) -> None:
    """Published masks are those of all sequences, the truth often that of a part."""
    expected, late = score(request_), request_.masks["late"]
    assert expected.notes() == []
    for number in range(7):
        write_tree(late, [f"cow{number}"], squares())
    write_png(late / "bear/00009.png", squares()[0])
    write_bytes(late / "read me.txt")
    found = score(request_)
    pd.testing.assert_frame_equal(found.per_frame, expected.per_frame)
    lines = [
        "late: left out, 7 sequences that the truth hasn't: cow0, cow1, cow2, cow3, cow4 and 2 more",
        "late: left out, 1 frames that the truth hasn't: bear/00009", "late: left out, no masks (1): read me.txt",
    ]  # fmt: skip
    assert found.notes() == lines and all(line in found.lines() for line in lines)
    assert "cow4 and 2 more" in outputs(found)["comparison.html"].decode()
    chosen = score(replace(request_, sequences=("surf",)))
    assert not any("sequences" in line for line in chosen.notes())


def test_every_missing_mask_is_listed_but_not_every_file_that_cannot_be_read(tmp_path: Path) -> None:
    truth = write_tree(tmp_path / "truth", ["long"], squares(1) * 60)
    masks = write_tree(tmp_path / "ours", ["long"], squares(1) * 2)
    for index in range(2, 30):
        write_bytes(masks / f"long/{index:05}.png", b"no picture")
    lines = problems(ScoreRequest("fbms", truth, {"ours": masks}))
    listed_frames = [line.split("/")[1] for line in lines if line.startswith("  ours: long/")]
    assert listed_frames == [f"{n:05}" for n in range(30, 60)]
    assert sum("not a picture" in line for line in lines) == 20 and lines[-1] == "  and 8 more"


def test_a_whole_sequence_that_is_missing_is_one_line(request_: ScoreRequest, tmp_path: Path) -> None:
    masks = {"half": write_tree(tmp_path / "half", ["bear"], squares())}
    assert problems(replace(request_, masks=masks))[-1] == "  half: surf, all 3 masks"
    found = score(replace(request_, masks=masks, zero=True))
    assert found.lines()[-1] == "half: 3 missing masks counted as empty"
    assert "half: 3 missing masks counted as empty" in outputs(found)["comparison.html"].decode()
    table = found.per_sequence.set_index("sequence")
    assert table.loc["bear", "J"] == 1 and table.loc["surf", "J"] == table.loc["surf", "F"] == 0


def test_a_sequence_too_short_for_the_protocol_is_told(request_: ScoreRequest) -> None:
    write_tree(request_.truth, ["brief"], squares(2))
    found = problems(request_)
    assert "truth: brief: davis2016: a video of 2 frames has no scored frame" in found[-1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocol": "davis"}, "--protocol davis: unknown; known: davis2016, "),
        ({"protocol": "davis2017-unsupervised", "threshold": 0.5}, "--threshold: .* give masks"),
        ({"threshold": 1.0}, "--threshold 1.0: expected a share from 0 to below 1"),
        ({"workers": 0}, "--workers 0: expected at least 1"),
        ({"truth": Path("nowhere")}, "nowhere: no such folder"),
    ],
)
def test_wrong_requests(request_: ScoreRequest, changes: Mapping[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        score(replace(request_, **changes))


def test_wrong_folders(request_: ScoreRequest, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: no masks in it; expected a tree SEQUENCE/FRAME\.png"):
        score(replace(request_, masks={"none": tmp_path / "empty"}))
    other = write_tree(tmp_path / "other", ["cow"], squares())
    with pytest.raises(UserError, match=r"other: no sequence of .*truth in it, such as bear"):
        score(replace(request_, masks={"other": other}, zero=True))


@pytest.mark.parametrize("texts", [["masks"], ["=masks"], ["ours="], ["ours=a", "ours=b"]])
def test_names_of_methods(texts: list[str]) -> None:
    with pytest.raises(UserError, match="--masks"):
        named_folders(texts)


def test_folders_of_methods_are_where_people_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert named_folders(["ours=~/m/", " theirs ='my masks'"]) == {"ours": tmp_path / "m", "theirs": Path("my masks")}
    (tmp_path / "~").mkdir()
    assert named_folders(["odd=~"]) == {"odd": Path("~")}, "what is there as it was typed"


# ---- outputs


class Page(HTMLParser):
    """Tags, their attributes, and the rows of all tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.rows: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag == "tr":
            self.rows.append("")

    def handle_data(self, data: str) -> None:
        if self.rows:
            self.rows[-1] += f"{data.strip()}|" if data.strip() else ""


def test_outputs(request_: ScoreRequest, tmp_path: Path) -> None:
    scored = score(request_)
    write_outputs(tmp_path / "out", scored)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "comparison.html", "overall.csv", "overall.md", "overall.tex", "per_frame.csv", "per_frame.parquet",
        "per_sequence.csv", "per_sequence.md", "per_sequence.tex",
    ]  # fmt: skip
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "out/per_frame.parquet").astype({"method": object, "sequence": object}),
        scored.per_frame.astype({"method": object, "sequence": object}),
    )
    assert len(pd.read_csv(tmp_path / "out/per_frame.csv")) == 6
    assert pd.read_csv(tmp_path / "out/overall.csv").loc[0, "J"] == pytest.approx(0.6)
    assert "| late | sequences | 60.0 | 100.0 | 0.0 |" in (tmp_path / "out/overall.md").read_text()
    assert r"late & bear & 60.0" in (tmp_path / "out/per_sequence.tex").read_text()


def test_page(request_: ScoreRequest) -> None:
    scored = score(replace(request_, masks={"<late> & co": request_.masks["late"]}))
    text = outputs(scored)["comparison.html"].decode()
    found = Page(text)
    assert all(link.startswith("data:") for link in found.links) and not re.search(r"https?://|@import|url\(", text)
    assert any(row.startswith("<late> & co|sequences|60.0|") and row.endswith("|measured|") for row in found.rows)
    published = [row for row in found.rows if "|published, not measured|the " in row]
    assert any(row.startswith("FSEG|val|70.7|83.5|1.5|65.3|73.8|1.8|68.0|") for row in published)
    assert len(published) > 25 and "prefers-color-scheme: dark" in text and "width=device-width" in text


def test_nothing_is_written_where_one_file_cannot_be(request_: ScoreRequest, tmp_path: Path) -> None:
    scored = score(request_)
    with pytest.raises(UserError, match="not a folder"):
        write_outputs(write_bytes(tmp_path / "file"), scored)
    broken = Scored(scored.protocol, scored.per_frame.assign(J=np.nan))
    with pytest.raises(ValueError, match="finite"):
        write_outputs(tmp_path / "out", broken)
    assert not (tmp_path / "out").exists()


# ---- the command


def test_command(request_: ScoreRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--truth", str(request_.truth), "--masks", f"late={request_.masks['late']}", "--workers", "1"]
    out = ["--protocol", "davis2016", "--out", str(tmp_path / "out")]
    assert main(["score", *options, *out, "--sequences", "surf"]) == 0
    said = capsys.readouterr().out
    assert "davis2016: 1 sequences, 3 frames, per cent" in said and str(tmp_path / "out") in said
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    (request_.masks["late"] / "bear/00002.png").unlink()
    assert main(["score", *options, *out]) == 2
    error = capsys.readouterr().err
    assert error.startswith("fusionseg: error: the masks can't be scored: 1 missing; nothing was written")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert main(["score", *options, *out, "--missing", "zero"]) == 0
    assert main(["score", *options, "--protocol", "nothing", "--out", str(write_bytes(tmp_path / "file"))]) == 2
    assert "--out" in capsys.readouterr().err, "told before anything is read"


@pytest.mark.real
def test_published_masks_get_their_published_scores(real_data: Path) -> None:
    official = json.loads((real_data / "fseg_masks_train30_official_scores.json").read_text())
    request = ScoreRequest(
        "davis2016", real_data / "davis2016_train", {"FSEG": real_data / "fseg_masks_train30"}, workers=2
    )
    scored = score(request)
    by_sequence = {name: rows.sort_values("frame") for name, rows in scored.per_frame.groupby("sequence")}
    assert by_sequence.keys() == official.keys()
    for name, rows in by_sequence.items():
        for measure in ("J", "F"):
            published = np.array(official[name][measure], float)
            np.testing.assert_allclose(rows[measure], published, rtol=0, atol=0.0005 + 1e-9)
    assert scored.overall.loc[0, ["J", "F"]].round(4).tolist() == [0.7221, 0.6617]
