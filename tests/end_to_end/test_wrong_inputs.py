"""Whatever is wrong with a model, its rows or the command line: one line that says what, and nothing is written."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.end_to_end.commands import execute, listing, run
from tests.end_to_end.table_files import TableFiles, make_table_files


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> TableFiles:
    return make_table_files(tmp_path_factory.mktemp("tables"))


@dataclass(frozen=True)
class Place:
    """Where a refusal is provoked: ``folder`` is the only one that could be written to."""

    folder: Path
    files: TableFiles
    patch: pytest.MonkeyPatch

    def file(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def made(self, name: str) -> bytes:
        """A good model file's contents."""
        return (self.files.folder / name).read_bytes()

    def convert(self, model: Path, *more: object) -> list[object]:
        return ["convert", model, "-o", self.folder / "out.nearhand", *more]

    def model(self, name: str, content: str | bytes, *more: object) -> list[object]:
        """The conversion of a file with these contents."""
        return self.convert(self.file(name, content), *more)

    def good(self, *more: object) -> list[object]:
        """The conversion of a model that is good, with more arguments."""
        return self.convert(self.files.folder / "xgboost.json", *more)

    def rows(self, name: str, content: str | bytes) -> list[object]:
        """The conversion of a good model with rows of these contents."""
        return self.good("--rows", self.file(name, content))

    def recipe(self, text: str) -> list[object]:
        return self.good("--recipe", self.file("recipe.toml", text))

    def pickled(self, value: object, *more: object) -> list[object]:
        return self.model("model.pkl", pickle.dumps(value), *more)

    def skops(self, entries: dict[str, bytes]) -> list[object]:
        """The conversion of a skops file: a ZIP with these entries."""
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            for name, content in entries.items():
                archive.writestr(name, content)
        return self.model("model.skops", data.getvalue())

    def onnx(
        self,
        operator: str = "MatMul",
        *,
        domain: str = "",
        input_type: int = 1,
        width: int | str = 3,
        external: bool = False,
        cut: int | None = None,
        replaced: tuple[bytes, bytes] = (b"", b""),
    ) -> list[object]:
        """The conversion of a small ONNX file that multiplies, but for one thing."""
        import onnx
        from onnx import helper

        weights = helper.make_tensor("w", 1, [3, 1], [1.0, 2.0, 3.0])
        if external:
            weights.ClearField("float_data")
            weights.data_location = onnx.TensorProto.EXTERNAL
            weights.external_data.add(key="location", value="weights.bin")
        inputs = [helper.make_tensor_value_info("x", input_type, ["batch", width])]
        outputs = [helper.make_tensor_value_info("value", 1, ["batch", 3 if operator == "Cast" else 1])]
        options: dict[str, Any] = {"classlabels_int64s": [0, 1]} if operator == "ZipMap" else {}
        if operator == "Cast":
            options = {"to": 1}
        names = ["x"] if options else ["x", "w"]
        node = helper.make_node(operator, names, ["value"], domain=domain, **options)
        opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
        graph = helper.make_graph([node], "g", inputs, outputs, [weights])
        data = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
        return self.model("m.onnx", data.replace(*replaced)[:cut])

    def without(self, library: str, model: str) -> list[object]:
        """The conversion of a good file where its library cannot be imported."""
        self.patch.setitem(sys.modules, library, None)
        return self.convert(self.files.folder / model)


@pytest.fixture
def place(tmp_path: Path, files: TableFiles, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, files, monkeypatch)


class Malice:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._target),)


def _unfitted() -> object:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression()


def _own_transformer() -> object:
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    x = np.arange(12.0).reshape(6, 2)
    return make_pipeline(FunctionTransformer(_twice), LinearRegression()).fit(x, x[:, 0])


def _twice(x: Any) -> Any:
    return x * 2


def _nan_weights() -> object:
    from sklearn.linear_model import LinearRegression

    x = np.arange(12.0).reshape(6, 2)
    model = LinearRegression().fit(x, x[:, 0])
    model.coef_ = np.array([np.nan, 1.0])
    return model


def _replaced(data: bytes, old: bytes, new: bytes) -> bytes:
    assert old in data
    return data.replace(old, new)


def _nan_leaf(data: bytes) -> bytes:
    head, _, tail = data.partition(b"leaf_value=")
    values, end, rest = tail.partition(b"\n")
    return head + b"leaf_value=nan " + values.split(b" ", 1)[1] + end + rest


def _huge_ubj() -> bytes:
    """A UBJSON object whose first text claims to have 10 GB."""
    return b"{L\0\0\0\0\0\0\0\7learner" + b"{L\0\0\0\0\0\0\0\1aSL" + struct.pack(">q", 10 << 30) + b"short"


