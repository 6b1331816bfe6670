"""Trains what a server ranks with: a wider retrieval model, and a ranker that tells today's taste from the lasting one.

It orders the candidates that a device retrieved, and reads what a device sends: the history with its confidences, and
features of the profile. Those of candidates are made of them here as the server makes them.
"""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from model_zoo.films_als.train import fit_als
from model_zoo.films_als.train import train as train_als
from model_zoo.films_ranker import train as ranker
from model_zoo.films_ranker.train import Asked
from model_zoo.replays import Viewers, zoo_program
from model_zoo.training import Report, write_recipe, write_report, write_rows
from nearhand.bundle.schema import Policy
from nearhand.features import CompiledProgram, FeatureFold
from nearhand.ranking import RETRIEVAL_SCORE, SentFeatures, feature_places
from nearhand.retrieval import HistoryFold
from nearhand_converters.data import Dataset, Split, temporal_split, write_dataset
from nearhand_converters.parity.ranking import Bootstrap, Targets
from nearhand_converters.parity.source import SourceModel
from nearhand_converters.recipe import read_recipe
from nearhand_converters.sources.factors import FactorModel, read_factors

RETRIEVAL = "als"
"""The folder of the retrieval model, in that of the whole."""


def train(dataset: Dataset, out: Path) -> Report:
    """Train, measure, and write everything that ``nearhand convert`` needs into ``out``, and into ``out / "als"``.

    What is held out, and what is learned from, is as films-ranker has it; so are the candidates, those of a device.

    Raises:
        DataError: too little is positive.
    """
    out.mkdir(parents=True, exist_ok=True)
    settings = tomllib.loads(write_recipe(__package__, out, dataset.licence).read_text(encoding="utf-8"))["train"]
    write_dataset(dataset, out)
    train_als(dataset, out / RETRIEVAL, {"factors": settings["factors"], "name": "films-heavy"})
    with threadpool_limits(1, "blas"):  # matrices are small here, and one thread gives the same bytes everywhere
        return _train(dataset, out, settings)


def _train(dataset: Dataset, out: Path, settings: Mapping[str, Any]) -> Report:
    liked = ranker.likes_of(dataset)
    earlier = temporal_split(liked.train)
    viewers = Viewers(dataset)
    asked = ranker.asked_users(dataset, earlier, viewers, settings["users"])
    program = ranker.scaled_program(dataset, earlier, liked)
    policy, trained = _retrieval(out / RETRIEVAL)
    factors = fit_als(earlier.train, len(dataset.catalogue), trained).item_factors.astype(np.float64)
    model = FactorModel(factors, trained["regularization"], trained["alpha"], "")
    source = CandidateRows(dataset, model, policy, viewers, program, settings["columns"])
    parts = [(each, source.rows(each)) for each in asked if np.isin(each.pool.rows, each.targets).any()]
    rows = np.concatenate([part for _, part in parts])
    chosen = np.concatenate([np.isin(each.pool.rows, each.targets) for each, _ in parts]).astype(int)
    users = [str(each.user) for each, _ in parts for _ in each.pool.rows]
    booster = ranker.fit_ranker(rows, chosen, users, settings)
    (out / "model.txt").write_text(booster.model_to_string(), encoding="utf-8")
    write_rows(out / "rows.parquet", settings["columns"], rows)

    with tempfile.TemporaryDirectory() as folder:
        own, _ = ranker.learn(dataset, viewers, program, asked, _device_settings(), Path(folder))
    measured = _measure(dataset, liked, viewers, booster, own, settings, out / RETRIEVAL)
    said = [
        f"films-heavy on {len(rows):,} candidates of {len(parts):,} users, as of the instants before their last likes",
        f"NDCG@10 on what {measured['users']:,} users liked later: {ranker.shown(measured['heavy'])}; by the device's "
        f"ranker {ranker.shown(measured['device'])}; change {ranker.shown(measured['change'], '{:+.1%}')}",
    ]
    return write_report(Report(out, said, measured))


@dataclass(frozen=True)
class _History:
    rows: NDArray[np.int32]
    confidences: NDArray[np.float64]

    def latest(self, count: int | None) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """The latest items, or all."""
        start = 0 if count is None else -count
        return self.rows[start:], self.confidences[start:]


