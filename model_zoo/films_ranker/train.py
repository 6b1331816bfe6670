"""Trains a LightGBM ranker: which of the candidates did a user go on to like?"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from model_zoo.films_als.train import fit_als
from model_zoo.films_ranker.candidates import CandidateSource, Pool
from model_zoo.replays import Viewers, columns_of, training_table, zoo_program
from model_zoo.training import Report, write_recipe, write_report, write_rows
from nearhand.bundle.schema import Estimate
from nearhand.features import CompiledProgram, FeatureFold
from nearhand.ranking import RETRIEVAL_SCORE, feature_places
from nearhand_converters.data import Dataset, Split, positives, temporal_split, write_dataset
from nearhand_converters.errors import DataError
from nearhand_converters.parity.ranking import Bootstrap, Rankings, Targets, ndcg_at
from nearhand_converters.recipe import read_recipe
from nearhand_converters.sources.factors import FactorModel


@dataclass(frozen=True)
class Asked:
    """A user at the instant after which they liked something that is held out.

    Attributes:
        before: ms; what was recorded from then on is not known.
        targets: the item rows that they went on to like.
    """

    user: int
    before: int
    targets: NDArray[np.int32]
    pool: Pool


def train(dataset: Dataset, out: Path) -> Report:
    """Train, measure, and write everything that ``nearhand convert`` needs into the folder ``out``.

    What a user liked last is held out for the measurement, as films-als holds it out; of the rest the last likes are
    what the ranker learns from, with the candidates of a retrieval model that does not know them, and its scores.

    Writes ``model.txt``, ``rows.parquet`` (rows of the training table), ``training.parquet`` (the table), the recipe,
    ``measured.json`` and the data set.

    Raises:
        DataError: too little is positive.
    """
    out.mkdir(parents=True, exist_ok=True)
    settings = tomllib.loads(write_recipe(__package__, out, dataset.licence).read_text(encoding="utf-8"))["train"]
    write_dataset(dataset, out)
    with threadpool_limits(1, "blas"):  # matrices are small here, and one thread gives the same bytes everywhere
        return _train(dataset, out, settings)


def _train(dataset: Dataset, out: Path, settings: Mapping[str, Any]) -> Report:
    liked = likes_of(dataset)
    earlier = temporal_split(liked.train)
    viewers = Viewers(dataset)

    asked = asked_users(dataset, earlier, viewers, settings["users"])
    booster, rows = learn(dataset, viewers, scaled_program(dataset, earlier, liked), asked, settings, out)
    (out / "model.txt").write_text(booster.model_to_string(), encoding="utf-8")
    write_rows(out / "rows.parquet", settings["columns"], rows)

    measured = measure(dataset, liked, viewers, booster, settings)
    said = [
        f"films-ranker on {len(rows):,} candidates of {len(asked):,} users, as of the instants before their last likes",
        f"NDCG@10 on what {measured['users']:,} users liked later: {shown(measured['ranker'])}; by retrieval alone "
        f"{shown(measured['retrieval'])}; change {shown(measured['change'], '{:+.1%}')}",
    ]
    return write_report(Report(out, said, measured))


def learn(
    dataset: Dataset,
    viewers: Viewers,
    program: CompiledProgram,
    asked: list[Asked],
    settings: Mapping[str, Any],
    out: Path,
) -> tuple[Any, NDArray[np.float64]]:
    """The booster that learns from these users, and its rows; the table of them goes to ``out``."""
    labels = _labels(dataset, asked, settings)
    table = training_table(viewers, program, labels, out / "training.parquet")
    rows = columns_of(table, settings["columns"])
    return fit_ranker(rows, table["liked"].to_numpy(), table["user"].to_pylist(), settings), rows


def fit_ranker(rows: NDArray[np.float64], liked: NDArray[Any], users: list[str], settings: Mapping[str, Any]) -> Any:
    """A LightGBM booster that gives what will be liked higher scores.

    Args:
        rows: float64 [rows, columns], those of one user one after the other.
        liked: 0 or 1 for each.
        users: whose row it is.
    """
    import lightgbm

    starts = [place for place in range(len(users)) if place == 0 or users[place] != users[place - 1]]
    data = lightgbm.Dataset(
        rows, liked, group=np.diff([*starts, len(users)]), feature_name=list(settings["columns"]), free_raw_data=False
    )
    parameters = {
        "objective": settings["objective"],
        "num_leaves": settings["leaves"],
        "learning_rate": settings["learning_rate"],
        "min_data_in_leaf": settings["rows_per_leaf"],
        "lambda_l2": 5.0,
        "feature_fraction": 0.7,
        "bagging_fraction": settings.get("bagging", 1.0),
        "bagging_freq": 1 if "bagging" in settings else 0,
        "seed": settings["seed"],
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbose": -1,
    }
    return lightgbm.train(parameters, data, settings["trees"])


def measure(
    dataset: Dataset, liked: Split, viewers: Viewers, booster: Any, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """NDCG@10 on what users liked later, of the candidates by the ranker and by retrieval, as a device orders them."""
    asked = asked_users(dataset, liked, viewers, settings["users"])
    popularity = popularity_of(dataset, liked)
    program = zoo_program(dataset.catalogue, popularity.astype(int).tolist())
    rows, sizes = [], []
    for each in asked:
        rows.append(candidate_rows(program, viewers, dataset.catalogue.item_ids, each, settings["columns"]))
        sizes.append(len(each.pool.rows))
    scores = np.split(booster.predict(np.concatenate(rows)), np.cumsum(sizes)[:-1])
    targets = Targets([each.targets for each in asked], len(dataset.catalogue))
    found = {
        "retrieval": ndcg_of([each.pool.rows[: each.pool.retrieved] for each in asked], targets),
        "ranker": ndcg_of([ordered(each.pool, own) for each, own in zip(asked, scores, strict=True)], targets),
    }
    bootstrap = Bootstrap(len(asked), 2000)
    estimates = {name: bootstrap.mean(ndcg) for name, ndcg in found.items()}
    estimates["change"] = bootstrap.relative_change(found["ranker"], found["retrieval"])
    return {
        "data": dataset.name,
        "users": len(asked),
        "candidates": float(np.mean(sizes)),
        **{name: numbers_of(estimate) for name, estimate in estimates.items()},
    }


def candidate_rows(
    program: CompiledProgram, viewers: Viewers, item_ids: tuple[str, ...], asked: Asked, columns: list[str]
) -> NDArray[np.float64]:
    """The rows of a user's candidates, float64 [n, columns], as the device makes them: all at once."""
    fold = FeatureFold(program)
    for event in viewers.events(asked.user, asked.before):
        fold.offer(event)
    vector = fold.read(asked.before)
    candidates = fold.candidates(asked.before, [item_ids[row] for row in asked.pool.rows.tolist()])
    places = feature_places(program)
    rows = np.empty((len(asked.pool.rows), len(columns)))
    for to, name in enumerate(columns):
        if name == RETRIEVAL_SCORE:
            rows[:, to] = asked.pool.scores
            continue
        place = places[name]
        features = candidates if place.of == "item" else vector
        values = features.floats if place.dtype == "float32" else features.ints
        rows[:, to] = values[..., place.index]
    return rows


