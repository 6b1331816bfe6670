"""Trains a LightGBM classifier: will this viewer do nothing for the next thirty days?"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_zoo.replays import Viewers, columns_of, training_table, zoo_program
from model_zoo.training import Report, write_recipe, write_report, write_rows
from nearhand_converters.data import Dataset, write_dataset
from nearhand_converters.errors import DataError

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
SESSION_GAP_MS = 6 * HOUR_MS


def train(dataset: Dataset, out: Path) -> Report:
    """Train, measure, and write everything that ``nearhand convert`` needs into the folder ``out``.

    Each label is a user some hours after the end of one of their sessions; whoever then does nothing for ``away_days``
    has left. Instants so near the end of the data that nobody can know are left out. For the measurement every user is
    predicted by a model that has not seen any label of theirs.

    Writes ``model.txt``, ``rows.parquet``, ``training.parquet``, the recipe, ``measured.json`` and the data set.

    Raises:
        DataError: everybody leaves, or nobody.
    """
    out.mkdir(parents=True, exist_ok=True)
    settings = tomllib.loads(write_recipe(__package__, out, dataset.licence).read_text(encoding="utf-8"))["train"]
    write_dataset(dataset, out)
    viewers = Viewers(dataset)
    labels = _labels(dataset, viewers, settings)
    if len(set(labels["left"])) < 2:
        problem = "nobody leaves, or everybody does"
        raise DataError(problem, place=f"data set {dataset.name!r}", remedy="give a longer time, or change away_days")
    program = zoo_program(dataset.catalogue, [0] * len(dataset.catalogue))  # no column of it is of an item
    table = training_table(viewers, program, labels, out / "training.parquet")
    rows, left = columns_of(table, settings["columns"]), table["left"].to_numpy()
    users = table["user"].to_numpy(zero_copy_only=False)

    booster = fit_churn(rows, left, settings)
    (out / "model.txt").write_text(booster.model_to_string(), encoding="utf-8")
    write_rows(out / "rows.parquet", settings["columns"], rows)
    measured = {"data": dataset.name, **measure(rows, left, users, settings)}
    said = [
        f"films-churn on {len(rows):,} instants of {measured['users']:,} users; after {measured['base_rate']:.0%} of "
        f"them nothing happened for {settings['away_days']} days",
        f"on users that were held out: AUC {_shown(measured['auc'])}, average precision "
        f"{_shown(measured['average_precision'])}; probabilities are off by "
        f"{measured['calibration_error']:.1%} on average",
    ]
    return write_report(Report(out, said, measured))


def fit_churn(rows: NDArray[np.float64], left: NDArray[Any], settings: Mapping[str, Any]) -> Any:
    """A LightGBM booster for the probability of 1.

    Args:
        rows: float64 [rows, columns].
        left: 0 or 1 for each.
    """
    import lightgbm

    parameters = {
        "objective": "binary",
        "num_leaves": settings["leaves"],
        "learning_rate": settings["learning_rate"],
        "min_data_in_leaf": settings["rows_per_leaf"],
        "lambda_l2": 5.0,
        "seed": settings["seed"],
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbose": -1,
    }
    data = lightgbm.Dataset(rows, left, feature_name=list(settings["columns"]), free_raw_data=False)
    return lightgbm.train(parameters, data, settings["trees"])


def measure(
    rows: NDArray[np.float64], left: NDArray[Any], users: NDArray[Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """How well users are predicted that the model does not know: in folds of users, with intervals over users."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    names, user = np.unique(users, return_inverse=True)
    random = np.random.Generator(np.random.PCG64(settings["seed"]))
    fold = random.permutation(len(names))[user] % settings["folds"]
    chance = np.empty(len(rows))
    for each in range(settings["folds"]):
        chance[fold == each] = fit_churn(rows[fold != each], left[fold != each], settings).predict(rows[fold == each])
    draws = [random.integers(0, len(names), len(names)) for _ in range(200)]
    weights = [np.bincount(drawn, minlength=len(names))[user] for drawn in draws]
    return {
        "users": len(names),
        "rows": len(rows),
        "base_rate": float(left.mean()),
        "auc": _interval(roc_auc_score, left, chance, weights),
        "average_precision": _interval(average_precision_score, left, chance, weights),
        "brier": float(np.mean((chance - left) ** 2)),
        "calibration_error": calibration_error(left, chance),
        "deciles": deciles(left, chance),
    }


def deciles(left: NDArray[Any], chance: NDArray[np.floating]) -> list[tuple[float, float]]:
    """Of ten parts of the rows, by their predicted probability: the mean of it, and the share that left."""
    parts = np.array_split(np.argsort(chance, kind="stable"), 10)
    return [(float(chance[part].mean()), float(left[part].mean())) for part in parts if len(part)]


def calibration_error(left: NDArray[Any], chance: NDArray[np.floating]) -> float:
    """The mean of what the predicted probability and the share that left differ by, over :func:`deciles`."""
    return float(np.mean([abs(said - found) for said, found in deciles(left, chance)]))


def _labels(dataset: Dataset, viewers: Viewers, settings: Mapping[str, Any]) -> dict[str, list[Any]]:
    random = np.random.Generator(np.random.PCG64(settings["seed"]))
    away_ms = settings["away_days"] * DAY_MS
    known_until = int(dataset.interactions.timestamp.max()) - away_ms
    users = random.permutation(len(dataset.interactions.users))[: settings["users"]]
    labels: dict[str, list[Any]] = {"user": [], "timestamp": [], "left": []}
    for user in np.sort(users).tolist():
        times = viewers.times(user)
        ends = np.flatnonzero(np.diff(times, append=np.iinfo(np.int64).max) > SESSION_GAP_MS)
        for end in np.sort(random.permutation(ends)[: settings["sessions"]]).tolist():
            following = int(times[end + 1]) if end + 1 < len(times) else None
            for hours in settings["asked_hours"]:
                at = int(times[end]) + hours * HOUR_MS
                if at > known_until or (following is not None and following <= at):
                    break
                labels["user"].append(user)
                labels["timestamp"].append(at)
                labels["left"].append(int(following is None or following > at + away_ms))
    return labels


def _interval(
    score: Any, left: NDArray[Any], chance: NDArray[np.float64], weights: list[NDArray[np.int64]]
) -> dict[str, float]:
    """With its 95 % percentile interval, over resamples of the users."""
    low, high = np.percentile([score(left, chance, sample_weight=weight) for weight in weights], [2.5, 97.5])
    return {"value": float(score(left, chance)), "low": float(low), "high": float(high)}


def _shown(numbers: Mapping[str, float]) -> str:
    return "{value:.3f} [{low:.3f}, {high:.3f}]".format(**numbers)
