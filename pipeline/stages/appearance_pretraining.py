"""Stage `appearance-pretraining`: the appearance stream on stills alone, which many trainings on videos may share."""

from __future__ import annotations

from fusionseg.pipeline.settings.trainings import AppearancePretraining
from fusionseg.pipeline.stages.appearance_training import stills_with_masks, train
from fusionseg.pipeline.store.artifacts import WeightsWriter
from fusionseg.pipeline.store.job import Work


def compute(work: Work, writer: WeightsWriter) -> None:
    """Write the appearance stream's weights. Raises UserError if no still has a mask."""
    train(work, writer, work.settings(AppearancePretraining), stills_with_masks(work))
