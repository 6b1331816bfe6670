"""The recipe: everything the engineer decides about a bundle, as one TOML file or its defaults."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from nearhand.bundle.document import decode
from nearhand.bundle.fields import join
from nearhand.bundle.schema import Budget, Policy, RuntimeName, semantic_version
from nearhand.bundle.serving import DecisionPolicy, ListPolicy
from nearhand.bundle.tables import TableRole
from nearhand.events import EventSchema, check_event_types
from nearhand.features import Program, read_program
from nearhand_converters.errors import DataError
from nearhand_converters.graph.inputs import Lowering

_STRENGTHS = {
    "item_viewed": 1.0,
    "item_clicked": 0.5,
    "item_saved": 1.5,
    "item_liked": 2.0,
    "item_purchased": 2.0,
    "item_disliked": -1.5,
}
_VERBS = {
    "item_viewed": "viewed",
    "item_clicked": "looked at",
    "item_saved": "saved",
    "item_liked": "liked",
    "item_purchased": "bought",
    "item_disliked": "disliked",
}
_NAME = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")  # as in the manifest's schema
_SEEN = ("item_disliked", "item_liked", "item_purchased", "item_viewed", "recommendation_dismissed")


@dataclass(frozen=True)
class HistoryRecipe:
    """How events become the encoder's history.

    Attributes:
        window: length of the encoder's history input.
        strengths: event type → how many interactions of the training data one such event counts for; times the
            model's alpha it is the event's confidence. Negative for a dislike; 0 leaves the type out.
        strength_cap: the largest magnitude of an item's summed strength.
        verbs: event type → past-tense verb of explanations.
        seen: event types after which an item is not recommended again.
    """

    window: int = 256
    strengths: Mapping[str, float] = field(default_factory=lambda: dict(_STRENGTHS))
    strength_cap: float = 5.0
    verbs: Mapping[str, str] = field(default_factory=lambda: dict(_VERBS))
    seen: tuple[str, ...] = _SEEN


@dataclass(frozen=True)
class BudgetRecipe:
    """What a variant may lose against the source model; see :class:`nearhand.bundle.schema.Budget`."""

    ndcg_change: float = -0.02
    recall_change: float = -0.02
    top10_overlap: float = 0.97
    user_vector_error: float = 1e-5


@dataclass(frozen=True)
class Recipe:
    """What to build.

    Attributes:
        licence: of the bundle; empty: that of the data it is trained on, which usually binds what is made of it.
        minimum_rating: interactions rated at least this are positive; where the data has no ratings all are.
        interaction_event: the event type that an interaction of the training data corresponds to.
        candidates: how many candidates the device retrieves beyond those it filters out; at least 100.
        bootstrap_samples: resamples of the users for the intervals.
        golden_cases: histories whose lists every device must reproduce.
        event_types: the types of the app's own, beside :data:`nearhand.events.EVENT_TYPES`, and what each needs.
        features: the feature program; a recipe names its file, relative to its own.
        listing: how a list is made of the candidates; a recipe says it in its ``[listing]`` table. It names no ranker,
            because a bundle has one only after ``nearhand merge``.
    """

    name: str = "model"
    version: str = "1.0.0"
    licence: str = ""
    minimum_rating: float | None = None
    interaction_event: str = "item_viewed"
    candidates: int = 100
    bootstrap_samples: int = 2000
    golden_cases: int = 16
    event_types: Mapping[str, EventSchema] = field(default_factory=dict)
    features: Program | None = None
    history: HistoryRecipe = field(default_factory=HistoryRecipe)
    budget: BudgetRecipe = field(default_factory=BudgetRecipe)
    listing: ListPolicy | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"name {self.name!r} is not lowercase words joined by '-' or '_'")
        semantic_version(self.version)
        for setting, value in (
            ("bootstrap_samples", self.bootstrap_samples),
            ("golden_cases", self.golden_cases),
            ("history.window", self.history.window),
        ):
            if value < 1:
                raise ValueError(f"{setting} is {value}, not at least 1")
        if not self.history.strength_cap > 0:
            raise ValueError(f"history.strength_cap is {self.history.strength_cap}, not positive")
        if self.candidates < 100:
            raise ValueError("candidates must be at least 100: integer scores alone do not order a shorter list")
        if self.history.strengths.get(self.interaction_event) != 1.0:
            raise ValueError(f"interaction_event {self.interaction_event!r} does not have the strength 1.0")
        if missing := sorted(set(self.history.strengths) - set(self.history.verbs)):
            raise ValueError(f"event type {missing[0]!r} has a strength but no verb")
        check_event_types(self.event_types, {*self.history.seen, *self.history.verbs})
        if self.features is not None:
            check_event_types(self.event_types, self.features.event_types)
        if self.listing is not None and self.listing.ranker is not None:
            raise ValueError(f"listing.ranker is {self.listing.ranker!r}, and a retrieval model alone has no ranker")
        if self.listing is not None and self.listing.learning is not None:
            check_event_types(self.event_types, self.listing.learning.rewards)

    def policy(self, alpha: float) -> Policy:
        """The device's policy for a model trained with ``alpha``."""
        return Policy(
            window=self.history.window,
            confidences={
                event: _decimal(strength * alpha)
                for event, strength in sorted(self.history.strengths.items())
                if strength != 0
            },
            confidence_cap=_decimal(self.history.strength_cap * alpha),
            seen=tuple(sorted(self.history.seen)),
            candidates=self.candidates,
            verbs=dict(self.history.verbs),
        )

    def budgets(self) -> Budget:
        """The budget as it stands in the manifest."""
        return Budget(**{f.name: _decimal(getattr(self.budget, f.name)) for f in fields(self.budget)})


