"""ONNX Runtime's own file format, read and written in one fixed order.

onnxruntime writes parts of a file in the order of hash tables whose seeds are memory addresses, so no two processes
write the same bytes. Here such a file is read table by table and packed again with these parts sorted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import flatbuffers
from flatbuffers import encode, number_types, packer
from flatbuffers.table import Table

FILE_IDENTIFIER = b"ORTM"

Kind: TypeAlias = "str | tuple[str] | None"
"""A field: a number type, ``text``, the name of a table, (one of these,) for a list; None for a field of old files."""

Fields: TypeAlias = dict[int, Any]
"""Slot → value of a table: a number, text, fields, a list of texts or fields, or a list of numbers as its bytes."""

_NUMBERS: Mapping[str, Any] = {
    "bool": number_types.BoolFlags,
    "i8": number_types.Int8Flags,
    "u8": number_types.Uint8Flags,
    "i32": number_types.Int32Flags,
    "u32": number_types.Uint32Flags,
    "i64": number_types.Int64Flags,
    "f32": number_types.Float32Flags,
}

_WIDTHS = {"u8": 1, "i32": 4, "i64": 8, "f32": 4, "edge": 12}
"""Bytes of one element of a list of numbers; an edge's end is three of them."""

TABLES: Mapping[str, tuple[Kind, ...]] = {
    "InferenceSession": ("text", "Model", None, "KernelTypeStrResolver"),
    "Model": ("i64", ("OperatorSetId",), *("text",) * 3, "i64", "text", "Graph", "text", ("StringStringEntry",)),
    "OperatorSetId": ("text", "i64"),
    "StringStringEntry": ("text", "text"),
    "Graph": (("Tensor",), ("ValueInfo",), ("Node",), "u32", ("NodeEdge",), *(("text",),) * 2, ("SparseTensor",), None),
    "Tensor": ("text", "text", ("i64",), "i32", ("u8",), ("text",), "i64"),
    "SparseTensor": ("Tensor", "Tensor", ("i64",)),
    "ValueInfo": ("text", "text", "TypeInfo"),
    "TypeInfo": ("text", "u8", "TensorTypeAndShape"),
    "TensorTypeAndShape": ("i32", "Shape"),
    "Shape": (("Dimension",),),
    "Dimension": ("DimensionValue", "text"),
    "DimensionValue": ("i8", "i64", "text"),
    "NodeEdge": ("u32", ("edge",), ("edge",)),
    "Node": (*("text",) * 3, "i32", "u32", "text", "i32", "text", *(("text",),) * 2, ("Attribute",), ("i32",),
             ("text",)),
    "Attribute": ("text", "text", "i32", "f32", "i64", "text", "Tensor", "Graph", ("f32",), ("i64",), ("text",),
                  ("Tensor",), ("Graph",)),
    "KernelTypeStrResolver": (("OpIdKernelTypeStrArgsEntry",),),
    "OpIdKernelTypeStrArgsEntry": ("text", ("KernelTypeStrArgsEntry",)),
    "KernelTypeStrArgsEntry": ("text", ("ArgTypeAndIndex",)),
    "ArgTypeAndIndex": ("i8", "u32"),
}  # fmt: skip
"""Table → its fields by slot, as version 6 of the format has them. A value's type is a tensor's: maps, sequences and
recorded optimizations are not in our graphs."""

_UNORDERED = {
    "OperatorSetId",
    "StringStringEntry",
    "Tensor",
    "ValueInfo",
    "OpIdKernelTypeStrArgsEntry",
    "KernelTypeStrArgsEntry",
}
"""Tables that stand in lists whose order means nothing; their first field is their name."""


def read(data: bytes) -> Fields:
    """The tables of a file.

    Raises:
        ValueError: it is no such file, or has something that is not in our description of the format.
    """
    if data[4:8] != FILE_IDENTIFIER:
        raise ValueError("not a file of ONNX Runtime's own format")
    buffer = bytearray(data)
    return _read_table(Table(buffer, encode.Get(packer.uoffset, buffer, 0)), "InferenceSession")


def write(fields: Fields) -> bytes:
    """The file that has these tables; the same bytes for the same tables, in whatever order they were read."""
    builder = flatbuffers.Builder(1024)
    builder.ForceDefaults(True)
    builder.Finish(_write_table(builder, fields, "InferenceSession"), FILE_IDENTIFIER)
    return bytes(builder.Output())


def _read_table(table: Table, name: str) -> Fields:
    kinds = TABLES[name]
    vtable = table.Pos - table.Get(number_types.SOffsetTFlags, table.Pos)
    slots = table.Get(number_types.VOffsetTFlags, vtable) // 2 - 2
    fields: Fields = {}
    for slot in range(slots):
        offset = table.Offset(4 + 2 * slot)
        if not offset:
            continue
        kind = kinds[slot] if slot < len(kinds) else None
        if kind is None:
            raise ValueError(f"field {slot} of a {name} is unknown")
        fields[slot] = (
            _read_list(table, offset, kind[0]) if isinstance(kind, tuple) else _read_value(table, offset, kind)
        )
    if name == "TypeInfo" and fields.get(1) != 1:
        raise ValueError("a value is not a tensor")
    return fields


def _read_value(table: Table, offset: int, kind: str) -> Any:
    place = table.Pos + offset
    if kind in _NUMBERS:
        return table.Get(_NUMBERS[kind], place)
    return (
        bytes(table.String(place)) if kind == "text" else _read_table(Table(table.Bytes, table.Indirect(place)), kind)
    )


def _read_list(table: Table, offset: int, kind: str) -> Any:
    start, count = table.Vector(offset), table.VectorLen(offset)
    if kind in _WIDTHS:
        return bytes(table.Bytes[start : start + count * _WIDTHS[kind]])
    places = [start + 4 * i for i in range(count)]
    if kind == "text":
        return [bytes(table.String(place)) for place in places]
    found = [_read_table(Table(table.Bytes, table.Indirect(place)), kind) for place in places]
    return sorted(found, key=lambda fields: fields.get(0, b"")) if kind in _UNORDERED else found


def _write_table(builder: Any, fields: Fields, name: str) -> int:
    kinds = TABLES[name]
    written = {slot: _write_value(builder, value, kinds[slot]) for slot, value in fields.items()}
    builder.StartObject(len(kinds))
    for slot, value in written.items():
        number = _NUMBERS.get(str(kinds[slot]))
        if number is not None:
            builder.PrependSlot(number, slot, value, 0)
        else:
            builder.PrependUOffsetTRelativeSlot(slot, value, 0)
    return int(builder.EndObject())


def _write_value(builder: Any, value: Any, kind: Kind) -> Any:
    """A number itself; of anything else, where it is now in the file."""
    if kind in _NUMBERS:
        return value
    if kind == "text":
        return builder.CreateSharedString(value)
    if isinstance(kind, str):
        return _write_table(builder, value, kind)
    assert kind is not None
    (element,) = kind
    if element in _WIDTHS:
        width = _WIDTHS[element]
        builder.StartVector(width, len(value) // width, 16 if element == "u8" else 4 if element == "edge" else width)
        builder.head -= len(value)
        builder.Bytes[builder.head : builder.head + len(value)] = value
    else:
        offsets = [_write_value(builder, each, element) for each in value]
        builder.StartVector(4, len(value), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()
