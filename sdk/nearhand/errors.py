"""Every error the SDK raises on purpose.

::

    NearhandError
    ├── UsageError              an argument of the API is wrong (k = 0, a closed Personalizer, an unknown item)
    ├── CancelledError          the app cancelled the call
    ├── EventError              an event is malformed; ``field`` names the field
    ├── ProgramError            a feature program is malformed; ``place`` ends in the path of the value
    ├── StorageError            the event log cannot be opened, read or written
    ├── EncryptionError         the data cannot be read with this key, or there is no key; nothing was changed
    ├── NetworkError            an endpoint gave no whole answer; in :mod:`nearhand.network`, with its two kinds
    ├── RefusedError            a server of models answered, and did not do it; in :mod:`nearhand.hybrid`
    ├── ProtocolError           its answer is not what the protocol says; there too
    ├── RuntimeUnavailableError no installed runtime can run any variant of the bundle
    ├── ModelError              a model does not load, does not run, or fails its golden vectors
    └── BundleError             a bundle is refused; nothing has been written
        ├── BundleFormatError   not a bundle: not the canonical archive, or a manifest outside the schema
        ├── BundleVersionError  a format version, or a minimum SDK version, this SDK does not serve
        ├── BundlePathError     an entry name that is absolute, escapes, links or is not plain ASCII
        ├── BundleLimitError    an entry or the whole is larger than the limits allow
        └── BundleIntegrityError a hash or size differs, or a file is missing or extra

A message is one line that says where, what is wrong, and what to do next.
"""

from __future__ import annotations

import reprlib
from typing import Any


def shown(value: object) -> str:
    """A value in a message: short, whatever it is."""
    try:
        return reprlib.repr(value)
    except ValueError:  # an integer of thousands of digits, which Python does not write
        return f"a {type(value).__name__} that is too large to show"


class NearhandError(Exception):
    """Root of the SDK's errors.

    Args:
        problem: what is wrong, with the offending value.
        place: the file, field or argument it is about.
        remedy: what the caller can do next.
    """

    def __init__(self, problem: str, *, place: str = "", remedy: str = "") -> None:
        self.problem = problem
        self.place = place
        self.remedy = remedy
        head = f"{place}: {problem}" if place else problem
        super().__init__(f"{head}; {remedy}" if remedy else head)

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are copied and pickled by their message alone, which no subclass takes as its only argument.
        return _again, (type(self), self.args, vars(self))


def _again(kind: type[NearhandError], args: tuple[Any, ...], fields: dict[str, Any]) -> NearhandError:
    error = kind.__new__(kind, *args)
    vars(error).update(fields)
    return error


class UsageError(NearhandError):
    """An argument of the API is wrong."""


class CancelledError(NearhandError):
    """The app cancelled the call. Nothing of it has happened."""


class EventError(NearhandError):
    """An event is malformed. ``field`` is the field's path, such as ``properties.seconds``."""

    def __init__(self, field: str, problem: str, *, remedy: str = "") -> None:
        self.field = field
        super().__init__(problem, place=f"event field {field!r}", remedy=remedy)


class ProgramError(NearhandError):
    """A feature program is malformed. ``place`` ends in the path of the value, such as ``views[2].window``."""


class StorageError(NearhandError):
    """The event log cannot be opened, read or written."""


class EncryptionError(NearhandError):
    """The data cannot be read with this key, or there is no key. Nothing was changed."""


class RuntimeUnavailableError(NearhandError):
    """No installed runtime can run any variant of the bundle."""


class ModelError(NearhandError):
    """A model does not load, does not run, or fails its golden vectors."""


class BundleError(NearhandError):
    """A bundle is refused; nothing has been written."""


class BundleFormatError(BundleError):
    """Not a bundle: not the canonical archive, or a manifest outside the schema."""


class BundleVersionError(BundleError):
    """A format version, or a minimum SDK version, that this SDK does not serve."""


class BundlePathError(BundleError):
    """An entry name that is absolute, escapes, links, or is not plain ASCII."""


class BundleLimitError(BundleError):
    """An entry, or the whole, is larger than the limits allow."""


class BundleIntegrityError(BundleError):
    """A hash or size differs, or a file is missing or extra."""
