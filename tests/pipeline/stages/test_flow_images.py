"""The stage flow-images, and flow images as they are read."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from builders import make_context, make_item, make_job, make_work, moving_square, write_input, write_png

from fusionseg.pipeline.datasets.pairs import with_partners
from fusionseg.pipeline.flow.colours import colour
from fusionseg.pipeline.flow.videos import open_pictures
from fusionseg.pipeline.run.session import run_job
from fusionseg.pipeline.settings.sections import OUTSIDE, FlowImages, OpticalFlow
from fusionseg.pipeline.stages import optical_flow
from fusionseg.pipeline.stages.flow_images import compute
from fusionseg.pipeline.store.artifact import Artifact
from fusionseg.pipeline.store.job import Work

SETTINGS = {"flow-images": FlowImages().model_dump(mode="json")}


def test_stage(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    flow = np.random.default_rng(0).normal(0, 3, (5, 6, 7, 2)).astype(np.float16)
    job = make_job("flow-images", make_item(), SETTINGS, [write_input(context, "optical-flow", {"flow": flow})])
    record = run_job(Work(job, context), compute)
    assert record.counts == {"frames": 5}
    with Artifact(tmp_path / record.path) as artifact:
        for index in range(5):
            assert np.array_equal(artifact.frame("images", index), colour(flow[index]))
        artifact.verify()


def test_pictures_are_the_same_stored_or_coloured_on_reading(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    flow = np.random.default_rng(0).normal(0, 3, (3, 6, 7, 2)).astype(np.float16)
    given = write_input(context, "optical-flow", {"flow": flow})
    settings = {"flow-images": FlowImages(scaling="percentile").model_dump(mode="json")}
    made = run_job(make_work(context, "flow-images", make_item(), settings, [given]), compute)
    with (
        open_pictures(make_work(context, "motion-scores", make_item(), settings, [made])) as stored,
        open_pictures(make_work(context, "motion-scores", make_item(), settings, [given])) as fresh,
    ):
        assert stored.count == fresh.count == 3 and stored.size == fresh.size == (6, 7)
        assert all(np.array_equal(stored.image(n), fresh.image(n)) for n in range(3))
        assert not stored.both and not fresh.both


def test_pictures_of_both_directions(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    flow, back = np.random.default_rng(0).normal(0, 3, (2, 3, 6, 7, 2)).astype(np.float16)
    given = write_input(context, "optical-flow", {"flow": flow, "flow_back": back})
    made = run_job(make_work(context, "flow-images", make_item(), SETTINGS, [given]), compute)
    for source in (given, made):
        with open_pictures(make_work(context, "motion-scores", make_item(), SETTINGS, [source])) as pictures:
            assert pictures.both
            assert all(np.array_equal(pictures.image(n), colour(flow[n])) for n in range(3))
            assert all(np.array_equal(pictures.image(n, back=True), colour(back[n])) for n in range(3))


@pytest.mark.parametrize("direction", ["forward", "both"])
def test_one_pass_from_frames_gives_the_pictures_of_two(tmp_path: Path, direction: Literal["forward", "both"]) -> None:
    context, settings = make_context(tmp_path), OpticalFlow(method="dis-fast", direction=direction)
    paths = [write_png(tmp_path / f"{n}.png", frame[..., ::-1]) for n, (frame, _) in enumerate(moving_square(4))]
    item = with_partners(make_item(frames=paths), settings)
    sections = {"optical-flow": settings.model_dump(mode="json", exclude=set(OUTSIDE)), **SETTINGS}
    flow = run_job(make_work(context, "optical-flow", item, sections), optical_flow.compute)
    two = run_job(make_work(context, "flow-images", item, sections, [flow]), compute)
    with Artifact(tmp_path / two.path) as artifact:
        wanted = [artifact.frame("images", n) for n in range(4)]
        facts = artifact.facts
    one = run_job(make_work(context, "flow-images", item, sections), compute)
    assert one.content == two.content
    with Artifact(tmp_path / one.path) as artifact:
        assert all(np.array_equal(artifact.frame("images", n), wanted[n]) for n in range(4))
        assert artifact.facts == facts and facts["partners"] == [1, 2, 3, 2]
        assert ("images_back" in artifact) == ("partners_back" in facts) == (direction == "both")


def test_stage_on_a_video_of_one_frame(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    flow = write_input(context, "optical-flow", {"flow": np.zeros((0, 6, 7, 2), np.float16)})
    record = run_job(make_work(context, "flow-images", make_item(), SETTINGS, [flow]), compute)
    with Artifact(tmp_path / record.path) as artifact:
        assert artifact.length("images") == 0
