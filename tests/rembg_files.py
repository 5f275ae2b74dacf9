"""Files that stand in for rembg's models: tiny ONNX networks with the right input and a known answer."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from fusionseg.models.outside.rembg_models import PUBLISHED


def write_model(
    folder: Path, name: str = "u2net", side: int | None = None, gain: float = 1.0, offset: float = 0.0
) -> Path:
    """Write FOLDER/NAME.onnx, whose answer is `gain` times the share of red in the picture that it is given plus
    `offset`, and a second answer that nobody asked for."""
    about = PUBLISHED[name]
    side = side or about.side
    shape = (1, 1, side, side)
    numbers = {"red": ([0], TensorProto.INT64), "std": ([gain * about.std[0]], TensorProto.FLOAT)}
    numbers["mean"] = ([gain * about.mean[0] + offset], TensorProto.FLOAT)
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["picture", "red"], ["channel"], axis=1),
            helper.make_node("Mul", ["channel", "std"], ["scaled"]),
            helper.make_node("Add", ["scaled", "mean"], ["answer"]),
            helper.make_node("Neg", ["answer"], ["other"]),
        ],
        "red",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, (1, 3, side, side))],
        [helper.make_tensor_value_info(given, TensorProto.FLOAT, shape) for given in ("answer", "other")],
        [helper.make_tensor(key, kind, [1], values) for key, (values, kind) in numbers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.onnx"
    onnx.save(model, path)
    return path
