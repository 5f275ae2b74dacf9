"""The graph."""

from dataclasses import replace

import pytest

from fusionseg.pipeline.graph import (
    BY_NAME,
    EVERY,
    FINAL,
    PRETRAINING,
    SECOND_ROUND,
    STAGES,
    Stage,
    Variant,
    required,
    stages_for,
)  # fmt: skip
from fusionseg.pipeline.settings.profile import Profile, read_profile
from fusionseg.pipeline.stages.compute import compute_of

SECOND = [stage.name for stage in SECOND_ROUND]
TRAININGS = {"appearance-training", "motion-training", "fusion-training"}


def test_needs_exist_and_come_earlier() -> None:
    earlier: set[str] = set()
    for stage in STAGES:
        assert set(stage.needs) <= earlier, stage.name
        assert len(set(stage.needs)) == len(stage.needs)
        earlier.add(stage.name)
    assert len(earlier) == len(STAGES) == 12


def test_the_chain_is_the_paper_s() -> None:
    assert [stage.name for stage in STAGES] == [
        "optical-flow", "flow-images", "appearance-training", "appearance-scores", "box-pruning", "box-motion",
        "flow-filter", "motion-training", "motion-scores", "fusion-training", "prediction", "scoring",
    ]  # fmt: skip
    assert {stage.name for stage in STAGES if stage.trained} == TRAININGS
    assert FINAL == "scoring"


@pytest.mark.parametrize("stage", EVERY, ids=lambda stage: stage.name)
def test_settings_are_sections_of_the_profile(stage: Stage) -> None:
    known = {info.alias for info in Profile.model_fields.values()} - {"name", "description", "data", "render", "run"}
    assert set(stage.settings) <= known  # `run` says how to compute, so it must not be in a key
    assert stage.version >= 1 and callable(compute_of(stage)) and stage.title
    own = {stage.name} & known
    assert own <= set(stage.settings), f"{stage.name} has a section, which must be part of its key"


def sees(name: str, role: str) -> tuple[str, ...]:
    return BY_NAME[name].data.get(role, ())  # type: ignore[call-overload, no-any-return]


def test_weak_labels_never_see_a_mask() -> None:
    assert (sees("box-pruning", "boxed"), sees("box-motion", "boxed")) == (("frames", "boxes"), ("boxes",))
    assert all(BY_NAME[name].data.keys() == {"boxed"} for name in ("box-pruning", "box-motion", "flow-filter"))
    for stage in STAGES:
        assert "masks" not in sees(stage.name, "boxed"), stage.name
    assert sees("flow-filter", "boxed") == sees("motion-training", "boxed") == ()


@pytest.mark.parametrize("store", ["both", "flow", "images"])
def test_true_masks_of_boxed_videos_are_seen_where_asked_for_and_by_motion_training_alone(store: str) -> None:
    weak, true = stages_for(Variant(store)), stages_for(Variant(store, "masks"))
    assert not any("masks" in stage.data.get("boxed", ()) for stage in weak.values())
    assert weak.keys() == true.keys()
    assert [name for name in weak if weak[name] != true[name]] == ["motion-training"]
    assert true["motion-training"].data == {"boxed": ("masks",), "validation": ("masks",)}
    assert true["motion-training"] in required(frozenset(), Variant(store, "masks"))


def test_frames_are_seen_by_a_fusion_that_reads_them_and_nothing_else_changes() -> None:
    plain, framed = stages_for(), stages_for(Variant(framed=True))
    assert [name for name in plain if plain[name] != framed[name]] == ["fusion-training", "prediction"]
    kinds = ("frames", "masks")
    assert framed["fusion-training"].data == {"fusion": kinds, "validation": kinds}
    assert framed["prediction"].data == {"scored": ("frames",)}
    assert required(frozenset(), Variant(framed=True)) == list(framed.values())
    for fusion in ("paper", "release", "gated", "guided", "average"):
        assert read_profile("demo", [f"fusion-training.fusion={fusion}"]).variant.framed == (fusion == "guided")


