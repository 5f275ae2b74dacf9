"""Networks as ONNX files that need nothing of FusionSeg: pictures in, logits at the same size out. Preprocessing,
padding and upsampling are part of the graph, and each file is compared with PyTorch before it gets its name."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fusionseg.models.folding import fold
from fusionseg.models.fusion import reads_frame
from fusionseg.models.stream import CLASSES, Stream, upsample
from fusionseg.models.weights import WeightsError, read_header
from fusionseg.pipeline.basics.atomic import atomic_path
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.networks.trained import read_fusion, read_stream
from fusionseg.pipeline.settings.shipped import FILES, set_name, shipped_set
from fusionseg.pipeline.store.job import WEIGHTS_SUFFIX
from fusionseg.pipeline.store.runs import read_run

OPSET = 18  # of ONNX; runtimes since 2023 have it
# Largest difference from PyTorch, as a share of the largest logit. Rounding alone makes some 1e-6.
TOLERANCE = 1e-4
_CHECKED = ((1, 53, 70), (2, 96, 65))  # frames, height, width: neither is what the graph was made with
_MADE_WITH = (2, 48, 81)
_AXES = {0: "frames", 2: "height", 3: "width"}
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_DESCRIBING = ("kind", "reads", "architecture", "preprocessing", "long_side", "fusion", "content")


@dataclass(frozen=True)
class Exported:
    """A file that was written, and how far it is from PyTorch (share of the largest logit)."""

    path: Path
    difference: float


class StreamGraph(nn.Module):
    """A stream as it is exported: (N, 3, H, W) uint8 RGB -> (N, 2, H, W) float32 logits."""

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self.stream = stream

    def forward(self, images: Tensor) -> Tensor:
        scores = self.stream(self.stream.prepare(images))
        return upsample(scores, self.stream.score_stride, (images.shape[-2], images.shape[-1]))


def export_onnx(source: str, root: Path, folder: Path) -> Iterator[Exported]:
    """Write the networks of `source` into `folder`: a run under `root`, by name, and a shipped set (shipped:NAME) give
    appearance.onnx, motion.onnx and fusion.onnx; a weights file gives one, named like it. Raises UserError."""
    _require_packages()
    for name, path, given in _weights_files(source, root):
        yield _export(path, given, folder / f"{name}.onnx")


def _require_packages() -> None:
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"export-onnx needs {', '.join(missing)}; install with: pip install 'fusionseg[onnx]'")


def _weights_files(source: str, root: Path) -> list[tuple[str, Path, bool]]:
    """Name, weights and whether these are the user's own."""
    if source.endswith(WEIGHTS_SUFFIX):
        return [(Path(source).stem, Path(source), True)]
    if (name := set_name(source)) is not None:
        folder = shipped_set(name, "export-onnx")
        return [(Path(file).stem, folder / file, True) for file in FILES.values()]
    return [(name, root / one.path, not one.key) for name, one in read_run(root, source).networks.items()]


def _export(weights: Path, given: bool, target: Path) -> Exported:
    try:
        kind = read_header(weights).get("kind")
    except WeightsError as error:
        raise UserError(f"{error}; give other weights") from None
    if kind == "stream":
        stream, header = read_stream(weights, given)
        shapes = [(frames, 3, height, width) for frames, height, width in (_MADE_WITH, *_CHECKED)]
        examples = [(_pictures(shape),) for shape in shapes]
        # What is compared is the network as it was trained, before anything was folded.
        return _write(StreamGraph(fold(stream)), StreamGraph(stream), ("images",), examples, header, target)
    if kind == "fusion":
        fusion, header = read_fusion(weights, given)
        inputs = ("appearance", "motion", "frame") if reads_frame(fusion) else ("appearance", "motion")
        pairs = [_fusion_inputs(*sizes)[: len(inputs)] for sizes in (_MADE_WITH, *_CHECKED)]
        return _write(fusion, fusion, inputs, pairs, header, target)
    raise UserError(f"{weights}: weights of kind {kind!r}; expected a stream or a fusion")


def _pictures(shape: tuple[int, ...]) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def _fusion_inputs(frames: int, height: int, width: int) -> tuple[Tensor, ...]:
    """Logits of both streams, and frames."""
    shape = (frames, CLASSES, height, width)
    return _logits(shape, 1), _logits(shape, 2), _pictures((frames, 3, height, width))


def _logits(shape: tuple[int, ...], seed: int) -> Tensor:
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _write(
    graph: nn.Module, reference: nn.Module, inputs: tuple[str, ...], examples: Sequence[tuple[Tensor, ...]],
    header: Mapping[str, Any], target: Path,
) -> Exported:  # fmt: skip
    """Export `graph`, made with the first of `examples`; it gets its name if it agrees with `reference` on the rest."""
    import onnx

    model = _model(graph, inputs, examples[0])
    for name in _DESCRIBING:
        if name in header:
            value = header[name]
            model.metadata_props.add(key=name, value=value if isinstance(value, str) else json.dumps(value))
    with atomic_path(target) as temporary:
        onnx.save(model, temporary)
        difference = max(_difference(temporary, reference, inputs, example) for example in examples[1:])
        if not difference <= TOLERANCE:  # NaN too
            raise UserError(
                f"{target}: not written; in onnxruntime its logits differ from PyTorch's by {difference:.1e} of the "
                f"largest, at most {TOLERANCE:g} expected; try the versions of constraints.txt"
            )
    return Exported(target, difference)


def _model(graph: nn.Module, inputs: tuple[str, ...], example: tuple[Tensor, ...]) -> Any:
    """The ONNX model, with sizes that are free and have names."""
    free = dict.fromkeys(_AXES, torch.export.Dim.DYNAMIC)
    with _hushed():
        program = torch.onnx.export(
            graph.eval(), example, input_names=inputs, output_names=("logits",), opset_version=OPSET, dynamo=True,
            dynamic_shapes=tuple(free for _ in inputs), verbose=False,
        )  # fmt: skip
    assert program is not None
    model = program.model_proto
    del model.graph.value_info[:]  # sizes in between, by names that say nothing; runtimes infer them
    for value in (*model.graph.input, *model.graph.output):
        for axis, name in _AXES.items():
            value.type.tensor_type.shape.dim[axis].dim_param = name
    return model


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Without the exporter's own talk: what it warns of, the comparison shows."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _difference(path: Path, reference: nn.Module, inputs: tuple[str, ...], example: tuple[Tensor, ...]) -> float:
    """Largest difference between a file in onnxruntime and `reference`, as a share of the largest logit."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    values = {name: value.numpy() for name, value in zip(inputs, example, strict=True)}
    found = np.asarray(session.run(["logits"], values)[0])
    with torch.inference_mode():
        expected = reference(*example).numpy()
    if found.shape != expected.shape:
        return float("inf")
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def run_export(source: str, root: Path, folder: Path, say: Callable[[str], None]) -> None:
    """`export_onnx`, telling of each file. Raises UserError for a folder that can't be one, ahead of the work."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: a file; expected a folder")
    for done in export_onnx(source, root, folder):
        size = done.path.stat().st_size / 1e6
        say(f"{done.path}: {size:.1f} MB, within {done.difference:.0e} of PyTorch in onnxruntime")
