"""ONNX itself, stamped with the oldest operator sets and IR version that mean the same."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from nearhand.bundle.schema import RuntimeName
from nearhand_converters.targets.target import Artifact, interface

OLDEST_OPSET = 13
"""Of ONNX's own domain; before it, axes and the like were attributes of many operators."""


class OnnxTarget:
    """Writes a graph as it is."""

    name: RuntimeName = "onnx"

    def write(self, model: onnx.ModelProto) -> Artifact:
        inputs, outputs = interface(model)
        oldest = oldest_form(model)
        operators = tuple(sorted({node.op_type for node in nodes(oldest.graph)}))
        return Artifact(oldest.SerializeToString(deterministic=True), versions(oldest), operators, inputs, outputs)


def oldest_form(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that asks for the oldest operator sets in which each of its operators is what it is.

    A domain that ONNX does not define keeps the version that it has; one that no operator is of is left out.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    given = {_domain(entry.domain): entry.version for entry in model.opset_import}
    needed = {"": OLDEST_OPSET}
    for node in nodes(model.graph):
        domain = _domain(node.domain)
        if onnx.defs.has(node.op_type, given[domain], domain):
            since = onnx.defs.get_schema(node.op_type, given[domain], domain).since_version
        else:
            since = given[domain]
        needed[domain] = max(needed.get(domain, 1), since)
    del copy.opset_import[:]
    copy.opset_import.extend(onnx.helper.make_opsetid(domain, needed[domain]) for domain in sorted(needed))
    known = [entry for entry in copy.opset_import if entry.domain in ("", "ai.onnx.ml")]
    copy.ir_version = min(model.ir_version, onnx.helper.find_min_ir_version_for(known))
    return copy


def versions(model: onnx.ModelProto) -> dict[str, int]:
    """``ir``, ``opset``, and the version of each other domain by its name."""
    return {"ir": model.ir_version} | {entry.domain or "opset": entry.version for entry in model.opset_import}


def nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Every node, those of graphs inside of nodes too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from nodes(inner)


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name
