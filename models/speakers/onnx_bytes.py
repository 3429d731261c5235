"""Pure: ONNX models as bytes, without the package onnx: what little of protobuf's wire format they take.

A message is its fields one after the other, each with its number in front. So the bytes of two messages, one after the
other, are one message with the fields of both: `model(...) + initializer(...)` is a model with one weight more.
The numbers of fields are those of onnx.proto3.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

VARINT, LENGTH, FIXED32 = 0, 2, 5  # wire types
FLOAT = 1  # of TensorProto.DataType
IR_VERSION, OPSET = 8, 17  # what ONNX Runtime has read since 1.12

Attribute = int | float | Sequence[int]
Dimension = int | str  # a number, or the name of one that varies


def model(name: str, nodes: Sequence[bytes], inputs: Sequence[bytes], outputs: Sequence[bytes]) -> bytes:
    """ModelProto with a graph of these nodes, and no weights yet."""
    graph = b"".join(
        [
            *(_message(1, one) for one in nodes),
            _text(2, name),
            *(_message(11, one) for one in inputs),
            *(_message(12, one) for one in outputs),
        ]
    )
    return _integer(1, IR_VERSION) + _message(7, graph) + _message(8, _integer(2, OPSET))


def metadata(entries: Mapping[str, str]) -> bytes:
    """ModelProto with nothing but metadata, to go behind another."""
    return b"".join(_message(14, _text(1, key) + _text(2, value)) for key, value in entries.items())


def initializer(name: str, shape: Sequence[int], content: bytes) -> bytes:
    """ModelProto with nothing but one weight of float32, little-endian, to go behind another."""
    dimensions = b"".join(_integer(1, size) for size in shape)
    tensor = dimensions + _integer(2, FLOAT) + _text(8, name) + _message(9, content)
    return _message(7, _message(5, tensor))


def node(operator: str, inputs: Sequence[str], output: str, attributes: Mapping[str, Attribute]) -> bytes:
    """NodeProto."""
    return b"".join(
        [
            *(_text(1, one) for one in inputs),
            _text(2, output),
            _text(4, operator),
            *(_message(5, _attribute(key, value)) for key, value in attributes.items()),
        ]
    )


def value(name: str, shape: Sequence[Dimension]) -> bytes:
    """ValueInfoProto of a tensor of float32."""
    sizes = [_integer(1, one) if isinstance(one, int) else _text(2, one) for one in shape]
    tensor = _integer(1, FLOAT) + _message(2, b"".join(_message(1, one) for one in sizes))
    return _text(1, name) + _message(2, _message(1, tensor))


def _attribute(name: str, content: Attribute) -> bytes:
    """An attribute of a node, by its type."""
    if isinstance(content, float):
        return _text(1, name) + _key(2, FIXED32) + struct.pack("<f", content) + _integer(20, 1)
    if isinstance(content, int):
        return _text(1, name) + _integer(3, content) + _integer(20, 2)
    return _text(1, name) + b"".join(_integer(8, one) for one in content) + _integer(20, 7)


def _message(field: int, content: bytes) -> bytes:
    """A field of any length, in the encoding of protocol buffers."""
    return _key(field, LENGTH) + _varint(len(content)) + content


def _text(field: int, content: str) -> bytes:
    """A field of text."""
    return _message(field, content.encode())


def _integer(field: int, number: int) -> bytes:
    """A field that is a number."""
    return _key(field, VARINT) + _varint(number & 0xFFFF_FFFF_FFFF_FFFF)  # below 0: the two's complement


def _key(field: int, wire: int) -> bytes:
    """The number of a field, and how it is written."""
    return _varint(field << 3 | wire)


def _varint(number: int) -> bytes:
    """Seven bits a byte, the least first; the top bit says that more follow."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
