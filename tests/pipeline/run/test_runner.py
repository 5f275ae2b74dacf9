"""The chain on tiny rendered data: what is computed, what is found, what is made again."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from builders import moving_square, texture, write_jpeg, write_png
from tiny import PROFILE, Said, request, run, write_profile
from videos import write_video

import fusionseg.data_manifests
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.graph import SECOND_ROUND, STAGES
from fusionseg.pipeline.report.export import export_flow, export_masks
from fusionseg.pipeline.report.tables import FUNNEL, funnel
from fusionseg.pipeline.report.verdicts import read_verdicts
from fusionseg.pipeline.run.session import Session, run_job
from fusionseg.pipeline.stages.compute import compute_of
from fusionseg.pipeline.store.artifacts import list_artifacts, read_any_header, read_inputs
from fusionseg.pipeline.store.runs import read_run

NAMES = [stage.name for stage in STAGES]


@pytest.fixture
def chain(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be changed at will."""
    folder = tmp_path / "chain"
    shutil.copytree(finished, folder)
    return folder


def contents(folder: Path) -> dict[tuple[str, str, str], str]:
    """Content digest of every artifact of the run "tiny"."""
    run = read_run(folder / "out", "tiny")
    return {(r.stage, r.dataset, r.video): r.content for stage in run.stages.values() for r in stage.records}


def states_of(folder: Path, *overrides: str, **options: object) -> dict[str, str]:
    said = Said()
    run(request(folder, *overrides), say=said, **options)  # type: ignore[arg-type]
    return said.states()


def test_second_run_finds_everything(chain: Path) -> None:
    assert states_of(chain) == dict.fromkeys(NAMES, "cached")


def test_report_and_tables_are_written(finished: Path) -> None:
    assert (finished / "out" / "reports" / "tiny.html").stat().st_size > 10_000
    assert (finished / "out" / "reports" / "tiny-tables" / "per_frame.parquet").exists()
    assert not list((finished / "out").rglob("*.part")) and not list((finished / "out").rglob("*.checkpoint"))


def test_peak_memory_of_every_stage_is_in_the_record_alone(finished: Path) -> None:
    stages = read_run(finished / "out", "tiny").stages
    peaks = [stages[name].peak_memory["process"] for name in NAMES]
    assert peaks == sorted(peaks) and peaks[0] > 50_000_000, "bytes, and it never falls"
    for path in (finished / "out" / "artifacts").rglob("*.h5"):
        assert b"peak_memory" not in path.read_bytes()


def test_every_artifact_verifies(finished: Path) -> None:
    table = list_artifacts(finished / "out", verify=True)
    assert set(table["stage"]) == set(NAMES)
    assert set(table["state"]) == {"verified"}


def test_a_second_round_keeps_the_first_and_its_motion_stream_goes_on(chain: Path) -> None:
    second = [stage.name for stage in SECOND_ROUND]
    before = NAMES[: NAMES.index("motion-scores")]
    learns = ("motion-training.lr_head=0.01", "motion-training.steps=16")  # enough to find something again
    states_of(chain, *learns)
    first, asked = contents(chain), (*learns, "weak-labels.rounds=2")
    states = states_of(chain, *asked)
    assert {name: states[name] for name in before} == dict.fromkeys(before, "cached")
    assert {states[name] for name in (*second, "motion-scores")} == {"computed"}
    assert states_of(chain, *asked) == dict.fromkeys([*NAMES, *second], "cached")
    run = read_run(chain / "out", "tiny")
    scores = run.records("motion-scores")[0]
    origins = read_inputs(chain / "out" / scores.path, read_any_header(chain / "out" / scores.path))
    assert {o["stage"] for o in origins} == {"flow-images", "motion-training-2"}
    labels = run.records("flow-filter-2")
    assert funnel(run) == {name: sum(int(r.counts[name]) for r in labels) for name, _ in FUNNEL}
    page = (chain / "out" / "reports" / "tiny.html").read_text()
    assert "motion-training-2" in page and "weak labels of the second round" in page
    assert states_of(chain, *learns) == dict.fromkeys(NAMES, "cached") and contents(chain) == first, "and back again"


