"""Assembles a TFLite flatbuffer: tensors, constant buffers and operators with the versions that they need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

_TYPES = {
    "float32": "FLOAT32",
    "int32": "INT32",
    "int8": "INT8",
    "uint8": "UINT8",
    "int16": "INT16",
    "bool": "BOOL",
}

FILE_IDENTIFIER = b"TFL3"


@dataclass(frozen=True)
class Value:
    """A tensor of the model. A dimension of -1 is decided at run time."""

    index: int
    dtype: str
    shape: tuple[int, ...]


class Assembler:
    """Collects one subgraph and serializes it; the same calls give the same bytes."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._tensors: list[Any] = []
        self._buffers: list[Any] = [schema.BufferT()]  # buffer 0 is, by convention, the empty one
        self._operators: list[Any] = []
        self._codes: dict[tuple[str, int], int] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes, float | None], Value] = {}
        self._buffer_of: dict[bytes, int] = {}

    def tensor(self, dtype: str, shape: Sequence[int], buffer: int = 0) -> Value:
        """A new tensor; without a buffer its values are made at run time."""
        tensor = schema.TensorT()
        tensor.type = getattr(schema.TensorType, _TYPES[dtype])
        tensor.shape = _numbers(1 if dimension < 0 else dimension for dimension in shape)
        if any(dimension < 0 for dimension in shape):
            tensor.shapeSignature = _numbers(shape)
        tensor.buffer = buffer
        tensor.hasRank = not shape  # tells a scalar from a tensor of unknown shape
        self._tensors.append(tensor)
        return Value(len(self._tensors) - 1, dtype, tuple(shape))

    def constant(self, array: NDArray[Any], scale: float | None = None) -> Value:
        """A constant tensor; equal constants are one, and equal bytes are one in any case.

        Args:
            scale: what one unit of a quantized constant stands for; None for plain numbers.
        """
        data = np.asarray(array, order="C")  # not ascontiguousarray, which makes a row of a scalar
        content = data.tobytes()
        key = (data.dtype.name, data.shape, content, scale)
        if key not in self._constants:
            if content not in self._buffer_of:
                buffer = schema.BufferT()
                buffer.data = np.frombuffer(content, np.uint8)
                self._buffers.append(buffer)
                self._buffer_of[content] = len(self._buffers) - 1
            self._constants[key] = self.tensor(key[0], data.shape, self._buffer_of[content])
            if scale is not None:
                quantization = schema.QuantizationParametersT()
                quantization.scale, quantization.zeroPoint = [scale], [0]
                self._tensors[-1].quantization = quantization
        return self._constants[key]

    def add(
        self,
        operator: str,
        inputs: Sequence[Value],
        *outputs: Value,
        version: int,
        options: str | None = None,
        **settings: object,
    ) -> None:
        """Append ``operator``, such as ``GATHER``, with its options table, such as ``GatherOptions``."""
        op = schema.OperatorT()
        op.opcodeIndex = self._codes.setdefault((operator, version), len(self._codes))
        op.inputs = _numbers(value.index for value in inputs)
        op.outputs = _numbers(value.index for value in outputs)
        if options is not None:
            op.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            op.builtinOptions = getattr(schema, f"{options}T")()
            for name, setting in settings.items():
                setattr(op.builtinOptions, name, setting)
        self._operators.append(op)

    @property
    def versions(self) -> dict[str, int]:
        """The highest version used of each operator."""
        versions: dict[str, int] = {}
        for operator, version in sorted(self._codes):
            versions[operator] = max(version, versions.get(operator, 1))
        return versions

    def serialize(self, inputs: Mapping[str, Value], outputs: Mapping[str, Value]) -> bytes:
        """The finished file; inputs and outputs get their names, and a signature that lists them."""
        signature = schema.SignatureDefT()
        signature.signatureKey = "serving_default"
        signature.subgraphIndex = 0
        signature.inputs, signature.outputs = ([self._named(n, v) for n, v in m.items()] for m in (inputs, outputs))
        graph = schema.SubGraphT()
        graph.name = self._name
        graph.tensors = self._tensors
        graph.operators = self._operators
        graph.inputs = [value.index for value in inputs.values()]
        graph.outputs = [value.index for value in outputs.values()]
        model = schema.ModelT()
        model.version = 3
        model.description = "nearhand"
        model.operatorCodes = [self._code(operator, version) for operator, version in self._codes]
        model.subgraphs = [graph]
        model.buffers = self._buffers
        model.signatureDefs = [signature]
        builder = _AlignedBuilder(1024)
        builder.Finish(model.Pack(builder), FILE_IDENTIFIER)
        return bytes(builder.Output())

    def _named(self, name: str, value: Value) -> Any:
        self._tensors[value.index].name = name
        entry = schema.TensorMapT()
        entry.name = name
        entry.tensorIndex = value.index
        return entry

    @staticmethod
    def _code(operator: str, version: int) -> Any:
        number = getattr(schema.BuiltinOperator, operator)
        code = schema.OperatorCodeT()
        code.builtinCode = number
        code.deprecatedBuiltinCode = min(number, 127)  # readers of before 2020 look here
        code.version = version
        return code


def _numbers(values: Iterable[int]) -> NDArray[np.int32]:
    return np.fromiter(values, np.int32)


class _AlignedBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """Constant data starts at a multiple of 16 bytes, as the schema asks and the generated packer forgets.

    Equal lists of numbers (shapes, above all) are written once: a third of a small graph's size.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[bytes, int] = {}

    def CreateNumpyVector(self, x: NDArray[Any]) -> int:  # noqa: N802 - overrides a method of flatbuffers
        data = x.tobytes()
        if x.dtype == np.int32 and data in self._written:
            return self._written[data]
        self.StartVector(x.itemsize, x.size, 16 if x.dtype == np.uint8 else x.itemsize)
        self.head -= len(data)
        self.Bytes[self.head : self.head + len(data)] = data
        self.vectorNumElems = x.size
        offset = int(self.EndVector())
        if x.dtype == np.int32:
            self._written[data] = offset
        return offset
