"""Settings: defaults, overrides, and one line for everything that is wrong."""

from pathlib import Path

import pytest

import fusionseg.profiles
from fusionseg.models.backbone import BACKBONES
from fusionseg.models.caffe import RELEASE
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.networks.trained import architecture_of
from fusionseg.pipeline.settings.base import Settings
from fusionseg.pipeline.settings.profile import Profile, read_profile
from fusionseg.pipeline.settings.trainings import AppearanceTraining, Training

OWN = """
[data]
stills = {manifest = "a", split = "x"}
boxed = {manifest = "b", split = "x"}
fusion = {manifest = "c", split = "x"}
scored = [{manifest = "d", split = "x"}]
"""
SHIPPED = sorted(p.stem for p in Path(fusionseg.profiles.__file__ or "").parent.glob("*.toml"))


def own(folder: Path, text: str = "", *overrides: str) -> Profile:
    path = folder / "own.toml"
    path.write_text(OWN + text, encoding="utf-8")
    return read_profile(str(path), overrides)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_profiles_are_valid_and_named_as_their_file(name: str) -> None:
    assert read_profile(name).name == name


# DeepLab-v2's solver, which is FusionSeg's ancestor's, and Caffe's ways: nothing of the modern engine.
SOLVER = {
    "optimiser": "sgd", "lr_backbone": 2.5e-4, "lr_head": 2.5e-3, "lr_bias_factor": 2, "momentum": 0.9,
    "weight_decay": 5e-4, "schedule": "poly", "poly_power": 0.9, "steps": 20000, "batch": 10, "accumulate": 1,
    "crop": (321, 321), "scales": (0.5, 1.5), "mirror": True, "loss": "cross-entropy", "balance": False, "clip_norm": 0,
    "ema": 0, "bf16": False, "keep": "last", "batch_norm": "frozen",
}  # fmt: skip


def test_the_paper_profile_is_the_paper_s() -> None:
    paper = read_profile("paper")
    network = paper.network
    assert architecture_of(network) == RELEASE and network.long_side == 0 and network.pretrained
    for training in (paper.appearance_training, paper.motion_training):
        assert {name: getattr(training, name) for name in SOLVER} == SOLVER
    assert (paper.appearance_training.colour, paper.appearance_training.blur) == (0, 0)
    assert (paper.motion_training.labels, paper.motion_training.frames) == ("weak", "accepted")
    fusion = paper.fusion_training
    assert (fusion.fusion, fusion.loss, fusion.batch, fusion.clip_norm, fusion.ema) == (
        "paper",
        "cross-entropy",
        8,
        0,
        0,
    )
    assert (paper.flow_filter.min_overlap, paper.flow_filter.min_contrast) == (0.75, 30)
    assert paper.data.validation is None  # no frame of DAVIS chooses a checkpoint


def test_the_maximum_of_branches_needs_a_decoder_that_has_branches(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'network: combine = "max" is of the decoder parallel-dilated'):
        own(tmp_path, "", "network.combine=max")
    network = own(tmp_path, "", "network.combine=max", "network.decoder=parallel-dilated").network
    assert architecture_of(network).combine == "max"


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_can_be_named(tmp_path: Path, name: str) -> None:
    assert own(tmp_path, "", f"network.backbone={name}").network.backbone == name


def test_no_setting_names_a_backbone_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"network\.backbone=.*convnext-tiny.*found 'vgg16'"):
        own(tmp_path, "", "network.backbone=vgg16")


