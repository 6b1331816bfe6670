"""What of CatBoost is refused: models that are not converted, and files that are damaged or of something else."""

from __future__ import annotations

import contextlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import catboost
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nearhand_converters.errors import SourceError, UnsupportedModelError
from nearhand_converters.sources.catboost import source
from nearhand_converters.sources.model import Rows
from nearhand_converters.sources.tree_model import TreeModel
from tests.converters.catboost_models import (
    DATA,
    SOURCE,
    adopt,
    classifier,
    options,
    read,
    regressor,
    saved,
    trained_on_categories,
)
from tests.converters.random_forests import assert_exact


class Squared:
    """A loss of one's own."""

    def calc_ders_range(self, approxes: Any, targets: Any, weights: Any) -> list[tuple[float, float]]:
        return [(target - approx, -1.0) for approx, target in zip(approxes, targets, strict=True)]


def _of_texts() -> Any:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"t": ["hello world", "foo bar"] * 100, "x": DATA.numbers[:, 0]})
    return catboost.CatBoostClassifier(**options(text_features=["t"])).fit(frame, DATA.classes(2))


def _shrunk() -> Any:
    model = regressor()
    model.shrink(0)
    return model


REFUSED: list[tuple[str, Callable[[], Any], str]] = [
    ("uncertainty", lambda: regressor(loss_function="RMSEWithUncertainty"), "uncertainty"),
    (
        "several labels",
        lambda: classifier(np.stack([DATA.classes(2)] * 2, axis=1), loss_function="MultiLogloss"),
        "multi-label",
    ),
    ("a loss of one's own", lambda: regressor(loss_function=Squared(), eval_metric="RMSE"), "custom-objective"),
    ("a sum of models", lambda: catboost.sum_models([regressor(), regressor()]), "no-objective"),
    ("no trees", _shrunk, "no-trees"),
    ("texts", _of_texts, "catboost-text-features"),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("make", "code"), [each[1:] for each in REFUSED], ids=[each[0] for each in REFUSED])
def test_what_we_do_not_convert_is_refused_with_a_remedy(make: Callable[[], Any], code: str, tmp_path: Path) -> None:
    model = make()
    attempts: list[Callable[[], TreeModel]] = [lambda: adopt(model)]
    if code == "catboost-text-features":  # there is no JSON form to see it in
        attempts.append(lambda: read(saved(model, tmp_path / "model.cbm")))
    for attempt in attempts:
        with pytest.raises(UnsupportedModelError) as caught:
            attempt()
        assert caught.value.code == code
        assert caught.value.remedy
        assert "\n" not in str(caught.value)


def test_a_model_that_is_not_fitted_is_refused() -> None:
    with pytest.raises(SourceError) as caught:
        SOURCE.adopt(catboost.CatBoostRegressor())
    assert "fit" in caught.value.remedy


def test_only_the_librarys_own_classes_are_adopted() -> None:
    louder = type("Louder", (catboost.CatBoostRegressor,), {})
    assert SOURCE.adopts(catboost.CatBoostRanker())
    assert SOURCE.adopts(catboost.CatBoost({}))
    assert not SOURCE.adopts(louder())
    assert not SOURCE.adopts(object())


