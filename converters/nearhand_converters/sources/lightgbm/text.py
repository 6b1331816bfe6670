"""A LightGBM model as its text file says it, every part checked before the library or anything else relies on it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.errors import UnsupportedModelError
from nearhand_converters.sources.boosted import DamagedError, damage_named

MOST_COLUMNS = 100_000
"""More than any row has; a number in a header that is larger is not believed."""
_VERSIONS = ("v3", "v4")
_HEAD = frozenset(
    [
        "tree",
        "version",
        "num_class",
        "num_tree_per_iteration",
        "label_index",
        "max_feature_idx",
        "objective",
        "average_output",
        "feature_names",
        "feature_infos",
        "tree_sizes",
        "monotone_constraints",
    ]
)
_TREE = frozenset(
    [
        "Tree",
        "num_leaves",
        "num_cat",
        "split_feature",
        "threshold",
        "decision_type",
        "left_child",
        "right_child",
        "leaf_value",
        "cat_boundaries",
        "cat_threshold",
        "is_linear",
        "leaf_const",
        "num_features",
        "leaf_features",
        "leaf_coeff",
    ]
)
_SAYS_NOTHING = frozenset(
    [
        "tree_sizes",
        "monotone_constraints",
        "split_gain",
        "leaf_weight",
        "leaf_count",
        "internal_value",
        "internal_weight",
        "internal_count",
        "shrinkage",
    ]
)
"""What a prediction does not depend on."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*([eE][+-]?\d+)?|inf|nan)", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d{1,18}", re.ASCII)