def test_file_goes_over_defaults_and_overrides_over_both(tmp_path: Path) -> None:
    text = "[motion-training]\nsteps = 9\nlr_head = 0.5\n"
    profile = own(tmp_path, text, "motion-training.steps=5", "network.backbone=resnet18")
    assert (profile.motion_training.steps, profile.motion_training.lr_head) == (5, 0.5)
    assert profile.motion_training.batch == Training().batch
    assert profile.appearance_training == AppearanceTraining()
    assert (profile.name, profile.network.backbone) == ("own", "resnet18")


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("appearance-training.crop=[48, 64]", (48, 64)),
        ("appearance-training.mirror=false", False),
        ("appearance-training.lr_head=1e-4", 1e-4),
        ("appearance-training.schedule=poly", "poly"),
        ('appearance-training.schedule="poly"', "poly"),
        ("appearance-training.weights=/tmp/w=1.safetensors", Path("/tmp/w=1.safetensors")),
        (" appearance-training.steps = 3 ", 3),
    ],
)
def test_overrides_are_read_as_toml_or_as_words(tmp_path: Path, override: str, value: object) -> None:
    profile = own(tmp_path, "", override)
    assert getattr(profile.appearance_training, override.split(".")[1].split("=")[0].strip()) == value


@pytest.mark.parametrize(
    "typed", ["2017", "007", "on", "true", "1e3", "2020-01-01", "12:30:00", "red ball", "a,b", "~"]
)
def test_where_text_is_wanted_an_override_is_what_was_typed(tmp_path: Path, typed: str) -> None:
    profile = own(tmp_path, "", f"data.stills.split={typed}", f"data.stills.manifest={typed}", "run.workers=07")
    assert (profile.data.stills[0].split, profile.data.stills[0].manifest, profile.run.workers) == (typed, typed, 7)


