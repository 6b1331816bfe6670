"""HTTP as the SDK uses it: one protocol that a transport implements, and what it raises.

The transport that is used if the app gives none needs urllib3 (``pip install nearhand[sync]``), and is imported by
:func:`default_transport` only.
"""

from nearhand.network.transport import (
    Answer,
    AnswerTooLargeError,
    Call,
    DeadlineError,
    NetworkError,
    Transport,
    default_transport,
)

__all__ = [
    "Answer",
    "AnswerTooLargeError",
    "Call",
    "DeadlineError",
    "NetworkError",
    "Transport",
    "default_transport",
]
