"""Compiles trained models into quantized, verified bundles that run on the user's own device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nearhand_converters.door import convert_model
    from nearhand_converters.merge import merge_bundles
    from nearhand_converters.recipe import TableRecipe

__all__ = ["TableRecipe", "convert_model", "merge_bundles"]


def __getattr__(name: str) -> Any:
    """The door is imported when it is used: it brings onnx, and a replay on many machines does without."""
    if name == "convert_model":
        from nearhand_converters.door import convert_model

        return convert_model
    if name == "merge_bundles":
        from nearhand_converters.merge import merge_bundles

        return merge_bundles
    if name == "TableRecipe":
        from nearhand_converters.recipe import TableRecipe

        return TableRecipe
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
