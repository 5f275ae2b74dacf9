"""Reading `.caffemodel` files without Caffe: protocol buffers, with the few fields that weights need."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from fusionseg.models.caffe import Layer
from fusionseg.pipeline.errors import UserError

Float32 = npt.NDArray[np.float32]

# Fields by message: name, number in Caffe's format, type, repeated or not. Packed numbers are declared as bytes, which
# is what they are on the wire: read by NumPy at once, not number by number. Numbers of the geometry are few.
_FIELDS: dict[str, list[tuple[str, int, str, bool]]] = {
    "Net": [("name", 1, "string", False), ("layers", 2, "bytes", True), ("layer", 100, "Layer", True)],
    "Layer": [
        ("name", 1, "string", False),
        ("type", 2, "string", False),
        ("blobs", 7, "Blob", True),
        ("convolution_param", 106, "Convolution", False),
        ("pooling_param", 121, "Pooling", False),
        ("batch_norm_param", 139, "BatchNorm", False),
    ],
    "Blob": [
        ("num", 1, "int32", False),
        ("channels", 2, "int32", False),
        ("height", 3, "int32", False),
        ("width", 4, "int32", False),
        ("data", 5, "bytes", True),
        ("shape", 7, "Shape", False),
        ("double_data", 8, "bytes", True),
    ],
    "Shape": [("dim", 1, "int64", True)],
    "Convolution": [("pad", 3, "uint32", True), ("stride", 6, "uint32", True), ("dilation", 18, "uint32", True)],
    "Pooling": [("kernel_size", 2, "uint32", False), ("stride", 3, "uint32", False), ("pad", 4, "uint32", False)],
    "BatchNorm": [("eps", 3, "float", False)],
}
_DEFAULTS = {"pad": 0, "stride": 1, "dilation": 1}
_BATCH_NORM_EPS = 1e-5  # Caffe's, where a layer names none
_PACKAGE = "fusionseg.caffe"


@dataclass(frozen=True)
class CaffeNet:
    """A network's name and its layers, in order; those without weights too."""

    name: str
    layers: tuple[Layer, ...]


@functools.cache
def _message_class() -> Any:
    """The class of a whole network, built from `_FIELDS`."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="fusionseg_caffe.proto", package=_PACKAGE, syntax="proto2")
    for message, fields in _FIELDS.items():
        described = file.message_type.add(name=message)
        for name, number, kind, repeated in fields:
            label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            field = described.field.add(name=name, number=number, label=label)
            if kind in _FIELDS:
                field.type, field.type_name = kinds.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                field.type = getattr(kinds, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Net"))


def read_caffemodel(data: bytes, path: Path) -> CaffeNet:
    """The network in the bytes of `path`. Raises UserError."""
    if _is_text(data):
        raise UserError(f"{path}: this is text; a .prototxt only describes a network, its weights are in a .caffemodel")
    try:
        net = _message_class().FromString(data)
        if net.layers and not net.layer:
            raise UserError(
                f"{path}: layers in the format that Caffe had before 2015 (V1); convert the file with Caffe's own "
                "upgrade_net_proto_binary first"
            )
        layers = tuple(_layer(layer, path) for layer in net.layer)
        name = str(net.name)
    except (DecodeError, UnicodeDecodeError):
        raise UserError(f"{path}: no whole .caffemodel ({len(data):,} bytes); download it again") from None
    if not any(layer.blobs for layer in layers):
        raise UserError(f"{path}: {len(layers)} layers, none of them with weights; expected a trained .caffemodel")
    return CaffeNet(name, layers)


def _is_text(data: bytes) -> bool:
    """Whether it begins like something written by people: no byte that text hasn't got."""
    start = data[:256]
    return bool(start) and all(byte >= 32 or byte in b"\t\n\r\f" for byte in start)


def _layer(layer: Any, path: Path) -> Layer:
    geometry = {}
    if layer.HasField("convolution_param"):
        for name, default in _DEFAULTS.items():
            values = getattr(layer.convolution_param, name)
            geometry[name] = int(values[0]) if values else default
    if layer.HasField("pooling_param"):
        pooling = layer.pooling_param
        geometry = {"kernel": int(pooling.kernel_size), "stride": int(pooling.stride), "pad": int(pooling.pad)}
    norm = layer.batch_norm_param
    eps = float(norm.eps) if norm.HasField("eps") else _BATCH_NORM_EPS
    blobs = tuple(_array(blob, f"{path}: layer {layer.name}") for blob in layer.blobs)
    return Layer(layer.name, layer.type, blobs, geometry, eps)


def _array(blob: Any, where: str) -> Float32:
    """A blob's numbers in its shape, float32."""
    try:
        values = [np.frombuffer(part, "<f4") for part in blob.data]
        values = values or [np.frombuffer(part, "<f8").astype("<f4") for part in blob.double_data]
    except ValueError:
        raise UserError(f"{where}: numbers cut off; download the file again") from None
    flat = np.concatenate(values) if values else np.zeros(0, np.float32)
    legacy = (blob.num, blob.channels, blob.height, blob.width)
    shape = tuple(blob.shape.dim) if blob.HasField("shape") else tuple(legacy)
    if min(shape, default=1) < 0 or math.prod(shape) != flat.size:
        raise UserError(f"{where}: {flat.size:,} numbers for the shape {list(shape)}; download the file again")
    return flat.reshape(shape)