@dataclass(frozen=True)
class Tree:
    """One tree; n leaves and n − 1 splits, each numbered from 0. The root is split 0, or the only leaf.

    Attributes:
        left, right: int [splits]: a split's number, or −1 − a leaf's.
        feature: int [splits].
        threshold: float64 [splits]; ``members`` stands for it in a split that asks about a category.
        is_category, default_left: bool [splits].
        missing: int [splits]: what is missing: 0 nothing (NaN is 0), 1 zero and NaN, 2 NaN.
        members: split → the categories that go left, ascending.
        values: float64 [leaves].
        constants: float64 [leaves], of linear leaves; None if the leaves are not linear.
        terms: of linear leaves: leaf, feature and coefficient of each term.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    is_category: NDArray[np.bool_]
    default_left: NDArray[np.bool_]
    missing: NDArray[np.int64]
    members: Mapping[int, NDArray[np.int64]]
    values: NDArray[np.float64]
    constants: NDArray[np.float64] | None
    terms: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


@dataclass(frozen=True)
class ModelText:
    """A model.

    Attributes:
        objective: its name, then its parameters; () if the text names none.
        scores: the number of raw scores; the trees add to them in turn.
        averages: whether the scores are those of a random forest: means over the rounds.
        names: the columns' names.
        seen: for each column the categories in the training data, ascending; None if it is no category column, or
            was the same in every row.
        declared: the columns that were said to hold categories, ascending; None if the text does not tell.
        tables: the categories of the data frame's category columns, in the columns' order; () without a data frame.
        checked: the text again, for the library: without the lines that say nothing. It ends the process over a wrong
            letter in any line.
    """

    objective: tuple[str, ...]
    scores: int
    averages: bool
    names: tuple[str, ...]
    seen: tuple[NDArray[np.int64] | None, ...]
    declared: tuple[int, ...] | None
    tables: tuple[tuple[Any, ...], ...]
    trees: tuple[Tree, ...]
    checked: str


def read_text(data: bytes, place: str) -> ModelText:
    """The model in the bytes of a file, or of ``Booster.model_to_string``.

    Args:
        place: names the file or object in errors.

    Raises:
        SourceError: the text is damaged: what it claims does not fit together.
        UnsupportedModelError: a version that we do not know, or a model without trees.
    """
    with damage_named(place):
        return _model(data)


def _model(data: bytes) -> ModelText:
    start = data.find(b"\nTree=0\n") + 1
    end = data.find(b"\nend of trees") + 1
    head = _pairs((data[:start] if start else data[:end]).decode(), _HEAD)
    version = _text(head, "version")
    if version not in _VERSIONS:
        raise UnsupportedModelError(
            f"has the format version {version!r}, which is not known",
            code="unknown-version",
            remedy="load and save it with LightGBM 3 or 4",
        )
    columns = 1 + _count(head, "max_feature_idx", 0, MOST_COLUMNS - 1)
    scores = _count(head, "num_tree_per_iteration", 1, MOST_COLUMNS)
    if _count(head, "num_class", 1, MOST_COLUMNS) != scores:
        raise DamagedError("num_class is not num_tree_per_iteration")
    names = tuple(_text(head, "feature_names").split())
    seen = tuple(_seen(info) for info in _text(head, "feature_infos").split())
    if len(names) != columns or len(seen) != columns:
        raise DamagedError(f"feature_names or feature_infos does not fit {columns} columns")
    if not start:
        if not _text(head, "tree_sizes"):
            raise UnsupportedModelError("has no trees", code="no-trees", remedy="train at least one round")
        raise DamagedError("the trees are not there")
    if end <= start:
        raise DamagedError("the end of the trees is not there")
    blocks = _blocks(data[start:end], _integers(head, "tree_sizes") if "tree_sizes" in head else None)
    if len(blocks) % scores:
        raise DamagedError(f"{len(blocks)} trees do not make {scores} scores")
    _integers(head, "label_index", 1)
    pairs = [_pairs(block.decode(), _TREE) for block in blocks]
    tail = data[end:].decode()
    return ModelText(
        objective=tuple(head.get("objective", "").split()),
        scores=scores,
        averages="average_output" in head,
        names=names,
        seen=seen,
        declared=_declared(tail, columns),
        tables=_tables(tail),
        trees=tuple(_tree(own, columns) for own in pairs),
        checked="\n".join([*map(_lines, [head, *pairs]), "end of trees\n"]),
    )


def _blocks(trees: bytes, sizes: NDArray[np.int64] | None) -> list[bytes]:
    """The text of each tree. The library jumps by the sizes that the header claims, so these have to be right."""
    starts = [0, *(found.start() + 1 for found in re.finditer(rb"\nTree=\d+\n", trees))]
    blocks = [trees[a:b] for a, b in zip(starts, [*starts[1:], len(trees)], strict=True)]
    for i, block in enumerate(blocks):
        if not block.startswith(b"Tree=%d\n" % i):
            raise DamagedError(f"tree {i} is not there")
    if sizes is not None and sizes.tolist() != [len(block) for block in blocks]:
        raise DamagedError("tree_sizes does not fit the trees")
    return blocks


def _tree(pairs: dict[str, str], columns: int) -> Tree:
    values = _numbers(pairs, "leaf_value")
    if _count(pairs, "num_leaves", 1, len(values)) != len(values):
        raise DamagedError("num_leaves is not the number of leaves")
    if not np.isfinite(values).all():
        raise DamagedError("a leaf is not finite")
    splits = len(values) - 1
    left, right = _integers(pairs, "left_child", splits), _integers(pairs, "right_child", splits)
    children = np.concatenate([left, right])
    if ((children >= splits) | (children < -len(values))).any():
        raise DamagedError("a child is not there")
    if splits and (np.bincount(np.append(children + len(values), len(values))) > 1).any():
        raise DamagedError("a node is reached twice")
    feature = _integers(pairs, "split_feature", splits)
    if ((feature < 0) | (feature >= columns)).any():
        raise DamagedError("a split asks about a column that is not there")
    threshold = _numbers(pairs, "threshold", splits)
    if np.isnan(threshold).any():
        raise DamagedError("a threshold is NaN")
    decision = _integers(pairs, "decision_type", splits)
    missing = (decision >> 2) & 3
    if ((decision < 0) | (decision > 15) | (missing == 3)).any():
        raise DamagedError("decision_type is not known")
    is_category = (decision & 1) == 1
    constants, terms = _linear(pairs, len(values), columns)
    return Tree(
        left=left,
        right=right,
        feature=feature,
        threshold=threshold,
        is_category=is_category,
        default_left=(decision & 2) == 2,
        missing=missing,
        members=_members(pairs, threshold, is_category),
        values=values,
        constants=constants,
        terms=terms,
    )


def _members(
    pairs: dict[str, str], threshold: NDArray[np.float64], is_category: NDArray[np.bool_]
) -> dict[int, NDArray[np.int64]]:
    """Sets of categories are bits, 32 to a word; the threshold of a split is the number of its set."""
    sets = _count(pairs, "num_cat", 0, len(threshold))
    if sets == 0:
        if is_category.any():
            raise DamagedError("num_cat is 0, and a split asks about a category")
        return {}
    bounds = _integers(pairs, "cat_boundaries", sets + 1)
    words = _integers(pairs, "cat_threshold")
    if bounds[0] != 0 or bounds[-1] != len(words) or (np.diff(bounds) < 0).any():
        raise DamagedError("cat_boundaries does not fit cat_threshold")
    if ((words < 0) | (words >= 1 << 32)).any():
        raise DamagedError("cat_threshold is no word of 32 bits")
    found = {}
    for split in np.flatnonzero(is_category).tolist():
        own = int(threshold[split])
        if not 0 <= own < sets:
            raise DamagedError("a split asks about a set that is not there")
        bits = np.unpackbits(words[bounds[own] : bounds[own + 1]].astype("<u4").view(np.uint8), bitorder="little")
        found[split] = np.flatnonzero(bits)
    return found


def _linear(
    pairs: dict[str, str], leaves: int, columns: int
) -> tuple[NDArray[np.float64] | None, tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]]:
    none = np.empty(0, np.int64)
    if pairs.get("is_linear", "0") == "0":
        return None, (none, none, np.empty(0))
    constants = _numbers(pairs, "leaf_const", leaves)
    counts = _integers(pairs, "num_features", leaves)
    features, coefficients = _integers(pairs, "leaf_features"), _numbers(pairs, "leaf_coeff")
    if (counts < 0).any() or not counts.sum() == len(features) == len(coefficients):
        raise DamagedError("leaf_features or leaf_coeff does not fit num_features")
    if ((features < 0) | (features >= columns)).any():
        raise DamagedError("a leaf reads a column that is not there")
    if not (np.isfinite(constants).all() and np.isfinite(coefficients).all()):
        raise DamagedError("a coefficient is not finite")
    return constants, (np.repeat(np.arange(leaves), counts), features, coefficients)


def _seen(info: str) -> NDArray[np.int64] | None:
    """``[low:high]`` of numbers, ``1:3:0`` of categories with −1 for a missing one, ``none`` of a constant."""
    if info == "none" or info.startswith("["):
        return None
    found = np.unique(np.array(list(map(int, info.split(":"))), np.int64))
    return found[found >= 0]


def _declared(tail: str, columns: int) -> tuple[int, ...] | None:
    found = re.search(r"^\[categorical_feature: ([\d,]*)\]$", tail, re.MULTILINE)
    if not found:
        return None
    declared = sorted({int(part) for part in found[1].split(",") if part})
    if declared and declared[-1] >= columns:
        raise DamagedError("categorical_feature names a column that is not there")
    return tuple(declared)


def _tables(tail: str) -> tuple[tuple[Any, ...], ...]:
    found = re.search(r"^pandas_categorical:(.*)$", tail, re.MULTILINE)
    tables = json.loads(found[1]) if found else None
    if tables is None:
        return ()
    if not isinstance(tables, list) or not all(isinstance(table, list) for table in tables):
        raise DamagedError("pandas_categorical is not a list of lists")
    return tuple(tuple(table) for table in tables)


def _pairs(text: str, known: frozenset[str]) -> dict[str, str]:
    """Lines of ``key=value``, in their order; a line without ``=`` is a key with an empty value.

    Raises:
        UnsupportedModelError: a key that we do not know could change what the others mean.
    """
    found = {}
    for line in filter(None, text.split("\n")):
        key, _, value = line.partition("=")
        if key not in known | _SAYS_NOTHING:
            raise UnsupportedModelError(
                f"has the line {key[:40]!r}, which is not known",
                code="unknown-version",
                remedy="load and save it with LightGBM 3 or 4",
            )
        if key in found:
            raise DamagedError(f"{key} is there twice")
        found[key] = value.strip()
    return found


def _lines(pairs: dict[str, str]) -> str:
    told = (
        f"{key}={value}" if value or key not in ("tree", "average_output") else key
        for key, value in pairs.items()
        if key not in _SAYS_NOTHING
    )
    return "".join(f"{line}\n" for line in told)


def _text(pairs: dict[str, str], key: str) -> str:
    if key not in pairs:
        raise DamagedError(f"there is no {key}")
    return pairs[key]


def _count(pairs: dict[str, str], key: str, least: int, most: int) -> int:
    (count,) = _integers(pairs, key, 1).tolist()
    if not least <= count <= most:
        raise DamagedError(f"{key} is {count}")
    return int(count)


def _integers(pairs: dict[str, str], key: str, length: int | None = None) -> NDArray[np.int64]:
    return np.array([int(part) for part in _parts(pairs, key, _WHOLE, length)], np.int64)


def _numbers(pairs: dict[str, str], key: str, length: int | None = None) -> NDArray[np.float64]:
    return np.array([float(part) for part in _parts(pairs, key, _NUMBER, length)], np.float64)


def _parts(pairs: dict[str, str], key: str, pattern: re.Pattern[str], length: int | None) -> list[str]:
    """The numbers of a line as texts that mean the same to us and to the library."""
    parts = _text(pairs, key).split()
    if length is not None and len(parts) != length:
        raise DamagedError(f"{key} has {len(parts)} numbers, not {length}")
    if not all(pattern.fullmatch(part) for part in parts):
        raise DamagedError(f"{key} holds something else than numbers")
    return parts
