"""Every error the converters raise on purpose; the root is the SDK's.

::

    NearhandError
    └── ConversionError
        ├── DataError                 a data file is malformed or does not fit
        ├── SourceError               a model file is not one that we read
        ├── UnsupportedModelError     a model, or a part of it, that we do not convert; ``code`` says which kind
        ├── UnsupportedOperatorError  an operator has no form in the target
        ├── ParityError               an artifact does not compute what the model does; nothing is written
        └── BudgetError               the evidence breaks the budget; nothing is written
"""

from __future__ import annotations

from nearhand.errors import NearhandError


class ConversionError(NearhandError):
    """Root of the converters' errors."""


class DataError(ConversionError):
    """A data file is malformed or does not fit."""


class SourceError(ConversionError):
    """A model file is not one that we read."""


class UnsupportedModelError(ConversionError):
    """A model, or a part of it, that we do not convert: the remedy is the nearest supported rewrite.

    Args:
        code: the kind of refusal, lowercase words joined by ``-``, such as ``custom-objective``.
    """

    def __init__(self, problem: str, *, code: str, place: str = "", remedy: str = "") -> None:
        self.code = code
        super().__init__(problem, place=place, remedy=remedy)


class ParityError(ConversionError):
    """An artifact does not compute what the model does; nothing is written."""


class UnsupportedOperatorError(ConversionError):
    """An operator has no form in the target."""


class BudgetError(ConversionError):
    """The evidence breaks the budget; nothing is written."""
