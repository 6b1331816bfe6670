"""ml-latest-small as a bundle that is served whole: implicit ALS, and a ranker over the zoo's feature program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd

from model_zoo.datasets.movielens import movielens_dataset
from model_zoo.films_als.train import train
from nearhand import Event
from nearhand.bundle import install_bundle
from nearhand.bundle.serving import ListPolicy
from nearhand.features import ItemTable, Label, ReplayEvent, compile_program, replay_profile
from nearhand.ranking import feature_places
from nearhand.version import __version__
from nearhand_converters.data import positives
from nearhand_converters.door import convert_model
from nearhand_converters.merge import merge_bundles
from nearhand_converters.pipeline import convert
from nearhand_converters.recipe import TableRecipe, read_recipe
from nearhand_converters.sources.factors import read_factors

DAY_MS = 86_400_000
NOW = 1_700_000_000_000
RANKER = (
    "genre_match", "popularity", "year", "year_gap", "films_30d", "films_ever", "mean_year", "year_spread", "likes_30d"
)  # fmt: skip
_TRAINED_USERS, _ASKED = 200, 12


@dataclass(frozen=True)
class Viewer:
    """A user of the data: item ids of films rated at least 3.5, oldest first."""

    liked: tuple[str, ...]

    def events(self, count: int = 40) -> list[Event]:
        """The latest films, viewed on the days before :data:`NOW`, every third of them liked."""
        films = self.liked[-count:]
        first = NOW - (len(films) + 1) * DAY_MS // 2
        kinds = ["item_liked" if place % 3 == 2 else "item_viewed" for place in range(len(films))]
        return [
            Event(kind, item_id=film, timestamp=first + place * DAY_MS // 2)
            for place, (film, kind) in enumerate(zip(films, kinds, strict=True))
        ]


class Films:
    """The bundles, each made once, and the users of the data."""

    def __init__(self, data: Path, folder: Path) -> None:
        self.folder = folder
        self.dataset = movielens_dataset(data)
        built = folder / "films-als"
        train(self.dataset, built)
        recipe = replace(read_recipe(built / "recipe.toml"), bootstrap_samples=20, golden_cases=2)
        model = read_factors(built / "model.npz")
        convert(model, self.dataset, recipe, folder / "films.nearhand", targets=["onnx"], precisions=["int8"])
        items = install_bundle(self.plain(), folder / "slots", sdk_version=__version__).items()
        self.genres = dict(zip(items.item_ids, items.genres, strict=True))
        self.popular = [items.item_ids[row] for row in np.argsort(-np.array(items.popularity), kind="stable")]
        assert recipe.features is not None
        self.program = compile_program(recipe.features, ItemTable.of_bundle(items))

    def plain(self) -> Path:
        """Retrieval alone: the score is additive."""
        return self.folder / "films.nearhand"

    def ranked(self, listing: ListPolicy = ListPolicy(ranker="order")) -> Path:  # noqa: B008 - frozen
        """With a ranker of trees over features, and a policy."""
        order = self.folder / "order.nearhand"
        if not order.exists():
            self._train_ranker(order)
        out = self.folder / f"ranked-{abs(hash(repr(listing))):x}.nearhand"
        merge_bundles([self.plain(), order], out=out, listing=listing)
        return out

    def viewers(self, count: int, seed: int, *, at_least: int = 25) -> list[Viewer]:
        """Users with that many films or more, drawn without repetition."""
        found = [viewer for viewer in self._viewers() if len(viewer.liked) >= at_least]
        places = np.random.Generator(np.random.PCG64(seed)).permutation(len(found))[:count]
        return [found[place] for place in places]

    def _viewers(self) -> list[Viewer]:
        interactions = positives(self.dataset.interactions, 3.5)
        ids = self.dataset.catalogue.item_ids
        order = np.lexsort((interactions.timestamp, interactions.user))
        films: list[list[str]] = [[] for _ in interactions.users]
        for user, item in zip(interactions.user[order].tolist(), interactions.item[order].tolist(), strict=True):
            films[user].append(ids[item])
        return [Viewer(tuple(each)) for each in films]

    def _train_ranker(self, out: Path) -> None:
        """Does the user go on to like the film: films they did against others, drawn as popular as those are."""
        import lightgbm

        generator = np.random.Generator(np.random.PCG64(3))
        popular = [film for viewer in self._viewers() for film in viewer.liked]
        rows, likes, groups = [], [], []
        for viewer in self.viewers(_TRAINED_USERS, seed=1):
            known = Viewer(viewer.liked[:-6])
            asked = [*viewer.liked[-6:], *(popular[at] for at in generator.integers(len(popular), size=_ASKED - 6))]
            events = [_replayed(event, place) for place, event in enumerate(known.events(), start=1)]
            rows += replay_profile(self.program, events, [Label(NOW, 0, film) for film in asked])
            likes += [int(film in viewer.liked) for film in asked]
            groups.append(len(asked))
        places = feature_places(self.program)
        table = pd.DataFrame()
        for name in RANKER:
            place = places[name]
            start = 0 if place.of == "profile" else self.program.floats
            table[name] = [row.floats[start + place.index] for row in rows]
        ranker = lightgbm.LGBMRanker(
            n_estimators=200, num_leaves=15, learning_rate=0.05, min_child_samples=20, random_state=1, n_jobs=1,
            deterministic=True, verbose=-1,
        ).fit(table, likes, group=groups)  # fmt: skip
        recipe = TableRecipe(name="order", licence="CC0-1.0", rows=300, golden_rows=2)
        convert_model(ranker, out, recipe, targets=["onnx"], sample=table)


def capped(cap: int, diversity: str) -> ListPolicy:
    """A ranker's list under a cap for each genre, and made diverse."""
    return ListPolicy(ranker="order", category_cap=cap, diversity=Decimal(diversity))


def _replayed(event: Event, sequence: int) -> ReplayEvent:
    at = event.timestamp or 0
    return ReplayEvent(at, sequence, at, 0, 0, event.event, event.item_id, {}, {})


def shares(genres: Sequence[Sequence[str]], genre: str) -> float:
    """The share of a list's items that are of the genre."""
    return sum(genre in each for each in genres) / max(len(genres), 1)
