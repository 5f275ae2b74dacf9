"""Names of what is predicted and scored, and how."""

from typing import Literal

from fusionseg.models.outside.plugins import Plugins

STREAMS = ("appearance", "motion")
MODELS = (*STREAMS, "average", "joint")
BASELINES = ("centre-box", "flow-otsu")
ProtocolName = Literal["davis2016", "davis2017-unsupervised", "youtube-objects", "segtrack-v2", "fbms"]
PROTOCOL_INPUT = "protocol"  # what scores depend on besides files, among the inputs of an artifact
OBJECT_PROTOCOLS: tuple[ProtocolName, ...] = ("davis2017-unsupervised",)  # tell objects apart
MasksAre = Literal["labels", "soft"]  # what the values of masks are: names of objects, or shares of an object
FlowFormat = Literal["flo", "kitti", "npz", "hdf5"]  # of optical flow that is handed on
StudyPart = Literal["purity", "training", "second-round"]  # of the study of weak labels
SPARSE_PROTOCOL: ProtocolName = "fbms"  # scores the frames that have a true mask, whichever they are

IMPORTED = "import"  # the optical flow method that estimates none
flow_methods = Plugins(
    "optical flow method",
    "fusionseg.flow_methods",
    (
        "dis-ultrafast", "dis-fast", "dis-medium", "farneback", "deepflow", "tvl1", "pcaflow", "sparse-to-dense",
        "raft-small", "raft-large", IMPORTED,
    ),
)  # fmt: skip
