"""A small, complete, valid bundle for tests. Its models are bytes, not models."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

from nearhand.bundle.archive import write_archive
from nearhand.bundle.document import serialize
from nearhand.bundle.manifest import Manifest
from nearhand.bundle.schema import (
    Budget,
    Estimate,
    Evidence,
    FileReference,
    Golden,
    GoldenCase,
    GoldenReference,
    Items,
    ItemsReference,
    Model,
    Policy,
    Precision,
    Role,
    TensorSpec,
    Variant,
    VariantEvidence,
)
from nearhand.events import EventSchema

SDK_VERSION = "0.1.0"
ESTIMATE = Estimate(Decimal("0.25"), Decimal("0.2"), Decimal("0.3"))


def make_items(count: int = 3) -> Items:
    return Items(
        item_ids=tuple(f"m_{i}" for i in range(count)),
        titles=tuple(f"Amélie {i}" for i in range(count)),
        years=tuple(1950 + i % 70 for i in range(count)),
        genres=tuple(("drama", "comedy")[: i % 3] for i in range(count)),
        directors=tuple("" if i % 2 else f"Director {i // 10}" for i in range(count)),
        popularity=tuple(range(count)),
    )


def make_golden() -> Golden:
    case = GoldenCase(
        rows=(0,),
        confidences=(Decimal("1.5"),),
        expected={"int8": (2, 1), "fp32": (2, 1)},
        scores={"int8": (Decimal("0.5"), Decimal("0.25")), "fp32": (Decimal("0.5"), Decimal("0.25"))},
    )
    return Golden(tolerance=Decimal("0.001"), cases=(case,))


def make_files(items: int = 3) -> dict[str, bytes]:
    """Every file of the bundle but its manifest."""
    models = {f"models/{role}.{kind}": f"{role} {kind}".encode() for role in ("encoder", "index") for kind in _KINDS}
    return {"items.json": serialize(make_items(items)), "golden.json": serialize(make_golden()), **models}


def make_manifest(files: dict[str, bytes], items: int = 3) -> Manifest:
    """The manifest of :func:`make_files`."""
    return Manifest(
        format=1,
        name="films",
        version="1.0.0",
        licence="CC0-1.0",
        min_sdk="0.1.0",
        models=(_model("encoder", files), _model("index", files)),
        items=ItemsReference(refer("items.json", files), items),
        event_types={"film_rated": EventSchema(item=True, properties={"stars": "number"})},
        policy=Policy(
            window=8,
            confidences={"item_viewed": Decimal("1"), "item_disliked": Decimal("-2")},
            confidence_cap=Decimal("10"),
            seen=("item_viewed",),
            candidates=2,
            verbs={"item_viewed": "watched", "item_disliked": "disliked"},
        ),
        golden=GoldenReference(refer("golden.json", files), 1),
        evidence=_evidence(),
        provenance={"source.sha256": "0" * 64},
    )


def make_entries(items: int = 3, edit: Callable[[Any], object] | None = None) -> dict[str, bytes]:
    """All entries of the archive; ``edit`` may change the manifest's JSON value, right or wrong."""
    files = make_files(items)
    manifest = serialize(make_manifest(files, items))
    return {"manifest.json": manifest if edit is None else edit_json(manifest, edit), **files}


def edit_json(data: bytes, edit: Callable[[Any], object]) -> bytes:
    value = json.loads(data)
    edit(value)
    return json.dumps(value, ensure_ascii=False).encode()


def write_bundle(path: Path, items: int = 3, edit: Callable[[Any], object] | None = None) -> Path:
    write_archive(path, make_entries(items, edit))
    return path


def refer(path: str, files: dict[str, bytes]) -> FileReference:
    return FileReference(path, len(files[path]), sha256(files[path]).hexdigest())


_KINDS: dict[str, Precision] = {"fp32.onnx": "fp32", "int8.onnx": "int8"}


def _model(role: Role, files: dict[str, bytes]) -> Model:
    variants = tuple(
        Variant(
            runtime="onnx",
            precision=precision,
            file=refer(f"models/{role}.{kind}", files),
            versions={"opset": 21, "ir": 10},
            operators=("MatMul",),
            inputs=(TensorSpec("x", "float32", (1, -1)),),
            outputs=(TensorSpec("y", "float32", (1, -1)),),
        )
        for kind, precision in _KINDS.items()
    )
    return Model(role, "fold_in" if role == "encoder" else "inner_product", variants)


def _evidence() -> Evidence:
    variant = VariantEvidence(
        runtime="onnx",
        precision="int8",
        bytes=20,
        ndcg_at_10=ESTIMATE,
        recall_at_50=ESTIMATE,
        ndcg_change=ESTIMATE,
        recall_change=ESTIMATE,
        top10_overlap=Decimal("0.99"),
        user_vector_error=Decimal("1E-7"),
        slices=(),
    )
    return Evidence(
        data="made up",
        users=10,
        bootstrap_samples=100,
        budget=Budget(Decimal("-0.02"), Decimal("-0.02"), Decimal("0.9"), Decimal("0.001")),
        source_ndcg_at_10=ESTIMATE,
        source_recall_at_50=ESTIMATE,
        window_ndcg_change=ESTIMATE,
        popularity_ndcg_at_10=ESTIMATE,
        variants=(variant,),
        dropped={},
    )
