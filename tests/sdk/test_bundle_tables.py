"""Bundles of rankers and predictors: what the schema takes, and that nothing else passes."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from nearhand import Personalizer, UsageError
from nearhand.bundle import install_bundle, parse, serialize, verify_bundle
from nearhand.bundle.manifest import Manifest
from nearhand.bundle.tables import TableGolden
from nearhand.errors import BundleFormatError
from tests.sdk.bundle_factory import SDK_VERSION, make_files, make_manifest
from tests.sdk.table_factory import (
    THRESHOLDS,
    VOCABULARIES,
    make_predictor,
    make_table_files,
    make_table_golden,
    make_table_manifest,
    write_table_bundle,
)


def test_the_documents_survive_their_bytes() -> None:
    manifest = make_table_manifest(make_table_files())
    assert parse(Manifest, serialize(manifest), place="m") == manifest
    assert parse(TableGolden, serialize(make_table_golden()), place="g") == make_table_golden()


def test_a_bundle_without_retrieval_is_verified_and_installed(tmp_path: Path) -> None:
    path = write_table_bundle(tmp_path / "shop.nearhand")
    assert verify_bundle(path, sdk_version=SDK_VERSION) == make_table_manifest(make_table_files())
    slot = install_bundle(path, tmp_path / "slots", sdk_version=SDK_VERSION)
    churn, order = slot.manifest.table_models
    assert slot.table_golden(churn) == make_table_golden()
    assert slot.vocabularies() == VOCABULARIES
    assert [tuple(column.tolist()) for column in slot.thresholds(churn)] == list(THRESHOLDS)
    assert slot.thresholds(order) == ()
    assert [column.name for column in churn.numbers] == ["monthly", "months"]
    assert [spec.name for spec in churn.outputs] == ["probability", "label"]


def test_a_bundle_may_recommend_and_predict(tmp_path: Path) -> None:
    files = {**make_files(), **make_table_files()}
    both = make_table_manifest(files)
    manifest = replace(
        make_manifest(files),
        models=(*make_manifest(files).models, *both.models),
        vocabularies=both.vocabularies,
    )
    assert parse(Manifest, serialize(manifest), place="m") == manifest
    assert {reference.path for reference in manifest.files()} == set(files)
    assert manifest.model("index").kind == "inner_product"
    assert manifest.table_model("order").role == "ranker"


def test_models_are_found_by_name() -> None:
    manifest = make_table_manifest(make_table_files())
    assert manifest.table_model("churn") is manifest.models[0]
    with pytest.raises(UsageError, match=r"bundle shop: has no model 'chrun'; name one of 'churn', 'order'"):
        manifest.table_model("chrun")
    with pytest.raises(UsageError, match="has 2 rankers and predictors; name one of"):
        manifest.table_model()
    with pytest.raises(UsageError, match="has no model 'churn'; convert it with a ranker or a predictor"):
        make_manifest(make_files()).table_model("churn")


def test_without_retrieval_nothing_recommends_and_the_error_says_so(tmp_path: Path) -> None:
    path = write_table_bundle(tmp_path / "shop.nearhand")
    slot = install_bundle(path, tmp_path / "slots", sdk_version=SDK_VERSION)
    for ask in (
        slot.items,
        slot.golden,
        lambda: slot.manifest.retrieval,
        lambda: slot.manifest.model("encoder"),
    ):
        with pytest.raises(UsageError, match=r"bundle shop: makes no recommendations: .* only 'churn', 'order'; open "):
            ask()
    with Personalizer.open(slot.folder, tmp_path / "data") as personalizer:  # it may still predict
        says = r"bundle shop: makes no recommendations: .* only 'churn', 'order'"
        with pytest.raises(UsageError, match=says):
            personalizer.recommend()
        with pytest.raises(UsageError, match=says):
            personalizer.similar("m_1")
        assert personalizer.status().runtime is None


def _set(*path: str | int, to: object) -> Callable[[Any], None]:
    def edit(manifest: Any) -> None:
        for key in path[:-1]:
            manifest = manifest[key]
        manifest[path[-1]] = to

    return edit


def _drop(*path: str | int) -> Callable[[Any], None]:
    def edit(manifest: Any) -> None:
        for key in path[:-1]:
            manifest = manifest[key]
        del manifest[path[-1]]

    return edit


def _variant_again(manifest: Any) -> None:
    manifest["models"][0]["variants"][1] = manifest["models"][0]["variants"][0]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_set("models", to=[]), "there is no model"),
        (_set("models", 0, "role", to="guesser"), "models[0].role: is \"guesser\", not a known role"),
        (_set("models", 0, "name", to="Churn"), "name 'Churn' is not lowercase words"),
        (_set("models", 1, "name", to="churn"), "two models have the name 'churn'"),
        (_set("models", 0, "variants", to=[]), "'churn' has no variant"),
        (_set("models", 0, "columns", to=[]), "'churn' has no columns"),
        (_set("models", 0, "columns", 2, "name", to="plan"), "or two of one name"),
        (_set("models", 0, "columns", 2, "name", to=""), "a column has no name"),
        (_drop("models", 0, "columns", 1, "vocabulary"), "column 'plan': a category has a vocabulary"),
        (_set("models", 0, "columns", 0, "vocabulary", to="plan"), "and a number has none"),
        (_set("models", 0, "columns", 1, "vocabulary", to="other"), "the columns use the vocabularies ['other']"),
        (_drop("vocabularies"), "the columns use the vocabularies ['plan'], and there are []"),
        (_set("models", 0, "columns", 1, "colour", to="red"), "models[0].columns[1].colour: is not a known key"),
        (_drop("models", 0, "ranks"), "ranks stand beside the encoding 'ranks'"),
        (_set("models", 0, "encoding", to="values"), "ranks stand beside the encoding 'ranks'"),
        (_set("models", 0, "encoding", to="float"), "not one of values, ranks"),
        (_set("models", 0, "ranks", "counts", to=[3, 2]), "5 thresholds of 8 bytes do not make 32 bytes"),
        (_set("models", 0, "ranks", "counts", to=[5, -1]), "4 thresholds of 8 bytes do not make 32 bytes"),
        (_set("models", 0, "ranks", "counts", to=[4]), "2 number columns have 1 lists of thresholds"),
        (_set("models", 0, "classes", to=[]), "task 'binary' has 0 classes"),
        (_set("models", 1, "classes", to=["a"]), "task 'ranking' has 1 classes"),
        (_set("models", 0, "task", to="multiclas"), "not one of regression, binary, multiclass, ranking"),
        (_set("models", 1, "task", to="transform"), "task 'transform' has the outputs ['value']"),
        (_set("models", 1, "variants", 0, "outputs", 0, "shape", to=[1, 1]), "an output is not [rows, width]"),
        (_set("models", 1, "variants", 0, "inputs", 0, "shape", to=[-1, 2]), "other inputs than its columns make"),
        (_set("models", 0, "variants", 1, "outputs", 0, "shape", to=[-1, 3]), "or other outputs than the first"),
        (_variant_again, "two variants are of one runtime and precision"),
        (_set("models", 1, "parity", "variants", to=[]), "those that were compared with the original differ"),
        (_set("models", 0, "parity", "variants", 0, "outputs", 0, "tolerance", to=1), "not a decimal number as a str"),
        (_set("policy", to={}), "policy.candidates: is missing"),
        (_set("items", to={"count": 1, "file": {"path": "a", "bytes": 1, "sha256": "0" * 64}}),
         "items: stands there without an encoder and an index"),
        (_set("models", 0, "golden", "count", to=0), "has no golden vectors"),
        (_set("models", 0, "golden", "count", to=3), "holds 2 rows, and the manifest says 3"),
        (_set("vocabularies", "counts", "plan", to=3), "holds other vocabularies than the manifest says"),
    ],
)  # fmt: skip
def test_a_manifest_outside_the_schema_is_refused(tmp_path: Path, edit: Callable[[Any], object], message: str) -> None:
    path = write_table_bundle(tmp_path / "shop.nearhand", edit)
    for refuse in (
        lambda: verify_bundle(path, sdk_version=SDK_VERSION),
        lambda: install_bundle(path, tmp_path / "slots", sdk_version=SDK_VERSION),
    ):
        with pytest.raises(BundleFormatError) as refusal:
            refuse()
        assert message in str(refusal.value)
        assert "build the bundle again" in refusal.value.remedy
    assert not list((tmp_path / "slots").glob("*"))


def _golden(change: Callable[[Any], object]) -> bytes:
    content = json.loads(serialize(make_table_golden()))
    change(content)
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("golden/churn.json", _golden(lambda g: g["numbers"][0].pop()), "numbers: has a row that is not of the model"),
        ("golden/churn.json", _golden(lambda g: g["numbers"].pop()), "columns and outputs differ in their number"),
        ("golden/churn.json", _golden(lambda g: g["categories"][0].append(1)), "categories: has a row that is not"),
        ("golden/churn.json", _golden(lambda g: g["outputs"]["label"][0].append("1")), "label: has a row that is not"),
        ("golden/churn.json", _golden(lambda g: g["outputs"]["probability"][1].pop()), "probability: has a row that"),
        ("golden/churn.json", _golden(lambda g: (g["outputs"].pop("label"), g["tolerances"].pop("label"))),
         "has the outputs ['probability'], and the model has others"),
        ("golden/churn.json", _golden(lambda g: g["tolerances"].pop("label")), "not every output has a tolerance"),
        ("golden/churn.json", _golden(lambda g: g["numbers"][0].__setitem__(0, "NaN")), "not a finite decimal number"),
        ("golden/churn.json", _golden(lambda g: g.update(more=1)), "more: is not a known key"),
        ("vocabularies.json", b'{"plan": ["a", "a"]}', "plan: has a text twice"),
        ("vocabularies.json", b'{"plan": ["a", 1]}', "plan[1]: is 1, not a string"),
        ("vocabularies.json", b'["plan"]', "is a list, not an object"),
        ("thresholds/churn.f64", struct.pack("<4d", 1, 1, 2, 0), "column 0: does not ascend"),
        ("thresholds/churn.f64", struct.pack("<4d", 1, 2, 3, float("nan")), "column 1: does not ascend, or holds a N"),
        ("thresholds/churn.f64", struct.pack("<4d", 1, float("nan"), 3, 0), "column 0: does not ascend"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_is_refused_though_its_hash_is_right(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    path = write_table_bundle(tmp_path / "shop.nearhand", replaced={name: data})
    with pytest.raises(BundleFormatError) as refusal:
        verify_bundle(path, sdk_version=SDK_VERSION)
    assert message in str(refusal.value)
    assert refusal.value.place.startswith(f"shop.nearhand: {name}")
    with pytest.raises(BundleFormatError):
        install_bundle(path, tmp_path / "slots", sdk_version=SDK_VERSION)
    assert not list((tmp_path / "slots").glob("*"))


def test_a_missing_number_is_null_in_the_golden_vectors() -> None:
    assert b"null" in serialize(make_table_golden())
    assert make_table_golden().numbers[0] == (Decimal("0.1"), None)
    assert make_predictor(make_table_files()).categories[0].unknown is False