def test_masks_of_scored_videos_are_seen_by_scoring_alone() -> None:
    readers = [stage.name for stage in STAGES if "masks" in sees(stage.name, "scored")]
    assert readers == ["scoring"]
    assert [stage.name for stage in STAGES if "others" in {k for kinds in stage.data.values() for k in kinds}] == [
        "scoring"
    ]
    assert not any("scored" in stage.data for stage in STAGES if stage.trained)


def test_every_need_covers_the_roles_it_is_needed_for() -> None:
    """A stage that works on a role needs its inputs computed for that role."""
    for stage in STAGES:
        if stage.unit == "video":
            for need in stage.needs:
                if BY_NAME[need].unit == "video":
                    assert stage.data.keys() <= BY_NAME[need].data.keys(), (stage.name, need)
    for name, role, need in (
        ("motion-training", "boxed", "flow-filter"), ("motion-training", "boxed", "optical-flow"),
        ("motion-training", "validation", "flow-images"), ("fusion-training", "fusion", "motion-scores"),
        ("fusion-training", "fusion", "appearance-scores"), ("fusion-training", "validation", "motion-scores"),
    ):  # fmt: skip
        assert role in BY_NAME[name].data and role in BY_NAME[need].data


def names(*given: str) -> list[str]:
    return [stage.name for stage in required(frozenset(given))]


def test_all_stages_are_required_without_given_weights() -> None:
    assert names() == [stage.name for stage in STAGES]


def test_given_weights_drop_what_only_they_needed() -> None:
    assert set(names()) - set(names("motion-training")) == {"box-pruning", "box-motion", "flow-filter"}
    assert "motion-training" in names("motion-training")  # as a given record
    assert names("appearance-training") == names()  # its data only, no stage
    assert names("fusion-training") == names()  # both streams' scores are needed for the prediction too
    assert names(*TRAININGS) == [
        "optical-flow", "flow-images", "appearance-training", "appearance-scores", "motion-training", "motion-scores",
        "fusion-training", "prediction", "scoring",
    ]  # fmt: skip


@pytest.mark.parametrize("store", ["both", "flow", "images"])
def test_what_is_kept_of_flow_changes_the_graph_and_nothing_dangles(store: str) -> None:
    stages = stages_for(Variant(store))
    gone = {"both": set(), "flow": {"flow-images"}, "images": {"optical-flow"}}[store]
    names = [stage.name for stage in STAGES]
    assert set(names) - set(stages) == gone
    seen: set[str] = set()
    for stage in stages.values():
        assert set(stage.needs) <= seen and len(set(stage.settings)) == len(stage.settings)
        seen.add(stage.name)
    assert [stage.name for stage in required(frozenset(), Variant(store))] == [
        name for name in names if name not in gone
    ]


@pytest.mark.parametrize("store", ["both", "flow", "images"])
def test_a_second_round_goes_between_the_first_and_what_follows(store: str) -> None:
    stages = stages_for(Variant(store, rounds=2))
    order = list(stages)
    assert order[order.index("motion-training") + 1 :][:5] == [
        "motion-scores-2", "box-pruning-2", "flow-filter-2", "motion-training-2", "motion-scores",
    ]  # fmt: skip
    seen: set[str] = set()
    for name, stage in stages.items():
        assert set(stage.needs) <= seen and len(set(stage.settings)) == len(stage.settings)
        seen.add(name)
        if name not in SECOND:
            assert replace(stage, needs=()) == replace(stages_for(Variant(store))[name], needs=())
    assert [name for name, stage in stages.items() if "motion-training" in stage.needs] == ["motion-scores-2"]
    assert [stage.name for stage in required(frozenset(), Variant(store, rounds=2))] == order
    assert all("masks" not in stages[name].data["boxed"] for name in SECOND)
    assert set(SECOND).isdisjoint(stages_for(Variant(store)))


