"""ONNX files that already keep our contract: tables of float32 or int32 numbers in, float32 and int32 tensors out.

The original is the file itself, run by ONNX Runtime; the file is only read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import TensorProto, version_converter

from nearhand.errors import ModelError
from nearhand.runtime import Session
from nearhand.runtime.onnx import OnnxRuntime
from nearhand_converters.errors import SourceError, UnsupportedModelError
from nearhand_converters.graph.builder import ML_DOMAIN, ML_OPSET, OPSET, GraphBuilder
from nearhand_converters.graph.inline import inline
from nearhand_converters.graph.inputs import GraphInputs, Lowering
from nearhand_converters.graph.trees.form import Trees
from nearhand_converters.sources.model import InputColumn, Outputs, Rows, Task

_EXPORT = "export it again with float32 or int32 tensors of [batch, columns]"
_OLDEST = 13
"""Before this operator set, the axes of sums were attributes."""
_CONTRACT: dict[frozenset[str], Task] = {
    frozenset({"probability", "label"}): "multiclass",
    frozenset({"score", "label"}): "multiclass",
    frozenset({"distance", "label"}): "cluster",
    frozenset({"label"}): "cluster",
    frozenset({"value"}): "regression",
    frozenset({"transformed"}): "transform",
}
"""Names of outputs → what they mean."""


@dataclass(frozen=True)
class _Input:
    """An input: its name, dtype and number of columns."""

    name: str
    dtype: str
    width: int


@dataclass(frozen=True)
class OnnxFileModel:
    """Implements :class:`~nearhand_converters.sources.model.TabularModel`.

    Attributes:
        path: of the file.
        batch: the number of rows that the file is made for; 0 for any.
        names: output of the contract → output of the file.
        ranks: output of the file → how many dimensions it has, whatever the file says.
        ranges: for each number column (low, high): an int32 column that looks up rows of a table stays in it.
    """

    source: str
    columns: tuple[InputColumn, ...]
    task: Task
    classes: tuple[str, ...]
    path: Path
    graph: onnx.GraphProto
    inputs: tuple[_Input, ...]
    names: Mapping[str, str]
    ranks: Mapping[str, int]
    batch: int
    ranges: tuple[tuple[float, float], ...] | None
    missing_allowed: tuple[bool, ...]
    trees: Trees | None = None

    def build(self, g: GraphBuilder, inputs: GraphInputs, lowering: Lowering) -> Mapping[str, str]:
        """The file's nodes, behind the columns of each of its inputs."""
        values, start, width = {}, 0, len(self.columns)
        for each in self.inputs:
            value = inputs.numbers
            if each.width < width:
                places = np.arange(start, start + each.width, dtype=np.int32)
                value = g.add("Gather", value, g.constant(places), axis=1)
            values[each.name] = g.add("Cast", value, to=TensorProto.INT32) if each.dtype == "int32" else value
            start += each.width
        found = inline(g, self.graph, values, list(self.names.values()))
        return {name: self._shaped(g, name, value) for name, value in zip(self.names, found, strict=True)}

    def _shaped(self, g: GraphBuilder, name: str, value: str) -> str:
        """Labels are [batch], everything else [batch, width]."""
        rank = 1 if name == "label" else 2
        if self.ranks[self.names[name]] == rank:
            return value
        return g.add("Reshape", value, g.constant(np.array([-1, 1][:rank], np.int64)))

    def predict(self, rows: Rows) -> Outputs:
        size = self.batch or max(len(rows), 1)
        padded = np.concatenate([rows.numbers, np.repeat(rows.numbers[-1:], -len(rows) % size, axis=0)])
        parts = [self._run(padded[start : start + size]) for start in range(0, len(padded), size)]
        return {name: np.concatenate([part[name] for part in parts])[: len(rows)] for name in self.names}

    def leaves(self, rows: Rows) -> NDArray[np.integer] | None:
        return None

    def _run(self, numbers: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        found = self._session.run(_feeds(self.inputs, numbers))
        return {
            name: found[own].reshape(-1) if name == "label" else found[own].reshape(len(numbers), -1)
            for name, own in self.names.items()
        }

    @cached_property
    def _session(self) -> Session:
        return OnnxRuntime().load(self.path)


def _feeds(inputs: Iterable[_Input], numbers: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    feeds, start = {}, 0
    for each in inputs:
        feeds[each.name] = numbers[:, start : start + each.width].astype(each.dtype)
        start += each.width
    return feeds


class OnnxFileSource:
    """Implements :class:`~nearhand_converters.sources.model.Source`."""

    @property
    def name(self) -> str:
        return "onnx"

    def claims(self, path: Path, head: bytes) -> bool:
        return path.suffix.lower() == ".onnx"

    def read(self, path: Path) -> OnnxFileModel:
        try:
            model = onnx.load_model(path, load_external_data=False)
        except (OSError, DecodeError) as error:
            raise SourceError(f"is no ONNX file ({error})", place=path.name, remedy="export it again") from error
        try:
            return _read(model, path)
        except UnicodeDecodeError as error:  # whoever is the first to read a name
            raise SourceError("holds a name that is no text", place=path.name, remedy="export it again") from error

    def adopts(self, model: object) -> bool:
        """Nothing: the original is a file."""
        return False

    def adopt(self, model: object) -> OnnxFileModel:
        raise SourceError("is read from its file only", place="model", remedy="save it, and give the file")


def _read(given: onnx.ModelProto, path: Path) -> OnnxFileModel:
    place = path.name
    _check_whole(given, place)
    inputs, batch = _inputs(given.graph, place)
    for value in given.graph.output:
        _tensor_type(value, f"{place}, output {value.name!r}", "output")
    model = _of_our_opset(given, place)
    rows = batch or 2
    found = _run_once(path, inputs, rows)
    names = _outputs(model.graph, found, rows, place)
    task = _CONTRACT.get(frozenset(names), "transform")
    classes: tuple[str, ...] = ()
    if task == "multiclass":
        width = max(_width(found[names.get("probability") or names["score"]]), 2)
        classes = tuple(map(str, range(width)))
        task = "binary" if width == 2 else "multiclass"
    columns = tuple(
        InputColumn(each.name if each.width == 1 else f"{each.name}_{i}", "number")
        for each in inputs
        for i in range(each.width)
    )
    return OnnxFileModel(
        source=f"onnx {task}",
        columns=columns,
        task=task,
        classes=classes,
        path=path,
        graph=model.graph,
        inputs=inputs,
        names=names,
        ranks={name: values.ndim for name, values in found.items()},
        batch=batch,
        ranges=_ranges(model.graph, inputs),
        missing_allowed=tuple(each.dtype == "float32" for each in inputs for _ in range(each.width)),
    )


def _run_once(path: Path, inputs: tuple[_Input, ...], rows: int) -> dict[str, NDArray[Any]]:
    """What the file gives for rows of zeros: exporters declare shapes that are not those of the results."""
    zeros = np.zeros((rows, sum(each.width for each in inputs)))
    try:
        return OnnxRuntime().load(path).run(_feeds(inputs, zeros))
    except ModelError as error:
        raise SourceError(error.problem, place=path.name, remedy="export it again") from error


def _width(values: NDArray[Any]) -> int:
    return values.shape[1] if values.ndim == 2 else 1


def _check_whole(model: onnx.ModelProto, place: str) -> None:
    """Raises for what is not in the file, or is not ONNX's own."""
    for tensor in _tensors(model.graph):
        if tensor.data_location == TensorProto.EXTERNAL:
            raise UnsupportedModelError(
                f"keeps the data of {tensor.name!r} in another file",
                code="external-data",
                place=place,
                remedy="save it as one file (onnx.save with save_as_external_data=False)",
            )
    if any(node.op_type == "ZipMap" for node in model.graph.node):
        raise UnsupportedModelError(
            "gives its probabilities as a list of dictionaries (ZipMap), which phones cannot read",
            code="zipmap",
            place=place,
            remedy="convert the model itself, or export it with options={'zipmap': False}",
        )
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx", ML_DOMAIN):
            raise UnsupportedModelError(
                f"operator {node.op_type} is of the domain {node.domain!r}, which only some runtimes have",
                code="custom-domain",
                place=f"{place}, node {node.name or node.output[0]}",
                remedy="export it with ONNX's own operators",
            )
        if any(
            attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for attribute in node.attribute
        ):
            raise UnsupportedModelError(
                f"operator {node.op_type} holds a graph of its own",
                code="control-flow",
                place=f"{place}, node {node.name or node.output[0]}",
                remedy="export it without loops and branches",
            )
    if model.functions:
        raise UnsupportedModelError(
            "defines functions of its own",
            code="local-functions",
            place=place,
            remedy="inline them with onnx.inliner.inline_local_functions",
        )
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        line = next((line for line in str(error).splitlines() if line), "")
        raise SourceError(f"is no valid ONNX model ({line})", place=place, remedy="export it again") from error


def _tensors(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    of_nodes = [attribute.t for node in graph.node for attribute in node.attribute if attribute.HasField("t")]
    return [*graph.initializer, *of_nodes]


def _inputs(graph: onnx.GraphProto, place: str) -> tuple[tuple[_Input, ...], int]:
    """The inputs, and the number of rows they are made for, 0 for any."""
    constants = {tensor.name for tensor in graph.initializer}
    found, batches = [], set()
    for value in graph.input:
        if value.name in constants:
            continue
        where = f"{place}, input {value.name!r}"
        dtype, shape = _tensor_type(value, where, "input")
        if len(shape) != 2 or shape[1] < 1:
            raise UnsupportedModelError(
                f"has the shape {_shape_text(shape)}, not [batch, columns] with a fixed number of columns",
                code="input-shape",
                place=where,
                remedy=_EXPORT,
            )
        batches.add(max(shape[0], 0))
        found.append(_Input(value.name, dtype, shape[1]))
    if not found:
        raise UnsupportedModelError("has no inputs", code="input-shape", place=place, remedy=_EXPORT)
    if len(batches) > 1:
        raise UnsupportedModelError(
            "has inputs of different numbers of rows", code="input-shape", place=place, remedy=_EXPORT
        )
    return tuple(found), batches.pop()


def _tensor_type(value: onnx.ValueInfoProto, place: str, what: str) -> tuple[str, list[int]]:
    """The dtype and the shape, −1 where a dimension is not fixed."""
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise UnsupportedModelError(
            f"is a {str(kind).removesuffix('_type')}, not a tensor", code=f"{what}-type", place=place, remedy=_EXPORT
        )
    tensor = value.type.tensor_type
    dtypes: dict[int, str] = {TensorProto.FLOAT: "float32", TensorProto.INT32: "int32"}
    if tensor.elem_type not in dtypes:
        name = str(TensorProto.DataType.Name(tensor.elem_type)).lower()
        remedies = {
            "int64": "cast it to int32 in the graph",
            "string": "give codes instead of texts, or convert the model itself",
            "double": "cast it to float32 in the graph",
        }
        raise UnsupportedModelError(
            f"holds {name}, not float32 or int32", code=f"{what}-type", place=place, remedy=remedies.get(name, _EXPORT)
        )
    return dtypes[tensor.elem_type], [d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim]


def _shape_text(shape: list[int]) -> str:
    return "[" + ", ".join("?" if size < 0 else str(size) for size in shape) + "]"


def _outputs(graph: onnx.GraphProto, found: Mapping[str, NDArray[Any]], rows: int, place: str) -> dict[str, str]:
    """Output of the contract → the graph's output.

    Args:
        found: what the outputs are for so many ``rows``.
    """
    for value in graph.output:
        where, dtype, shape = f"{place}, output {value.name!r}", found[value.name].dtype, found[value.name].shape
        if len(shape) not in (1, 2) or shape[0] != rows:
            raise UnsupportedModelError(
                f"has the shape {_shape_text(list(shape))} for {rows} rows, not [batch] or [batch, width]",
                code="output-shape",
                place=where,
                remedy=_EXPORT,
            )
        if (dtype == np.int32) != (value.name == "label"):
            raise UnsupportedModelError(
                f"holds {dtype}", code="output-type", place=where, remedy="int32 is for an output called 'label'"
            )
    if frozenset(found) in _CONTRACT:
        return {name: name for name in found}
    if len(found) != 1:
        raise UnsupportedModelError(
            f"gives {', '.join(map(repr, found))}",
            code="several-outputs",
            place=place,
            remedy="keep one output, or call them 'label' with 'probability', 'score' or 'distance'",
        )
    name, values = next(iter(found.items()))
    return {"value" if _width(values) == 1 else "transformed": name}


def _of_our_opset(model: onnx.ModelProto, place: str) -> onnx.ModelProto:
    """The model with the operator sets that we emit."""
    versions = {opset.domain: opset.version for opset in model.opset_import}
    own = versions.get("", versions.get("ai.onnx", OPSET))
    if any(node.domain == ML_DOMAIN for node in model.graph.node) and versions.get(ML_DOMAIN, 1) > ML_OPSET:
        raise _opset(f"{ML_DOMAIN} {versions[ML_DOMAIN]}", place)
    if own < _OLDEST:
        raise _opset(str(own), place)
    if own == OPSET:
        return model
    try:
        return version_converter.convert_version(model, OPSET)
    except RuntimeError as error:
        raise _opset(str(own), place) from error


def _opset(version: str, place: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"is of the operator set {version}, which cannot be made {OPSET}",
        code="opset",
        place=place,
        remedy=f"export it with opset {OPSET} and {ML_DOMAIN} {ML_OPSET}",
    )


def _ranges(graph: onnx.GraphProto, inputs: tuple[_Input, ...]) -> tuple[tuple[float, float], ...] | None:
    """Rows of the table that an int32 input looks up; None if there is no such input."""
    if all(each.dtype == "float32" for each in inputs):
        return None
    tables = {tensor.name: tensor.dims for tensor in graph.initializer}
    found = []
    for each in inputs:
        high = 1.0 if each.dtype == "int32" else 3.0
        for node in graph.node:
            if node.op_type == "Gather" and node.input[1] == each.name and node.input[0] in tables:
                axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
                high = float(tables[node.input[0]][axis] - 1)
        found += [(0.0 if each.dtype == "int32" else -3.0, high)] * each.width
    return tuple(found)