def test_setting_of_one_stage_reruns_it_and_what_follows(chain: Path) -> None:
    states = states_of(chain, "motion-training.lr_head=0.002")
    assert all(states[name] == "cached" for name in NAMES[: NAMES.index("motion-training")])
    assert states["motion-training"] == states["motion-scores"] == "computed"


def test_threshold_reruns_the_filter_not_the_networks_before(chain: Path) -> None:
    states = states_of(chain, "flow-filter.min_contrast=1")
    assert all(states[name] == "cached" for name in NAMES[: NAMES.index("flow-filter")])
    assert states["flow-filter"] == "computed"


def test_run_settings_are_in_no_key(chain: Path) -> None:
    assert set(states_of(chain, "run.batch=2", "run.workers=1", "run.checkpoint_seconds=1").values()) == {"cached"}


def test_trainings_are_the_same_whether_samples_are_kept_in_memory_or_not(chain: Path) -> None:
    trainings = [stage.name for stage in STAGES if stage.trained]
    before = contents(chain)
    said = Said()
    run(request(chain, "run.cache_mb=0"), refresh=trainings, say=said)
    assert {name for name, state in said.states().items() if state == "computed"} == set(trainings)
    assert contents(chain) == before


def test_refresh_computes_one_stage_and_same_content_stops_there(chain: Path) -> None:
    before = contents(chain)
    states = states_of(chain, refresh=["motion-training"])
    assert states.pop("motion-training") == "computed"
    assert set(states.values()) == {"cached"}
    assert contents(chain) == before


@pytest.mark.parametrize("form", ["flo", "hdf5"])
def test_exported_flow_of_several_data_sets_comes_back(chain: Path, form: str) -> None:
    before = contents(chain)
    export_flow(chain / "out", "tiny", form, chain / "flow")
    imported = ("optical-flow.method=import", f"optical-flow.folder={chain / 'flow'}")
    assert states_of(chain, *imported, only="optical-flow") == {"optical-flow": "computed"}
    after = {unit: content for unit, content in contents(chain).items() if unit[0] == "optical-flow"}
    assert after and all(before[unit] == content for unit, content in after.items())


def test_a_video_in_two_roles_has_the_same_frames(tmp_path: Path) -> None:
    """Its scores are stored once: masks of other frames would be laid beside them."""
    validation = 'data.validation={manifest = "demo-davis", split = "fusion", stride = 2}'
    with pytest.raises(UserError, match=r"data\.fusion and data\.validation share .* and use 5 and 3 of its 5 frames"):
        run(request(tmp_path, validation), say=Said())


def some_artifact(folder: Path, stage: str) -> Path:
    return sorted((folder / "out" / "artifacts" / stage).rglob("*.h5"))[0]


def test_deleted_artifact_is_made_again_and_what_follows_stays(chain: Path) -> None:
    path = some_artifact(chain, "optical-flow")
    path.unlink()
    states = states_of(chain)
    assert states.pop("optical-flow") == "1 computed, 8 cached"
    assert set(states.values()) == {"cached"}
    assert path.exists()


def test_truncated_artifact_is_named_and_made_again(chain: Path) -> None:
    path = some_artifact(chain, "appearance-scores")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    said = Said()
    run(request(chain), say=said)
    states = said.states()
    assert any(path.name in line and "damaged" in line for line in said)
    assert states.pop("appearance-scores") == "1 computed, 8 cached"
    assert set(states.values()) == {"cached"}


def test_damage_inside_shows_at_the_first_read_and_is_mended(chain: Path) -> None:
    before = contents(chain)
    path = some_artifact(chain, "flow-images/demo-vid")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(64)
    path.write_bytes(bytes(data))
    said = Said()
    run(request(chain), refresh=["box-motion"], say=said)  # which reads it
    assert any(path.name in line and "damaged" in line for line in said)
    assert said.states()["flow-images"] in ("1 computed, 8 cached", "cached")
    assert set(list_artifacts(chain / "out", "flow-images", verify=True)["state"]) == {"verified"}
    assert {k: v for k, v in contents(chain).items() if k[0] == "flow-images"} == {
        k: v for k, v in before.items() if k[0] == "flow-images"
    }


