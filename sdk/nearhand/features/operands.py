"""What a view reads of an event: numbers as exact integers, texts as tuples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

from nearhand.features.items import ItemTable
from nearhand.features.parts import MAX_VALUE, Condition

if TYPE_CHECKING:
    from nearhand.features.event import FoldedEvent

NumberOf: TypeAlias = "Callable[[FoldedEvent], int | None]"
TextsOf: TypeAlias = "Callable[[FoldedEvent], tuple[str, ...] | None]"
Test: TypeAlias = "Callable[[FoldedEvent], bool]"


def number_of(operand: str, decimals: int, items: ItemTable) -> NumberOf:
    """Reads ``operand`` in units of 10^−decimals; None where the event does not have it as a number."""
    value_of = _value_of(operand, items)
    scale = 10**decimals

    def read(event: FoldedEvent) -> int | None:
        return fixed_point(value_of(event), scale)

    return read


def fixed_point(value: object, scale: int) -> int | None:
    """``value · scale`` as the nearest integer, the value clipped to ± 10¹⁵; None if it is not a number."""
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return round(min(max(value, -MAX_VALUE), MAX_VALUE) * scale)
    if isinstance(value, int) and not isinstance(value, bool):
        return min(max(value, -(10**15)), 10**15) * scale
    return None


def texts_of(operand: str, items: ItemTable) -> TextsOf:
    """Reads ``operand`` as its different texts; None where the event does not have it as a text or texts."""
    if operand == "item_id":
        return lambda event: None if event.item_id is None else (event.item_id,)
    if operand == "event":
        return lambda event: (event.event,)
    if operand == "local_hour":
        return lambda event: (str(local_hour(event.timestamp, event.utc_offset_minutes)),)
    if operand == "weekday":
        return lambda event: (str(weekday(event.timestamp, event.utc_offset_minutes)),)
    value_of = _value_of(operand, items)
    return lambda event: texts(value_of(event))


def texts(value: object) -> tuple[str, ...] | None:
    """A text, a whole number as one, or a list of them; None for anything else and for none."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, int) and not isinstance(value, bool):
        return (str(value),)
    if isinstance(value, (list, tuple)):
        found = dict.fromkeys(
            text for part in value for text in (texts(part) or ()) if not isinstance(part, list | tuple)
        )
        return tuple(found) or None
    return None


def local_hour(at_ms: int, utc_offset_minutes: int) -> int:
    """0 … 23."""
    return (at_ms // 60_000 + utc_offset_minutes) // 60 % 24


def weekday(at_ms: int, utc_offset_minutes: int) -> int:
    """0 … 6, Monday is 0. 1970-01-01 was a Thursday."""
    return ((at_ms // 60_000 + utc_offset_minutes) // 1440 + 3) % 7


def test_of(condition: Condition, items: ItemTable) -> Test:
    """Whether an event fulfils a condition."""
    if condition.any_of is not None:
        wanted = frozenset(condition.any_of)
        read_texts = texts_of(condition.field, items)
        return lambda event: not wanted.isdisjoint(read_texts(event) or ())
    value_of = _value_of(condition.field, items)
    low, high = _bound(condition.at_least), _bound(condition.below)

    def holds(event: FoldedEvent) -> bool:
        value = value_of(event)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return (low is None or value >= low) and (high is None or value < high)

    return holds


def _bound(bound: Decimal | None) -> float | None:
    return None if bound is None else float(bound)


def _value_of(operand: str, items: ItemTable) -> Callable[[FoldedEvent], object]:
    where, *path = operand.split(".")
    if where == "item":
        rows, columns, column = items.rows, items.columns, ".".join(path)
        return lambda event: _cell(columns[column], rows.get(event.item_id)) if event.item_id is not None else None
    if len(path) == 1:
        (name,) = path
        if where == "context":
            return lambda event: event.context.get(name)
        return lambda event: event.properties.get(name)

    def nested(event: FoldedEvent) -> object:
        value: Any = event.context if where == "context" else event.properties
        for name in path:
            if not isinstance(value, Mapping):
                return None
            value = value.get(name)
        return value

    return nested


def _cell(cells: Sequence[object], row: int | None) -> object:
    return None if row is None else cells[row]
