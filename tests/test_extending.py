"""docs/extending.md, executed: its package is found, used, and missed where it is gone."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import moving_square
from extending import install, install_page
from torch import nn

from fusionseg.models.fusion import create_fusion, fuse, reads_frame
from fusionseg.models.inference import for_inference
from fusionseg.models.outside.plugins import PluginError, Plugins, backbones, decoders, frame_models, fusions
from fusionseg.models.stream import Architecture, Stream
from fusionseg.models.weights import pack_weights
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.flow.estimation import estimate
from fusionseg.pipeline.names import flow_methods
from fusionseg.pipeline.networks.per_frame import SoftMasks
from fusionseg.pipeline.networks.trained import plug_ins_header, read_fusion, read_stream, stream_header
from fusionseg.pipeline.settings.plug_ins import plug_ins
from fusionseg.pipeline.settings.profile import Profile, read_profile
from fusionseg.pipeline.settings.sections import Network
from fusionseg.pipeline.settings.trainings import AppearanceTraining, FusionTraining

ALL: tuple[Plugins, ...] = (backbones, decoders, fusions, frame_models, flow_methods)
OWN = ("network.backbone=plain", "network.decoder=stacked", "fusion-training.fusion=weighted",
       "optical-flow.method=shift", "network.pretrained=false")  # fmt: skip


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that packages may be installed in, as yet empty."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    for known in ALL:
        monkeypatch.setattr(known, "_registered", {})
    yield folder
    forget(folder)


def forget(folder: Path) -> None:
    for name, module in list(sys.modules.items()):
        if str(folder) in str(getattr(module, "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def page(site: Path) -> Path:
    install_page(site)
    importlib.invalidate_caches()
    return site


def uninstall(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(page)])
    for known in ALL:
        known._registered.clear()
    forget(page)


def sections(profile: Profile) -> dict[str, object]:
    return {name: profile.section(name) for name in ("network", "optical-flow", "fusion-training")}


def test_names_of_an_installed_package_are_known_and_its_version_enters_keys(page: Path) -> None:
    profile = read_profile("demo", OWN)
    assert "own_backbone" not in sys.modules, "reading a profile loads no plug-in"
    assert plug_ins(sections(profile)) == [  # type: ignore[arg-type]
        ("optical-flow.method", "shift own-networks==1.2"),
        ("network.backbone", "plain own-networks==1.2"),
        ("network.decoder", "stacked own-networks==1.2"),
        ("fusion-training.fusion", "weighted own-networks==1.2"),
    ]
    with pytest.raises(
        UserError, match=r"network.decoder=x: expected one of parallel-dilated, skip, pyramid, stacked, found 'x'"
    ):
        read_profile("demo", ["network.decoder=x"])


def test_its_stream_learns_and_infers(page: Path) -> None:
    torch.manual_seed(0)
    stream = Stream(Architecture("plain", "stacked", 16))
    assert (stream.score_stride, stream.pad_stride) == (8, 16)
    images = torch.randint(0, 256, (2, 3, 40, 70), dtype=torch.uint8)
    stream(stream.prepare(images)).sum().backward()
    assert all(parameter.grad is not None for parameter in stream.parameters())
    ready = for_inference(stream, torch.device("cpu"), False)
    assert not [m for m in ready.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    with torch.inference_mode():
        prepared = stream.eval().prepare(images)
        torch.testing.assert_close(ready(prepared), stream(prepared), rtol=1e-4, atol=1e-5)


def test_weights_name_it_and_are_refused_without_it(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(backbone="plain", decoder="stacked", pretrained=False)
    stream = Stream(Architecture("plain", "stacked", 16))
    path = page.parent / "own.safetensors"
    path.write_bytes(pack_weights(stream.state_dict(), stream_header(network, "frames"))[0])
    read, header = read_stream(path, True)
    assert all(torch.equal(a, b) for a, b in zip(read.parameters(), stream.parameters(), strict=True))
    assert header["plug_ins"]["network.backbone"] == "plain own-networks==1.2"
    uninstall(page, monkeypatch)
    with pytest.raises(UserError) as error:
        read_stream(path, True)
    text = str(error.value)
    assert "unknown decoder 'stacked'" in text and "own-networks==1.2" in text and "\n" not in text


def test_its_fusion_learns_and_loads(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fusion = create_fusion("weighted")
    scores = torch.randn(1, 2, 5, 6)
    fusion(scores, -scores).pow(2).sum().backward()
    assert next(fusion.parameters()).grad is not None
    path = page.parent / "fusion.safetensors"
    header = {"kind": "fusion", "fusion": "weighted"}
    header |= plug_ins_header({"fusion-training": FusionTraining(fusion="weighted")})
    path.write_bytes(pack_weights(fusion.state_dict(), header)[0])
    assert torch.equal(read_fusion(path, True)[0](scores, -scores), torch.zeros_like(scores))
    uninstall(page, monkeypatch)
    with pytest.raises(UserError, match=r"unknown fusion 'weighted'.*it was made with weighted own-networks==1.2"):
        read_fusion(path, True)


def test_its_fusion_that_reads_frames_is_known_as_such(page: Path) -> None:
    seeing, other = (read_profile("demo", [f"fusion-training.fusion={name}"]) for name in ("coloured", "weighted"))
    assert "own_seeing_fusion" not in sys.modules and (seeing.variant.framed, other.variant.framed) == (True, False)
    fusion = create_fusion("coloured")
    nn.init.constant_(fusion.get_parameter("weigh.bias"), 100.0)
    scores, frame = torch.randn(1, 2, 5, 6), torch.full((1, 3, 5, 6), 255, dtype=torch.uint8)
    assert torch.equal(fuse(fusion, scores, -scores, frame), scores)


def test_a_function_says_itself_that_its_fusion_reads_frames(page: Path) -> None:
    make = lambda: create_fusion("coloured")  # noqa: E731
    fusions.register("made", "1")(make)
    with pytest.raises(
        PluginError, match=r"the fusion 'made' \(1\) reads frames, .* give it reads_frame = True itself"
    ):
        create_fusion("made")
    make.reads_frame = True  # type: ignore[attr-defined]
    assert fusions.reads_frame("made") and reads_frame(create_fusion("made"))


def test_settings_of_a_package_that_is_gone_can_be_looked_at(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = read_profile("demo", ["fusion-training.fusion=coloured"])
    uninstall(page, monkeypatch)
    assert profile.variant.framed is False


def test_its_flow_is_estimated(page: Path) -> None:
    first = moving_square(1, (64, 96))[0][0]
    flow = estimate(first, np.roll(first, (2, 3), (0, 1)), "shift")
    assert flow.dtype == np.float32 and flow.shape == (64, 96, 2)
    assert np.allclose(flow, (3, 2), atol=0.2)
    assert not estimate(first, first, "shift").any()


def test_its_model_marks_what_is_unlike_the_margin(page: Path) -> None:
    assert read_profile("demo", ["appearance-training.model=unlike"]).appearance_training.model == "unlike"
    frame = np.full((60, 90, 3), 40, np.uint8)
    frame[20:40, 30:60] = 200
    soft = SoftMasks.of("unlike", "cpu")(frame)
    assert soft.shape == (48, 80) and soft[24, 40] > 0.9 and soft[2, 2] < 0.1
    settings = AppearanceTraining(model="unlike")
    assert plug_ins({"appearance-training": settings}) == [("appearance-training.model", "unlike own-networks==1.2")]


def test_a_script_may_register_it(page: Path) -> None:
    importlib.import_module("own_script")
    profile = read_profile("demo", ["optical-flow.method=my-shift"])
    assert plug_ins(sections(profile)) == [("optical-flow.method", "my-shift 1")]  # type: ignore[arg-type]


def test_weights_of_what_comes_with_fusionseg_name_no_plug_ins(site: Path) -> None:
    assert "plug_ins" not in stream_header(Network(), "frames")
    assert plug_ins(sections(read_profile("demo"))) == []  # type: ignore[arg-type]


BROKEN = {
    "import": ("import no_such_module\n", r"ModuleNotFoundError: No module named 'no_such_module'"),
    "missing": ("", r"AttributeError: module 'broken' has no attribute 'make'"),
    "value": ("make = 3\n", r"is no function or class, but int"),
    "raises": ("raise RuntimeError('two\\nlines')\n", r"RuntimeError: two lines"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_package_is_named_in_one_line(site: Path, kind: str) -> None:
    code, message = BROKEN[kind]
    install(site, "broken-package", "0.3", {"broken.py": code}, {"fusionseg.fusions": {"bad": "broken:make"}})
    importlib.invalidate_caches()
    profile = read_profile("demo", ["fusion-training.fusion=bad"])
    with pytest.raises(UserError, match=rf"fusion-training.fusion = bad: .*broken-package==0.3.*{message}") as error:
        plug_ins(sections(profile))  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_flow_of_the_wrong_shape_or_none_is_told(site: Path) -> None:
    flow_methods.register("half", "1")(lambda first, second: np.zeros((3, 3, 2)))
    flow_methods.register("fails", "1")(lambda first, second: first[999])
    frame = moving_square(1)[0][0]
    with pytest.raises(UserError, match=r"'half' \(1\) gave flow of shape \(3, 3, 2\) of frames of"):
        estimate(frame, 255 - frame, "half")
    with pytest.raises(UserError, match=r"'fails' \(1\) failed with IndexError"):
        estimate(frame, 255 - frame, "fails")
    with pytest.raises(ValueError, match="unknown optical flow method 'other'; known: dis-ultrafast"):
        estimate(frame, 255 - frame, "other")


def test_a_name_of_two_packages_is_told(site: Path) -> None:
    for name in ("one", "two"):
        install(site, name, "1.0", {f"{name}.py": "make = dict\n"}, {"fusionseg.fusions": {"same": f"{name}:make"}})
    importlib.invalidate_caches()
    with pytest.raises(ValueError, match=r"several packages have a fusion 'same': one==1.0, two==1.0"):
        create_fusion("same")


def test_nothing_takes_the_name_of_what_comes_with_fusionseg(site: Path) -> None:
    install(site, "thief", "1.0", {"thief.py": ""}, {"fusionseg.fusions": {"paper": "thief:make"}})
    importlib.invalidate_caches()
    assert type(create_fusion("paper")).__name__ == "PaperFusion"
    with pytest.raises(ValueError, match="the fusion 'paper' comes with FusionSeg"):
        fusions.register("paper", "1")