def test_a_changed_frame_reruns_its_video_only(chain: Path) -> None:
    frame = sorted((chain / "out" / "rendered").rglob("boxed-*/000002.JPEG"))[0]
    other = frame.with_name("000000.JPEG")
    frame.write_bytes(other.read_bytes())
    states = states_of(chain)
    assert states["optical-flow"] == states["appearance-scores"] == "1 computed, 8 cached"
    assert states["appearance-training"] == "cached"
    assert states["flow-filter"] == "1 computed, 3 cached"
    assert states["motion-training"] == "computed"


def test_single_stage_on_what_is_there(chain: Path) -> None:
    assert states_of(chain, "flow-filter.min_overlap=0.1", only="flow-filter") == {"flow-filter": "computed"}


def test_single_stage_without_its_inputs_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"flow-images needs optical-flow .*`fusionseg run .*tiny.toml .*` makes all"):
        run(request(tmp_path), "flow-images", say=Said())


def test_given_weights_take_the_place_of_training(chain: Path) -> None:
    (weights,) = (chain / "out" / "artifacts" / "motion-training").rglob("*.safetensors")
    kept = shutil.copy(weights, chain / "motion.safetensors")
    before = contents(chain)
    states = states_of(chain, f"motion-training.weights={kept}")
    assert states.pop("motion-training") == "given"
    assert "box-pruning" not in states and "flow-filter" not in states  # nobody needs weak labels then
    assert set(states.values()) == {"cached"}
    assert (
        contents(chain)["scoring", "demo-davis", "test-distractor-00"]
        == before["scoring", "demo-davis", "test-distractor-00"]
    )


def test_weights_of_another_architecture_are_refused(chain: Path) -> None:
    (weights,) = (chain / "out" / "artifacts" / "motion-training").rglob("*.safetensors")
    with pytest.raises(UserError, match=r"it was trained on flow-images.* belongs into motion-training\.weights"):
        states_of(chain, f"appearance-training.weights={weights}")
    with pytest.raises(UserError, match=r"network\.backbone is efficientnet-lite0 in it and resnet18 in the profile"):
        states_of(chain, f"motion-training.weights={weights}", "network.backbone=resnet18", "network.pretrained=false")


def test_one_frame_video_is_segmented_by_appearance_alone_and_said_so(chain: Path) -> None:
    davis = next((chain / "out" / "rendered").glob("*/davis"))
    for folder in ("JPEGImages", "Annotations"):
        for path in sorted((davis / folder / "480p" / "test-distractor-00").iterdir())[1:]:
            path.unlink()
    said = Said()
    run(request(chain), say=said)
    assert any("test-distractor-00: no flow (one frame): segmented by appearance alone" in line for line in said)
    assert any("test-distractor-00: too short" in line for line in said)


SCORED = "data.scored=[{{manifest = '{}', split = 'all'}}]"


def test_a_video_file_of_ones_own_is_predicted_and_not_scored(chain: Path) -> None:
    clip = write_video(chain / "my clip.mp4", [texture((64, 96), n) for n in range(3)])
    said = Said()
    run(request(chain, SCORED.format("folder"), data=[f"folder={clip}"]), say=said)
    assert said.states()["fusion-training"] == "cached"  # what trains is still the rendered data
    assert any("my clip: no masks: predicted, not scored" in line for line in said)
    assert any(line.startswith("no scores: no video has masks") for line in said)
    page = (chain / "out" / "reports" / "tiny.html").read_text()
    assert "Without masks, so predicted and not scored: my clip." in page and "my clip, frame 1: no true mask" in page
    assert export_masks(chain / "out", "tiny", "joint", chain / "masks").count == 3
    assert sorted(path.name for path in (chain / "masks" / "my clip").iterdir()) == [f"{n:05}.png" for n in range(3)]


def test_own_videos_with_and_without_masks(chain: Path) -> None:
    own = chain / "own"
    for name, masks in (("whole", [0, 1, 2]), ("sparse", [1]), ("without", [])):
        for index, (frame, mask) in enumerate(moving_square(3, (64, 96))):
            write_jpeg(own / "frames" / name / f"{index}.jpg", frame)
            if index in masks:
                write_png(own / "masks" / name / f"{index}.png", mask)
    said = Said()
    run(request(chain, SCORED.format("folder"), data=[f"folder={own}"]), say=said)
    assert any("without: no masks: predicted, not scored" in line for line in said)
    assert any("folder/all: 2 sequences, 2 frames, per cent" in line for line in said)  # the middle one of each


