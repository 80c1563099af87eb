"""What an ONNX file says about itself, read without the package onnx, which brings NumPy 2 onto a ROS machine.

Field numbers are those of onnx.proto; the encoding is protobuf's: https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from image_as_imu_ros.errors import InputError

# Field numbers.
_MODEL_GRAPH, _MODEL_METADATA = 7, 14
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_OP_TYPE, _TENSOR_DATA_TYPE = 4, 2
_ENTRY_KEY, _ENTRY_VALUE = 1, 2

_FLOAT16 = 10  # TensorProto.DataType
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types


@dataclass(frozen=True)
class OnnxFile:
    """Metadata of a model, and what its weights are.

    Attributes:
        metadata: by key.
        quantised: whether it has quantised weights (QDQ). half: whether it has FP16 weights.
    """

    metadata: dict[str, str]
    quantised: bool
    half: bool

    @classmethod
    def read(cls, content: bytes) -> OnnxFile:
        """Read a file's content.

        Raises:
            InputError: it is no ONNX model.
        """
        try:
            return cls._read(memoryview(content))
        except (IndexError, TypeError, ValueError) as error:
            raise InputError(f"it is not an ONNX file ({error})") from None

    @classmethod
    def _read(cls, content: memoryview) -> OnnxFile:
        metadata: dict[str, str] = {}
        operators, types = set(), set()
        graphs = 0
        for number, value in _fields(content):
            if number == _MODEL_METADATA:
                entry = {key: bytes(text).decode() for key, text in _fields(value)}
                metadata[entry.get(_ENTRY_KEY, "")] = entry.get(_ENTRY_VALUE, "")
            elif number == _MODEL_GRAPH:
                graphs += 1
                for kind, part in _fields(value):
                    if kind == _GRAPH_NODE:
                        operators |= {bytes(name).decode() for key, name in _fields(part) if key == _NODE_OP_TYPE}
                    elif kind == _GRAPH_INITIALIZER:
                        types |= {name for key, name in _fields(part) if key == _TENSOR_DATA_TYPE}
        if not graphs:
            raise ValueError("it holds no graph")
        return cls(metadata, quantised="QuantizeLinear" in operators, half=_FLOAT16 in types)


def _fields(message: memoryview) -> Iterator[tuple[int, Any]]:
    """Yield (field number, value) of a message: bytes as they are, numbers as int; numbers of fixed size are left out.

    Raises:
        IndexError, ValueError: it is not a message.
    """
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        kind = key & 7
        if kind == _VARINT:
            value, position = _varint(message, position)
            yield key >> 3, value
        elif kind == _BYTES:
            size, position = _varint(message, position)
            if position + size > len(message):
                raise ValueError("it ends early")
            yield key >> 3, message[position : position + size]
            position += size
        elif kind in (_FIXED64, _FIXED32):
            position += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError("its first bytes are none of a model's")


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """Read a number of variable length: it, and the position behind it."""
    value, bits = 0, 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << bits
        if byte < 0x80:
            return value, position
        bits += 7
