"""Names of what is predicted and scored."""

STREAMS = ("appearance", "motion")
MODELS = (*STREAMS, "average", "joint")
BASELINES = ("centre-box", "flow-otsu")
