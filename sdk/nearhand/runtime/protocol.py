"""The two things a runtime does: load a model file, and run it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from nearhand.bundle.schema import RuntimeName, TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

Tensors: TypeAlias = "Mapping[str, NDArray[Any]]"


class Session(Protocol):
    """A loaded model. Safe to call from several threads."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def run(self, tensors: Tensors) -> dict[str, NDArray[Any]]:
        """Run the model once.

        Args:
            tensors: every input by name, float32 or int32, of the shape that the model declares.

        Returns:
            Every output by name; the arrays belong to the caller.

        Raises:
            ModelError: an input is missing, unknown, or of another dtype or shape, or the runtime fails.
        """
        ...

    def close(self) -> None:
        """Free the model. Running it afterwards raises ModelError. Closing twice is fine."""
        ...


class Runtime(Protocol):
    """An installed inference engine."""

    name: RuntimeName
    version: str

    def load(self, path: Path) -> Session:
        """Load the model file at ``path``.

        Raises:
            ModelError: the file is missing or is not a model that this runtime can run.
        """
        ...
