"""An XGBoost model as its own JSON says it, every part checked before the library or anything else relies on it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.errors import UnsupportedModelError
from nearhand_converters.sources.boosted import DamagedError, damage_named
from nearhand_converters.sources.xgboost.ubjson import decode

MOST_COLUMNS = 100_000
"""More than any row has; a number in a header that is larger is not believed."""
_NEWEST_FORMAT = 3
_CATEGORY_END = 1 << 24
"""XGBoost's categories are whole numbers that a float32 holds."""
_TYPES = frozenset(("float", "int", "i", "q", "c"))

_Kind = TypeVar("_Kind")


@dataclass(frozen=True)
class Tree:
    """One tree.

    Attributes:
        left, right: int [nodes]; a leaf's left child is −1.
        feature, threshold, default_left: of a split.
        values: float32 [nodes, width], of a leaf.
        members: split node → the categories that go right, ascending.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: NDArray[np.float32]
    default_left: NDArray[np.bool_]
    values: NDArray[np.float32]
    members: Mapping[int, NDArray[np.int64]]


@dataclass(frozen=True)
class Document:
    """A model.

    Attributes:
        booster: ``gbtree``, ``dart`` or ``gblinear``.
        groups: the number of raw scores.
        classes: ``num_class``: 0 unless the objective has classes.
        base_score: float32 [groups], before the objective's link is undone.
        names: the columns' names, () if it has none.
        types: the columns' types, () if it has none; ``c`` is a category.
        attributes: what the user or the scikit-learn wrapper left, each a text.
        categories: for each column the categories' texts in the order of their numbers, () where it keeps none.
        trees: of ``gbtree`` and ``dart``.
        group: int [trees], the score that each adds to; zeros for trees that add to all.
        rounds: int [rounds + 1], where each boosting round's trees begin.
        tree_weights: float32 [trees].
        weights: of ``gblinear``: float32 [columns + 1, groups], the last row is the bias.
    """

    objective: str
    booster: str
    columns: int
    groups: int
    classes: int
    base_score: NDArray[np.float32]
    names: tuple[str, ...]
    types: tuple[str, ...]
    attributes: Mapping[str, str]
    categories: tuple[tuple[str, ...], ...]
    trees: tuple[Tree, ...]
    group: NDArray[np.int64]
    rounds: NDArray[np.int64]
    tree_weights: NDArray[np.float32]
    weights: NDArray[np.float32]

    @property
    def is_category(self) -> list[bool]:
        return [kind == "c" for kind in self.types] if self.types else [False] * self.columns


def read_document(data: bytes, place: str) -> Document:
    """The model in the bytes of a ``.json`` or ``.ubj`` file, or of ``Booster.save_raw``.

    Args:
        place: names the file or object in errors.

    Raises:
        SourceError: the bytes are damaged: what they claim does not fit together.
        UnsupportedModelError: a version, booster or kind of category that we do not know.
    """
    with damage_named(place):
        return _document(_parsed(data))


def _parsed(data: bytes) -> Any:
    # Both begin with a brace; in JSON a quote, or blanks before one, follows.
    return json.loads(data) if data[1:2].strip(b' \t\r\n"') == b"" else decode(data)


def _document(whole: Any) -> Document:
    if not isinstance(whole, dict):
        raise DamagedError("it is not an object")
    version = [int(part) for part in _array(whole, "version", np.int64)]
    if not version or not 1 <= version[0] <= _NEWEST_FORMAT:
        raise UnsupportedModelError(
            f"was saved by XGBoost {'.'.join(map(str, version))}, whose format is not known",
            code="unknown-version",
            remedy=f"save it with XGBoost 1 to {_NEWEST_FORMAT}",
        )
    learner = _item(whole, "learner", dict)
    parameters = _item(learner, "learner_model_param", dict)
    columns = _count(parameters, "num_feature", 1, MOST_COLUMNS)
    classes = _count(parameters, "num_class", 0, MOST_COLUMNS)
    targets = _count(parameters, "num_target", 0, MOST_COLUMNS) if "num_target" in parameters else 1
    groups = max(classes, targets, 1)
    booster = _item(learner, "gradient_booster", dict)
    name = _item(booster, "name", str)
    weights, ensemble = np.empty((0, groups), np.float32), None
    if name == "gblinear":
        flat = _array(_item(booster, "model", dict), "weights", np.float32)
        if len(flat) != (columns + 1) * groups:
            raise DamagedError(f"there are {len(flat)} weights for {columns} columns and {groups} scores")
        weights = flat.reshape(columns + 1, groups)
    elif name in ("gbtree", "dart"):
        ensemble = _item(_item(booster, "gbtree", dict) if name == "dart" else booster, "model", dict)
    else:
        raise UnsupportedModelError(
            f"has the booster {name!r}, which is not known",
            code="unknown-booster",
            remedy="train with booster gbtree, dart or gblinear",
        )
    trees = _trees(ensemble, columns, groups) if ensemble else ()
    group = _array(ensemble, "tree_info", np.int64) if ensemble else np.empty(0, np.int64)
    if len(group) != len(trees) or ((group < 0) | (group >= groups)).any():
        raise DamagedError("tree_info does not fit the trees")
    if ensemble and not trees:
        raise UnsupportedModelError("has no trees", code="no-trees", remedy="train at least one round")
    if trees and len(trees) * trees[0].values.shape[1] < groups:
        raise DamagedError(f"{len(trees)} trees do not make {groups} scores")
    types = _texts(learner, "feature_types", columns)
    if not set(types) <= _TYPES:
        raise DamagedError(f"feature_types are {sorted(set(types))}")
    return Document(
        objective=_item(_item(learner, "objective", dict), "name", str),
        booster=name,
        columns=columns,
        groups=groups,
        classes=classes,
        base_score=_base_score(_item(parameters, "base_score", str), groups),
        names=_texts(learner, "feature_names", columns),
        types=types,
        attributes=_item(learner, "attributes", dict) if "attributes" in learner else {},
        categories=_categories(ensemble.get("cats"), columns) if ensemble else ((),) * columns,
        trees=trees,
        group=group,
        rounds=_rounds(ensemble, len(trees)) if ensemble else np.zeros(1, np.int64),
        tree_weights=_tree_weights(booster, name, len(trees)),
        weights=weights,
    )


def _base_score(text: str, groups: int) -> NDArray[np.float32]:
    """One number for all scores, or since XGBoost 3.1 a list with one for each."""
    told = json.loads(text)
    found = _array({"base_score": told if isinstance(told, list) else [told]}, "base_score", np.float32)
    if found.shape not in ((1,), (groups,)) or not np.isfinite(found).all():
        raise DamagedError(f"base_score {text[:40]!r} does not fit {groups} scores")
    return np.broadcast_to(found, groups)


def _rounds(ensemble: dict[str, Any], trees: int) -> NDArray[np.int64]:
    if "iteration_indptr" not in ensemble:  # before XGBoost 2
        return np.array([0, trees], np.int64)
    rounds = _array(ensemble, "iteration_indptr", np.int64)
    if not len(rounds) or rounds[0] != 0 or rounds[-1] != trees or (np.diff(rounds) < 0).any():
        raise DamagedError("iteration_indptr does not fit the trees")
    return rounds


def _tree_weights(booster: dict[str, Any], name: str, trees: int) -> NDArray[np.float32]:
    if name != "dart":
        return np.ones(trees, np.float32)
    weights = _array(booster, "weight_drop", np.float32)
    if len(weights) != trees or not np.isfinite(weights).all():
        raise DamagedError("weight_drop does not fit the trees")
    return weights


def _trees(ensemble: dict[str, Any], columns: int, groups: int) -> tuple[Tree, ...]:
    listed = _item(ensemble, "trees", list)
    if _count(_item(ensemble, "gbtree_model_param", dict), "num_trees", 0, len(listed)) != len(listed):
        raise DamagedError("num_trees is not the number of trees")
    trees = tuple(_tree(tree, columns) for tree in listed)
    widths = {tree.values.shape[1] for tree in trees}
    if len(widths) > 1 or widths - {1, groups}:
        raise DamagedError(f"leaves have {sorted(widths)} values, and there are {groups} scores")
    return trees


def _tree(tree: Any, columns: int) -> Tree:
    if not isinstance(tree, dict):
        raise DamagedError("a tree is not an object")
    left = _array(tree, "left_children", np.int64)
    count = len(left)
    parameters = _item(tree, "tree_param", dict)
    if _count(parameters, "num_nodes", 1, count) != count:
        raise DamagedError("num_nodes is not the number of nodes")
    right = _array(tree, "right_children", np.int64, count)
    feature = _array(tree, "split_indices", np.int64, count)
    threshold = _array(tree, "split_conditions", np.float32, count)
    split = left != -1
    for child in (left, right):
        if ((child < 0) | (child >= count))[split].any():
            raise DamagedError("a child is not there")
    if (np.bincount(np.concatenate([[0], left[split], right[split]]), minlength=count) > 1).any():
        raise DamagedError("a node is reached twice")
    _check_what_only_the_library_reads(tree, left, right, split)
    if ((feature < 0) | (feature >= columns))[split].any():
        raise DamagedError("a split asks about a column that is not there")
    members = _members(tree, split)
    numeric = split.copy()
    numeric[list(members)] = False
    if np.isnan(threshold[numeric]).any():
        raise DamagedError("a threshold is NaN")
    width = _count(parameters, "size_leaf_vector", 0, MOST_COLUMNS)
    values = threshold[:, None] if width <= 1 else _vectors(tree, right, split, width)
    if not np.isfinite(values[~split]).all():
        raise DamagedError("a leaf is not finite")
    return Tree(left, right, feature, threshold, _array(tree, "default_left", np.int64, count) != 0, values, members)


def _check_what_only_the_library_reads(
    tree: dict[str, Any], left: NDArray[np.int64], right: NDArray[np.int64], split: NDArray[np.bool_]
) -> None:
    """XGBoost follows these without looking: a wrong one ends the process."""
    count = len(split)
    parents = _array(tree, "parents", np.int64, count)
    nodes = np.flatnonzero(split)
    if (parents[left[split]] != nodes).any() or (parents[right[split]] != nodes).any():
        raise DamagedError("parents does not fit the children")
    if ((parents[1:] < 0) | (parents[1:] >= count)).any():
        raise DamagedError("a parent is not there")
    for key in ("loss_changes", "sum_hessian"):
        _array(tree, key, np.float32, count)


def _vectors(tree: dict[str, Any], right: NDArray[np.int64], split: NDArray[np.bool_], width: int) -> NDArray[Any]:
    """The leaves of a tree that adds to all scores: a leaf's right child says which of the vectors is its own."""
    if "leaf_weights" not in tree:
        raise UnsupportedModelError(
            "has vector leaves in the format of XGBoost before 3.1",
            code="old-vector-leaves",
            remedy="load and save it with XGBoost 3.1 or later",
        )
    vectors = _array(tree, "leaf_weights", np.float32)
    own = right[~split]
    if len(vectors) % width or ((own < 0) | (own >= len(vectors) // width)).any():
        raise DamagedError("leaf_weights does not fit the leaves")
    values = np.zeros((len(split), width), np.float32)
    values[~split] = vectors.reshape(-1, width)[own]
    return values


def _members(tree: dict[str, Any], split: NDArray[np.bool_]) -> dict[int, NDArray[np.int64]]:
    is_category = (
        _array(tree, "split_type", np.int64, len(split)) == 1 if "split_type" in tree else np.zeros_like(split)
    )
    if not (is_category & split).any():
        return {}
    nodes = _array(tree, "categories_nodes", np.int64)
    starts = _array(tree, "categories_segments", np.int64, len(nodes))
    sizes = _array(tree, "categories_sizes", np.int64, len(nodes))
    categories = _array(tree, "categories", np.int64)
    if ((starts < 0) | (sizes < 0) | (starts + sizes > len(categories))).any():
        raise DamagedError("categories_segments does not fit the categories")
    if ((categories < 0) | (categories >= _CATEGORY_END)).any():
        raise DamagedError("a category is not a whole number from 0")
    asking = set(np.flatnonzero(is_category & split).tolist())
    if ((nodes < 0) | (nodes >= len(split))).any() or not asking <= set(nodes.tolist()):
        raise DamagedError("categories_nodes are not the nodes that ask about a category")
    return {
        node: np.unique(categories[start : start + size])
        for node, start, size in zip(nodes.tolist(), starts.tolist(), sizes.tolist(), strict=True)
        if node in asking
    }


def _categories(kept: Any, columns: int) -> tuple[tuple[str, ...], ...]:
    """The categories' texts that XGBoost keeps since 3.1, if it was given a table that has them."""
    encodings = _item(kept, "enc", list) if isinstance(kept, dict) else []
    if not encodings:
        return ((),) * columns
    if len(encodings) != columns:
        raise DamagedError(f"there are categories of {len(encodings)} columns, and {columns} columns")
    return tuple(_encoding(encoding) for encoding in encodings)


def _encoding(encoding: Any) -> tuple[str, ...]:
    if not isinstance(encoding, dict):
        raise DamagedError("categories are not an object")
    if "offsets" not in encoding:
        return tuple(str(number) for number in _array(encoding, "values", np.int64).tolist())
    offsets = _array(encoding, "offsets", np.int64).tolist()
    data = _array(encoding, "values", np.int64)
    if offsets != sorted(offsets) or (offsets and (offsets[0] < 0 or offsets[-1] > len(data))):
        raise DamagedError("offsets do not fit the categories")
    text = data.astype(np.int8).tobytes()
    if not text.isascii():
        # XGBoost 3.2 counts a data frame's letters where it should count their bytes, and cuts the rest off.
        raise UnsupportedModelError(
            "has categories whose names are not ASCII, which XGBoost does not keep whole",
            code="category-names",
            remedy="name the categories in ASCII letters before training",
        )
    return tuple(text[start:end].decode() for start, end in pairwise(offsets))


def _item(table: Any, key: str, kind: type[_Kind]) -> _Kind:
    if not isinstance(table, dict) or not isinstance(table.get(key), kind):
        raise DamagedError(f"there is no {key}")
    found: _Kind = table[key]
    return found


def _count(table: dict[str, Any], key: str, least: int, most: int) -> int:
    """A whole number, which XGBoost writes as text."""
    text = _item(table, key, str)
    count = int(text) if re.fullmatch(r"-?\d{1,18}", text, re.ASCII) else -1
    if not least <= count <= most:
        raise DamagedError(f"{key} is {text[:40]!r}")
    return count


def _array(table: dict[str, Any], key: str, dtype: type[Any], length: int | None = None) -> NDArray[Any]:
    """Numbers, one dimension, from a list or an array; whole numbers stay whole."""
    if not isinstance(table.get(key), (list, np.ndarray)):
        raise DamagedError(f"there is no {key}")
    found = np.asarray(table[key])
    if found.ndim != 1 or (len(found) and found.dtype.kind not in ("iuf" if dtype is np.float32 else "biu")):
        raise DamagedError(f"{key} are no numbers")
    if length is not None and len(found) != length:
        raise DamagedError(f"{key} has {len(found)} numbers, not {length}")
    with np.errstate(over="ignore"):
        converted: NDArray[Any] = found.astype(dtype)
    return converted


def _texts(table: dict[str, Any], key: str, length: int) -> tuple[str, ...]:
    texts = table.get(key, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts) or len(texts) not in (0, length):
        raise DamagedError(f"{key} does not fit {length} columns")
    return tuple(texts)
