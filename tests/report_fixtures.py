"""A finished run, written by hand: tiny videos in DAVIS' layout, artifacts with known content, the run's record."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from PIL import Image

from fusionseg.models.weights import pack_weights, read_header
from fusionseg.pipeline.formats.masks import write_mask
from fusionseg.pipeline.names import PROTOCOL_INPUT
from fusionseg.pipeline.settings.profile import Profile
from fusionseg.pipeline.store.artifact import ArtifactWriter, artifact_path, create_artifact, read_artifact_header
from fusionseg.pipeline.store.bits import pack_label
from fusionseg.pipeline.store.runs import run_path
from fusionseg.pipeline.weak_labels.verdicts import VERDICT_COLUMNS

SIZE = (24, 40)  # height and width of all frames, px
FRAMES = 5
DATA_SET = "tiny"
# Region similarity and contour accuracy of every method, the same on all frames of a sequence.
SCORES = {
    "walk": {
        "appearance": (0.50, 0.40), "motion": (0.60, 0.30), "average": (0.65, 0.50), "joint": (0.80, 0.70),
        "centre-box": (0.20, 0.10), "flow-otsu": (0.30, 0.20), "Others (published)": (0.90, 0.95),
    },
    "spin": {
        "appearance": (0.70, 0.60), "motion": (0.30, 0.20), "average": (0.55, 0.40), "joint": (0.60, 0.50),
        "centre-box": (0.10, 0.30), "flow-otsu": (0.00, 0.10),
    },
}  # fmt: skip
VERDICTS = ["accepted", "accepted", "overlap too small", "flow contrast too small", "no object predicted in the box"]
OVERLAPS = [0.80, 0.95, 0.30, 0.90, 0.0]
CONTRASTS = [60.0, 120.0, 10.0, 20.0, float("nan")]
HISTORY = [
    {"step": 100, "loss": 0.8, "J": 0.31},
    {"step": 200, "loss": 0.5, "J": 0.62},
    {"step": 300, "loss": 0.4, "J": 0.6},
]


@dataclass
class TinyRun:
    """`root`: the store; `data`: the folder of the videos; `record`: what `save` writes as the run's record."""

    root: Path
    data: Path
    record: dict[str, Any] = field(default_factory=dict)

    def save(self) -> None:
        """Write the run's record."""
        path = run_path(self.root, self.record["name"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.record))

    def path(self, stage: str, video: str) -> Path:
        """Where an artifact of the run lies."""
        (found,) = (r["path"] for r in self.record["stages"][stage]["records"] if r["video"] == video)
        return self.root / found


def true_mask(index: int) -> npt.NDArray[np.bool_]:
    """The object of frame `index`: a block that moves to the right."""
    mask = np.zeros(SIZE, bool)
    mask[6:18, 4 + 3 * index : 16 + 3 * index] = True
    return mask


def joint_mask(index: int) -> npt.NDArray[np.bool_]:
    """The joint model's mask of frame `index`: the object's left half."""
    mask = true_mask(index)
    mask[:, 10 + 3 * index :] = False
    return mask


def make_video(data: Path, name: str, frames: int, first: int = 0) -> None:
    """Frames and masks of one video, numbered from `first`."""
    for index in range(frames):
        image = np.full((*SIZE, 3), 120, np.uint8)
        image[true_mask(index)] = (40, 200, 240)
        path = data / f"JPEGImages/480p/{name}/{first + index:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)
        write_mask(data / f"Annotations/480p/{name}/{first + index:05}.png", true_mask(index))


def make_manifest(folder: Path, name: str = DATA_SET, videos: Sequence[str] = ("walk", "spin", "still")) -> Path:
    """The data set's manifest."""
    path = folder / f"{name}.yaml"
    path.write_text(
        f"name: {name}\ntitle: Tiny <videos>\nkind: videos\nlicence: CC0 of tests\n"
        "frames: JPEGImages/480p/{video}/{frame}.jpg\nmasks: Annotations/480p/{video}/{frame}.png\n"
        f"protocol: davis2016\nsplits:\n  test: [{', '.join(videos)}]\n"
    )
    return path


