"""Pairs of a still and flow rendered from its mask, as a fusion learns from them: both trained streams run on each.

A handful of videos shows a fusion few ways in which a stream can fail; thousands of stills, each with motions of its
own, show many. The stills must be strange to the streams, which are surer of what they have learnt.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from fusionseg.pipeline.datasets.items import Frame
from fusionseg.pipeline.datasets.reading import read_frame, read_mask_sized
from fusionseg.pipeline.flow.colours import known_flow, paint
from fusionseg.pipeline.flow.rendered import render_flow
from fusionseg.pipeline.networks.per_frame import frame_scorer
from fusionseg.pipeline.networks.scores import scores_of
from fusionseg.pipeline.networks.trained import load_stream
from fusionseg.pipeline.settings.sections import FlowImages
from fusionseg.pipeline.settings.trainings import FusionTraining
from fusionseg.pipeline.store.job import Work
from fusionseg.pipeline.training.pairs import StoredPair


class StillPairs:
    """Makes a pair of still `number` of `stills`, with flow that the generator draws; `framed`: with the still itself.

    Threads may share it; the streams run for one of them at a time.
    """

    def __init__(self, work: Work, stills: Sequence[Frame], framed: bool) -> None:
        self._work, self._stills, self._framed = work, stills, framed
        self._settings = work.settings(FusionTraining)
        self._appearance, self._motion = frame_scorer(work), load_stream(work, "motion-training")
        self._lock = threading.Lock()  # a stream keeps weights in the layout for the size that it saw last

    def __call__(self, number: int, rng: np.random.Generator) -> StoredPair:
        still = self._stills[number]
        image = read_frame(*still)
        label = read_mask_sized(*still, (image.shape[0], image.shape[1]))
        flow = paint(known_flow(render_flow(label, rng, self._settings.useless)), self._work.settings(FlowImages))
        with self._lock:
            appearance, motion = self._appearance(image), scores_of(self._work, *self._motion, flow)
        frame = np.ascontiguousarray(image[..., ::-1]) if self._framed else None
        pair = StoredPair(*appearance, *motion, label, frame)
        return pair.resized(self._settings.long_side)
