"""Flight mode: while it is on, this process reaches no other machine, whatever code asks for it."""

from __future__ import annotations

import ipaddress
import sys
import threading
from typing import Any

_EVENTS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname"})
_THIS_MACHINE = frozenset({"localhost", "localhost.localdomain", "ip6-localhost"})


class FlightModeError(OSError):
    """The app refused to use the network, because its user has switched that off."""


class FlightMode:
    """A switch in front of the sockets of this process. One for the process: the interpreter keeps its hook for good.

    CPython asks its audit hooks before a socket connects, sends, or resolves a name, so what a library does is refused
    like what the app does. The machine itself can still be reached, because that is how the app's own window talks to
    it, and being reached from there is no use of a network; only what stands for another machine there is refused too.
    What is written in C and opens sockets on its own, behind the interpreter's back, would get past this; nothing that
    the app uses does. A connection that is open already is not seen either, so whoever has one lets go of it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_hooked = False
        self._ports: frozenset[int] = frozenset()
        self.is_on = False
        self.refused = 0
        """How many attempts were refused since the app was started."""

    def switch(self, on: bool) -> None:
        """Refuse the network from now on, or allow it again."""
        with self._lock:
            if on and not self._is_hooked:
                sys.addaudithook(self._audit)
                self._is_hooked = True
            self.is_on = on

    def stand_for_others(self, ports: frozenset[int]) -> None:
        """Refuse these ports of this machine too: what listens there stands for another machine."""
        self._ports = ports

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if self.is_on and event in _EVENTS and not (_is_this_machine(event, args) and not self._is_other(event, args)):
            self.refused += 1
            raise FlightModeError(f"flight mode is on: {event} was refused")

    def _is_other(self, event: str, args: tuple[Any, ...]) -> bool:
        if event.startswith("socket.get"):
            return False  # to resolve its name is no harm
        address = args[1]
        return isinstance(address, tuple) and len(address) > 1 and address[1] in self._ports


def _is_this_machine(event: str, args: tuple[Any, ...]) -> bool:
    address = args[0] if event.startswith("socket.get") else args[1]
    if isinstance(address, str | bytes) and not event.startswith("socket.get"):
        return True  # the path of a Unix socket
    host = address[0] if isinstance(address, tuple) and address else address
    if host is None:
        return True
    text = host.decode(errors="replace") if isinstance(host, bytes) else str(host)
    if text in _THIS_MACHINE:
        return True
    try:
        return ipaddress.ip_address(text.partition("%")[0]).is_loopback
    except ValueError:
        return False


FLIGHT_MODE = FlightMode()
"""That of this process."""
