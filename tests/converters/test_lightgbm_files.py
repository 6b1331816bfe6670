"""LightGBM's files: which are known, what is read, and what is refused before the library or memory is harmed."""

from __future__ import annotations

import re
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
from numpy.typing import NDArray

from nearhand_converters.errors import ConversionError, SourceError, UnsupportedModelError
from nearhand_converters.parity.rows import verification_rows
from nearhand_converters.sources.tree_model import TreeModel
from tests.converters.booster_checks import assert_same_as_library
from tests.converters.lightgbm_models import SOURCE, adopted, booster, category_booster, custom, fitted, signal, table
from tests.converters.random_boosters import quiet

# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.txt", "model", "model.lgb.backup"])
@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
def test_a_file_is_known_by_its_content_and_read_as_it_is(tmp_path: Path, name: str, ends: bytes) -> None:
    model = booster("multiclass", linear_tree=True)
    path = tmp_path / name
    path.write_bytes(model.model_to_string().encode().replace(b"\n", ends))
    before = path.read_bytes()
    assert SOURCE.claims(path, before[:4096])
    read = SOURCE.read(path)
    assert path.read_bytes() == before
    memory = adopted(model)
    assert isinstance(read, TreeModel)
    assert (read.columns, read.link, read.task) == (memory.columns, memory.link, memory.task)
    for field in ("roots", "column", "threshold", "left", "right", "values", "output", "base"):
        np.testing.assert_array_equal(getattr(read.trees, field), getattr(memory.trees, field))
    assert_same_as_library(read, 300)


@pytest.mark.parametrize(
    "content", [b"", b"tree", b"tree\nfall\n", b'{"tree_info": []}', b"\x80\x04\x95", b"PK\x03\x04"]
)
def test_other_files_are_not_claimed(tmp_path: Path, content: bytes) -> None:
    assert not SOURCE.claims(tmp_path / "model.txt", content)
    assert not SOURCE.adopts(content)


def test_a_file_of_lightgbm_3_is_read(tmp_path: Path) -> None:
    text = booster().model_to_string().replace("version=v4", "version=v3").replace("is_linear=0\n", "")
    path = tmp_path / "older.txt"
    path.write_text(re.sub(r"tree_sizes=.*\n", "", text))
    assert_same_as_library(SOURCE.read(path), 300)


# --- refusals ---------------------------------------------------------------------------------------------------------


def custom_of_train(prediction: NDArray[np.float64], data: Any) -> tuple[Any, Any]:
    return custom(data.get_label(), prediction)


PARAMETERS = {"num_threads": 1, "verbose": -1}
MEMORY: dict[str, tuple[str, Callable[[], Any]]] = {
    "a function of a wrapper": ("custom-objective", lambda: fitted(lightgbm.LGBMRegressor, objective=custom)),
    "a function of train": (
        "custom-objective",
        lambda: lightgbm.train(
            {**PARAMETERS, "objective": custom_of_train}, lightgbm.Dataset(table(), signal(table())), 2
        ),
    ),
    "a classifier": (
        "classifier-objective",
        lambda: lightgbm.LGBMClassifier(n_estimators=2, n_jobs=1, verbose=-1, objective="huber").fit(
            table(), signal(table()) > 0
        ),
    ),
    "nothing trained": (
        "no-trees",
        lambda: lightgbm.Booster({**PARAMETERS, "objective": "regression"}, lightgbm.Dataset(table(), signal(table()))),
    ),
}


@pytest.mark.parametrize("what", MEMORY)
def test_a_model_that_is_not_converted_says_which_kind_it_is(what: str) -> None:
    code, make = MEMORY[what]
    with quiet():
        model = make()
    with pytest.raises(UnsupportedModelError) as error:
        SOURCE.adopt(model)
    assert error.value.code == code
    assert "\n" not in str(error.value)
    assert error.value.remedy


@pytest.mark.parametrize("model", [lightgbm.LGBMClassifier(), lightgbm.LGBMRegressor(), lightgbm.LGBMRanker()])
def test_an_unfitted_model_is_refused(model: Any) -> None:
    assert SOURCE.adopts(model)
    with pytest.raises(SourceError, match="not fitted"):
        SOURCE.adopt(model)


def changed(pattern: str, replacement: str) -> bytes:
    """A model's text with the first match of a pattern replaced; without sizes, so that nothing else is wrong."""
    text = re.sub(r"tree_sizes=.*\n", "", category_booster(7, max_cat_to_onehot=1).model_to_string())
    found, count = re.subn(pattern, replacement, text, count=1)
    assert count == 1
    return found.encode()


