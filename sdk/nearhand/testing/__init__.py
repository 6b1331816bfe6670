"""For the tests of an app, of a runtime adapter, and of Nearhand itself. Needs numpy alone, and no test framework."""

from __future__ import annotations

from nearhand.testing.clock import ManualClock
from nearhand.testing.conformance import RUNTIME_CHECKS, ModelFiles, RuntimeCheck
from nearhand.testing.faults import ALWAYS, FailingRuntime, FailingSession
from nearhand.testing.network import LATE, LOST, TWICE, UNANSWERED, Fault, FaultyTransport
from nearhand.testing.swallowed import raise_swallowed

__all__ = [
    "ALWAYS",
    "LATE",
    "LOST",
    "RUNTIME_CHECKS",
    "TWICE",
    "UNANSWERED",
    "FailingRuntime",
    "FailingSession",
    "Fault",
    "FaultyTransport",
    "ManualClock",
    "ModelFiles",
    "RuntimeCheck",
    "raise_swallowed",
]