@dataclass(frozen=True)
class Serving:
    """How a bundle is served.

    Attributes:
        listing: how a list is made of the candidates.
        decisions: what the app may ask to be decided.
        labels: feature → language → what people call it, for explanations of predictions.
    """

    listing: ListPolicy | None = None
    decisions: tuple[DecisionPolicy, ...] = ()
    labels: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class TableRecipe:
    """What to build of a ranker or a predictor.

    Attributes:
        name: of the model and of the bundle.
        role: ``ranker`` or ``predictor``; empty: as the model's task says.
        lowering: how trees are written for the onnx and ort targets: ``operator``, one TreeEnsemble operator, or
            ``ranks``, plain operators, as for tflite, which has no other.
        inputs: what the device gives the model: ``auto``: ranks where a number that is rounded to float32 could reach
            another leaf than in the original, else the numbers; ``values``: the numbers in any case.
        rows: how many rows are made from the model for the comparison with the original.
        golden_rows: rows whose answers every device must reproduce.
    """

    name: str = "model"
    version: str = "1.0.0"
    licence: str = ""
    role: TableRole | Literal[""] = ""
    lowering: Lowering = "operator"
    inputs: Literal["auto", "values"] = "auto"
    rows: int = 10_000
    golden_rows: int = 16

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"name {self.name!r} is not lowercase words joined by '-' or '_'")
        semantic_version(self.version)
        for setting, value, choices in (
            ("role", self.role, ("", *get_args(TableRole))),
            ("lowering", self.lowering, get_args(Lowering)),
            ("inputs", self.inputs, ("auto", "values")),
        ):
            if value not in choices:
                raise ValueError(f"{setting} {value!r} is not one of {', '.join(filter(None, choices))}")
        for setting, number in (("rows", self.rows), ("golden_rows", self.golden_rows)):
            if not 1 <= number <= _LARGEST:
                raise ValueError(f"{setting} is {number}, not from 1 to {_LARGEST:,}")

    def lowering_for(self, target: RuntimeName) -> Lowering:
        """How trees are written for a target."""
        return "ranks" if target == "tflite" else self.lowering


