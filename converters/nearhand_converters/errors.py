"""Every error the converters raise on purpose; the root is the SDK's.

::

    NearhandError
    └── ConversionError
        ├── DataError                 a data file is malformed or does not fit
        ├── SourceError               a model file is not one that we read
        ├── UnsupportedOperatorError  an operator has no form in the target
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


class UnsupportedOperatorError(ConversionError):
    """An operator has no form in the target."""


class BudgetError(ConversionError):
    """The evidence breaks the budget; nothing is written."""