def _bomb() -> bytes:
    """A skops file of 260 kB that says it is 4 MB and unpacks to 256 MB, all zeros."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)
    data = block * 16 + packer.flush()
    name = b"schema.json"
    sizes = (zlib.crc32(b""), len(data), 256 << 20)
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 33, *sizes, len(name), 0) + name
    central = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 8, 0, 33, *sizes, len(name), 0, 0, 0, 0, 0, 0) + name
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(central), len(local) + len(data), 0)
    return local + data + central + end


def _calls_system() -> dict[str, bytes]:
    """A skops file that would run a command."""
    state = {"__class__": "system", "__module__": "posix", "__loader__": "FunctionNode", "__id__": 1}
    return {"schema.json": json.dumps({**state, "protocol": 2, "_skops_version": "0.13"}).encode()}


def _erf(place: Place) -> list[object]:
    """A model whose graph has an operator that TFLite does not have here."""
    from tests.converters.table_models import Affine

    class Erf(Affine):
        def build(self, g: Any, inputs: Any, lowering: Any) -> Any:
            return {"value": g.add("Erf", super().build(g, inputs, lowering)["value"])}

        def predict(self, rows: Any) -> Any:
            from scipy.special import erf

            return {"value": erf(super().predict(rows)["value"])}

    class Source:
        name = "made for tests"

        def claims(self, path: Path, head: bytes) -> bool:
            return True

        def read(self, path: Path) -> Any:
            return Erf()

    place.patch.setattr("nearhand_converters.convert_command.default_sources", lambda **_: (Source(),))
    return place.good()


HEADER = "monthly,plan,months\n"
WRONG: list[tuple[str, Callable[[Place], list[object]], str, str]] = [
    # what · the command · the error's type · what the line has to say
    # -- files that are no model, or not a whole one
    ("a missing file", lambda p: p.convert(p.folder / "none.json"), "SourceError", "cannot be read (No such file"),
    ("a directory", lambda p: p.convert(p.folder), "SourceError", "is not a file"),
    ("a device", lambda p: p.convert(Path("/dev/zero")), "SourceError", "/dev/zero: is not a file"),
    ("an empty file", lambda p: p.model("m.json", ""), "SourceError", "m.json: is empty"),
    ("a text", lambda p: p.model("m.txt", "hello"), "SourceError", "m.txt: is not a model file that we read"),
    ("a picture", lambda p: p.model("m.model", b"\x89PNG\r\n\x1a\n" + bytes(99)), "SourceError", "is not a model"),
    ("another JSON", lambda p: p.model("m.json", '{"a": 1}'), "SourceError", "m.json: is not a model file"),
    ("half an XGBoost file", lambda p: p.model("m.json", p.made("xgboost.json")[:4000]), "SourceError", "m.json"),
    ("half a LightGBM file", lambda p: p.model("m.txt", p.made("LightGBM model.txt")[:2000]), "SourceError", "m.txt"),
    ("half a CatBoost file", lambda p: p.model("m.cbm", p.made("catboost.cbm")[:3000]), "SourceError", "m.cbm"),
    ("an XGBoost file with a text for a number",
     lambda p: p.model("m.json", _replaced(p.made("xgboost.json"), b'"split_indices":[0', b'"split_indices":["x"')),
     "SourceError", "m.json"),
    ("lists nested without end", lambda p: p.model("m.json", '{"learner":' + "[" * 10**5), "SourceError", "m.json"),
    ("a header that claims 10 GB", lambda p: p.model("m.ubj", _huge_ubj()), "SourceError", "m.ubj"),
    ("a header that claims ten billion leaves",
     lambda p: p.model("m.txt", _replaced(p.made("LightGBM model.txt"), b"num_leaves=", b"num_leaves=1000000000")),
     "SourceError", "m.txt"),
    ("a leaf that is NaN", lambda p: p.model("m.txt", _nan_leaf(p.made("LightGBM model.txt"))), "SourceError", "m.txt"),
    # -- pickles and skops
    ("a pickle without the option", lambda p: p.pickled(_unfitted()), "UnsupportedModelError", "--allow-pickle"),
    ("a malicious pickle without the option", lambda p: p.pickled(Malice(p.folder / "harm")), "UnsupportedModelError",
     "runs the code that is in it"),
    ("a malicious pickle that says it is skops",
     lambda p: p.model("m.skops", pickle.dumps(Malice(p.folder / "harm"))), "SourceError", "m.skops: is not a skops"),
    ("a malicious skops", lambda p: p.skops(_calls_system()), "UnsupportedModelError", "posix.system"),
    ("a skops without its schema", lambda p: p.skops({"a": b"b"}), "SourceError", "model.skops"),
    ("a skops that is a bomb", lambda p: p.model("m.skops", _bomb()), "SourceError", "it unpacks to 268,435,456 bytes"),
    ("a damaged pickle", lambda p: p.model("m.pkl", b"\x80\x04nonsense", "--allow-pickle"), "SourceError", "m.pkl"),
    ("a pickle of no model", lambda p: p.pickled({"a": 1}, "--allow-pickle"), "SourceError", "of the type dict"),
    ("an unfitted model", lambda p: p.pickled(_unfitted(), "--allow-pickle"), "SourceError", "fit"),
    ("a transformer of one's own", lambda p: p.pickled(_own_transformer(), "--allow-pickle"), "UnsupportedModelError",
     "FunctionTransformer"),
    ("weights that are NaN", lambda p: p.pickled(_nan_weights(), "--allow-pickle"), "", "finite"),
    # -- ONNX
    ("an ONNX file that is none", lambda p: p.model("m.onnx", "x" * 50), "SourceError", "m.onnx"),
    ("half an ONNX file", lambda p: p.onnx(cut=-20), "SourceError", "m.onnx"),
    ("an ONNX file with a name that is no text", lambda p: p.onnx(replaced=(b"\5value", b"\5v\xfflue")),
     "SourceError", "m.onnx: holds a name that is no text"),
    ("an ONNX file with ZipMap", lambda p: p.onnx("ZipMap", domain="ai.onnx.ml"), "UnsupportedModelError", "ZipMap"),
    ("an operator of somebody's own", lambda p: p.onnx("Secret", domain="com.example"), "UnsupportedModelError",
     "operator Secret is of the domain 'com.example'"),
    ("weights in another file", lambda p: p.onnx(external=True), "UnsupportedModelError", "another file"),
    ("doubles as input", lambda p: p.onnx("Cast", input_type=11), "UnsupportedModelError", "not float32 or int32"),
    ("rows of unknown width", lambda p: p.onnx(width="n"), "UnsupportedModelError", "fixed number of columns"),
    # -- what is missing here
    ("no lightgbm", lambda p: p.without("lightgbm", "LightGBM model.txt"), "SourceError",
     "pip install nearhand-converters[lightgbm]"),
    ("no xgboost", lambda p: p.without("xgboost", "xgboost.json"), "SourceError",
     "pip install nearhand-converters[xgboost]"),
    ("no catboost", lambda p: p.without("catboost", "catboost.cbm"), "SourceError",
     "pip install nearhand-converters[catboost]"),
    ("an operator that the target has not", _erf, "UnsupportedOperatorError", "Erf"),
    # -- rows
    ("no rows file", lambda p: p.good("--rows", p.folder / "none.csv"), "DataError", "none.csv: cannot be read"),
    ("rows that are a folder", lambda p: p.good("--rows", _folder(p, "r.csv")), "DataError", "r.csv: is not a file"),
    ("rows of another kind", lambda p: p.rows("rows.xlsx", "x"), "DataError", "rows.xlsx: is neither .csv nor"),
    ("empty rows", lambda p: p.rows("rows.csv", ""), "DataError", "rows.csv: is empty"),
    ("rows without rows", lambda p: p.rows("rows.csv", HEADER), "DataError", "has no rows"),
    ("rows without a column", lambda p: p.rows("rows.csv", "monthly,plan\n1,gold\n"), "DataError", "column 'months'"),
    ("rows with a column twice", lambda p: p.rows("rows.csv", "plan,plan\na,b\n"), "DataError", "column 'plan' twice"),
    ("a row of another shape", lambda p: p.rows("rows.csv", HEADER + "1,gold,2\n1,gold\n"), "DataError",
     "rows.csv line 3: has 2 fields, and the header has 3"),
    ("a text where a number stands", lambda p: p.rows("rows.csv", HEADER + "1,gold,2\nmuch,gold,2\n"), "DataError",
     "column 'monthly', row 2: 'much' is not a number"),
    ("an infinite number", lambda p: p.rows("rows.csv", HEADER + "inf,gold,2\n"), "DataError", "is infinite"),
    ("rows that are not UTF-8", lambda p: p.rows("rows.csv", b"monthly,plan\n\xff,a\n"), "DataError", "cannot be read"),
    ("rows with an open quote", lambda p: p.rows("rows.csv", HEADER + '1,"gold,2\n'), "DataError", "is not CSV"),
    ("a Parquet file that is none", lambda p: p.rows("rows.parquet", "x" * 99), "DataError", "is not Parquet"),
    # -- the command line
    ("a target that we do not have", lambda p: p.good("--target", "onnx,coreml"), "UsageError", "'coreml' is not a ch"),
    ("a precision that we do not have", lambda p: p.good("--quantize", "int8"), "UsageError", "--quantize: 'int8'"),
    ("training data for a predictor", lambda p: p.good("--data", p.folder), "UsageError", "--data: is for retrieval"),
    ("a retrieval model without data", lambda p: p.model("m.npz", "x"), "UsageError", "--data: is missing"),
    ("rows for a retrieval model", lambda p: p.model("m.npz", "x", "--rows", p.folder), "UsageError", "--rows: is for"),
    ("a name that is none", lambda p: p.good("--name", "Our Model"), "UsageError", "'Our Model' is not lowercase"),
    ("a version that is none", lambda p: p.good("--bundle-version", "v1"), "UsageError", "'v1' is not MAJOR.MINOR"),
    ("no recipe", lambda p: p.good("--recipe", p.folder / "none.toml"), "DataError", "none.toml: cannot be read"),
    ("a recipe with an unknown key", lambda p: p.recipe("[bundle]\nnmae = 'x'"), "DataError", "'nmae' is not a key"),
    ("a recipe with a wrong type", lambda p: p.recipe("[bundle]\nrows = '9'"), "DataError", "bundle.rows: is '9'"),
    ("a recipe that is not TOML", lambda p: p.recipe("[bundle"), "DataError", "recipe.toml: cannot be read"),
    ("a folder where the bundle would be", lambda p: p.good("-o", _folder(p, "b.nearhand")), "StorageError", "is a fo"),
    ("a bundle below a file", lambda p: p.good("-o", p.file("f", "") / "b.nearhand"), "StorageError", "not a folder"),
    ("a place that may not be written", lambda p: p.good("--target", "onnx", "-o", "/proc/self/b.nearhand"),
     "StorageError", "refused"),
]  # fmt: skip


def _folder(place: Place, name: str) -> Path:
    path = place.folder / name
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("make", "kind", "words"), [each[1:] for each in WRONG], ids=[each[0].replace(" ", "-") for each in WRONG]
)
def test_a_wrong_input_is_one_line_exit_code_2_and_nothing_written(
    place: Place, make: Callable[[Place], list[object]], kind: str, words: str
) -> None:
    arguments = make(place)
    place.patch.setattr("tempfile.tempdir", str(place.folder))  # what is made on the way is gone too
    before, sources = listing(place.folder), listing(place.files.folder)
    outcome = run(*arguments, "--json")
    assert listing(place.folder) == before
    assert listing(place.files.folder) == sources
    assert outcome.code == 2, outcome.err
    (line,) = outcome.err.splitlines()
    assert line.startswith("error: ")
    assert words in line
    assert len(line) < 1000
    error = outcome.json()["error"]
    assert error["type"].startswith(kind)
    assert error["problem"]
    assert error["remedy"], "what to do next"


def test_a_refusal_is_the_same_for_people(place: Place) -> None:
    outcome = execute(*place.model("m.txt", "hello"))
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("error: m.txt: is not a model file that we read; give a model file of XGBoost")
    assert len(outcome.err.splitlines()) == 1


def test_an_allowed_pickle_is_read(place: Place) -> None:
    from sklearn.linear_model import LinearRegression

    x = np.arange(12.0).reshape(6, 2)
    outcome = run(*place.pickled(LinearRegression().fit(x, x[:, 0]), "--allow-pickle", "--target", "onnx"), "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json()["models"][0]["task"] == "regression"


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        (lambda p: ["--rows", p.file("r.csv", "monthly,plan\n1,gold\n")], "UsageError", "column 'months' is absent"),
        (
            lambda p: ["--rows", p.file("r.csv", HEADER + "1,gold,soon\n")],
            "UsageError",
            "column 'months', row 1: 'soon'",
        ),
        (lambda p: ["--rows", p.folder / "none.csv"], "DataError", "none.csv: cannot be read"),
        (lambda p: ["--rows", p.files.folder / "rows.csv", "--model", "chrun"], "UsageError", "has no model 'chrun'"),
    ],
    ids=["a-missing-column", "a-text-for-a-number", "no-rows-file", "no-such-model"],
)
def test_predict_refuses_as_well(
    place: Place, arguments: Callable[[Place], list[object]], kind: str, words: str
) -> None:
    assert run(*place.good("--target", "onnx")).code == 0
    before = listing(place.folder)
    outcome = run("predict", place.folder / "out.nearhand", *arguments(place), "--json")
    assert len(listing(place.folder)) <= len(before) + 1  # the rows
    assert outcome.code == 2
    (line,) = outcome.err.splitlines()
    assert words in line
    assert outcome.json()["error"]["type"] == kind
    assert outcome.json()["error"]["remedy"]