def test_a_file_is_claimed_by_what_is_in_it(tmp_path: Path) -> None:
    model = regressor()
    with_statistics, pool = trained_on_categories(max_ctr_complexity=1)
    claimed = [
        saved(model, tmp_path / "model.cbm"),
        saved(model, tmp_path / "a.json"),
        saved(regressor(grow_policy="Depthwise"), tmp_path / "b.json"),
        saved(with_statistics, tmp_path / "c.json", pool),
    ]
    for path in claimed:
        assert SOURCE.claims(path, path.read_bytes()[:4096])
    for head in (b"", b"{}", b'{"learner": {}}', b'{"version": [3, 2, 0]}', b"PK\x03\x04", b"tree\nversion=v4"):
        assert not SOURCE.claims(tmp_path / "model.json", head)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A file of each form."""
    folder = tmp_path_factory.mktemp("catboost")
    model, pool = trained_on_categories(max_ctr_complexity=1, one_hot_max_size=10)
    return {
        "cbm": saved(regressor(), folder / "a.cbm").read_bytes(),
        "symmetric": saved(regressor(), folder / "a.json").read_bytes(),
        "not symmetric": saved(regressor(grow_policy="Depthwise"), folder / "b.json").read_bytes(),
        "categories": saved(model, folder / "c.json", pool).read_bytes(),
    }


def refusal(path: Path, data: bytes) -> SourceError:
    path.write_bytes(data)
    with pytest.raises(SourceError) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy
    return caught.value


def test_a_truncated_file_is_refused(files: dict[str, bytes], tmp_path: Path) -> None:
    for name, data in files.items():
        path = tmp_path / ("model.cbm" if name == "cbm" else "model.json")
        for share in (0.0, 0.3, 0.9, 0.999):
            refusal(path, data[: min(int(share * len(data)), len(data) - 3)])


def test_a_header_that_claims_too_much_is_refused_without_reading_on(files: dict[str, bytes], tmp_path: Path) -> None:
    claims = b"CBM1" + struct.pack("<I", 0xFFFFFFF0) + files["cbm"][8:]
    assert "shorter" in refusal(tmp_path / "model.cbm", claims).problem


def test_other_files_are_refused(tmp_path: Path) -> None:
    for data in (b"", b"CBM1", b"CBM1" + bytes(64), b"\x80\x04]\x94.", b"[1, 2]", b"{}", b"[" * 100_000, b"\xff\xfe"):
        refusal(tmp_path / "model.json", data)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        read(tmp_path / "none.cbm")
    assert "No such file" in caught.value.problem


def test_a_file_that_the_library_crashes_on_does_not_crash_us(
    files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "_WRITE_FORM", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert "crashes" in refusal(tmp_path / "model.cbm", files["cbm"]).problem


Edit = Callable[[dict[str, Any]], object]
EDITS: list[tuple[str, str, Edit]] = [
    ("no features", "symmetric", lambda d: d.pop("features_info")),
    ("features that are none", "symmetric", lambda d: d.update(features_info=[])),
    ("no trees", "symmetric", lambda d: d.pop("oblivious_trees")),
    ("a split beyond the borders", "symmetric", lambda d: d["oblivious_trees"][0]["splits"][0].update(split_index=99)),
    ("a negative split", "symmetric", lambda d: d["oblivious_trees"][0]["splits"][0].update(split_index=-1)),
    ("too few leaves", "symmetric", lambda d: d["oblivious_trees"][0]["leaf_values"].pop()),
    ("a leaf that is NaN", "symmetric", lambda d: d["oblivious_trees"][0]["leaf_values"].__setitem__(0, float("nan"))),
    ("a leaf that is a text", "symmetric", lambda d: d["oblivious_trees"][0]["leaf_values"].__setitem__(0, "x")),
    ("trees of different widths", "symmetric", lambda d: d["oblivious_trees"][1].update(leaf_values=[0.0] * 16)),
    ("two biases", "symmetric", lambda d: d.update(scale_and_bias=[1, [0.0, 0.0]])),
    ("a border that is NaN", "symmetric", lambda d: _floats(d)[0].update(borders=[float("nan")] * 9)),
    ("a column twice", "symmetric", lambda d: _floats(d)[1].update(flat_feature_index=0)),
    ("a column left out", "symmetric", lambda d: _floats(d)[4].update(flat_feature_index=7)),
    ("columns out of order", "symmetric", lambda d: _floats(d)[0].update(feature_index=1)),
    ("a node without a child", "not symmetric", lambda d: d["trees"][0].pop("left")),
    ("a node without a split", "not symmetric", lambda d: d["trees"][0].pop("split")),
    ("a leaf of two values", "not symmetric", lambda d: d["trees"].__setitem__(0, {"value": [1.0, 2.0], "weight": 1})),
    ("a category that is a text", "categories", lambda d: _categories(d)[0].update(values=["x"])),
    ("statistics of no column", "categories", lambda d: _element(d).update(cat_feature_index=9)),
    ("no counts", "categories", lambda d: d.pop("ctr_data")),
    ("counts of a wrong width", "categories", lambda d: next(iter(d["ctr_data"].values())).update(hash_stride=4)),
    ("a border of no class", "categories", lambda d: d["features_info"]["ctrs"][0].update(target_border_idx=5)),
]


def _floats(document: dict[str, Any]) -> Any:
    return document["features_info"]["float_features"]


def _categories(document: dict[str, Any]) -> Any:
    return document["features_info"]["categorical_features"]


def _element(document: dict[str, Any]) -> Any:
    return document["features_info"]["ctrs"][0]["elements"][0]


@pytest.mark.parametrize(("name", "edit"), [each[1:] for each in EDITS], ids=[each[0] for each in EDITS])
def test_a_form_that_does_not_fit_together_is_refused(
    name: str, edit: Edit, files: dict[str, bytes], tmp_path: Path
) -> None:
    """The library trusts this form: it would read beyond its arrays."""
    document = json.loads(files[name])
    edit(document)
    refusal(tmp_path / "model.json", json.dumps(document).encode())


def test_trees_that_are_too_large_are_refused_before_they_are_made(files: dict[str, bytes], tmp_path: Path) -> None:
    document = json.loads(files["symmetric"])
    document["oblivious_trees"][0]["splits"] *= 8  # 24 levels
    path = tmp_path / "model.json"
    path.write_text(json.dumps(document))
    with pytest.raises(UnsupportedModelError) as caught:
        read(path)
    assert caught.value.code == "too-many-nodes"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_escapes_as_another_error(
    data: st.DataObject, files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Flipped bytes are refused, or give a model that still agrees with the library's reading of them."""
    content = bytearray(files[data.draw(st.sampled_from(["symmetric", "not symmetric", "categories"]))])
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.json"
    path.write_bytes(content)
    try:
        model = read(path)
    except (SourceError, UnsupportedModelError):
        return
    rows = Rows(np.zeros((3, sum(c.kind == "number" for c in model.columns))), np.ones((3, 2), np.int32))
    np.testing.assert_array_equal(model.trees.leaves(rows.numbers, rows.categories), model.leaves(rows))


@pytest.mark.torture
def test_damaged_cbm_files_never_crash_us(files: dict[str, bytes], tmp_path: Path) -> None:
    random = np.random.Generator(np.random.PCG64(0))
    for _ in range(30):
        content = np.frombuffer(files["cbm"], np.uint8).copy()
        content[random.integers(0, len(content), 3)] ^= random.integers(1, 256, 3).astype(np.uint8)
        path = tmp_path / "model.cbm"
        path.write_bytes(content.tobytes())
        with contextlib.suppress(SourceError, UnsupportedModelError):
            assert_exact(read(path), 50)
