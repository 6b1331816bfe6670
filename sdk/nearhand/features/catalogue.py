"""What a feature program asks of the catalogue."""

from __future__ import annotations

from nearhand.errors import ProgramError
from nearhand.features import views as schema
from nearhand.features.items import ItemTable
from nearhand.features.program import Program


def check_catalogue(program: Program, items: ItemTable) -> None:
    """Refuse a program that reads columns the catalogue does not have, or reads them as what they are not.

    Raises:
        ProgramError: names the view and its field.
    """
    for position, view in enumerate(program.views):
        place = f"views[{position}]"
        numeric = isinstance(view, schema.ItemDifference) or (isinstance(view, schema.Item) and view.encode is None)
        for name, wants_number in (("value", True), ("of", numeric)):
            operand = getattr(view, name, None)
            if isinstance(operand, str) and operand.startswith("item."):
                _check_column(program, items, f"{place}.{name}", operand, wants_number)
        for at, condition in enumerate(getattr(view, "where", ())):
            if condition.field.startswith("item."):
                _check_column(program, items, f"{place}.where[{at}].field", condition.field, condition.any_of is None)


def _check_column(program: Program, items: ItemTable, place: str, operand: str, wants_number: bool) -> None:
    name = operand.removeprefix("item.")
    full = f"program {program.name}: {place}"
    if name not in items.columns:
        known = ", ".join(f"item.{column}" for column in sorted(items.columns))
        remedy = f"use one of {known}" if known else "give the catalogue of the items"
        raise ProgramError(f"{operand!r} is not in the catalogue", place=full, remedy=remedy)
    wanted, kinds = ("a number", (int, float)) if wants_number else ("a text", (str, tuple, int))
    if not all(issubclass(kind, (*kinds, type(None))) for kind in items.kinds(name)):
        odd = next(cell for cell in items.columns[name] if cell is not None and not isinstance(cell, kinds))
        raise ProgramError(
            f"{operand!r} has {str(odd)[:40]!r}, not {wanted}",
            place=full,
            remedy=f"use a column with {wanted} per item",
        )
