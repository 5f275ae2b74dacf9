"""The authors' published Caffe weights as ours, without Caffe."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from fusionseg.models.caffe import RELEASE, CaffeError, joint_state, stream_state
from fusionseg.models.preprocessing import CAFFE
from fusionseg.models.weights import pack_weights
from fusionseg.pipeline.basics.atomic import write_atomically
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.formats.caffe import CaffeNet, read_caffemodel
from fusionseg.pipeline.store.job import WEIGHTS_SUFFIX

_READS = {"appearance": "frames", "motion": "flow-images"}


def convert(net: CaffeNet, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and header of FusionSeg's `kind` network: "appearance", "motion" or "joint". Raises `CaffeError`."""
    if kind == "joint":
        return joint_state(net.layers), {"kind": "fusion", "fusion": "release"}
    header = {
        "kind": "stream",
        "reads": _READS[kind],
        "architecture": RELEASE.as_dict(),
        "preprocessing": CAFFE.as_dict(),
    }
    return stream_state(net.layers, kind), header


def run_import(source: Path, kind: str, target: Path, say: Callable[[str], None]) -> None:
    """Write the weights in `source`, a .caffemodel, to `target`, a .safetensors. Raises UserError."""
    if target.suffix != WEIGHTS_SUFFIX:
        raise UserError(f"-o {target}: weights are {WEIGHTS_SUFFIX} files; give the name that ending")
    if not source.is_file():
        raise UserError(f"{source}: no such file; expected a .caffemodel")
    data = source.read_bytes()
    net = read_caffemodel(data, source)
    try:
        state, header = convert(net, kind)
    except CaffeError as error:
        raise UserError(f"{source}: {error}") from None
    digest = hashlib.blake2b(data, digest_size=20).hexdigest()
    origin = {"role": "weights", "item": f"caffe/{source.name}", "kind": "caffemodel", "digest": digest}
    full = {**header, "net": net.name, "inputs": [origin]}
    write_atomically(target, pack_weights(state, full)[0])
    numbers = sum(value.numel() for value in state.values() if value.is_floating_point())
    say(f"{target}: {len(state)} tensors, {numbers:,} numbers; run it with {_use(kind, target)}")


def _use(kind: str, target: Path) -> str:
    if kind == "joint":
        return f"--set fusion-training.weights={target} --set fusion-training.fusion=release"
    return f"the networks of the profile paper and --set {kind}-training.weights={target}"