class CandidateRows:
    """Makes the rows of candidates as the server does, from what may be learned."""

    def __init__(
        self,
        dataset: Dataset,
        model: FactorModel,
        policy: Policy,
        viewers: Viewers,
        program: CompiledProgram,
        columns: Sequence[str],
    ) -> None:
        """
        Args:
            model: of retrieval.
            policy: how a history is made of events.
        """
        self._model = SourceModel(model)
        self._policy = policy
        self._viewers = viewers
        self._item_ids = dataset.catalogue.item_ids
        self._rows = {item_id: row for row, item_id in enumerate(self._item_ids)}
        self._program = program
        self._places = feature_places(program)
        self._columns = columns
        self._sent = SentFeatures.read_by(program, columns)

    def rows(self, asked: Asked) -> NDArray[np.float64]:
        """float64 [candidates, columns]."""
        events = self._viewers.events(asked.user, asked.before)
        fold = FeatureFold(self._program)
        for event in events:
            fold.offer(event)
        vector = self._sent.vector(self._sent.of(fold.read(asked.before)))
        candidates = self._sent.candidates(vector, [self._item_ids[row] for row in asked.pool.rows.tolist()])
        folded = HistoryFold(self._policy, self._rows)
        folded.fold(events)
        items = folded.history().items
        history = _History(
            np.array([item.row for item in items], np.int32), np.array([item.confidence for item in items])
        )
        rows = np.empty((len(asked.pool.rows), len(self._columns)))
        for to, name in enumerate(self._columns):
            if name.startswith(RETRIEVAL_SCORE):
                count = name.removeprefix(RETRIEVAL_SCORE).removeprefix(".")
                rows[:, to] = self._model.scores(*history.latest(int(count) if count else None), asked.pool.rows)
                continue
            place = self._places[name]
            features = candidates if place.of == "item" else vector
            values = features.floats if place.dtype == "float32" else features.ints
            rows[:, to] = values[..., place.index]
        return rows


def _retrieval(folder: Path) -> tuple[Policy, dict[str, Any]]:
    """The history's policy, and how the retrieval model in a folder is trained."""
    path = folder / "recipe.toml"
    settings = tomllib.loads(path.read_text(encoding="utf-8"))["train"]
    return read_recipe(path).policy(settings["alpha"]), settings


def _measure(
    dataset: Dataset,
    liked: Split,
    viewers: Viewers,
    booster: Any,
    own: Any,
    settings: Mapping[str, Any],
    retrieval: Path,
) -> dict[str, Any]:
    """NDCG@10 on what users liked later, of a device's candidates by this model and by the device's own ranker."""
    program = zoo_program(dataset.catalogue, ranker.popularity_of(dataset, liked).astype(int).tolist())
    policy, _ = _retrieval(retrieval)
    model = read_factors(retrieval / "model.npz")
    source = CandidateRows(dataset, model, policy, viewers, program, settings["columns"])
    asked = ranker.asked_users(dataset, liked, viewers, settings["users"])
    columns = _device_settings()["columns"]
    orders: dict[str, list[NDArray[np.int32]]] = {"heavy": [], "device": []}
    for each in asked:
        orders["heavy"].append(ranker.ordered(each.pool, booster.predict(source.rows(each))))
        rows = ranker.candidate_rows(program, viewers, dataset.catalogue.item_ids, each, columns)
        orders["device"].append(ranker.ordered(each.pool, own.predict(rows)))
    targets = Targets([each.targets for each in asked], len(dataset.catalogue))
    found = {name: ranker.ndcg_of(lists, targets) for name, lists in orders.items()}
    bootstrap = Bootstrap(len(asked), 2000)
    estimates = {name: bootstrap.mean(ndcg) for name, ndcg in found.items()}
    estimates["change"] = bootstrap.relative_change(found["heavy"], found["device"])
    return {
        "data": dataset.name,
        "users": len(asked),
        **{name: ranker.numbers_of(estimate) for name, estimate in estimates.items()},
    }


def _device_settings() -> dict[str, Any]:
    """How films-ranker is trained, the device's own."""
    recipe = (resources.files("model_zoo.films_ranker") / "recipe.toml").read_text(encoding="utf-8")
    settings: dict[str, Any] = tomllib.loads(recipe)["train"]
    return settings
