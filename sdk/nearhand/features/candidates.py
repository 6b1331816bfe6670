"""Features of candidates: of the items themselves, and of a profile's events with them, for a whole array at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nearhand.features import views as schema
from nearhand.features.compile import (
    UNITS_MS,
    Frame,
    Plan,
    States,
    compile_scalar,
    compile_shares,
    weights_state,
    windowed,
)
from nearhand.features.operands import texts
from nearhand.features.state import TextStamps
from nearhand.features.steps import ApplyArray, apply_steps_to_array, bound_number, codes, encoder, is_integer

Values: TypeAlias = NDArray[np.float64] | NDArray[np.int32]


@dataclass(frozen=True)
class Candidates:
    """Whose features are asked for.

    Attributes:
        item_ids: one per candidate.
        rows: intp [n], their rows of the catalogue; −1 for an item it does not have.
    """

    item_ids: Sequence[str]
    rows: NDArray[np.intp]


EmitItems: TypeAlias = Callable[[Frame, Candidates], Values]


@dataclass(frozen=True)
class ItemOutput:
    """A view of candidates as a column: its dtype and width, and what gives its values, [n] or [n, width]."""

    dtype: Literal["float32", "int32"]
    width: int
    bind: Callable[[States], EmitItems]


def compile_item_output(plan: Plan, view: Any) -> ItemOutput:
    """How a view of candidates becomes a column."""
    match view:
        case schema.Item() if view.encode is not None:
            return _item_codes(plan, view)
        case schema.Item():
            numbers = _numbers(plan, view.of, float(view.default))
            return _stepped(view, lambda states: lambda frame, candidates: numbers[candidates.rows])
        case schema.ItemAffinity():
            return _stepped(view, _affinity(plan, view))
        case schema.ItemCount():
            return _stepped(view, _count(plan, view))
        case schema.ItemTimeSince():
            return _stepped(view, _time_since(plan, view))
        case schema.ItemDifference():
            return _stepped(view, _difference(plan, view))
        case _:
            raise TypeError(f"{type(view).__name__} is not a view of candidates")


def _stepped(view: Any, bind: Callable[[States], Callable[[Frame, Candidates], NDArray[np.float64]]]) -> ItemOutput:
    if not view.then:
        return ItemOutput("float32", 1, bind)
    apply: ApplyArray = apply_steps_to_array(view.then)

    def bind_stepped(states: States) -> EmitItems:
        emit = bind(states)
        return lambda frame, candidates: apply(emit(frame, candidates))

    return ItemOutput("int32" if is_integer(view.then) else "float32", 1, bind_stepped)


def _numbers(plan: Plan, operand: str, default: float) -> NDArray[np.float64]:
    """A column of the catalogue, float64 [items + 1]: index −1, the last, is for items it does not have."""
    cells = plan.items.columns[operand.removeprefix("item.")]
    found = [bound_number(cell) for cell in cells]
    return np.array([*(default if number is None else number for number in found), default])


def _item_codes(plan: Plan, view: schema.Item) -> ItemOutput:
    assert view.encode is not None
    encode, n = encoder(view.encode, plan.program), view.n
    table = np.zeros((len(plan.items.item_ids) + 1, n), np.int32)
    for row, cell in enumerate(plan.items.columns[view.of.removeprefix("item.")]):
        for place, text in enumerate((texts(cell) or ())[:n]):
            table[row, place] = encode(text)
    return ItemOutput("int32", n, lambda states: lambda frame, candidates: table[candidates.rows])


def _affinity(plan: Plan, view: schema.ItemAffinity) -> Callable[[States], Callable[..., NDArray[np.float64]]]:
    affinity = plan.program.view(view.affinity)
    assert isinstance(affinity, schema.Affinity)
    shares_of = compile_shares(plan, affinity)
    places, counts = _places(plan, affinity)
    combine = view.combine

    def bind(states: States) -> Callable[[Frame, Candidates], NDArray[np.float64]]:
        shares = shares_of(states)

        def emit(frame: Frame, candidates: Candidates) -> NDArray[np.float64]:
            found = shares(frame.as_of)
            # Beyond the last text is the share of no text: 0, or for a maximum less than any share.
            found.append(-np.inf if combine == "max" else 0.0)
            chosen = np.array(found)[places[candidates.rows]]
            if combine == "max":
                greatest = chosen.max(axis=1)
                return np.where(np.isneginf(greatest), 0.0, greatest)
            total = np.zeros(len(chosen))
            for column in range(chosen.shape[1]):  # one after the other: numpy's own sum may take another order
                total += chosen[:, column]
            return total / np.maximum(counts[candidates.rows], 1) if combine == "mean" else total

        return emit

    return bind


def _places(plan: Plan, affinity: schema.Affinity) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Of each item, and last of none: the places of its known texts, filled up with the vocabulary's length; and how
    many they are. intp [items + 1, most texts of an item] and [items + 1].
    """
    known = {text: code - 2 for text, code in codes(plan.program.vocabulary(affinity.vocabulary)).items()}
    column = plan.items.columns[affinity.of.removeprefix("item.")]
    of_item = [[known[text] for text in texts(cell) or () if text in known] for cell in column]
    counts = np.array([*map(len, of_item), 0], np.intp)
    places = np.full((len(of_item) + 1, max(1, counts.max())), len(known), np.intp)
    for row, found in enumerate(of_item):
        places[row, : len(found)] = found
    return places, counts


def _count(plan: Plan, view: schema.ItemCount) -> Callable[[States], Callable[..., NDArray[np.float64]]]:
    index, window = weights_state(plan, view, None, of="item_id")

    def bind(states: States) -> Callable[[Frame, Candidates], NDArray[np.float64]]:
        state = windowed(states[index], window)

        def emit(frame: Frame, candidates: Candidates) -> NDArray[np.float64]:
            state.move(frame.as_of)
            counts: Mapping[str, int] = state.counts
            return np.array([counts.get(item_id, 0) for item_id in candidates.item_ids], np.float64)

        return emit

    return bind


def _time_since(plan: Plan, view: schema.ItemTimeSince) -> Callable[[States], Callable[..., NDArray[np.float64]]]:
    unit, default = UNITS_MS[view.unit], float(view.default)
    index = plan.state(("text stamps",), TextStamps, view, text="item_id")

    def bind(states: States) -> Callable[[Frame, Candidates], NDArray[np.float64]]:
        stamps: TextStamps = states[index]

        def emit(frame: Frame, candidates: Candidates) -> NDArray[np.float64]:
            found = [stamps.latest.get(item_id) for item_id in candidates.item_ids]
            return np.array([default if at is None else (frame.as_of - at) / unit for at in found])

        return emit

    return bind


def _difference(plan: Plan, view: schema.ItemDifference) -> Callable[[States], Callable[..., NDArray[np.float64]]]:
    numbers = _numbers(plan, view.of, np.nan)
    minus, default = compile_scalar(plan, plan.program.view(view.minus)), float(view.default)

    def bind(states: States) -> Callable[[Frame, Candidates], NDArray[np.float64]]:
        read = minus(states)

        def emit(frame: Frame, candidates: Candidates) -> NDArray[np.float64]:
            difference = numbers[candidates.rows] - read(frame)
            return np.where(np.isnan(difference), default, difference)

        return emit

    return bind
