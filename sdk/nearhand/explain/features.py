"""Which features a prediction rests on: what it loses when a feature has its typical value instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from nearhand.errors import ModelError, UsageError
from nearhand.explain.texts import Message, listed_phrases, say
from nearhand.features import Program
from nearhand.features import views as schema
from nearhand.records import dataclass

if TYPE_CHECKING:
    from numpy.typing import NDArray

Direction: TypeAlias = Literal["lower", "higher", "usual", "different"]
Kind: TypeAlias = Literal["amount", "count", "time", "category"]

NAMED_FEATURES = 2
"""How many features a sentence names."""

_CONTEXT = "context."
_MESSAGES: Mapping[tuple[Kind, Direction], Message] = {
    ("count", "lower"): "fewer",
    ("count", "higher"): "more",
    ("time", "lower"): "shorter_since",
    ("time", "higher"): "longer_since",
    ("amount", "lower"): "lower",
    ("amount", "higher"): "higher",
}


@dataclass(frozen=True)
class FeatureAttribution:
    """One feature's part in a prediction.

    Attributes:
        name: the feature's.
        value: what it is in the row, NaN if it is missing there; None for a feature of several columns.
        typical: what it is usually; None for a feature of several columns.
        contribution: the prediction less what it would be if the feature had its typical value.
        direction: how the value lies to the typical one; ``different`` where more and less mean nothing: a category, a
            missing value, several columns.
        kind: what sort of number it is, for the words.
    """

    name: str
    value: float | None
    typical: float | None
    contribution: float
    direction: Direction
    kind: Kind = "amount"


def attribute(
    predict: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    row: NDArray[np.float64],
    typical: NDArray[np.float64],
    features: Mapping[str, Sequence[int]],
    kinds: Mapping[str, Kind] | None = None,
) -> tuple[FeatureAttribution, ...]:
    """The features' contributions to the prediction for a row, by occlusion, largest magnitude first.

    Of a linear model they sum to the prediction less that for the typical row (in columns that have no typical value,
    or are of no feature, it is the row itself). Other models have interactions, which contributions of single features
    count more than once or not at all.

    Args:
        predict: float64 [m, columns] → float64 [m]; called once, with the row and one copy of it for each feature.
        row: float64 [columns].
        typical: float64 [columns], such as medians of the training rows; NaN: unknown. A column without a typical value
            keeps its own, and a feature that has no other columns is left out: what is usual of it is not known.
        features: name → its columns, whose values are exchanged together; see :func:`view_columns`.
        kinds: name → what sort of number it is; see :func:`kinds_of`. By default an amount.

    Raises:
        UsageError: the row and the typical values are not two arrays of one length, or the columns of the features
            overlap or lie outside.
        ModelError: a prediction is not finite, or there are not as many as rows.
    """
    row, typical = np.asarray(row, np.float64), np.asarray(typical, np.float64)
    _check(row, typical, features)
    known = ~np.isnan(typical)
    occluded = {name: found for name, columns in features.items() if (found := [at for at in columns if known[at]])}
    rows = np.repeat(row[None], 1 + len(occluded), axis=0)
    for place, columns in enumerate(occluded.values(), start=1):
        rows[place, columns] = typical[columns]
    values = np.asarray(predict(rows), np.float64)
    if values.shape != (len(rows),) or not np.isfinite(values).all():
        problem = "is not finite" if values.shape == (len(rows),) else f"has the shape {list(values.shape)}"
        remedy = "check the model, and that it takes the typical values"
        raise ModelError(f"a prediction for {len(rows)} rows {problem}", place="explanation", remedy=remedy)
    contributions = (values[0] - values[1:]).tolist()
    attributions = []
    for name, contribution in zip(occluded, contributions, strict=True):
        kind = (kinds or {}).get(name, "amount")
        columns = list(features[name])
        value, usual = (float(of[columns[0]]) if len(columns) == 1 else None for of in (row, typical))
        direction = _direction(row[columns], typical[columns], kind)
        attributions.append(FeatureAttribution(name, value, usual, contribution, direction, kind))
    return tuple(sorted(attributions, key=lambda one: -abs(one.contribution)))  # stable: ties stay in order


def view_columns(names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """View → the places of its columns: ``genres`` has those of ``genres.0``, ``genres.1`` and ``genres.mask``.

    Args:
        names: of a row's columns, as a table that was replayed from a program has them. ``context.hour`` is a feature
            of its own.
    """
    found: dict[str, tuple[int, ...]] = {}
    for place, name in enumerate(names):
        view = name if name.startswith(_CONTEXT) else name.partition(".")[0]  # a view's name has no dot
        found[view] = (*found.get(view, ()), place)
    return found


def kinds_of(program: Program) -> dict[str, Kind]:
    """View → what sort of number it is, by its operator."""
    return {view.name: _kind(view) for view in program.views}


def feature_phrase(attribution: FeatureAttribution, locale: str = "en", labels: Mapping[str, str] | None = None) -> str:
    """How a feature differs from what is usual, such as "fewer films than usual".

    Args:
        labels: name → what people call it, in the language of the locale; without one the name with spaces for
            underscores.
    """
    name = attribution.name
    label = (labels or {}).get(name, name.removeprefix(_CONTEXT).replace("_", " "))
    direction: Message = "usual" if attribution.direction == "usual" else "different"
    return say(_MESSAGES.get((attribution.kind, attribution.direction), direction), locale, feature=label)


def feature_sentence(
    attributions: Sequence[FeatureAttribution], locale: str = "en", labels: Mapping[str, str] | None = None
) -> str:
    """A sentence that names the strongest features that are not as usual, such as "Fewer films than usual".

    Args:
        attributions: strongest first, as :func:`attribute` gives them.
        labels: see :func:`feature_phrase`.
    """
    strongest = [one for one in attributions if one.direction != "usual" and one.contribution][:NAMED_FEATURES]
    if not strongest:
        return say("nothing_unusual", locale)
    return listed_phrases([feature_phrase(one, locale, labels) for one in strongest], locale)


def _check(row: NDArray[np.float64], typical: NDArray[np.float64], features: Mapping[str, Sequence[int]]) -> None:
    if row.ndim != 1 or row.shape != typical.shape:
        raise UsageError(
            f"the row has the shape {list(row.shape)}, the typical values {list(typical.shape)}",
            place="attribute",
            remedy="give two arrays of one length",
        )
    owner: dict[int, str] = {}
    for name, columns in features.items():
        for at in columns:
            if not 0 <= at < len(row):
                remedy = f"use the columns 0 to {len(row) - 1}"
                raise UsageError(f"column {at} is not in the row", place=f"feature {name!r}", remedy=remedy)
            if at in owner:
                problem = f"has column {at}, which is of {owner[at]!r}"
                raise UsageError(problem, place=f"feature {name!r}", remedy="give each column to one feature")
            owner[at] = name


def _direction(value: NDArray[np.float64], typical: NDArray[np.float64], kind: Kind) -> Direction:
    known = ~np.isnan(typical)
    if np.array_equal(value[known], typical[known]):
        return "usual"
    if len(value) > 1 or kind == "category" or np.isnan(value[0]):
        return "different"
    return "lower" if value[0] < typical[0] else "higher"


def _kind(view: schema.View) -> Kind:
    match view:
        case schema.Count() | schema.Distinct() | schema.Streak() | schema.ItemCount():
            return "count"
        case schema.Session():
            return "count" if view.measure in ("depth", "index") else "amount"
        case schema.TimeSince() | schema.ItemTimeSince():
            # A default below 0 says "never", and would read as an especially short time.
            return "time" if view.default >= 0 else "category"
        case schema.LastN() | schema.TopN() | schema.LocalTime():
            return "category"
        case schema.Context() | schema.Item():
            return "amount" if view.encode is None else "category"
        case _:
            return "amount"
