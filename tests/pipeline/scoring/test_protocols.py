"""Protocols: matched objects against all assignments tried out, and each benchmark's means by hand."""

import itertools
import math
from typing import get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fusionseg.pipeline.names import OBJECT_PROTOCOLS, ProtocolName
from fusionseg.pipeline.scoring.frames import frame_scores, sequence_rows
from fusionseg.pipeline.scoring.measures import contour_accuracy, label_scores, region_similarity
from fusionseg.pipeline.scoring.protocols import PROTOCOLS, class_of, match_objects, overall_means

Labels = npt.NDArray[np.uint8]
OBJECTS = PROTOCOLS["davis2017-unsupervised"]


def test_names() -> None:
    assert list(PROTOCOLS) == list(get_args(ProtocolName))
    assert [name for name, protocol in PROTOCOLS.items() if protocol.objects] == list(OBJECT_PROTOCOLS)


# ---- objects


def slow_match(truths: list[Labels], predictions: list[Labels]) -> float:
    """The best mean of (J + F) / 2 over the first frame's objects, of all ways to give each a proposal of its own."""
    objects = [label for label in np.unique(truths[0]) if label]
    proposals = [label for label in np.unique(np.stack(predictions)) if label]
    proposals += [0] * (len(objects) - len(proposals))  # 0: an empty mask

    def quality(true: int, predicted: int) -> float:
        pairs = [(t == true, p == predicted if predicted else p < 0) for t, p in zip(truths, predictions, strict=True)]
        return float(np.mean([(region_similarity(*pair) + contour_accuracy(*pair)) / 2 for pair in pairs]))

    known = {(o, p): quality(o, p) for o in objects for p in set(proposals)}
    ways = itertools.permutations(proposals, len(objects))
    return max(sum(known[pair] for pair in zip(objects, way, strict=True)) for way in ways) / len(objects)


@st.composite
def videos(draw: st.DrawFn) -> tuple[list[Labels], list[Labels]]:
    """Truth and prediction of two frames with up to three objects each, the first with one at least."""
    pictures = [draw(hnp.arrays(np.uint8, (6, 7), elements=st.integers(0, 3), fill=st.just(0))) for _ in range(4)]
    pictures[0][0, 0] = 2
    return pictures[:2], pictures[2:]


@settings(max_examples=60, deadline=None)
@given(videos())
def test_matching_is_the_best_of_all_assignments(video: tuple[list[Labels], list[Labels]]) -> None:
    truths, predictions = video
    found = match_objects([label_scores(t, p) for t, p in zip(truths, predictions, strict=True)])
    assert list(found) == [label for label in np.unique(truths[0]) if label]
    assert np.mean([values.mean() for values in found.values()]) == pytest.approx(slow_match(truths, predictions))


@settings(max_examples=30, deadline=None)
@given(videos())
def test_pairs_have_the_scores_of_their_masks(video: tuple[list[Labels], list[Labels]]) -> None:
    (truth, _), (prediction, _) = video
    for (true, predicted), scores in label_scores(truth, prediction).items():
        pair = truth == true if true else truth < 0, prediction == predicted if predicted else prediction < 0
        assert scores == pytest.approx((region_similarity(*pair), contour_accuracy(*pair)), abs=1e-12)


def blocks(*columns: int) -> Labels:
    """Objects 1, 2, ... as blocks that begin at these columns."""
    label = np.zeros((30, 60), np.uint8)
    for number, column in enumerate(columns, 1):
        label[5:15, column : column + 10] = number
    return label


def test_numbers_of_proposals_do_not_matter() -> None:
    truth, swapped = blocks(5, 30), blocks(30, 5)
    for matched in match_objects([label_scores(truth, swapped)] * 2).values():
        assert matched.tolist() == [[1, 1], [1, 1]]


def test_one_proposal_for_two_objects_leaves_the_other_empty() -> None:
    truth, merged = blocks(5, 30), (blocks(5, 30) > 0).astype(np.uint8)
    vanished = blocks(5)  # the second object is gone in the second frame
    found = match_objects([label_scores(truth, merged), label_scores(vanished, blocks(5))])
    assert found[1].tolist()[1] == [1, 1] and found[1][0, 0] == 0.5
    assert found[2].tolist() == [[0, 0], [1, 1]]  # nothing where there is nothing is right