def read_recipe(path: Path) -> Recipe:
    """The ``[bundle]`` and the ``[listing]`` table of a recipe file; how the model is trained is not ours to read.

    Raises:
        DataError: the file is missing, is not TOML, or has an unknown key or a value of the wrong type; or it has
            ``[[decisions]]``, which need a predictor.
        ProgramError: the feature program that it names is malformed.
    """
    table, place = _bundle_table(path)
    features = _features(path.parent, table.pop("features", None), f"{place}.features")
    serving = _serving(path, tuple(_SERVING))
    if serving.decisions:
        problem = f"is {serving.decisions[0].predictor!r}, and a retrieval model alone has no predictor"
        raise DataError(problem, place=f"{path.name}: decisions[0].predictor", remedy=_TO_MERGE)
    if serving.listing is not None and serving.listing.ranker is not None:
        problem = f"is {serving.listing.ranker!r}, and a retrieval model alone has no ranker"
        raise DataError(problem, place=f"{path.name}: listing.ranker", remedy=_TO_MERGE)
    recipe: Recipe = _build(Recipe(), table, place, features=features, listing=serving.listing)
    return recipe


def read_table_recipe(path: Path, default: TableRecipe) -> TableRecipe:
    """The ``[bundle]`` table of a recipe file for a ranker or a predictor, in place of what ``default`` says.

    Raises:
        DataError: the file is missing, is not TOML, or has an unknown key or a value of the wrong type; or it says how
            the bundle is served.
    """
    table, place = _bundle_table(path)
    if odd := next((name for name in _SERVING if name in _read_toml(path)), None):
        problem = "is not for a ranker or a predictor alone"
        raise DataError(problem, place=f"{path.name}: {odd}", remedy=_TO_MERGE)
    recipe: TableRecipe = _build(default, table, place)
    return recipe


def read_serving(path: Path) -> Serving:
    """``[listing]``, ``[[decisions]]`` and ``[labels]`` of a TOML file, which has nothing else.

    Raises:
        DataError: the file is missing, is not TOML, or has an unknown key or a value that the schema of
            :mod:`nearhand.bundle.serving` refuses; names its path.
    """
    return _serving(path)


_SERVING = ("listing", "decisions")
_TO_MERGE = "give it to `nearhand merge` with --serving"


def _serving(path: Path, only: tuple[str, ...] | None = None) -> Serving:
    """A file's parts of :class:`Serving`.

    Args:
        only: the tables that are read; None: all, and an unknown one is refused.
    """
    document = _read_toml(path, Decimal)
    chosen = document if only is None else {name: document[name] for name in only if name in document}
    place = f"{path.name}: "
    serving: Serving = decode(Serving, _as_json(Serving, chosen, place), place=place, refuse=_refuse)
    return serving


def _as_json(kind: Any, value: Any, place: str) -> Any:
    """TOML's values as :func:`nearhand.bundle.document.decode` takes them: a decimal is a text there.

    Whatever does not fit ``kind`` is left as it is, for ``decode`` to refuse.
    """
    if get_origin(kind) in (Union, UnionType):
        kind = next(member for member in get_args(kind) if member is not NoneType)
    if isinstance(value, dict):
        inner = get_args(kind)[-1] if get_origin(kind) is dict else None
        kinds = get_type_hints(kind) if is_dataclass(kind) else dict.fromkeys(value, inner)
        return {key: _as_json(kinds.get(key), each, join(place, key)) for key, each in value.items()}
    if isinstance(value, list):
        inner = get_args(kind)[0] if get_origin(kind) is tuple else None
        return [_as_json(inner, each, f"{place}[{i}]") for i, each in enumerate(value)]
    if isinstance(value, date | time):
        raise _refuse(f"is {value}, a date or a time", place, "give what the schema asks for")
    if kind is not Decimal:
        return value
    if type(value) not in (int, Decimal):
        raise _refuse(f"is {value!r}, not a number", place, "give a number such as 0.5")
    return str(value)