def write_artifact(root: Path, stage: str, video: str, fill: Any, dataset: str = DATA_SET) -> dict[str, Any]:
    """An artifact whose content `fill` writes; its record."""
    key = (stage.encode().hex() + dataset.encode().hex() + video.encode().hex()).ljust(40, "0")[-40:]
    relative = artifact_path(stage, dataset, video, key, ".h5")
    identity = {
        "stage": stage, "stage_version": 1, "dataset": dataset, "video": video, "key": key,
        "settings": {stage: {"number": 3}},
        "inputs": [
            {"role": "video", "item": f"{dataset}/{video}", "kind": "frames", "digest": "d"},
            *([{"role": "scored", "item": f"{dataset}/{video}", "kind": PROTOCOL_INPUT, "digest": "davis2016"}]
              if stage == "scoring" else []),
        ],
    }  # fmt: skip
    with create_artifact(root / relative, identity) as writer:
        fill(writer)
    header = read_artifact_header(root / relative)
    names = ("stage", "dataset", "video", "key", "content", "counts", "made")
    return {"path": relative.as_posix(), "seconds": 1.5, "cached": False, **{name: header[name] for name in names}}


def write_frames(
    writer: ArtifactWriter, name: str, frames: Sequence[npt.NDArray[Any]], empty: tuple[int, ...] = ()
) -> None:
    """A dataset of `frames`; of no frames of shape `empty`."""
    data = writer.frames(name, len(frames), frames[0].shape if frames else empty, np.uint8)
    for frame in frames:
        data.append(frame)


def fill_prediction(writer: ArtifactWriter, frames: int) -> None:
    """Masks of all models; of a video of one frame, without motion."""
    methods = ["appearance", "motion", "average", "joint", "centre-box", "flow-otsu"]
    for method in methods if frames > 1 else ["appearance", "average", "joint", "centre-box"]:
        mask = joint_mask if method == "joint" else true_mask
        write_frames(writer, method, [mask(index).astype(np.uint8) for index in range(frames)])
    writer.counts["frames"] = frames
    if frames == 1:
        writer.counts["appearance_only"] = 1


def fill_flow_images(writer: ArtifactWriter, frames: int) -> None:
    """Flow images: all yellow."""
    images = [np.full((*SIZE, 3), (255, 255, 0), np.uint8) for _ in range(frames if frames > 1 else 0)]
    write_frames(writer, "images", images, (*SIZE, 3))
    writer.counts["frames"] = len(images)


def fill_scoring(writer: ArtifactWriter, scores: Mapping[str, tuple[float, float]], sequence: str) -> None:
    """Constant scores on all frames but the first and last; none for a video that has no scores."""
    rows = [(m, sequence, index, j, f) for m, (j, f) in scores.items() for index in range(1, FRAMES - 1)]
    table = pd.DataFrame(rows, columns=["method", "sequence", "frame", "J", "F"])
    writer.table("per_frame", table.astype({"frame": np.int64, "J": np.float64, "F": np.float64}))
    writer.counts |= {"frames": FRAMES, "scored_frames": FRAMES - 2} if scores else {"frames": 1, "unscored": 1}


def fill_flow_filter(writer: ArtifactWriter, frames: int) -> None:
    """One label and one verdict a frame, as `VERDICTS` has them; the label has all three values."""
    label = np.zeros(SIZE, np.uint8)
    label[:, 10:20], label[:, 20:] = 1, 255
    write_frames(writer, "labels", [pack_label(label)] * (frames + 1))
    writer.facts["frame_size"] = list(SIZE)
    writer.table("verdicts", verdicts_of(frames))
    writer.counts |= {
        "frames": frames + 1, "frames_with_boxes": frames, "boxes": frames, "passed_box_test": 3,
        "passed_both_tests": 2, "labelled_frames": 2,
    }  # fmt: skip


