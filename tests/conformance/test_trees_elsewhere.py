"""Trees on other processors and older runtimes: the leaves of the neutral form, for the hardest rows, everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nearhand_converters.graph.trees.form import Trees
from nearhand_converters.targets.artifact import write_artifact
from tests.converters.random_trees import Shape, hard_rows, random_trees
from tests.converters.tree_graphs import feeds, tree_graph
from tests.environments import Environment

SHAPES = {
    "numbers": Shape(trees=30, depth=8, numbers=6, zero_is_missing=True, sentinel_is_missing=True),
    "floats": Shape(trees=30, depth=8, numbers=6, precision="float32", missing=(0.0, -np.inf, np.inf)),
    "plain": Shape(trees=100, depth=6, numbers=10, missing=(-np.inf,), moderate=True),
    "right": Shape(trees=100, depth=6, numbers=10, missing=(np.inf,), moderate=True),
    "zero": Shape(trees=100, depth=6, numbers=10, missing=(0.0,), moderate=True),
    "categories": Shape(trees=30, depth=6, numbers=2, categories=2, known=1000),
    "outputs": Shape(trees=30, depth=6, outputs=4),
    "vectors": Shape(trees=30, depth=6, outputs=4, vector=True),
    "deep": Shape(trees=6, depth=20, chance=0.65),
    "linear": Shape(trees=20, depth=4, numbers=3, linear=True, moderate=True),
}

WAYS = [("operator", "onnx"), ("ranks", "onnx"), ("ranks", "tflite")]


@dataclass(frozen=True)
class Case:
    """Trees and rows for them."""

    trees: Trees
    numbers: NDArray[np.float32]
    categories: NDArray[np.int32]


@pytest.fixture(scope="session")
def cases() -> dict[str, Case]:
    found = {}
    for name, shape in SHAPES.items():
        generator = np.random.Generator(np.random.PCG64(11))
        trees = random_trees(shape, generator)
        x, codes = hard_rows(trees, shape, generator, at_least=400)
        if shape.linear:  # leaves give no sensible score at the ends of float32
            x = np.where(np.abs(x) < 1e6, x, generator.standard_normal(x.shape).astype(np.float32))
        found[name] = Case(trees, x, codes)
    return found


@pytest.fixture(scope="session")
def models(cases: dict[str, Case], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The argument of compute_trees.py."""
    folder = tmp_path_factory.mktemp("trees")
    for name, case in cases.items():
        np.savez(folder / f"{name}.npz", **feeds(case.numbers, case.categories))  # type: ignore[arg-type]
        for lowering, runtime in WAYS:
            if case.trees.linear is not None and lowering == "operator":
                continue
            model = tree_graph(case.trees, case.numbers.shape[1], case.categories.shape[1], lowering)  # type: ignore[arg-type]
            (folder / f"{name}.{lowering}.{runtime}").write_bytes(write_artifact(model, runtime).data)  # type: ignore[arg-type]
    return folder


@pytest.mark.soak
def test_every_machine_reaches_the_same_leaves(
    environment: Environment, models: Path, cases: dict[str, Case], tmp_path: Path
) -> None:
    output = tmp_path / "trees.npz"
    environment.run(Path(__file__).with_name("compute_trees.py"), [models], output, timeout=600)
    with np.load(output) as found:
        assert len(found.files) == 2 * (3 * len(cases) - 1)
        for name in found.files:
            case = cases[name.split(".")[0]]
            if name.endswith("leaves"):
                expected: NDArray[np.generic] = case.trees.leaves(case.numbers, case.categories)
                np.testing.assert_array_equal(found[name], expected, err_msg=name)
            else:
                most = np.abs(case.trees.values).max() * len(case.trees.roots)
                scores = case.trees.scores(case.numbers, case.categories)
                tolerance = 1e-5 if case.trees.linear is not None else 1e-11
                np.testing.assert_allclose(found[name], scores, rtol=1e-5, atol=tolerance * most, err_msg=name)
