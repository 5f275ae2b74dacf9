"""Names of what is predicted and scored, and how."""

from typing import Literal

STREAMS = ("appearance", "motion")
MODELS = (*STREAMS, "average", "joint")
BASELINES = ("centre-box", "flow-otsu")
ProtocolName = Literal["davis2016", "davis2017-unsupervised", "youtube-objects", "segtrack-v2", "fbms"]
PROTOCOL_INPUT = "protocol"  # what scores depend on besides files, among the inputs of an artifact
OBJECT_PROTOCOLS: tuple[ProtocolName, ...] = ("davis2017-unsupervised",)  # tell objects apart
SPARSE_PROTOCOL: ProtocolName = "fbms"  # scores the frames that have a true mask, whichever they are
