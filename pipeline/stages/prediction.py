"""Stage `prediction`: the masks of every model for each video, at the frames' own size.

Models: `appearance`, `motion`, `average` (of logits), `joint` (the trained fusion); and two trivial baselines,
`centre-box` and `flow-otsu`. The mask is the arg max; no post-processing (FusionSeg's release has none either).
"""

from __future__ import annotations

from contextlib import ExitStack

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from fusionseg.models.fusion import AverageFusion, fuse, reads_frame
from fusionseg.pipeline.basics.resizing import fit, resize
from fusionseg.pipeline.basics.threads import in_order
from fusionseg.pipeline.datasets.reading import read_frame
from fusionseg.pipeline.flow.colours import known_flow, magnitudes
from fusionseg.pipeline.networks.scores import as_tensor, full_scores, object_mask
from fusionseg.pipeline.networks.trained import load_fusion
from fusionseg.pipeline.settings.sections import Prediction
from fusionseg.pipeline.store.artifact import Artifact, ArtifactWriter, FrameWriter
from fusionseg.pipeline.store.job import Work

Mask = npt.NDArray[np.bool_]
Size = tuple[int, int]  # height, width
# Sides of the centre box as a share of the frame's: half of each, a quarter of the area.
_CENTRE_SHARE = 0.5


def centre_box(size: tuple[int, int]) -> Mask:
    """The box in the middle of a frame of (height, width), half as high and wide."""
    mask = np.zeros(size, bool)
    (top, bottom), (left, right) = (
        (round(n * (1 - _CENTRE_SHARE) / 2), round(n * (1 + _CENTRE_SHARE) / 2)) for n in size
    )
    mask[top:bottom, left:right] = True
    return mask


def flow_otsu(flow: npt.NDArray[np.floating]) -> Mask:
    """(H, W, 2) flow in pixels -> where its magnitude exceeds Otsu's threshold; nothing where nothing moves."""
    magnitude = magnitudes(known_flow(flow))
    largest = float(magnitude.max())
    if largest == 0:
        return np.zeros(magnitude.shape, bool)
    grey = (255 * magnitude / largest).astype(np.uint8)
    _, mask = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return np.asarray(mask == 1)


def compute(work: Work, writer: ArtifactWriter) -> None:
    """Write a dataset a method, (T, H, W) uint8, 1 where object.

    A video of one frame has no flow: it is segmented by appearance alone (`average` and `joint` are the appearance
    stream's mask, `motion` and `flow-otsu` are left out), and its count `appearance_only` says so. Where u,v aren't
    kept (`flow-images.store = "images"`) there is no `flow-otsu`.
    """
    fusion, long_side = load_fusion(work)
    baselines = work.settings(Prediction).baselines
    with ExitStack() as stack:
        appearance, motion = (stack.enter_context(work.open(stage)) for stage in ("appearance-scores", "motion-scores"))
        kept = work.has("optical-flow")
        flow = stack.enter_context(work.open("optical-flow")) if kept else None
        count = appearance.length("scores")
        alone = motion.length("scores") == 0
        size = tuple(appearance.facts["frame_size"])

        def one(index: int) -> dict[str, Mask]:
            masks = model_masks(work, fusion, fit(size, long_side), appearance, None if alone else motion, index)
            if baselines:
                masks |= baseline_masks(size, None if alone else flow, index)
            return masks

        data: dict[str, FrameWriter] = {}
        for masks in in_order(one, count, work.run.workers):
            for method, mask in masks.items():
                if method not in data:
                    data[method] = writer.frames(method, count, mask.shape, np.uint8)
                data[method].append(mask.astype(np.uint8))
        writer.facts["methods"] = list(data)
        writer.counts["frames"] = count
        if alone:
            writer.counts["appearance_only"] = 1


def model_masks(
    work: Work, fusion: nn.Module, fused_at: Size, appearance: Artifact, motion: Artifact | None, index: int
) -> dict[str, Mask]:
    """Masks of all models for frame `index`, at the frame's size; without motion scores, of the appearance stream
    alone. `fused_at`: the size that the fusion works at."""
    a = full_scores(appearance, index).to(work.device)
    if motion is None:
        return dict.fromkeys(("appearance", "average", "joint"), object_mask(a))
    m, whole = full_scores(motion, index).to(work.device), (a.shape[-2], a.shape[-1])
    at = (a, m)  # enlarged once where the fusion works at the frame's size
    if fused_at != whole:
        at = (full_scores(appearance, index, fused_at).to(a), full_scores(motion, index, fused_at).to(a))
    frame = None
    if reads_frame(fusion):
        frame = as_tensor(resize(read_frame(work.item, index), fused_at)[..., ::-1]).to(work.device)
    with torch.inference_mode():
        joint = fuse(fusion, *at, frame)
        if fused_at != whole:
            joint = F.interpolate(joint, size=whole, mode="bilinear", align_corners=False)
        logits = {"appearance": a, "motion": m, "average": AverageFusion()(a, m), "joint": joint}
    return {name: object_mask(value) for name, value in logits.items()}


def baseline_masks(size: tuple[int, int], flow: Artifact | None, index: int) -> dict[str, Mask]:
    """Masks of the trivial baselines for one frame of (height, width)."""
    masks = {"centre-box": centre_box(size)}
    if flow is not None:
        masks["flow-otsu"] = flow_otsu(flow.frame("flow", index))
    return masks