def _refuse(problem: str, place: str, remedy: str) -> DataError:
    return DataError(problem, place=place, remedy=remedy)


def _bundle_table(path: Path) -> tuple[dict[str, Any], str]:
    """The table, and its place for errors."""
    table, place = _read_toml(path).get("bundle", {}), f"{path.name}: bundle"
    if not isinstance(table, dict):
        raise DataError(f"is {table!r}", place=place, remedy="give a table")
    return table, place


def _read_toml(path: Path, number: Callable[[str], Any] = float) -> dict[str, Any]:
    """The document.

    Args:
        number: makes what becomes of a number with a fraction.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"), parse_float=number)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"cannot be read ({error})", place=path.name, remedy="give a TOML file") from error


def _features(folder: Path, name: Any, place: str) -> Program | None:
    if name is None:
        return None
    if not isinstance(name, str):
        raise DataError(f"is {name!r}", place=place, remedy="give the path of a program's JSON file, as a string")
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        problem = f"{name!r} cannot be read ({error.strerror})"
        raise DataError(problem, place=place, remedy="give a path relative to the recipe") from error
    return read_program(content, place=name)


def _build(default: Any, table: Mapping[str, Any], place: str, **read: Any) -> Any:
    """``default`` with the values of ``table``: its keys must be fields, its values of the fields' types.

    Args:
        read: fields that have been read already, which are no keys of the table.
    """
    values: dict[str, Any] = {}
    for key, value in table.items():
        known = sorted({f.name for f in fields(default)} - {"listing"})  # which is a table of its own
        if key not in known:
            raise DataError(f"{key!r} is not a key", place=place, remedy="use one of " + ", ".join(known))
        where = f"{place}.{key}"
        declares = key == "event_types"
        values[key] = _event_types(value, where) if declares else _value(getattr(default, key), value, where)
    try:
        return replace(default, **values, **read)
    except ValueError as error:
        raise DataError(str(error), place=place, remedy="correct the recipe") from error


def _event_types(value: Any, place: str) -> dict[str, EventSchema]:
    if not isinstance(value, dict):
        raise DataError(f"is {value!r}", place=place, remedy="give a table")
    default = EventSchema(item=False)
    return {kind: _value(default, schema, f"{place}.{kind}") for kind, schema in value.items()}


def _value(current: Any, value: Any, place: str) -> Any:
    """``value`` in place of ``current``. A table is merged into its default, so a recipe says only what differs."""
    if isinstance(current, HistoryRecipe | BudgetRecipe | EventSchema) and isinstance(value, dict):
        return _build(current, value, place)
    if isinstance(current, dict) and isinstance(value, dict):
        sample = next(iter(current.values()), "")
        return {**current, **{key: _value(current.get(key, sample), v, f"{place}.{key}") for key, v in value.items()}}
    if isinstance(current, tuple) and isinstance(value, list):
        return tuple(_value("", item, f"{place}[{i}]") for i, item in enumerate(value))
    number = current is None or isinstance(current, float)  # the one optional setting, minimum_rating, is a number
    kinds = (float, int) if number else type(current)
    if isinstance(value, bool) != isinstance(current, bool) or not isinstance(value, kinds):
        noun = "a number" if number else _NOUNS.get(type(current), "a table")
        raise DataError(f"is {value!r}", place=place, remedy=f"give {noun}")
    if isinstance(value, float | int) and not abs(value) <= _LARGEST:  # also true for NaN
        raise DataError(f"is {value!r}", place=place, remedy=f"give a finite number, at most {_LARGEST}")
    return value


_NOUNS = {bool: "true or false", int: "a whole number", str: "a string", tuple: "a list of strings"}
_LARGEST = 10**6


def _decimal(value: float) -> Decimal:
    """A float as the decimal that prints it; exact for what people write in recipes."""
    return Decimal(repr(round(value, 9))).normalize() + 0