def likes_of(dataset: Dataset) -> Split:
    """What is positive, the last of each user held out, as films-als holds it out."""
    recipe = resources.files("model_zoo.films_als") / "recipe.toml"
    with resources.as_file(recipe) as path:
        return temporal_split(positives(dataset.interactions, read_recipe(path).minimum_rating))


def scaled_program(dataset: Dataset, earlier: Split, liked: Split) -> CompiledProgram:
    """The feature program as of the earlier split.

    Popularity is counted on fewer likes than a bundle's: it is brought to the same scale, so that thresholds mean the
    same there.
    """
    scaled = popularity_of(dataset, earlier) * (len(liked.train) / len(earlier.train))
    return zoo_program(dataset.catalogue, np.rint(scaled).astype(np.int64).tolist())


def asked_users(dataset: Dataset, split: Split, viewers: Viewers, most: int) -> list[Asked]:
    """Users with something held out and a history before it, at most so many.

    Raises:
        DataError: there is none.
    """
    found = list(_asked(dataset, split, viewers, most))
    if not found:
        raise DataError("no user has enough likes", place=f"data set {dataset.name!r}", remedy="give more interactions")
    return found


def _asked(dataset: Dataset, split: Split, viewers: Viewers, most: int) -> Iterator[Asked]:
    with resources.as_file(resources.files("model_zoo.films_als") / "recipe.toml") as path:
        recipe = read_recipe(path)
        settings = tomllib.loads(path.read_text(encoding="utf-8"))["train"]
    trained = fit_als(split.train, len(dataset.catalogue), settings)
    model = FactorModel(trained.item_factors.astype(np.float64), settings["regularization"], settings["alpha"], "")
    source = CandidateSource(model, recipe.policy(model.alpha), viewers, dataset.catalogue.item_ids)
    popularity = popularity_of(dataset, split)
    users = np.unique(split.held_out.user)
    if len(users) > most:
        users = np.sort(np.random.Generator(np.random.PCG64(0)).choice(users, most, replace=False))
    for user in users.tolist():
        own = split.held_out.user == user
        before = int(split.held_out.timestamp[own].min())
        pool = source.pool(user, before, popularity)
        if pool is not None:
            yield Asked(user, before, np.unique(split.held_out.item[own]), pool)


