"""XGBoost's trees in the neutral form.

XGBoost compares in float32 and goes left where ``x < t``, so the neutral threshold is the float32 just below t. A
category goes right where it is one of the node's; any other goes left, and a missing one where the node says.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.graph.trees.arrange import Nodes, arrange
from nearhand_converters.graph.trees.form import LinearLeaves, Membership, Number, Trees
from nearhand_converters.sources.boosted import ColumnRegistry
from nearhand_converters.sources.model import FIRST_KNOWN, MISSING, UNKNOWN
from nearhand_converters.sources.xgboost.document import Document, Tree


def known_categories(document: Document) -> list[NDArray[np.int64]]:
    """For each category column, XGBoost's numbers of its known categories in the order of our codes.

    Those whose names the model keeps; else those that a node asks about: any other is as good as unknown.
    """
    asked: list[set[int]] = [set() for _ in range(document.columns)]
    for tree in document.trees:
        for node, members in tree.members.items():
            asked[tree.feature[node]].update(members.tolist())
    return [
        np.arange(len(names)) if names else np.array(sorted(own), np.int64)
        for names, own, is_category in zip(document.categories, asked, document.is_category, strict=True)
        if is_category
    ]


def read_trees(document: Document, base: NDArray[np.float32], missing: float) -> tuple[Trees, list[NDArray[np.int32]]]:
    """The trees, and for each tree where its nodes are among theirs.

    Args:
        base: the raw score that the trees add to, float32 [groups].
        missing: the number that stands for a missing value beside NaN; NaN for none.

    Raises:
        ValueError: the trees contradict each other or the columns.
    """
    registry = _Columns(document, missing)
    trees = document.trees
    starts = np.concatenate([[0], np.cumsum([len(tree.left) for tree in trees])])
    left, right, column, threshold, values = [], [], [], [], []
    for tree, weight, start in zip(trees, document.tree_weights, starts, strict=False):
        own = np.arange(len(tree.left))
        leaf = tree.left == -1
        left.append(start + np.where(leaf, own, tree.left))
        right.append(start + np.where(leaf, own, tree.right))
        asked = registry.numbers(tree, ~leaf)
        limit = np.nextafter(tree.threshold, np.float32(-np.inf)).astype(np.float64)
        for node, members in tree.members.items():
            asked[node] = registry.membership(int(tree.feature[node]), members, bool(tree.default_left[node]))
            limit[node] = 0.5
        column.append(asked)
        threshold.append(limit)
        values.append((tree.values * weight).astype(np.float64))
    nodes = Nodes(
        roots=starts[:-1],
        left=np.concatenate(left),
        right=np.concatenate(right),
        column=np.concatenate(column),
        threshold=np.concatenate(threshold),
        values=np.concatenate(values),
    )
    found, place = arrange(
        nodes,
        columns=tuple(registry.columns),
        output=document.group,
        base=base.astype(np.float64),
        precision="float32",
    )
    return found, np.split(place, starts[1:-1])


def linear_trees(document: Document, base: NDArray[np.float32]) -> Trees:
    """A ``gblinear`` model as one leaf for each weight: a missing value adds nothing, whatever the others are.

    Args:
        base: the raw score that the trees add to, float32 [groups].
    """
    features, groups = document.columns, document.groups
    count = features * groups
    own = np.arange(count)
    uses = np.zeros((count, features), np.bool_)
    uses[own, own // groups] = True
    weights = document.weights.astype(np.float64)
    return Trees(
        columns=(),
        roots=own.astype(np.int32),
        column=np.zeros(count, np.int32),
        threshold=np.full(count, np.inf),
        left=own.astype(np.int32),
        right=own.astype(np.int32),
        values=np.zeros((count, 1)),
        output=(own % groups).astype(np.int32),
        base=base.astype(np.float64) + weights[-1],
        precision="float32",
        linear=LinearLeaves(uses * weights[:-1].reshape(-1, 1), np.zeros(count), uses),
    )


class _Columns(ColumnRegistry):
    def __init__(self, document: Document, missing: float) -> None:
        self._is_category = np.array(document.is_category)
        super().__init__(self._is_category)
        self._known = known_categories(document)
        self._named = [bool(names) for names in document.categories]
        self._missing = float(np.float32(missing))

    def numbers(self, tree: Tree, split: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The column of each split that asks about a number; 0 for other nodes."""
        found = np.zeros(len(split), np.int64)
        numeric = split.copy()
        numeric[list(tree.members)] = False
        if self._is_category[tree.feature[numeric]].any():
            raise ValueError("a split compares a category with a threshold")
        questions, which = np.unique(2 * tree.feature[numeric] + tree.default_left[numeric], return_inverse=True)
        sentinel = None if np.isnan(self._missing) else self._missing
        places = [
            self.place(Number(int(self.input[q // 2]), -np.inf if q % 2 else np.inf, sentinel=sentinel))
            for q in questions.tolist()
        ]
        found[numeric] = np.array(places, np.int64)[which]
        return found

    def membership(self, feature: int, members: NDArray[np.int64], default_left: bool) -> int:
        """The column that is 1 where a node goes right."""
        if not self._is_category[feature]:
            raise ValueError("a split asks whether a number is one of a set")
        own = int(self.input[feature])
        known = self._known[own]
        if not np.isin(members, known).all():
            raise ValueError("a node asks about a category that has no name")
        # XGBoost compares a category's number too with the one that stands for a missing value.
        absent = known == self._missing
        right = np.where(absent, not default_left, np.isin(known, members))
        codes = (FIRST_KNOWN + np.flatnonzero(right)).tolist()
        if not default_left:
            # Whether an unknown category counts as a missing one: see the source.
            codes = [MISSING, UNKNOWN, *codes] if self._named[feature] else [MISSING, *codes]
        return self.place(Membership(own, tuple(codes)))
