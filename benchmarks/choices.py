"""What is chosen when trained streams are run, by what it does to J: sizes, mirroring, directions and gaps of flow, and
scores carried along the flow from the frames beside.

    python benchmarks/choices.py --data DATA --out OUT --every 10 RUN ...

On every N-th masked frame of the videos that the runs scored, by their streams (runs of cross_validation.py never saw
what they scored). A row a choice: mean J over sequences, per cent, of the stream alone and of the plain mean with the
other stream as it is (appearance: at 512 px; motion: flow to the next frame). Nothing is written.

Nothing was written down as expected before the first measurement.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import fusionseg  # noqa: F401  sets how threads wait, as in the chain: must come before torch

# isort: split
import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from fusionseg.models.stream import Stream, to_frame
from fusionseg.pipeline.basics.resizing import fit, resize
from fusionseg.pipeline.datasets.finding import load_items
from fusionseg.pipeline.datasets.items import Item
from fusionseg.pipeline.datasets.manifest import read_manifest
from fusionseg.pipeline.datasets.reading import read_frame, read_mask_sized
from fusionseg.pipeline.flow.camera import camera_motion, residual
from fusionseg.pipeline.flow.colours import known_flow, paint
from fusionseg.pipeline.flow.estimation import estimate_pairs
from fusionseg.pipeline.networks.scores import full_scores
from fusionseg.pipeline.networks.trained import read_stream
from fusionseg.pipeline.scoring.measures import valid_j
from fusionseg.pipeline.settings.sections import FlowImages
from fusionseg.pipeline.store.artifact import Artifact
from fusionseg.pipeline.store.runs import RunRecord, read_run

Logit = npt.NDArray[np.float32]  # (H, W), of object less background
SIDE, SIDES = 512, (384, 640)  # px, longer side
GAPS = (1, -1, 2, -2, 4)  # frames; below 0: backward


def logit(stream: Stream, image: npt.NDArray[np.uint8], side: int) -> Logit:
    """What a stream says of an image (H, W, 3) uint8 RGB at a longer side."""
    size, whole = fit((image.shape[0], image.shape[1]), side), (image.shape[0], image.shape[1])
    pixels = torch.from_numpy(np.ascontiguousarray(resize(np.ascontiguousarray(image), size).transpose(2, 0, 1)))[None]
    with torch.inference_mode():
        scores = to_frame(stream(stream.prepare(pixels)).float(), stream.score_stride, size, whole)[0]
    return np.asarray((scores[1] - scores[0]).numpy())


def flow_image(
    first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8], how: argparse.Namespace
) -> npt.NDArray[np.uint8]:
    """The flow image of a pair, as the profile `general` makes it."""
    (flow,) = estimate_pairs([(first, second)], how.method, how.flow_side, how.raft)
    return paint(known_flow(residual(flow, camera_motion(flow))), FlowImages(scaling="percentile"))


def of_appearance(stream: Stream, frame: npt.NDArray[np.uint8]) -> dict[str, Logit]:
    """By choice; the first is the plain one."""
    rgb = frame[..., ::-1]
    found = {f"appearance at {side}": logit(stream, rgb, side) for side in (SIDE, *SIDES)}
    plain = found[f"appearance at {SIDE}"]
    found["appearance, mirrored too"] = (plain + logit(stream, rgb[:, ::-1], SIDE)[:, ::-1]) / 2
    found["appearance at all sizes"] = sum(found[f"appearance at {side}"] for side in (SIDE, *SIDES)) / 3
    return found


def of_motion(stream: Stream, video: Item, index: int, how: argparse.Namespace) -> dict[str, Logit]:
    """By choice; the first is the plain one."""
    frame = read_frame(video, index)
    pictures = {gap: flow_image(frame, read_frame(video, index + gap), how) for gap in GAPS}
    by_gap = {gap: logit(stream, picture, SIDE) for gap, picture in pictures.items()}
    found = {f"motion, flow to t{gap:+}": value for gap, value in by_gap.items()}
    for gaps in ((1, -1), (1, 2), (1, -1, 2, -2), (1, 2, 4)):
        to = ", ".join(f"t{gap:+}" for gap in gaps)
        found[f"motion, flow to {to}"] = sum(by_gap[gap] for gap in gaps) / len(gaps)
    sizes = [by_gap[1], *(logit(stream, pictures[1], side) for side in SIDES)]
    return found | {"motion at all sizes": sum(sizes) / 3}


class Carried:
    """Stored scores of a stream, of the frames beside carried along the stored forward flow."""

    def __init__(self, scores: Artifact, flow: Artifact) -> None:
        self._scores, self._flow = scores, flow
        self._size = fit(tuple(scores.facts["frame_size"]), SIDE)
        self._grid = np.stack(np.meshgrid(*(np.arange(n, dtype=np.float32) for n in self._size[::-1])), -1)

    def mean(self, index: int, reach: int) -> Logit:
        """Over frames index - reach to index + reach, at the frame's size."""
        found = [self._logit(index)]
        for step in (1, -1):
            way = np.zeros_like(self._grid)
            for n in range(reach):
                way = way + self._sampled(self._step(index + step * n, step), way)
                found.append(self._sampled(self._logit(index + step * (n + 1)), way))
        return resize(np.mean(found, 0), tuple(self._scores.facts["frame_size"]))

    def _logit(self, index: int) -> Logit:
        scores = full_scores(self._scores, index, self._size)[0]
        return np.asarray((scores[1] - scores[0]).numpy()).clip(-9, 9)

    def _step(self, index: int, step: int) -> npt.NDArray[np.float32]:
        """Flow from a frame to the one beside; backward, the inverse of the other's forward flow, by iteration."""
        flow = known_flow(self._flow.frame("flow", index if step > 0 else index - 1))
        forward = resize(flow, self._size) * np.float32(self._size[1] / flow.shape[1])
        if step > 0:
            return forward
        back = -forward
        for _ in range(4):
            back = -self._sampled(forward, back)
        return back

    def _sampled(self, values: npt.NDArray[np.float32], way: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return cv2.remap(values, self._grid + way, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def rows(run: RunRecord, how: argparse.Namespace) -> Iterator[dict[str, object]]:
    """A row a choice and frame."""
    nets = run.networks
    streams = [read_stream(how.out / nets[name].path, False)[0].eval() for name in ("appearance", "motion")]
    units = [run.by_unit(stage) for stage in ("motion-scores", "optical-flow")]
    for ref in run.profile.data.scored:
        for video in load_items(read_manifest(ref.manifest), ref.split, how.data):
            opened = [Artifact(how.out / found[video.dataset, video.name].path) for found in units]
            with opened[0], opened[1]:
                carried = Carried(*opened)
                for index in video.annotated[5 :: how.every]:
                    if not max(map(abs, GAPS)) <= index < len(video.frames) - max(GAPS):
                        continue
                    frame = read_frame(video, index)
                    truth = read_mask_sized(video, index, frame.shape[:2])
                    a, m = of_appearance(streams[0], frame), of_motion(streams[1], video, index, how)
                    for reach in (0, 1, 2, 4):
                        m[f"motion as scored, with {reach} frames carried from each side"] = carried.mean(index, reach)
                    for found, other in ((a, next(iter(m.values()))), (m, next(iter(a.values())))):
                        for choice, value in found.items():
                            both = [valid_j(truth, value > 0), valid_j(truth, value + other > 0)]
                            yield {"sequence": video.name, "choice": choice, "alone": both[0], "mean": both[1]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--method", default="dis-medium", help="of optical flow")
    parser.add_argument("--flow-side", type=int, default=0, help="longer side that flow is estimated at, px; 0: as is")
    parser.add_argument("--raft", type=Path, help="RAFT's weights")
    how = parser.parse_args()
    table = pd.DataFrame([row for name in how.runs for row in rows(read_run(how.out, name), how)])
    means = table.groupby(["choice", "sequence"], sort=False).mean().groupby("choice", sort=False).mean()
    print(f"{table['sequence'].nunique()} sequences, flow by {how.method}")
    print((100 * means).round(1).to_string())


if __name__ == "__main__":
    main()
