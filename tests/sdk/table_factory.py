"""A small valid bundle of a predictor and a ranker for tests, without any retrieval. Its models are bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from nearhand.bundle.archive import write_archive
from nearhand.bundle.document import serialize
from nearhand.bundle.manifest import Manifest
from nearhand.bundle.schema import GoldenReference, TensorSpec, Variant
from nearhand.bundle.tables import (
    Column,
    OutputParity,
    Parity,
    Ranks,
    TableGolden,
    TableModel,
    VariantParity,
    VocabulariesReference,
)
from tests.sdk.bundle_factory import edit_json, refer

THRESHOLDS = ((-1.5, 0.1, 1600000001.5), (2.0,))
VOCABULARIES = {"plan": ("basic", "café")}


def make_table_golden() -> TableGolden:
    """Of the predictor."""
    return TableGolden(
        numbers=((Decimal("0.1"), None), (Decimal("-3"), Decimal("1E-7"))),
        categories=((2,), (0,)),
        outputs={
            "label": ((Decimal(1),), (Decimal(0),)),
            "probability": ((Decimal("0.25"), Decimal("0.75")), (Decimal(1), Decimal(0))),
        },
        tolerances={"label": Decimal(0), "probability": Decimal("0.00001")},
    )


def make_ranker_golden() -> TableGolden:
    return TableGolden(((Decimal(1),),), ((),), {"value": ((Decimal(2),),)}, {"value": Decimal("0.001")})


def make_table_files() -> dict[str, bytes]:
    """Every file of the bundle but its manifest."""
    return {
        "models/churn-fp32.onnx": b"churn onnx",
        "models/churn-fp32.tflite": b"churn tflite",
        "models/order-fp32.onnx": b"order onnx",
        "golden/churn.json": serialize(make_table_golden()),
        "golden/order.json": serialize(make_ranker_golden()),
        "thresholds/churn.f64": b"".join(struct.pack(f"<{len(column)}d", *column) for column in THRESHOLDS),
        "vocabularies.json": serialize(VOCABULARIES),
    }


def make_predictor(files: dict[str, bytes]) -> TableModel:
    """Three columns, a classifier of trees, ranks on the device, two runtimes."""
    numbers = TensorSpec("numbers", "float32", (-1, 2))
    categories = TensorSpec("categories", "int32", (-1, 1))
    outputs = (TensorSpec("probability", "float32", (-1, 2)), TensorSpec("label", "int32", (-1,)))
    variants = (
        Variant("onnx", "fp32", refer("models/churn-fp32.onnx", files), {"opset": 17, "ir": 8},
                ("TreeEnsembleRegressor",), (numbers, categories), outputs),
        Variant("tflite", "fp32", refer("models/churn-fp32.tflite", files), {"GATHER": 1}, ("GATHER",),
                (numbers, categories), outputs),
    )  # fmt: skip
    difference = OutputParity("probability", Decimal("1E-7"), Decimal("1E-7"), Decimal("0.00001"))
    return TableModel(
        role="predictor",
        name="churn",
        kind="trees",
        task="binary",
        classes=("no", "yes"),
        columns=(
            Column("monthly", "number"),
            Column("plan", "category", "plan", unknown=False),
            Column("months", "number"),
        ),
        encoding="ranks",
        variants=variants,
        golden=GoldenReference(refer("golden/churn.json", files), 2),
        parity=Parity(
            rows_given=0,
            rows_made=100,
            description="made from its thresholds and categories",
            variants=tuple(VariantParity(v.runtime, v.precision, (difference,), 99, 1, 1000) for v in variants),
        ),
        provenance={"source": "made up"},
        ranks=Ranks(refer("thresholds/churn.f64", files), (3, 1), "float32 cannot hold 1600000001.5"),
    )


def make_ranker(files: dict[str, bytes]) -> TableModel:
    """One number, one runtime."""
    variant = Variant(
        "onnx", "fp32", refer("models/order-fp32.onnx", files), {"opset": 17, "ir": 8}, ("MatMul",),
        (TensorSpec("numbers", "float32", (-1, 1)),), (TensorSpec("value", "float32", (-1, 1)),),
    )  # fmt: skip
    return TableModel(
        role="ranker",
        name="order",
        kind="graph",
        task="ranking",
        classes=(),
        columns=(Column("price", "number", missing=False),),
        encoding="values",
        variants=(variant,),
        golden=GoldenReference(refer("golden/order.json", files), 1),
        parity=Parity(5, 0, "5 rows of prices.csv", (VariantParity("onnx", "fp32", (), 0, 0, 0),)),
        provenance={"source": "made up"},
    )


def make_table_manifest(files: dict[str, bytes]) -> Manifest:
    return Manifest(
        format=1,
        name="shop",
        version="1.0.0",
        licence="CC0-1.0",
        min_sdk="0.1.0",
        models=(make_predictor(files), make_ranker(files)),
        event_types={},
        provenance={"nearhand": "0.1.0"},
        vocabularies=VocabulariesReference(refer("vocabularies.json", files), {"plan": 2}),
    )


def make_table_entries(
    edit: Callable[[Any], object] | None = None, replaced: dict[str, bytes] | None = None
) -> dict[str, bytes]:
    """All entries of the archive; ``edit`` may change the manifest's JSON value, ``replaced`` other files."""
    files = {**make_table_files(), **(replaced or {})}
    manifest = serialize(make_table_manifest(files))
    return {"manifest.json": manifest if edit is None else edit_json(manifest, edit), **files}


def write_table_bundle(
    path: Path, edit: Callable[[Any], object] | None = None, replaced: dict[str, bytes] | None = None
) -> Path:
    write_archive(path, make_table_entries(edit, replaced))
    return path