TEXT = category_booster(7, max_cat_to_onehot=1).model_to_string()
DAMAGES = {
    "columns": changed("max_feature_idx=2", "max_feature_idx=2000000000"),
    "classes": changed("num_class=1", "num_class=2000000000"),
    "both": changed("num_class=1\nnum_tree_per_iteration=1", "num_class=9\nnum_tree_per_iteration=9"),
    "leaves": changed("num_leaves=9", "num_leaves=2000000000"),
    "sets": changed("num_cat=[^0]", "num_cat=2000000000"),
    "child": changed("left_child=1 ", "left_child=99999 "),
    "cycle": changed("left_child=1 ", "left_child=0 "),
    "leaf child": changed(r"(left_child=.*) -\d+", r"\1 -99999"),
    "column": changed(r"split_feature=\d", "split_feature=99999"),
    "negative column": changed(r"split_feature=\d", "split_feature=-1"),
    "threshold": changed(r"threshold=\S+", "threshold=nan"),
    "leaf": changed(r"leaf_value=\S+", "leaf_value=inf"),
    "letters": changed(r"leaf_value=\S+", "leaf_value=0x1p3"),
    "other digits": changed(r"leaf_value=\S+", "leaf_value=1_0"),
    "decision": changed(r"decision_type=\d+", "decision_type=12"),
    "set bounds": changed("cat_boundaries=0", "cat_boundaries=9"),
    "set words": changed("cat_threshold=", "cat_threshold=-1 "),
    "no trees": changed(r"(?s)Tree=0.*?end of trees", "end of trees"),
    "no end": changed("end of trees", ""),
    "a line twice": changed("num_leaves=9", "num_leaves=9\nnum_leaves=9"),
    "names": changed("feature_names=.*", "feature_names=a"),
    "infos": changed(r"feature_infos=\S+", "feature_infos=a:b"),
    "sizes": TEXT.replace("tree_sizes=", "tree_sizes=9").encode(),
    "frame": TEXT.replace("pandas_categorical:null", "pandas_categorical:[[").encode(),
    "not text": TEXT.encode().replace(b"Column_0", b"\xff"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused_before_anything_is_allocated(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "model.txt"
    path.write_bytes(DAMAGES[damage])
    tracemalloc.start()
    try:
        with pytest.raises(SourceError, match=r"^model\.txt: is damaged \(.+\)") as error:
            SOURCE.read(path)
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()
    assert "\n" not in str(error.value)


UNSUPPORTED = {
    "version": ("unknown-version", changed("version=v4", "version=v9")),
    "line of a tree": ("unknown-version", changed("is_linear=0", "is_linear=0\nis_cubic=1")),
    "line of the head": ("unknown-version", changed("label_index", "scale=2\nlabel_index")),
    "objective": ("unknown-objective", changed("objective=binary", "objective=mine")),
    "parameter": ("unknown-objective", changed("sigmoid:1", "sigmoid:1 cubed")),
    "slope": ("unknown-objective", changed("sigmoid:1", "sigmoid:-1")),
    "no objective": ("custom-objective", changed("objective=binary sigmoid:1\n", "")),
}


@pytest.mark.parametrize("what", UNSUPPORTED)
def test_a_file_of_an_unknown_kind_is_refused(tmp_path: Path, what: str) -> None:
    code, data = UNSUPPORTED[what]
    path = tmp_path / "model.txt"
    path.write_bytes(data)
    with pytest.raises(UnsupportedModelError, match=r"^model\.txt: ") as error:
        SOURCE.read(path)
    assert error.value.code == code


def test_a_file_cut_short_anywhere_before_its_trees_end_is_refused(tmp_path: Path) -> None:
    data = TEXT.encode()
    path = tmp_path / "model.txt"
    for size in [*range(0, 60), *range(60, data.index(b"end of trees"), 61)]:
        path.write_bytes(data[:size])
        with pytest.raises(SourceError):
            SOURCE.read(path)


def test_wrong_letters_are_refused_or_harmless(tmp_path: Path) -> None:
    """The library is never given what would end the process."""
    random = np.random.Generator(np.random.PCG64(2))
    path = tmp_path / "model.txt"
    refused = 0
    for _ in range(60):
        wrong = bytearray(TEXT.encode())
        for place in random.integers(0, len(wrong), 2):
            wrong[place] = random.choice(list(b"0123456789-. \n=ex"))
        path.write_bytes(wrong)
        try:
            model = SOURCE.read(path)
            model.predict(verification_rows(model, 20))
        except ConversionError:
            refused += 1
    assert refused > 20


def test_without_the_library_the_remedy_is_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.txt"
    path.write_text(TEXT)
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    assert not SOURCE.adopts(object())
    with pytest.raises(SourceError, match=r"pip install nearhand-converters\[lightgbm\]"):
        SOURCE.read(path)


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        SOURCE.read(tmp_path / "none.txt")