def test_what_changes_the_graph_is_read_off_the_settings() -> None:
    changed = ["flow-images.store=flow", "weak-labels.rounds=2"]
    assert read_profile("demo", changed).variant == Variant("flow", "weak", 2)
    given = [*changed, "motion-training.weights=own.safetensors"]
    assert read_profile("demo", given).variant.rounds == 1, "nothing is trained, so nothing is labelled"


def test_without_flow_images_who_needs_them_reads_flow_and_knows_how_to_colour_it() -> None:
    stages = stages_for(Variant("flow"))
    for name in ("box-motion", "motion-training", "motion-scores"):
        assert "optical-flow" in stages[name].needs and "flow-images" in stages[name].settings
    assert stages["prediction"] == BY_NAME["prediction"]


def test_without_flow_the_pictures_are_made_of_frames() -> None:
    stages = stages_for(Variant("images"))
    pictures = stages["flow-images"]
    assert pictures.needs == () and pictures.data == BY_NAME["optical-flow"].data
    assert set(pictures.settings) == {"optical-flow", "flow-images"}
    assert "optical-flow" not in stages["prediction"].needs


PRETRAINED = Variant(pretraining=tuple(stage.name for stage in PRETRAINING))


def test_a_pretraining_goes_ahead_of_the_training_that_begins_with_its_weights() -> None:
    stages = stages_for(PRETRAINED)
    order = list(stages)
    for stage in PRETRAINING:
        training = stage.name.replace("pretraining", "training")
        assert order.index(stage.name) == order.index(training) - 1
        assert [name for name, one in stages.items() if stage.name in one.needs] == [training]
        assert stages[training] == replace(BY_NAME[training], needs=(*BY_NAME[training].needs, stage.name))
    assert [one.name for one in required(frozenset(), PRETRAINED)] == order
    assert PRETRAINED.pretraining[0] not in {
        one.name for one in required(frozenset({"appearance-training"}), PRETRAINED)
    }
    assert {stage.name for stage in PRETRAINING}.isdisjoint(stages_for())


def test_both_rounds_of_the_motion_stream_begin_with_the_same_weights() -> None:
    stages = stages_for(PRETRAINED._replace(rounds=2))
    assert all("motion-pretraining" in stages[name].needs for name in ("motion-training", "motion-training-2"))


@pytest.mark.parametrize("store", ["both", "flow", "images"])
def test_where_all_masks_train_no_weak_labels_are_made(store: str) -> None:
    stages = stages_for(Variant(store, "all-masks"))
    assert set(stages_for(Variant(store))) - set(stages) == {"box-pruning", "box-motion", "flow-filter"}
    assert stages["motion-training"].data["boxed"] == ("masks",)
    seen: set[str] = set()
    for stage in required(frozenset(), Variant(store, "all-masks")):
        assert set(stage.needs) <= seen, stage.name
        seen.add(stage.name)


def test_roles_that_need_not_be_played_are_seen_by_one_stage_each() -> None:
    stages = stages_for(Variant(optional=("annotated", "pairs")))
    assert [n for n, stage in stages.items() if "annotated" in stage.data] == ["appearance-training"]
    assert [n for n, stage in stages.items() if "pairs" in stage.data] == ["fusion-training"]
    assert {"appearance-training", "motion-training", "appearance-scores"} <= set(stages["fusion-training"].needs)
    again = stages_for(Variant(rounds=2, optional=("pairs",)))
    assert "motion-training-2" in again["fusion-training"].needs
    assert "motion-training" not in again["fusion-training"].needs


def test_what_is_optional_is_read_off_the_settings() -> None:
    more = ['data.pairs={manifest="duts", split="TE"}', "motion-training.labels=masks", "motion-training.frames=all"]
    found = read_profile("davis", ["appearance-pretraining.steps=1", "motion-pretraining.weights=a.safetensors", *more])
    assert found.variant == Variant(
        "both", "all-masks", 1, ("appearance-pretraining", "motion-pretraining"), ("pairs",)
    )