def test_videos_without_masks_train_nothing(chain: Path) -> None:
    clip = write_video(chain / "clip.mp4", 3)
    fusion = "data.fusion={manifest = 'folder', split = 'all'}"
    with pytest.raises(UserError, match=r"data\.fusion: folder has no masks; expected a data set with masks"):
        run(request(chain, fusion, data=[f"folder={clip}"]), say=Said())


@pytest.mark.parametrize("policy", ["fail", "quarantine"])
def test_bad_frame_fails_or_is_left_out_and_listed(chain: Path, policy: str) -> None:
    frame = sorted((chain / "out" / "rendered").rglob("boxed-*/000002.JPEG"))[0]
    frame.write_bytes(frame.read_bytes()[:-200])
    said = Said()
    if policy == "fail":
        with pytest.raises(UserError, match=rf"{frame.name}: truncated JPEG"):
            run(request(chain), say=said)
        return
    run(request(chain, "data.on_bad_file=quarantine"), say=said)
    name = f"demo-vid/{frame.parent.name}"
    assert read_run(chain / "out", "tiny").left_out == (name,)
    assert frame.parent.name in (chain / "out" / "reports" / "tiny.html").read_text()
    assert said.states()["optical-flow"] == "cached"


def test_the_chain_on_sparse_truth_and_every_other_frame(chain: Path) -> None:
    data = next((chain / "out" / "rendered").iterdir())
    for mask in (data / "davis" / "Annotations").rglob("*.png"):
        if mask.stem not in ("00001", "00003"):
            mask.unlink()
    shipped = (Path(fusionseg.data_manifests.__file__).parent / "demo-davis.yaml").read_text()
    (chain / "own.yaml").write_text(shipped + "sparse_masks: true\n")
    profile = PROFILE.replace('"demo-davis"', f'"{chain / "own.yaml"}"')
    write_profile(chain, profile.replace('"demo-vid", split = "train"', '"demo-vid", split = "train", stride = 2'))
    run(request(chain), say=Said())
    records = [r for stage in read_run(chain / "out", "tiny").stages.values() for r in stage.records]
    frames = {r.stage: r.counts for r in records if r.video.startswith("boxed-")}
    assert frames["flow-filter"]["frames"] == 3  # of 5
    scored = [r.counts for r in records if r.stage == "scoring"]
    assert scored and all(counts == {"frames": 5, "scored_frames": 2} for counts in scored)


def test_another_protocol_scores_again_and_computes_nothing_else(chain: Path) -> None:
    shipped = (Path(fusionseg.data_manifests.__file__).parent / "demo-davis.yaml").read_text()
    (chain / "own.yaml").write_text(shipped.replace("protocol: davis2016", "protocol: fbms"))
    write_profile(chain, PROFILE.replace('"demo-davis"', f'"{chain / "own.yaml"}"'))
    assert states_of(chain) == dict.fromkeys(NAMES, "cached") | {"scoring": "computed"}


def test_bad_still_is_left_out_alone(chain: Path) -> None:
    mask = sorted((chain / "out" / "rendered").rglob("SegmentationClass/*.png"))[3]
    mask.write_bytes(b"not a picture")
    said = Said()
    run(request(chain, "data.on_bad_file=quarantine"), only="appearance-training", say=said)
    assert said.states() == {"appearance-training": "computed"}
    assert read_run(chain / "out", "tiny").left_out == (f"demo-stills/{mask.stem}",)


def test_stills_whose_files_are_named_otherwise_are_left_out_by_their_listed_name(chain: Path) -> None:
    data = next((chain / "out" / "rendered").iterdir())
    shipped = (Path(fusionseg.data_manifests.__file__).parent / "demo-stills.yaml").read_text()
    (chain / "own.yaml").write_text(shipped.replace("Class/{frame}.png", "Class/{frame}_mask.png"))
    write_profile(chain, PROFILE.replace('"demo-stills"', f'"{chain / "own.yaml"}"'))
    masks = sorted((data / "stills" / "SegmentationClass").iterdir())
    for mask in masks:
        mask.rename(mask.with_name(f"{mask.stem}_mask.png"))
    masks[2].with_name(f"{masks[2].stem}_mask.png").write_bytes(b"damaged")
    run(request(chain, "data.on_bad_file=quarantine"), "appearance-training", say=Said())
    assert read_run(chain / "out", "tiny").left_out == (f"demo-stills/{masks[2].stem}",)


