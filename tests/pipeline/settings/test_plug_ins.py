"""Names that settings know without loading anything."""

import subprocess
import sys
from pathlib import Path

from fusionseg.models.backbone import BACKBONES
from fusionseg.models.fusion import FUSIONS
from fusionseg.models.outside.plugins import backbones, decoders, frame_models, fusions
from fusionseg.models.stream import DECODERS
from fusionseg.pipeline.flow.estimation import METHODS, RAFT
from fusionseg.pipeline.names import IMPORTED, flow_methods
from fusionseg.pipeline.networks.trained import STREAM
from fusionseg.pipeline.settings.plug_ins import CHOICES
from fusionseg.pipeline.settings.profile import read_profile

CHECKOUT = Path(__file__).resolve().parents[3]


def test_the_names_are_those_that_are_there() -> None:
    assert backbones.shipped == tuple(BACKBONES)
    assert decoders.shipped == DECODERS
    assert fusions.shipped == tuple(FUSIONS)
    assert frame_models.shipped == (STREAM,)
    assert flow_methods.shipped == (*METHODS, *RAFT, IMPORTED)


def test_reading_a_profile_loads_no_network() -> None:
    code = "import sys\nfrom fusionseg.pipeline.settings.profile import read_profile\nread_profile('paper')\n"
    code += "print(sorted({'torch', 'cv2', 'timm', 'h5py', 'onnxruntime'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_settings_that_may_name_a_plug_in_are_there() -> None:
    profile = read_profile("demo")
    for (section, field), known in CHOICES.items():
        assert getattr(profile.section(section), field) in known.shipped
