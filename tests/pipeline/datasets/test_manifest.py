"""Manifests: what is wrong in one is told in a line; those that come with the package are sound."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import fusionseg.data_manifests
from fusionseg.pipeline.datasets.manifest import read_manifest
from fusionseg.pipeline.errors import UserError

BASE: dict[str, Any] = {
    "name": "own", "title": "Own", "kind": "videos", "licence": "none", "frames": "{video}/{frame}.png",
    "splits": {"all": ["clip"]},
}  # fmt: skip


def written(folder: Path, **changes: Any) -> str:
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump(BASE | changes), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"colour": "red"}, r"unknown key 'colour'; known here: name, title"),
        ({"kind": "video"}, r"kind: .*found 'video'"),
        (
            {"frames": "/data/{video}/{frame}.png"},
            r"'/data/\{video\}/\{frame\}\.png' must be a path below the data root",
        ),
        ({"masks": "../{video}/{frame}.png"}, r"'\.\./\{video\}/\{frame\}\.png' must be a path below the data root"),
        ({"void": 0}, "void: .*found '?0'?"),
        ({"void": 256}, "void"),
        ({"protocol": "davis"}, "protocol: .*davis2016"),
        (
            {"protocol": "davis2017-unsupervised", "masks": "{video}/{object}/{frame}.png"},
            "protocol davis2017-unsupervised: needs one mask a frame, in which objects are numbered",
        ),
        (
            {"splits": {"all": {"file": "a.txt", "files": "b"}}},
            r"unknown key 'splits\.all\.file\.files'; known here: file, line",
        ),
        ({"splits": {"all": {"folders": "../*"}}}, r"splits\.all\.folders\.folders: .*below the data root"),
        ({"splits": {"all": {"union": ["/a.txt"]}}}, r"splits\.all\.union\.union: .*below the data root"),
        ({"splits": {"all": "train.txt"}}, r"splits\.all\.names: .*list.*found 'train\.txt'"),
        ({"frames": "{video}/frames.png"}, "must stand in its last part"),
        ({"frames": "{video}/{object}/{frame}.png"}, "only placeholders"),
        ({"boxes": "{video}/{object}/{frame}.xml"}, "only placeholders"),
        ({"boxes": "from-masks"}, "names no masks"),
        ({"kind": "stills"}, r"stills have no \{video\}"),
        ({"kind": "stills", "frames": "{frame}.png", "boxes": "{frame}.xml"}, "stills have no boxes"),
        ({"masks": "annotations/{split}.json"}, "masks of stills, not of videos"),
        ({"splits": {"all": {"stills": "*"}}}, r"of \{stills: \.\.\.\} is for stills; expected \{folders"),
        ({"expected": {"test": {"videos": 1}}}, "expected names test, which is no split"),
        ({"expected": {"all": {"video": 1}}}, r"unknown key 'expected\.all\.video'; known here: videos, stills"),
    ],
)
def test_wrong_manifest_is_one_line_that_names_file_and_field(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=rf"own\.yaml: .*{words}") as caught:
        read_manifest(written(tmp_path, **changes))
    assert "\n" not in str(caught.value)
    assert "'title': 'Own'" not in str(caught.value)  # the whole file is no use in an error


@pytest.mark.parametrize(
    "pattern", ["{vid}/{frame}.png", "{video}/{frame:05d}.png", "{video}/{frame.png", "{}/{frame}.png"]
)
def test_wrong_placeholder_is_told_not_thrown(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(UserError, match=re.escape(pattern)):
        read_manifest(written(tmp_path, frames=pattern))


def test_missing_field_is_named(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("name: own\n")
    with pytest.raises(UserError, match=r"own\.yaml: title: missing; kind: missing; licence: missing; splits: missing"):
        read_manifest(str(path))


@pytest.mark.parametrize("text", ["a: [1", "", "- 1", "words", "3"])
def test_what_is_no_manifest_at_all(tmp_path: Path, text: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"own\.yaml(, line 1)?: ") as caught:
        read_manifest(str(path))
    assert "\n" not in str(caught.value)


def test_text_that_is_not_utf8_is_told_not_thrown(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_bytes("name: Größe\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"own\.yaml.*UTF-8"):
        read_manifest(str(path))


TYPED = """name: own
title: 2017
kind: videos
licence: no
frames: J/{video}/{frame}.jpg
void: 255
sparse_masks: yes
boxes: null
masks: ~
splits:
  train: [007, 12:30, on, no, null, ~, 1e3, 2020-01-01, 0x1F, .inf, 1_000, true, "007"]
  2017: [0b1]
  many: {folders: J/*, below: J, having: null}
expected:
  2017: {videos: 1, frames:}
others:
  on: R/{video}/{frame}.png
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_names_are_what_was_typed(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_bytes(TYPED.replace("\n", "\r\n").encode(encoding))
    found = read_manifest(str(path))
    words = ["007", "12:30", "on", "no", "null", "~", "1e3", "2020-01-01", "0x1F", ".inf", "1_000", "true", "007"]
    assert found.splits["train"] == words and found.splits["2017"] == ["0b1"]
    assert (found.title, found.licence, found.void, found.sparse_masks) == ("2017", "no", 255, True)
    assert (found.boxes, found.masks, found.splits["many"].having) == (None, [], None)  # type: ignore[union-attr]
    assert (found.expected["2017"].videos, found.expected["2017"].frames) == (1, None)
    assert found.others == {"on": "R/{video}/{frame}.png"}


def test_aliases_and_merged_mappings_stay(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    text = "name: own\ntitle: x\nkind: videos\nlicence: x\nframes: J/{video}/{frame}.jpg\n"
    path.write_text(
        text + "splits: {a: &a [x], b: *a}\nexpected: {a: &e {videos: 1, frames: 2}, b: {<<: *e, frames: 3}}\n"
    )
    found = read_manifest(str(path))
    assert found.splits["b"] == ["x"] and (found.expected["b"].videos, found.expected["b"].frames) == (1, 3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: own\ntitle: a\nname: b\n", r"line 3: .*key 'name' is there twice, first in line 1; keep one"),
        ("name: own\nsplits: {a: [x], a: [y]}\n", r"line 2: .*key 'a' is there twice"),
        ("name: own\nsplits:\n\ttrain: [a]\n", r"line 3: not valid YAML: found character '\\t'"),
        ("name: own\ntitle: [a\n", r"line 3: not valid YAML: expected"),
        ("name: *x\n", r"line 1: not valid YAML: found undefined alias 'x'"),
        ("name: !!python/object:os.system x\n", r"line 1: not valid YAML: could not determine a constructor"),
        ("a: " + "[" * 9000, "it nests too deeply"),
        (TYPED.replace("255", "twelve"), r"void: expected a whole number, found 'twelve'"),
    ],
)
def test_yaml_faults_name_their_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(UserError, match=said) as caught:
        read_manifest(str(tmp_path / "own.yaml"))
    assert "\n" not in str(caught.value)


def test_manifests_lie_where_people_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.YAML").write_text(TYPED)
    assert read_manifest("~/own.YAML").name == "own"
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(UserError, match=r"folder\.yaml: can't be read \(Is a directory\)"):
        read_manifest("~/folder.yaml")


def test_unknown_manifest_lists_those_that_come_with_the_package() -> None:
    with pytest.raises(UserError, match=r"no data manifest 'davis16'.*known: .*davis2016.*voc2012-sbd"):
        read_manifest("davis16")


APART = ("test", "validation", "fusion", "motion")  # the splits of davis2016-small that share nothing
SHIPPED = sorted(p.stem for p in Path(fusionseg.data_manifests.__file__ or "").parent.glob("*.yaml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_manifests_are_valid_and_named_as_their_file(name: str) -> None:
    found = read_manifest(name)
    assert found.name == name and found.title and found.licence and found.splits


def test_davis_has_its_thirty_and_twenty_sequences_apart() -> None:
    splits = read_manifest("davis2016").splits
    assert (len(splits["train"]), len(splits["val"])) == (30, 20)  # type: ignore[arg-type]
    small = read_manifest("davis2016-small").splits
    names = [name for split in APART for name in small[split]]
    assert len(names) == len(set(names)) == 30
    assert sorted(names) == sorted(splits["train"])  # type: ignore[arg-type]


def test_folds_of_davis_follow_their_rule_and_leave_nothing_out() -> None:
    folds = {name: list(names) for name, names in read_manifest("davis2016-folds").splits.items()}
    names = sorted(read_manifest("davis2016").splits["train"])  # type: ignore[arg-type]
    assert folds.pop("all") == names
    assert sorted(folds["fold1"] + folds["fold2"] + folds["fold3"]) == names  # 30 different ones: disjoint, complete
    for number in range(3):
        fold, train = folds.pop(f"fold{number + 1}"), folds.pop(f"train{number + 1}")
        assert fold == names[number::3] and train == [name for name in names if name not in fold]
    assert not folds


def test_the_splits_of_the_weak_labels_study_follow_their_rule() -> None:
    small = read_manifest("davis2016-small").splits
    names = sorted(name for split in APART for name in small[split])
    assert list(small["thresholds"]) == list(small["motion"])
    assert list(small["proof"]) == [name for name in names if name not in list(small["motion"])]
    assert list(small["train24"]) == [name for name in names if name not in list(small["test"])]
