"""Links, on both engines, against the same in float64: down to the smallest results, and where a float overflows."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from nearhand_converters.graph.builder import GraphBuilder
from nearhand_converters.graph.links import (
    Link,
    apply_link,
    arg_max_label,
    binary_probability,
    link_reference,
    threshold_label,
)
from tests.converters.engines import OnnxModel, TFLiteModel

LINKS = [
    Link("identity"),
    Link("sigmoid"),
    Link("sigmoid", slope=0.7),
    Link("sigmoid_normalized"),
    Link("sigmoid_normalized", slope=2.5),
    Link("softmax"),
    Link("exp"),
    Link("hinge"),
    Link("log1p_exp"),
    Link("signed_square"),
]

engines = pytest.mark.parametrize("engine", [OnnxModel, TFLiteModel])


def scores() -> NDArray[np.float32]:
    """Of every size that a model gives, zeros, ties, and some that saturate."""
    generator = np.random.Generator(np.random.PCG64(0))
    sizes = 10.0 ** generator.uniform(-8, 1.6, (3000, 1))
    spread = generator.standard_normal((3000, 3)) * sizes
    edges = [[0, 0, 0], [-0.0, 0, 1], [80, -80, 80], [-80, -80, -80], [30, 30, 29], [1e-30, -1e-30, 0]]
    return np.concatenate([spread, edges]).astype(np.float32)


@engines
@pytest.mark.parametrize("link", LINKS, ids=lambda link: f"{link.kind} {link.slope}")
def test_a_link_is_right_to_five_digits(link: Link, engine: type[OnnxModel | TFLiteModel]) -> None:
    x = scores()
    g = GraphBuilder("link")
    score = g.add("Mul", g.input("x", "float32", ["batch", 3]), g.constant(np.array(1, np.float32)))
    g.output(apply_link(g, score, link), "y", "float32", ["batch", 3])
    found = engine(g.model()).run({"x": x})["y"]
    expected = link_reference(x, link)
    assert expected.dtype == np.float64
    smallest = 1e-30  # below, a runtime may say 0
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=smallest)


@engines
def test_a_probability_is_never_nan(engine: type[OnnxModel | TFLiteModel]) -> None:
    x = np.array([[500.0, -500.0, 0.0], [-500.0, -500.0, -500.0], [3e38, 3e38, -3e38]], np.float32)
    for link in (Link("sigmoid"), Link("softmax")):
        g = GraphBuilder("link")
        g.output(apply_link(g, g.input("x", "float32", ["batch", 3]), link), "y", "float32", ["batch", 3])
        found = engine(g.model()).run({"x": x})["y"]
        np.testing.assert_allclose(found, link_reference(x, link), atol=1e-30)


@engines
def test_labels_and_both_probabilities(engine: type[OnnxModel | TFLiteModel]) -> None:
    g = GraphBuilder("labels")
    p, three = g.input("p", "float32", ["batch", 1]), g.input("three", "float32", ["batch", 3])
    g.output(binary_probability(g, p), "both", "float32", ["batch", 2])
    g.output(threshold_label(g, p, 0.5), "above", "int32", ["batch"])
    g.output(arg_max_label(g, three), "best", "int32", ["batch"])
    ones = np.array([[0.0], [0.5], [np.nextafter(np.float32(0.5), np.float32(1))], [1.0]], np.float32)
    rows = np.array([[1, 2, 2], [3, 3, 1], [0, 0, 0], [-1, -3, -0.5]], np.float32)
    found = engine(g.model()).run({"p": ones, "three": rows})
    np.testing.assert_array_equal(found["both"], np.concatenate([1 - ones, ones], axis=1))
    assert found["above"].tolist() == [0, 0, 1, 1]
    assert found["best"].tolist() == [1, 0, 0, 2]
    assert found["above"].dtype == found["best"].dtype == np.int32


def test_only_sigmoids_have_a_slope() -> None:
    with pytest.raises(ValueError, match="exp has no slope"):
        Link("exp", slope=2.0)
