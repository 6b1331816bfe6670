"""A small complete bundle for tests of serving: retrieval, a feature program, a ranker, predictors, list and decisions.

The films are those of :mod:`tests.tiny`: ``m_0`` … ``m_299``, film *r* of the genre ``taste (r mod 6)``. Here every
tenth one (``m_9``, ``m_19``, …) is for people from 16 on, and film *r* was added *r* days after :data:`FIRST_ADDED`.
The parts are built once per test run, in some seconds, and merged as ``nearhand merge`` does.

========== ========================================================================================================
``order``  ranker, LightGBM's lambdarank: does the user like the candidate. Reads ``match``, ``popularity``, ``year``,
           ``met`` (of the candidate), ``likes_30d``, ``latest.0`` (category), ``hour.0`` and ``context.device``
           (category: ``phone`` or ``tv``)
``churn``  predictor, LightGBM, binary: leaves (``yes``) who viewed little lately. Reads ``views_7d``, ``views_30d``,
           ``likes_30d``, ``idle_hours``
``blend``  ranker, LightGBM's regressor of drawn rows, in the place of ``order`` where a list names it. Reads ``match``,
           ``met`` (of the candidate) and ``retrieval.score``, which is missing in a fifth of its rows
``kind``   predictor, k-means with three clusters of ``views_30d`` and ``likes_30d``
========== ========================================================================================================
"""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nearhand.bundle import Archive, Items, parse, serialize, write_archive
from nearhand.bundle.manifest import Manifest
from nearhand.bundle.schema import MANIFEST_PATH, RuntimeName
from nearhand.bundle.serving import DecisionPolicy, Exploration, FrequencyCap, Freshness, Learning, ListPolicy, Rule
from nearhand.features import (
    CompiledProgram,
    FeatureVector,
    ItemTable,
    Label,
    ReplayEvent,
    compile_program,
    read_program,
    replay_profile,
)
from nearhand.ranking.feature_rows import feature_places
from nearhand.runtime import installed_runtimes
from nearhand_converters.door import convert_model
from nearhand_converters.merge import merge_bundles
from nearhand_converters.output import add_file
from nearhand_converters.pipeline import convert
from nearhand_converters.recipe import BudgetRecipe, HistoryRecipe, Recipe, TableRecipe
from tests import tiny

DAY_MS = 86_400_000
FIRST_ADDED = 1_600_000_000_000
NOW = 1_700_000_000_000
"""When the simulated users' labels are, ms."""
ADULT = 16
DEVICES = ("phone", "tv")

TASTES = [f"taste {taste}" for taste in range(tiny.TASTES)]
PROGRAM: dict[str, Any] = {
    "format": 1,
    "name": "tiny",
    "version": "1.0.0",
    "vocabularies": {"tastes": TASTES},
    "views": [
        {"op": "count", "name": "views_7d", "events": ["item_viewed"], "window": "7d"},
        {"op": "count", "name": "views_30d", "events": ["item_viewed"], "window": "30d"},
        {"op": "count", "name": "likes_30d", "events": ["item_liked"], "window": "30d"},
        {"op": "time_since", "name": "idle_hours", "events": ["item_viewed", "item_liked"], "default": 1000},
        {"op": "affinity", "name": "taste", "events": ["item_viewed", "item_liked", "item_disliked"],
         "of": "item.genres", "vocabulary": "tastes", "half_life": "60d",
         "weights": {"item_liked": 2, "item_disliked": -2}},
        {"op": "last_n", "name": "latest", "events": ["item_viewed", "item_liked"], "of": "item.genres", "n": 2,
         "encode": {"vocabulary": "tastes"}},
        {"op": "local_hour", "name": "hour", "encoding": "cyclic"},
        {"op": "item_affinity", "name": "match", "affinity": "taste"},
        {"op": "item", "name": "popularity", "of": "item.popularity"},
        {"op": "item", "name": "year", "of": "item.year", "default": 1990},
        {"op": "item_count", "name": "met", "events": ["item_viewed"]},
    ],
}  # fmt: skip

LISTING = ListPolicy(
    ranker="order",
    diversity=Decimal("0.2"),
    category="genres",
    category_cap=4,
    freshness=Freshness(weight=Decimal("0.1"), half_life_days=Decimal(30)),
    exploration=Exploration(temperature=Decimal("0.1"), candidates=20),
    learning=Learning(rewards={"item_clicked": Decimal(1), "item_liked": Decimal(2)}),
)
DECISIONS = (
    DecisionPolicy(
        name="retention",
        predictor="churn",
        rules=(
            Rule("remind", Decimal("0.5"), "likely to leave"),
            Rule("offer", Decimal("0.8"), "very likely to leave"),
        ),
        cooldown_days=Decimal(2),
        caps=(FrequencyCap(3, Decimal(30)),),
        holdout=Decimal("0.1"),
        exploration=Decimal("0.05"),
    ),
)