def test_objects_that_come_later_do_not_count() -> None:
    assert list(match_objects([label_scores(blocks(5), blocks(5)), label_scores(blocks(5, 30), blocks(5, 30))])) == [1]


def test_twenty_proposals_are_allowed_and_no_more() -> None:
    many = np.zeros((30, 60), np.uint8)
    many[20, :20] = np.arange(1, 21)
    assert len(match_objects([label_scores(blocks(5), many)])) == 1
    many[20, 20] = 21
    with pytest.raises(ValueError, match="21 proposals; at most 20"):
        match_objects([label_scores(blocks(5), many)])


def test_void_counts_neither_way() -> None:
    truth, prediction = blocks(5), blocks(5)
    truth[20:], prediction[20:] = 255, 1
    prediction[0] = 255  # void in a prediction is background
    assert frame_scores(OBJECTS, truth, {"ours": prediction})["ours"] == {
        (0, 0): (1, 1), (0, 1): (0, 0), (1, 0): (0, 0), (1, 1): (1, 1)
    }  # fmt: skip


def test_rows_of_objects() -> None:
    scores = [label_scores(blocks(5, 30), blocks(5, 30))] * 2
    table = sequence_rows(OBJECTS, "ours", "dogs", [4, 5], scores)
    assert table.columns.tolist() == ["method", "sequence", "frame", "J", "F", "object"]
    assert table[["frame", "object"]].to_numpy().tolist() == [[4, 1], [5, 1], [4, 2], [5, 2]]


# ---- means


def scores(rows: dict[str, list[float]], **more: object) -> pd.DataFrame:
    tables = [
        pd.DataFrame({"method": "ours", "sequence": name, "frame": range(len(j)), "J": j, "F": 0.5, **more})
        for name, j in rows.items()
    ]
    return pd.concat(tables, ignore_index=True)


def means(name: str, per_frame: pd.DataFrame) -> dict[str, float]:
    table = overall_means(per_frame, PROTOCOLS[name])
    return dict(zip(table["mean"], table["J"], strict=True))


def test_youtube_objects_has_a_mean_of_classes_and_one_of_sequences() -> None:
    rows = scores({"cat/1/shots/1": [1.0, 0.5], "cat/2/shots/1": [0.25], "dog/1": [0.5]})
    assert means("youtube-objects", rows) == {"classes": 0.5, "sequences": 0.5}
    rows = scores({"cat/1": [1.0], "cat/2": [1.0], "dog/1": [0.0]})
    assert means("youtube-objects", rows) == {"classes": 0.5, "sequences": pytest.approx(2 / 3)}


def test_segtrack_has_a_mean_of_sequences_and_one_of_frames() -> None:
    rows = scores({"girl": [1.0, 1.0, 1.0], "worm": [0.0]})
    assert means("segtrack-v2", rows) == {"sequences": 0.5, "frames": 0.75}
    table = overall_means(rows, PROTOCOLS["segtrack-v2"]).set_index("mean")
    assert table.loc["frames", ["J_recall", "F", "JF"]].tolist() == [0.75, 0.5, 0.625]
    assert math.isnan(table.loc["frames", "J_decay"]) and not math.isnan(table.loc["sequences", "J_decay"])


def test_davis2017_weighs_objects_not_sequences() -> None:
    one, two = scores({"judo": [1.0]}, object=1), scores({"dogs": [0.0]}, object=2)
    rows = pd.concat([one, two, two.assign(object=3)], ignore_index=True)
    assert means("davis2017-unsupervised", rows) == {"objects": pytest.approx(1 / 3)}


@pytest.mark.parametrize(
    ("sequence", "name"), [("aeroplane/data/0001/shots/001", "aeroplane"), ("cat-0003", "cat"), ("dog", "dog")]
)
def test_class(sequence: str, name: str) -> None:
    assert class_of(sequence) == name


def test_decay_of_a_long_sequence() -> None:
    falling = np.linspace(1, 0, 300).tolist()
    table = overall_means(scores({"long": falling}), PROTOCOLS["fbms"])
    # Quarters of 300 frames: 0 to 75 and 224 to 299, both ends included; with uint8 limits it would be near 0.
    assert table.loc[0, "J_decay"] == pytest.approx(np.mean(falling[:76]) - np.mean(falling[224:]), abs=1e-12)
    assert table.loc[0, "J_decay"] == pytest.approx(0.749, abs=1e-3)
