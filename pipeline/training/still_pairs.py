"""Pairs of a still and flow rendered from its mask, as a fusion learns from them: both trained streams run on each.

A handful of videos shows a fusion few ways in which a stream can fail; thousands of stills, each with motions of its
own, show many. The stills must be strange to the streams, which are surer of what they have learnt.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from fusionseg.pipeline.datasets.reading import read_frame, read_mask_sized
from fusionseg.pipeline.flow.colours import known_flow, paint
from fusionseg.pipeline.flow.rendered import render_flow
from fusionseg.pipeline.networks.scores import scores_of
from fusionseg.pipeline.networks.trained import load_stream
from fusionseg.pipeline.settings.sections import FlowImages, FusionTraining, Scores
from fusionseg.pipeline.store.job import Work
from fusionseg.pipeline.training.pairs import StoredPair
from fusionseg.pipeline.training.samples import Frame


class StillPairs:
    """Makes a pair of still `number` of `stills`, with flow that the generator draws; `framed`: with the still itself.

    Threads may share it; the streams run for one of them at a time.
    """

    def __init__(self, work: Work, stills: Sequence[Frame], framed: bool) -> None:
        self._work, self._stills, self._framed = work, stills, framed
        self._settings = work.own(FusionTraining)
        self._streams = [load_stream(work, stage) for stage in ("appearance-training", "motion-training")]
        self._lock = threading.Lock()  # a stream keeps weights in the layout for the size that it saw last

    def __call__(self, number: int, rng: np.random.Generator) -> StoredPair:
        still = self._stills[number]
        image = np.ascontiguousarray(read_frame(*still)[..., ::-1])
        label = read_mask_sized(*still, (image.shape[0], image.shape[1]))
        flow = paint(known_flow(render_flow(label, rng, self._settings.useless)), self._work.settings(FlowImages))
        with self._lock:
            (a, a_facts), (m, m_facts) = (
                scores_of(stream, network, self._work.settings(Scores), picture, self._work.device)
                for (stream, network), picture in zip(self._streams, (image, flow), strict=True)
            )
        pair = StoredPair(a, a_facts, m, m_facts, label, image if self._framed else None)
        return pair.resized(self._settings.long_side)
