"""A fitted scikit-learn model, converted and compared with itself: on ONNX Runtime, and on LiteRT."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from nearhand_converters.graph.builder import GraphBuilder
from nearhand_converters.graph.inputs import GraphInputs, Lowering
from nearhand_converters.parity.rows import verification_rows
from nearhand_converters.parity.tabular import Original, Parity
from nearhand_converters.sources.model import Outputs, Rows, Source, TabularModel
from nearhand_converters.sources.sklearn import SklearnSource
from tests.converters.engines import OnnxModel, TFLiteModel

Engine = Literal["onnx", "tflite"]
ROWS = 1_000


def random(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def adopted(estimator: Any, others: Sequence[Source] = ()) -> TabularModel:
    """The estimator as the source reads it."""
    source = SklearnSource(others)
    assert source.adopts(estimator)
    return source.adopt(estimator)


def graph_of(model: TabularModel, lowering: Lowering = "operator") -> Any:
    """The model's ONNX graph."""
    g = GraphBuilder("model")
    kinds = [column.kind for column in model.columns]
    numbers = g.input("numbers", "float32", ["batch", kinds.count("number")]) if "number" in kinds else ""
    categories = g.input("categories", "int32", ["batch", kinds.count("category")]) if "category" in kinds else ""
    for name, value in model.build(g, GraphInputs(numbers, categories), lowering).items():
        shape = ["batch"] if name == "label" else ["batch", f"{name}s"]
        g.output(value, name, "int32" if name == "label" else "float32", shape)
    return g.model()


def runner(graph: Any, engine: Engine) -> Any:
    """Runs a graph on rows."""
    loaded = OnnxModel(graph) if engine == "onnx" else TFLiteModel(graph)
    names = {value.name for value in graph.graph.input}

    def run(rows: Rows) -> Outputs:
        inputs = {"numbers": rows.numbers.astype(np.float32), "categories": rows.categories}
        return loaded.run({name: value for name, value in inputs.items() if name in names})

    return run


def check(
    estimator: Any,
    *,
    engines: Sequence[Engine] = ("onnx", "tflite"),
    others: Sequence[Source] = (),
    rows: Rows | None = None,
    count: int = ROWS,
) -> tuple[TabularModel, Parity]:
    """Hold a fitted estimator's artifacts to the rule; gives the model, and what the last engine measured."""
    with threadpool_limits(1):
        model = adopted(estimator, others)
        original = Original(model, verification_rows(model, count) if rows is None else rows)
        assert len(original.rows) > count // 2
        for engine in engines:
            lowering: Lowering = "operator" if engine == "onnx" else "ranks"
            parity = original.verify(runner(graph_of(model, lowering), engine), label=engine)
    return model, parity


def fitted(estimator: Any, *data: Any) -> Any:
    """The estimator, fitted without its opinions on small data."""
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        return estimator.fit(*data)


def table(seed: int, columns: int = 5, rows: int = 200) -> NDArray[np.float64]:
    """Numbers of different sizes and middles."""
    r = random(seed)
    middles, sizes = r.uniform(-3, 3, columns), 10 ** r.uniform(-1, 1, columns)
    return r.standard_normal((rows, columns)) * sizes + middles


def classes_of(numbers: NDArray[np.float64], seed: int, classes: int = 2) -> NDArray[np.int64]:
    """A target that has something to do with the numbers."""
    scaled = (numbers - numbers.mean(axis=0)) / numbers.std(axis=0)
    scores = scaled @ random(seed).standard_normal((numbers.shape[1], classes))
    found: NDArray[np.int64] = (scores + random(seed + 1).standard_normal(scores.shape)).argmax(axis=1)
    return found


def target_of(numbers: NDArray[np.float64], seed: int, targets: int = 1) -> NDArray[np.float64]:
    scaled = (numbers - numbers.mean(axis=0)) / numbers.std(axis=0)
    found: NDArray[np.float64] = np.tanh(scaled @ random(seed).standard_normal((numbers.shape[1], targets))) * 3 + 1
    return found[:, 0] if targets == 1 else found


X = table(1)
TWO, THREE = classes_of(X, 2), classes_of(X, 3, 3)
VALUE, VALUES = target_of(X, 4), target_of(X, 4, 2)
"""A table, classes of its rows, and a number and two numbers for each: what most models of these tests learn."""