def verdicts_of(frames: int) -> pd.DataFrame:
    """The judged boxes of a video, one a frame, as `VERDICTS` has them."""
    columns: dict[str, Any] = dict.fromkeys(VERDICT_COLUMNS, 0.5)
    columns |= {"video": "boxed", "frame": range(frames), "box": 0, "x0": 4, "y0": 4, "x1": 20, "y1": 18}
    columns |= {"occluded": 0, "generated": 0, "height": SIZE[0], "width": SIZE[1], "area": 9, "components": 1}
    columns |= {"overlap": OVERLAPS, "contrast": CONTRASTS, "reason": VERDICTS}
    columns["accepted"] = [int(reason == "accepted") for reason in VERDICTS]
    return pd.DataFrame(columns)[VERDICT_COLUMNS]


def write_weights_file(
    path: Path, stage: str, history: Sequence[Mapping[str, float]] = (), **more: Any
) -> dict[str, Any]:
    """A weights file of six numbers; its record."""
    header = {
        "kind": "stream", "stage": stage, "history": list(history), "counts": {"steps": 300}, "key": "k" * 40,
        "inputs": [{"role": "stills", "item": f"{DATA_SET}/set", "kind": "masks", "digest": "e"}], "settings": {},
        "video": "model", "made": "2026-01-02T03:04:05Z", **more,
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pack_weights({"head": torch.arange(6.0)}, header)[0])
    return {
        "stage": stage, "dataset": DATA_SET, "video": "model", "key": "k" * 40, "counts": {"steps": 300},
        "content": read_header(path)["content"], "made": header["made"], "seconds": 9.0, "cached": False,
    }  # fmt: skip


def make_run(folder: Path, name: str = "tiny") -> TinyRun:
    """Two scored videos of five frames and one of one frame, all stages computed."""
    root, data = folder / "out", folder / "data"
    frames = {"walk": FRAMES, "spin": FRAMES, "still": 1}
    for video, count in frames.items():
        make_video(data, video, count, first=10)
    ref = {"manifest": str(make_manifest(folder)), "split": "test"}
    profile = Profile.model_validate({"name": "hand", "data": {
        "stills": {"manifest": "demo-stills", "split": "train"}, "boxed": {"manifest": "demo-vid", "split": "train"},
        "fusion": {"manifest": "demo-davis", "split": "fusion"}, "scored": [ref],
    }})  # fmt: skip
    stages: dict[str, list[dict[str, Any]]] = {
        "flow-images": [
            write_artifact(root, "flow-images", v, lambda w, n=n: fill_flow_images(w, n)) for v, n in frames.items()
        ],
        "prediction": [
            write_artifact(root, "prediction", v, lambda w, n=n: fill_prediction(w, n)) for v, n in frames.items()
        ],
        "scoring": [
            write_artifact(root, "scoring", v, lambda w, v=v: fill_scoring(w, SCORES.get(v, {}), v)) for v in frames
        ],
        "flow-filter": [write_artifact(root, "flow-filter", "boxed", lambda w: fill_flow_filter(w, FRAMES))],
    }
    for stage, history in (("appearance-training", HISTORY), ("motion-training", HISTORY[:1]), ("fusion-training", [])):
        relative = f"artifacts/{stage}/{DATA_SET}/model-kkkkkkkkkkkk.safetensors"
        stages[stage] = [write_weights_file(root / relative, stage, history) | {"path": relative}]
    record = {
        "name": name, "started": "2026-01-02T03:00:00Z", "finished": "2026-01-02T03:10:00Z", "device": "cpu",
        "profile": profile.model_dump(mode="json", by_alias=True), "left_out": [], "software": {"fusionseg": "0.1.0"},
        "videos": {"boxed": ["demo-vid/boxed"], "scored": [f"{DATA_SET}/{video}" for video in frames]},
        "data": {"(default)": str(data)},
        "stages": {
            s: {"state": "computed", "seconds": 2.0, "records": records, "peak_memory": {"process": 123_400_000}}
            for s, records in stages.items()
        },
    }  # fmt: skip
    run = TinyRun(root, data, record)
    run.save()
    return run


def damage(path: Path, dataset: str, index: int) -> None:
    """Change a byte of one frame's chunk."""
    with h5py.File(path) as file:
        chunk = file[dataset].id.get_chunk_info(index)
    raw = bytearray(path.read_bytes())
    raw[chunk.byte_offset + chunk.size // 2] ^= 0xFF
    path.write_bytes(raw)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)