def test_paths_in_settings_are_where_people_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    profile = own(tmp_path, '[motion-training]\nweights = "~/w.safetensors"\n', "optical-flow.raft_weights=~/2017/")
    assert profile.motion_training.weights == tmp_path / "w.safetensors"
    assert profile.optical_flow.raft_weights == tmp_path / "2017"
    assert own(tmp_path, "", "optical-flow.raft_weights=2017").optical_flow.raft_weights == Path("2017")
    assert read_profile("~/own.toml").name == "own"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_profiles_of_other_editors(tmp_path: Path, encoding: str) -> None:
    own(tmp_path, "")
    path = tmp_path / "own.toml"
    path.write_bytes(path.read_text().replace("\n", "\r\n").encode(encoding))
    assert read_profile(str(path)).data.stills[0].manifest == "a"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"[run]\nworkers = 1\nworkers = 2\n", r"own\.toml: not valid TOML: .*line 3"),
        (b"[run]\n# f\xfcr\n", r"own\.toml, line 2: not UTF-8 text \(byte 0xfc\); save it as UTF-8"),
        (b"x = " + b"[" * 9000, r"own\.toml: not valid TOML"),
    ],
)
def test_faults_of_a_file_name_their_line(tmp_path: Path, text: bytes, said: str) -> None:
    (tmp_path / "own.toml").write_bytes(text)
    with pytest.raises(UserError, match=said) as caught:
        read_profile(str(tmp_path / "own.toml"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["inf", "nan", "-inf", "1e300", "1e-300"])
@pytest.mark.parametrize("key", ["lr_head", "scales", "poly_power"])
def test_no_setting_is_more_than_a_machine_holds(tmp_path: Path, key: str, value: str) -> None:
    with pytest.raises(UserError, match=rf"motion-training\.{key}"):
        own(tmp_path, "", f"motion-training.{key}={f'[1.0, {value}]' if key == 'scales' else value}")


@pytest.mark.parametrize(
    "override", ["run.batch=9223372036854775808", "motion-training.seed=-1", "network.long_side=16385"]
)
def test_integers_have_limits(tmp_path: Path, override: str) -> None:
    with pytest.raises(UserError, match=override.partition("=")[0]):
        own(tmp_path, "", override)


def test_override_reaches_nested_tables(tmp_path: Path) -> None:
    profile = own(tmp_path, "", "data.stills.split=other", "data.on_bad_file=quarantine")
    assert (profile.data.stills[0].manifest, profile.data.stills[0].split) == ("a", "other")
    assert profile.data.on_bad_file == "quarantine"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("motion-training.lr=1", r"unknown key 'motion-training\.lr'; known here: weights, steps"),
        ("motion.steps=1", r"unknown key 'motion'; known here: .*motion-training"),
        ("motion_training.steps=1", "unknown key 'motion_training'"),
        ("motion-training.steps=0", r"motion-training\.steps=.*found 0"),
        ("motion-training.steps=many", r"motion-training\.steps=.*found 'many'"),
        ("motion-training.lr_head=nan", r"motion-training\.lr_head"),
        ("motion-training.momentum=1", r"motion-training\.momentum"),
        ("motion-training.crop=[1]", r"motion-training\.crop"),
        ("network.output_stride=4", r"network\.output_stride=.*8, 16 or 32, found 4"),
        ("flow-filter.min_overlap=1.5", r"flow-filter\.min_overlap"),
        ("flow-filter.min_contrast=-1", r"flow-filter\.min_contrast"),
        ("run.workers=0", r"run\.workers"),
        ("data.scored=[]", r"data\.scored"),
        ("data.boxed.stride=0", r"data\.boxed\.stride"),
        ("data.stills.stride=2", r"stills\.stride = 2: stills are no video"),
        ("data.stills.frames=2", r"stills\.frames = 2: stills are no video"),
        ('data.scored=[{manifest = "d", split = "x", frames = 3}]', "scored: frames = 3 of d/x: every frame is scored"),
        ("flow-filter.min_confidence=2", r"flow-filter\.min_confidence"),
        ("box-pruning.components=some", r"box-pruning\.components=.*'all' or 'largest', found 'some'"),
        (
            'data.scored=[{manifest = "d", split = "x", stride = 3}]',
            r"scored: stride = 3 of d/x: every frame is scored",
        ),
        ("motion-training.steps", r"--set motion-training\.steps: expected section\.key=value"),
        ("steps=3", "--set steps=3: expected section"),
        ("motion-training.steps.x=3", "'steps' is a value, not a section"),
    ],
)
def test_wrong_override_is_one_line(override: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        read_profile("paper", [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value", ["crop=[0, 64]", "crop=[-1, 64]", "scales=[0, 1]", "scales=[-1, 1]", "scales=[1.5, 0.5]"]
)
def test_values_that_no_sample_can_be_cut_with_are_refused_before_any_training(value: str) -> None:
    with pytest.raises(UserError, match=rf"motion-training.*{value.split('=')[0]}"):
        read_profile("demo", [f"motion-training.{value}"])


@pytest.mark.parametrize("role", ["boxed", "fusion", "validation"])
def test_what_is_scored_may_train_nothing(tmp_path: Path, role: str) -> None:
    with pytest.raises(UserError, match=f"d/x is scored and can't be `{role}` too"):
        own(tmp_path, "", f'data.{role}={{manifest = "d", split = "x"}}')
    with pytest.raises(UserError, match=f"can't be `{role}` too"):
        own(tmp_path, "", f'data.{role}={{manifest = "d", split = "x", stride = 2}}')
    assert own(tmp_path, "", f'data.{role}={{manifest = "d", split = "y"}}')


def test_vectors_are_compared_only_where_they_are_kept() -> None:
    no_vectors = ['flow-images.store="images"', "motion-training.mirror=false", "motion-training.scales=[1, 1]"]
    with pytest.raises(UserError, match=r'flow-filter\.contrast = "vector" compares them; choose contrast = "colour"'):
        read_profile("demo", [*no_vectors, 'flow-filter.contrast="vector"'])
    assert read_profile("demo", no_vectors)


def test_missing_or_invalid_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no profile 'davi'.*known: .*davis.*demo.*paper"):
        read_profile("davi")
    with pytest.raises(UserError, match=r"no profile .*gone\.toml"):
        read_profile(str(tmp_path / "gone.toml"))
    with pytest.raises(UserError, match=r"own\.toml: not valid TOML: .*line"):
        own(tmp_path, "x = = 1")
    (tmp_path / "empty.toml").touch()
    with pytest.raises(UserError, match=r"empty\.toml: data: missing"):
        read_profile(str(tmp_path / "empty.toml"))


def test_text_that_is_not_utf8_is_told_not_thrown(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_bytes('name = "Größe"\n'.encode("latin-1"))
    with pytest.raises(UserError, match=r"own\.toml.*UTF-8"):
        read_profile(str(path))


def test_settings_do_not_change_afterwards() -> None:
    profile = read_profile("demo")
    with pytest.raises(ValueError, match="frozen"):
        profile.motion_training.steps = 3  # type: ignore[misc]


def test_sections_by_their_names_in_files() -> None:
    profile = read_profile("demo", ["motion-training.weights=w.safetensors"])
    assert profile.section("motion-training") is profile.motion_training
    assert profile.as_dict()["motion-training"]["weights"] == "w.safetensors"
    assert profile.as_dict()["motion-training"]["crop"] == [144, 208]


def test_validation_videos_can_be_taken_back(tmp_path: Path) -> None:
    used = 'data.validation={manifest = "e", split = "x"}'
    assert own(tmp_path, "", used).data.validation is not None
    assert own(tmp_path, "", used, "data.validation=none").data.validation is None


WEIGHTS = {"stills": "appearance-training", "boxed": "motion-training", "fusion": "fusion-training"}


@pytest.mark.parametrize("role", WEIGHTS)
def test_data_may_be_left_out_where_the_weights_that_it_would_train_are_given(tmp_path: Path, role: str) -> None:
    left_out, stage = f"data.{role}=none", WEIGHTS[role]
    with pytest.raises(UserError) as caught:
        own(tmp_path, "", left_out)
    assert str(caught.value) == (
        f"--set {left_out}: data.{role}: missing, and {stage} needs it; name the data, or give {stage}.weights"
    )
    assert own(tmp_path, "", left_out, f"{stage}.weights=shipped:general").data.of(role) == ()


def test_with_all_weights_given_only_what_is_scored_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "segment.toml"
    path.write_text('[data]\nscored = [{manifest = "folder", split = "all"}]\n')
    given = [f"{stage}.weights=shipped:general" for stage in WEIGHTS.values()]
    assert read_profile(path, given).data.stills == ()
    with pytest.raises(UserError, match=r"data\.fusion: missing, and fusion-training needs it"):
        read_profile(path, given[:2])
    with pytest.raises(UserError, match=r"segment\.toml: data\.stills: missing"):
        read_profile(path)


def test_a_second_round_needs_weak_labels(tmp_path: Path) -> None:
    assert own(tmp_path, "", "weak-labels.rounds=2").weak_labels.source == "fused"
    with pytest.raises(UserError, match="has no second round of weak labels"):
        own(tmp_path, "", "weak-labels.rounds=2", "motion-training.labels=masks")


def sections(kind: type[Settings]) -> list[type[Settings]]:
    return [kind, *(found for below in kind.__subclasses__() for found in sections(below))]


@pytest.mark.parametrize("kind", sections(Settings), ids=lambda kind: kind.__name__)
def test_every_setting_says_why(kind: type[Settings]) -> None:
    silent = [name for name, field in kind.model_fields.items() if not field.description and kind is not Profile]
    assert silent == []


ALL_OF_A_KIND = [
    (
        ["motion-training.step=3"],
        "--set motion-training.step=3: unknown key 'motion-training.step'; known here: weights, steps",
    ),
    (["motion_training.steps=3"], "(did you mean 'motion-training'?)"),
    (["motion-training.step=3"], "(did you mean 'steps'?)"),
    (["flow-filter.min-overlap=0.5"], "(did you mean 'min_overlap'?)"),
    (["run.workers=0"], "--set run.workers=0: expected 1 or more, found 0"),
    (["motion-training.momentum=1"], "--set motion-training.momentum=1: expected less than 1, found 1"),
    (["motion-training.steps=1.5"], "--set motion-training.steps=1.5: expected a whole number, found 1.5"),
    (["motion-training.mirror=maybe"], "--set motion-training.mirror=maybe: expected true or false, found 'maybe'"),
    (["flow-images.store=all"], "--set flow-images.store=all: expected 'both', 'flow' or 'images', found 'all'"),
    (["data.stills=x"], "--set data.stills=x: expected a table of manifest, split, stride, frames, found 'x'"),
    (["data.scored=x"], "--set data.scored=x: expected a list, found 'x'"),
    (["data.scored.split=x"], "--set data.scored.split=x: 'scored' is a list; set all of it"),
    (["steps=3"], "expected section.key=value, e.g. appearance-pretraining.steps=... or appearance-training.steps=..."),
    ([".steps=3"], "--set .steps=3: expected section.key=value"),
    (["=3"], "--set =3: expected section.key=value"),
    (["run.workers=1\nbatch = 2"], "expected a whole number"),
    (  # both, in one line, each after whose it is
        ["run.workers=0", "run.batch=many"],
        "--set run.batch=many: expected a whole number, found 'many'; --set run.workers=0: expected 1 or more, found 0",
    ),
    (  # of one override two faults
        ['data.scored=[{manifst = "x", split = "y"}]'],
        "data.scored.0.manifest: missing; unknown key 'data.scored.0.manifst'; known here: manifest, split",
    ),
    (  # only together are they wrong
        ["data.boxed.manifest=davis2016", "run.batch=2", "data.boxed.split=val"],
        "--set data.boxed.manifest=davis2016, --set data.boxed.split=val: data: the split davis2016/val is scored",
    ),
    (["flow-images.store=images"], '--set flow-images.store=images: flow-images.store = "images" drops u and v'),
]


@pytest.mark.parametrize(("overrides", "said"), ALL_OF_A_KIND)
def test_what_is_set_wrong_is_told_as_it_was_set(overrides: list[str], said: str) -> None:
    with pytest.raises(UserError) as caught:
        read_profile("paper", overrides)
    text = str(caught.value)
    assert (
        said in text
        and ".toml" not in text
        and "\n" not in text
        and "more)" not in text
        and "--set run.batch=2" not in text
    )


def test_all_faults_of_a_file_are_told_by_its_name_as_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.toml").write_text(f'{OWN}\n[motion-training]\nsteps = "a"\nscale = 2\n[run]\nbatch = 0\n')
    with pytest.raises(UserError) as caught:
        read_profile(Path("own.toml"), ["run.workers=0"])
    assert str(caught.value).startswith("own.toml: motion-training.steps: expected a whole number, found 'a'; ")
    assert "unknown key 'motion-training.scale'" in str(caught.value) and "'scales'?)" in str(caught.value)
    assert "; run.batch: expected 1 or more, found 0; --set run.workers=0: expected 1 or more" in str(caught.value)


def test_an_override_may_mend_a_file(tmp_path: Path) -> None:
    broken = "[run]\nbatch = 0\n"
    assert own(tmp_path, broken, "run.batch=3").run.batch == 3
    with pytest.raises(UserError, match=r"own\.toml: run\.batch: expected 1 or more, found 0$"):
        own(tmp_path, broken, "run.workers=3")


def test_a_profile_written_on_windows(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text("\ufeff" + OWN, encoding="utf-8")
    assert read_profile(path).name == "own"


def test_the_name_of_no_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").touch()
    with pytest.raises(UserError, match=r"no profile 'mine'; known: .*there is a file mine\.toml$") as caught:
        read_profile("mine")
    assert "/" not in str(caught.value)
    with pytest.raises(UserError, match=r"no profile 'dvais' \(did you mean 'davis'\?\)"):
        read_profile("dvais")
    with pytest.raises(UserError, match="Is a directory"):
        Path("folder.toml").mkdir()
        read_profile("folder.toml")
