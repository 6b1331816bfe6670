"""A transport that fails on demand: a real one, wrapped behind the same Protocol."""

from __future__ import annotations

import threading
from collections.abc import Callable

from nearhand.network import Answer, Call, NetworkError, Transport
from nearhand.records import dataclass


@dataclass(frozen=True)
class Fault:
    """What becomes of a call.

    Attributes:
        deliveries: how often it gets to the other side.
        is_late: whether one more copy of it gets there after the next call that does.
        answer: what the caller is answered; None: the other side's answer to the first delivery, if there is one.
        error: what the caller gets instead of an answer, after the deliveries.
    """

    deliveries: int = 1
    is_late: bool = False
    answer: Answer | None = None
    error: BaseException | None = None


class FaultyTransport:
    """A :class:`nearhand.network.Transport` that treats each call as it is told to, and remembers them.

    Args:
        transport: what delivers.
        fault: of the n-th call, from 1; None: it has none.
    """

    def __init__(self, transport: Transport, fault: Callable[[int, Call], Fault | None] = lambda number, call: None):
        self._transport = transport
        self._lock = threading.Lock()
        self._late: list[Call] = []
        self.fault = fault
        self.calls: list[Call] = []
        """All that were made, the latest last."""

    def send(self, call: Call) -> Answer:
        with self._lock:
            self.calls.append(call)
            number = len(self.calls)
        fault = self.fault(number, call) or Fault()
        answers = [self._transport.send(call) for _ in range(fault.deliveries)]
        if answers:
            self.deliver_late()
        if fault.is_late:
            self._late.append(call)
        if fault.error is not None:
            raise fault.error
        if fault.answer is not None:
            return fault.answer
        if not answers:
            raise NetworkError("the call was lost as the test asked", place=call.url, remedy="expect it")
        return answers[0]

    def deliver_late(self) -> None:
        """Deliver the copies that are still on their way."""
        late, self._late = self._late, []
        for call in late:
            self._transport.send(call)

    def close(self) -> None:
        self._transport.close()


LOST = Fault(deliveries=0)
"""It does not get there."""
UNANSWERED = Fault(error=NetworkError("the answer was lost as the test asked", place="", remedy="expect it"))
"""It gets there, and the answer does not come back."""
LATE = Fault(deliveries=0, is_late=True)
"""It gets there when nobody waits for the answer any more."""
TWICE = Fault(deliveries=2)
"""It gets there twice."""