LABELS = {
    "views_7d": {"en": "films this week", "de": "Filme diese Woche"},
    "views_30d": {"en": "films this month", "de": "Filme diesen Monat"},
    "likes_30d": {"en": "likes this month", "de": "Likes diesen Monat"},
    "idle_hours": {"en": "the last visit", "de": "dem letzten Besuch"},
}


def serving_bundle(
    folder: Path, *, listing: ListPolicy | None = LISTING, decisions: Sequence[DecisionPolicy] = DECISIONS
) -> Path:
    """The bundle, as ``serving.nearhand`` in ``folder``. The same bytes each time; made once for each set of policies.

    Args:
        listing: None: the bundle has none, and a list is in the order of retrieval. Its ranker may be ``blend``.
        decisions: may name the predictor ``churn``.
    """
    made = _merged(_Policies(listing, tuple(decisions)))
    path = folder / "serving.nearhand"
    shutil.copyfile(made, path)
    return path


def part(name: str) -> Path:
    """One of the bundles to merge: ``tiny`` (retrieval and program), ``order``, ``blend``, ``churn`` or ``kind``."""
    if name == "blend":
        return _blend()
    return _parts() / f"{name}.nearhand"


def program() -> CompiledProgram:
    """The bundle's feature program, with its catalogue."""
    return _compiled(_parts())


class _Policies:
    """A key for the cache: a policy holds dictionaries, which have no hash."""

    def __init__(self, listing: ListPolicy | None, decisions: tuple[DecisionPolicy, ...]) -> None:
        self.listing = listing
        self.decisions = decisions
        self._text = repr((listing, decisions))

    def __hash__(self) -> int:
        return hash(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Policies) and self._text == other._text


@cache
def _merged(policies: _Policies) -> Path:
    ranker = (policies.listing and policies.listing.ranker) or "order"
    paths = [part(name) for name in ("tiny", ranker, "churn", "kind")]
    out = Path(tempfile.mkdtemp(dir=_parts())) / "serving.nearhand"
    merge_bundles(paths, out=out, listing=policies.listing, decisions=policies.decisions, labels=LABELS, name="serving")
    return out


@cache
def _parts() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="nearhand-serving-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _convert_retrieval(folder / "tiny.nearhand")
    _convert_models(folder)
    return folder


def _compiled(folder: Path) -> CompiledProgram:
    with Archive.open(folder / "tiny.nearhand") as archive:
        items = parse(Items, archive.read("items.json"), place="items.json")
        features = read_program(archive.read("features.json"), place="features.json")
    return compile_program(features, ItemTable.of_bundle(items))


def _convert_retrieval(path: Path) -> None:
    dataset = tiny._dataset()
    recipe = Recipe(
        name="tiny",
        licence="CC0-1.0",
        bootstrap_samples=20,
        golden_cases=4,
        features=read_program(json.dumps(PROGRAM).encode(), place="PROGRAM"),
        history=HistoryRecipe(window=tiny.WINDOW, verbs=tiny.VERBS),
        budget=BudgetRecipe(ndcg_change=-0.5, recall_change=-0.5, top10_overlap=0.9),
    )
    model = tiny._model(dataset.interactions)
    convert(model, dataset, recipe, path, targets=_targets(), precisions=["int8"])
    with Archive.open(path) as archive:
        files = {name: archive.read(name) for name in archive.entries}
    manifest = parse(Manifest, files.pop(MANIFEST_PATH), place=MANIFEST_PATH)
    items = replace(
        parse(Items, files["items.json"], place="items.json"),
        min_ages=tuple(ADULT if row % 10 == 9 else 0 for row in range(tiny.ITEMS)),
        added_at=tuple(FIRST_ADDED + row * DAY_MS for row in range(tiny.ITEMS)),
    )
    reference = replace(manifest.retrieval.items, file=add_file(files, "items.json", serialize(items)))
    write_archive(path, {MANIFEST_PATH: serialize(replace(manifest, items=reference)), **files})


def _convert_models(folder: Path) -> None:
    import lightgbm
    from sklearn.cluster import KMeans

    items, profiles = _training(_compiled(folder))
    settings: dict[str, Any] = {"n_estimators": 12, "num_leaves": 7, "n_jobs": 1, "verbose": -1, "random_state": 1,
                                "min_child_samples": 10, "deterministic": True}  # fmt: skip
    likes, groups = items.pop("likes"), items.pop("user")
    order = lightgbm.LGBMRanker(**settings).fit(items, likes, group=np.bincount(groups))
    leaves = profiles.pop("leaves")
    churn = lightgbm.LGBMClassifier(**settings).fit(profiles, np.where(leaves, "yes", "no"))
    numbers = profiles[["views_30d", "likes_30d"]].astype(np.float64)
    kind = KMeans(3, n_init=1, random_state=1).fit(numbers)
    for name, model, sample in (("order", order, items), ("churn", churn, profiles), ("kind", kind, numbers)):
        recipe = TableRecipe(name=name, licence="CC0-1.0", rows=300, golden_rows=4)
        convert_model(model, folder / f"{name}.nearhand", recipe, targets=_targets(), sample=sample)