def popularity_of(dataset: Dataset, split: Split) -> NDArray[np.float64]:
    """How many of the positive interactions that may be learned from each item has."""
    return np.bincount(split.train.item, minlength=len(dataset.catalogue)).astype(np.float64)


def _labels(dataset: Dataset, asked: list[Asked], settings: Mapping[str, Any]) -> dict[str, list[Any]]:
    """For each user the candidates that they liked next, and some that they did not, with their retrieval scores."""
    random = np.random.Generator(np.random.PCG64(settings["seed"]))
    labels: dict[str, list[Any]] = {"user": [], "timestamp": [], "item_id": [], "liked": [], RETRIEVAL_SCORE: []}
    for each in asked:
        rows = each.pool.rows
        is_liked = np.isin(rows, each.targets)
        others = np.flatnonzero(~is_liked)
        drawn = random.choice(others, min(settings["negatives"], len(others)), replace=False)
        chosen = np.sort(np.concatenate([np.flatnonzero(is_liked), drawn]))
        if not is_liked.any():
            continue
        labels["user"] += [each.user] * len(chosen)
        labels["timestamp"] += [each.before] * len(chosen)
        labels["item_id"] += [dataset.catalogue.item_ids[row] for row in rows[chosen].tolist()]
        labels["liked"] += is_liked[chosen].astype(int).tolist()
        labels[RETRIEVAL_SCORE] += each.pool.scores[chosen].tolist()
    return labels


def ordered(pool: Pool, scores: NDArray[np.float64]) -> NDArray[np.int32]:
    """The candidates by their scores, best first."""
    return pool.rows[np.lexsort((pool.rows, -scores))]


def ndcg_of(orders: list[NDArray[np.int32]], targets: Targets) -> NDArray[np.float64]:
    """NDCG@10 of each user's list."""
    rankings: Rankings = np.full((len(orders), 10), -1, np.int32)
    for user, order in enumerate(orders):
        rankings[user, : min(10, len(order))] = order[:10]
    return ndcg_at(10, targets.hits(rankings), targets.counts)


def numbers_of(estimate: Estimate) -> dict[str, float]:
    """An estimate for a report."""
    return {"value": float(estimate.value), "low": float(estimate.low), "high": float(estimate.high)}


def shown(numbers: Mapping[str, float], form: str = "{:.4f}") -> str:
    """An estimate for people."""
    value, low, high = (form.format(numbers[name]) for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"