def test_one_stage_with_other_settings_leaves_no_mixed_record(chain: Path) -> None:
    run(request(chain, "flow-filter.min_overlap=0.2"), "flow-filter", say=Said())
    assert list(read_run(chain / "out", "tiny").stages) == NAMES[: NAMES.index("motion-training")]


def test_what_a_killed_process_left_is_swept_away(chain: Path) -> None:
    path = some_artifact(chain, "flow-images")
    orphan = path.with_name(f".{path.name}.{2**22 + 1}.part")  # no process has such a number
    orphan.write_bytes(b"half")
    path.unlink()
    states_of(chain)
    assert path.exists() and not orphan.exists()


def test_flow_images_coloured_on_reading_train_the_same_networks(chain: Path) -> None:
    """With u,v alone kept there is no stage flow-images, and every result is the same."""
    before = contents(chain)
    states = states_of(chain, 'flow-images.store="flow"')
    assert "flow-images" not in states and states["optical-flow"] == "cached"
    assert states["motion-training"] == "computed" and states["scoring"] == "cached"  # of equal content
    after = contents(chain)
    assert {unit: content for unit, content in before.items() if unit[0] != "flow-images"} == after


def test_flow_images_alone_are_made_in_one_pass_and_are_the_same(chain: Path) -> None:
    before, once = contents(chain), ("flow-images", "box-pruning")
    contrast = read_verdicts(chain / "out", "tiny")["contrast"]
    no_vectors = ("motion-training.mirror=false", "motion-training.scales=[1.0, 1.0]")
    states = states_of(chain, 'flow-images.store="images"', *no_vectors)
    assert "optical-flow" not in states and states["scoring"] == "computed"
    after = contents(chain)
    assert {u: c for u, c in before.items() if u[0] in once} == {u: c for u, c in after.items() if u[0] in once}
    assert read_verdicts(chain / "out", "tiny")["contrast"].equals(contrast)
    assert (chain / "out" / "reports" / "tiny.html").exists()


def test_augmentation_that_needs_vectors_is_refused_where_none_are_kept(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"store = \"images\" drops u and v, and motion-training\.mirror"):
        run(request(tmp_path, 'flow-images.store="images"'), say=Said())


def test_a_stage_that_the_settings_leave_out_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'with flow-images\.store = "flow", weak-labels.* there is no such stage'):
        run(request(tmp_path, 'flow-images.store="flow"'), only="flow-images", say=Said())
    with pytest.raises(UserError, match=r", weak-labels\.rounds = 1.* there is no such stage"):
        run(request(tmp_path), only="flow-filter-2", say=Said())


def test_parts_of_the_videos_on_several_machines_make_the_whole(finished: Path, tmp_path: Path) -> None:
    asked = request(tmp_path)
    for part in ("1/2", "2/2"):
        run(replace(asked, shard=part), only="optical-flow", say=Said())
        run(replace(asked, shard=part), only="flow-images", say=Said())
    assert not (tmp_path / "out" / "runs").exists()  # a part is no state of a run
    said = Said()
    run(asked, only="flow-images", say=said)
    assert said.states() == {"flow-images": "cached"}
    found = {path.name for path in (tmp_path / "out/artifacts/flow-images").rglob("*.h5")}
    assert found == {path.name for path in (finished / "out/artifacts/flow-images").rglob("*.h5")}