@cache
def _blend() -> Path:
    import lightgbm

    generator = np.random.Generator(np.random.PCG64(6))
    rows = pd.DataFrame(
        {
            "match": generator.uniform(-1, 1, 2000),
            "met": generator.integers(0, 3, 2000),
            "retrieval.score": np.where(generator.random(2000) < 0.2, np.nan, generator.uniform(-0.2, 1.2, 2000)),
        }
    )
    target = 3 * rows["retrieval.score"].fillna(-1) + rows["match"] - 0.1 * rows["met"]
    model = lightgbm.LGBMRegressor(n_estimators=40, n_jobs=1, verbose=-1, random_state=1, deterministic=True)
    recipe = TableRecipe(name="blend", role="ranker", licence="CC0-1.0", rows=300, golden_rows=4)
    path = _parts() / "blend.nearhand"
    convert_model(model.fit(rows, target), path, recipe, targets=_targets(), sample=rows)
    return path


ORDER = ("match", "popularity", "year", "met", "likes_30d", "latest.0", "hour.0")
CHURN = ("views_7d", "views_30d", "likes_30d", "idle_hours")
_USERS, _ASKED = 120, 8


def _training(compiled: CompiledProgram) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What simulated users had done, and then: whether they like a film; whether they leave."""
    generator = np.random.Generator(np.random.PCG64(5))
    rows: list[FeatureVector] = []
    likes: list[int] = []
    devices: list[str] = []
    leaves = []
    for user in range(_USERS):
        own = [row for row in range(tiny.ITEMS) if tiny.taste_of(row) == user % tiny.TASTES]
        leaving = user % 3 == 0
        events = _events(generator, own, leaving=leaving)
        asked = [*generator.choice(own, _ASKED // 2), *generator.choice(tiny.ITEMS, _ASKED // 2)]
        device = DEVICES[user % 2]
        labels = [Label(NOW + user * 3_600_000, 60, f"m_{row}", {"device": device}) for row in asked]
        rows += replay_profile(compiled, events, labels)
        noise = generator.random(_ASKED) < 0.1
        likes += [int((row in own) != odd) for row, odd in zip(asked, noise, strict=True)]
        devices += [device] * _ASKED
        leaves.append(leaving)
    table = {name: _column(compiled, name, rows) for name in dict.fromkeys((*ORDER, *CHURN))}
    items = pd.DataFrame({name: table[name] for name in ORDER})
    items["latest.0"] = pd.Categorical(items["latest.0"])
    items["context.device"] = pd.Categorical(devices, DEVICES)
    items["likes"], items["user"] = likes, np.repeat(np.arange(_USERS), _ASKED)
    profiles = pd.DataFrame({name: table[name][::_ASKED] for name in CHURN})
    profiles["leaves"] = leaves
    return items, profiles


def _events(generator: np.random.Generator, own: list[int], *, leaving: bool) -> list[ReplayEvent]:
    """Some weeks of one user: mostly films of the own taste, and likes of these; who leaves has lately come less."""
    count = int(generator.integers(4, 9) if leaving else generator.integers(12, 30))
    ages = np.sort(generator.uniform(6 if leaving else 0, 35, count))[::-1]
    events: list[ReplayEvent] = []

    def add(event: str, row: int, at: int) -> None:
        events.append(ReplayEvent(at, len(events) + 1, at, 60, 0, event, f"m_{row}", {}, {}))

    for age in ages.tolist():
        fits = generator.random() < 0.8
        row = int(generator.choice(own) if fits else generator.integers(tiny.ITEMS))
        at = NOW - 1000 - round(age * DAY_MS)
        add("item_viewed", row, at)
        if generator.random() < 0.5:
            add("item_liked" if row in own else "item_disliked", row, at + 1)
    return events


def _column(compiled: CompiledProgram, name: str, rows: Sequence[FeatureVector]) -> NDArray[Any]:
    """Of a replay, whose vectors have the candidate's places behind the profile's."""
    place = feature_places(compiled)[name]
    before = 0 if place.of == "profile" else compiled.floats if place.dtype == "float32" else compiled.ints
    whole = [row.floats if place.dtype == "float32" else row.ints for row in rows]
    return np.array(whole)[:, before + place.index]


def _targets() -> list[RuntimeName]:
    return [name for name in installed_runtimes() if name != "ort"]
