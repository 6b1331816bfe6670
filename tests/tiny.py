"""A small real bundle: 300 films in six tastes, factors by a few steps of ALS, converted as any model is."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nearhand.bundle import BundleFolder, Items, Manifest, install_bundle
from nearhand.bundle.schema import Precision, RuntimeName
from nearhand.events import EventSchema
from nearhand.runtime import installed_runtimes
from nearhand.testing import ModelFiles
from nearhand.version import __version__
from nearhand_converters.data import Catalogue, Dataset, Interactions
from nearhand_converters.graph.fold_in import whiten
from nearhand_converters.pipeline import convert
from nearhand_converters.quantize.rows import quantize_rows
from nearhand_converters.recipe import BudgetRecipe, HistoryRecipe, Recipe
from nearhand_converters.sources.factors import FactorModel

ITEMS, FACTORS, USERS, TASTES, WINDOW = 300, 16, 150, 6, 32
ALPHA, REGULARIZATION = 4.0, 0.1
CAP = 5 * ALPHA
VERBS = {
    "item_viewed": "watched",
    "item_clicked": "looked at",
    "item_saved": "saved",
    "item_liked": "liked",
    "item_purchased": "bought",
    "item_disliked": "disliked",
}
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")


@dataclass(frozen=True)
class Tiny:
    """The bundle, where it is installed, and what is in it.

    Attributes:
        path: the ``.nearhand`` file; slot: the same, unpacked.
        tables: precision → the item rows of that variant, float32 [items, factors].
    """

    path: Path
    slot: BundleFolder
    items: Items
    tables: dict[Precision, NDArray[np.float32]]

    @property
    def manifest(self) -> Manifest:
        return self.slot.manifest

    def files(self, runtime: RuntimeName, precision: Precision) -> ModelFiles:
        """The model files of one variant, for the conformance checks."""
        encoder, index = (
            next(
                self.slot.path(variant.file)
                for variant in self.manifest.model(role).variants
                if (variant.runtime, variant.precision) == (runtime, precision)
            )
            for role in ("encoder", "index")
        )
        return ModelFiles(encoder, index, self.tables[precision], WINDOW, CAP)


def build_tiny(folder: Path) -> Tiny:
    """Convert the tiny model for every installed runtime. The same bytes each time; takes a second or two."""
    dataset = _dataset()
    model = _model(dataset.interactions)
    recipe = Recipe(
        name="tiny",
        licence="CC0-1.0",
        bootstrap_samples=50,
        golden_cases=6,
        event_types={"film_rated": EventSchema(item=True, properties={"stars": "number"})},
        history=HistoryRecipe(window=WINDOW, verbs=VERBS),
        budget=BudgetRecipe(ndcg_change=-0.5, recall_change=-0.5, top10_overlap=0.9),  # 150 users prove little
    )
    conversion = convert(
        model, dataset, recipe, folder / "tiny.nearhand", targets=tuple(installed_runtimes()), precisions=PRECISIONS
    )
    slot = install_bundle(conversion.path, folder / "slots", sdk_version=__version__)
    table = whiten(model.item_factors, REGULARIZATION).astype(np.float32)
    return Tiny(conversion.path, slot, slot.items(), {"fp32": table, "int8": quantize_rows(table).dequantized()})


def taste_of(row: int) -> int:
    """The taste that an item belongs to."""
    return row % TASTES


def _dataset() -> Dataset:
    generator = np.random.Generator(np.random.PCG64(7))
    users, items = [], []
    for user in range(USERS):
        # Earlier items of a taste are the more popular ones, so that popularity has an order.
        own = np.array([row for row in range(ITEMS) if taste_of(row) == user % TASTES])
        chosen = generator.choice(own, 18, replace=False, p=_falling(len(own)))
        stray = generator.choice(ITEMS, 4, replace=False)
        mixed = generator.permutation(np.union1d(chosen, stray))
        users += [user] * len(mixed)
        items += mixed.tolist()
    count = len(items)
    rows = range(ITEMS)
    return Dataset(
        name="tiny",
        licence="CC0-1.0",
        description="made for tests",
        catalogue=Catalogue(
            tuple(f"m_{row}" for row in rows),
            tuple(f"Film {row}" for row in rows),
            tuple(1950 + row % 70 for row in rows),
            tuple((f"taste {taste_of(row)}",) for row in rows),
            tuple("" for _ in rows),
        ),
        interactions=Interactions(
            users=tuple(f"u_{user}" for user in range(USERS)),
            user=np.array(users, np.int32),
            item=np.array(items, np.int32),
            rating=None,
            timestamp=np.arange(count, dtype=np.int64) * 1000 + 1_600_000_000_000,
        ),
    )


def _falling(count: int) -> NDArray[np.float64]:
    weights: NDArray[np.float64] = 1 / np.arange(2, count + 2, dtype=np.float64)
    weights /= weights.sum()
    return weights


def _model(interactions: Interactions) -> FactorModel:
    """Implicit ALS in numpy, all interactions with confidence alpha."""
    generator = np.random.Generator(np.random.PCG64(11))
    liked = np.zeros((USERS, ITEMS))
    liked[interactions.user, interactions.item] = 1
    items = generator.normal(scale=0.1, size=(ITEMS, FACTORS))
    for _ in range(6):
        users = _solve(items, liked)
        items = _solve(users, liked.T)
    return FactorModel(items, REGULARIZATION, ALPHA, hashlib.sha256(items.tobytes()).hexdigest())


def _solve(factors: NDArray[np.float64], liked: NDArray[np.float64]) -> NDArray[np.float64]:
    gram = factors.T @ factors + REGULARIZATION * np.eye(FACTORS)
    rows = [
        np.linalg.solve(gram + (ALPHA - 1) * factors[row > 0].T @ factors[row > 0], ALPHA * row @ factors)
        for row in liked
    ]
    return np.array(rows)