def test_weak_labels_in_parts_and_interrupted_are_the_same(chain: Path) -> None:
    """Parts in any order, also of stages that use what was trained on all; a video that was done stays; one that was
    under way leaves nothing behind."""
    before = contents(chain)
    stages = ("appearance-scores", "box-pruning", "box-motion", "flow-filter", "motion-scores")
    for stage in stages:
        shutil.rmtree(chain / "out" / "artifacts" / stage)
    for stage in stages:
        for part in ("2/2", "1/2"):
            run(replace(request(chain), shard=part), only=stage, say=Said())
    paths = sorted((chain / "out" / "artifacts").glob("flow-filter/*/*.h5"))
    stamps = [path.stat().st_mtime_ns for path in paths[1:]]
    paths[0].rename(paths[0].with_name(f".{paths[0].name}.1.part"))  # as a killed run leaves it
    assert states_of(chain) == dict.fromkeys(NAMES, "cached") | {"flow-filter": "1 computed, 3 cached"}
    assert [path.stat().st_mtime_ns for path in paths[1:]] == stamps and contents(chain) == before


def test_another_threshold_reads_no_frame_and_no_flow(chain: Path) -> None:
    states = states_of(chain, "flow-filter.min_contrast=5", "flow-filter.rejected=drop")
    assert states["flow-filter"] == "computed"
    assert {states[name] for name in ("box-pruning", "box-motion", "appearance-scores", "flow-images")} == {"cached"}


def test_at_most_so_many_frames_a_video(chain: Path) -> None:
    write_profile(chain, PROFILE.replace('"demo-vid", split = "train"', '"demo-vid", split = "train", frames = 2'))
    run(request(chain), say=Said())
    records = [r for stage in read_run(chain / "out", "tiny").stages.values() for r in stage.records]
    counts = {r.stage: r.counts["frames"] for r in records if r.video.startswith("boxed-")}
    assert set(counts) >= {"optical-flow", "flow-images", "appearance-scores", "flow-filter"}
    assert set(counts.values()) == {2}  # of 5


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/0"])
def test_wrong_parts_are_refused(tmp_path: Path, shard: str) -> None:
    with pytest.raises(UserError, match=r"expected K/N with 1 <= K <= N"):
        run(replace(request(tmp_path), shard=shard), only="optical-flow", say=Said())


@pytest.mark.parametrize("only", [None, "motion-training"])
def test_only_a_stage_of_videos_has_parts(tmp_path: Path, only: str | None) -> None:
    with pytest.raises(UserError, match=r"--shard works on one stage of videos: add --only with one of optical-flow"):
        run(replace(request(tmp_path), shard="1/2"), only=only, say=Said())


MASKED = """
name: masked
title: Built-in videos whose boxes are taken from their masks
kind: videos
licence: Apache-2.0
frames: davis/JPEGImages/480p/{video}/{frame}.jpg
masks: davis/Annotations/480p/{video}/{frame}.png
boxes: from-masks
splits:
  boxed: {file: davis/ImageSets/480p/fusion.txt}
"""


def boxed_masks(folder: Path, *overrides: str) -> tuple[int, set[str]]:
    """Run motion-training on videos that have masks; gives how many masks its job may see of them, and the kinds of
    their files that its weights were made from."""
    session = Session(request(folder, *overrides), Said())
    stage = session.by_name["motion-training"]
    session.resolve(stage)
    (work,) = session.works(stage)
    path = folder / "out" / run_job(work, compute_of(stage)).path
    inputs = read_inputs(path, read_any_header(path))
    kinds = {one["kind"] for one in inputs if one.get("role") == "boxed"}
    return sum(len(item.masks) for item in work.items["boxed"]), kinds


def test_masks_of_boxed_videos_are_read_only_where_true_labels_are_asked_for(chain: Path) -> None:
    (chain / "masked.yaml").write_text(MASKED)
    write_profile(chain, PROFILE.replace('"demo-vid", split = "train"', f'"{chain / "masked.yaml"}", split = "boxed"'))
    run(request(chain), say=Said())
    assert boxed_masks(chain) == (0, set())
    weak = contents(chain)
    true = "motion-training.labels=masks"
    states = states_of(chain, true)
    assert states["flow-filter"] == "cached" and states["motion-training"] == "computed"
    assert boxed_masks(chain, true) == (10, {"masks"})
    assert states_of(chain, true, "motion-training.frames=random")["motion-training"] == "computed"
    assert states_of(chain)["motion-training"] == "cached" and contents(chain) == weak


def test_true_labels_need_videos_with_masks(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'data\.boxed: demo-vid has no masks; .* or motion-training\.labels = "weak"'):
        run(request(tmp_path, "motion-training.labels=masks"), say=Said())
