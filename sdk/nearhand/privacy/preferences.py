"""What the profile's user has chosen: consent, and what lists have to leave out or show less of."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

from nearhand.clock import Clock
from nearhand.errors import BundleFormatError, EncryptionError, NearhandError, StorageError, UsageError, shown
from nearhand.monitoring import Meter
from nearhand.profile import ProfileStore
from nearhand.records import dataclass

Consent: TypeAlias = Literal["off", "local", "sync"]
CONSENTS: tuple[Consent, ...] = ("off", "local", "sync")

NAME = "preferences"
"""Of the value in the store."""
_FRESH_NS = 1_000_000_000
_REMEDY = "erase the profile, or set the preferences again"


@dataclass(frozen=True)
class Preferences:
    """The user's choices.

    Attributes:
        consent: ``off``: nothing is recorded and lists are the same for everybody; ``local``: all stays on this
            device; ``sync``: events may be sent to the app's endpoint too.
        personalized: whether lists look at the history. False keeps recording, and gives everybody's list.
        blocked_items: item ids that are never recommended.
        blocked_categories: genres and directors whose items are never recommended.
        less_like: item ids whose like is to be shown less, the latest last.
    """

    consent: Consent = "local"
    personalized: bool = True
    blocked_items: tuple[str, ...] = ()
    blocked_categories: tuple[str, ...] = ()
    less_like: tuple[str, ...] = ()

    @property
    def uses_history(self) -> bool:
        """Whether lists may look at what the user did."""
        return self.personalized and self.consent != "off"


class PreferenceStore:
    """The preferences of a profile, kept in its store. Safe for several threads, and for several processes.

    What another process has changed is noticed within a second, and at once by whoever changes something here.

    If the choices were lost, with a damaged file that was moved aside, or are damaged themselves, the consent is
    ``off`` until it is given again.
    """

    def __init__(self, store: ProfileStore, clock: Clock, meter: Meter) -> None:
        """
        Raises:
            StorageError: they cannot be read.
        """
        self._store = store
        self._clock = clock
        self._meter = meter
        self._lock = threading.Lock()
        try:
            content = store.get(NAME)
        except EncryptionError as error:  # the store opened with this key, so it was altered
            content = b""
            meter.degraded("the user's choices were altered", error)
        self._hold(self._of(content))
        if content is None and self._current.consent == "off":  # which nobody has chosen
            meter.skipped("the user's choices were lost with a damaged file: consent is off until it is given again")

    @property
    def current(self) -> Preferences:
        """What holds now. If it cannot be read again, which is counted, what held before."""
        if self._clock.monotonic_ns() >= self._fresh_until_ns:
            with self._lock:
                try:
                    self._hold(self._read())
                except (StorageError, EncryptionError) as error:
                    self._hold(self._current)
                    self._meter.degraded("the preferences could not be read again", error)
        return self._current

    def change(self, **changes: Any) -> Preferences:
        """Set some of them, durably.

        Raises:
            StorageError: they could not be written, and are as before.
        """
        return self._edit(lambda now: changes)

    def add(self, field: str, text: str, *, keep: int = 10_000) -> Preferences:
        """Put a text at the end of a list, once; of more than ``keep`` the first goes. Errors as above."""
        return self._edit(lambda now: {field: (*_without(now, field, text), text)[-keep:]})

    def remove(self, field: str, text: str) -> bool:
        """Take a text out of a list; whether it was there. Errors as above."""
        found = False

        def without(now: Preferences) -> Mapping[str, Any]:
            nonlocal found
            found = isinstance(text, str) and text in getattr(now, field)
            return {field: _without(now, field, text)} if found else {}

        self._edit(without)
        return found

    def fresh(self) -> Preferences:
        """What the store has now, whichever process has put it there.

        Raises:
            StorageError: they cannot be read.
        """
        with self._lock:
            self._hold(self._read())
            return self._current

    def hold(self, preferences: Preferences) -> None:
        """Take what the store was given by somebody else."""
        with self._lock:
            self._hold(preferences)

    def _edit(self, changes_of: Callable[[Preferences], Mapping[str, Any]]) -> Preferences:
        from dataclasses import replace  # no list waits for what writes preferences

        with self._lock:
            with self._store.transaction():
                try:
                    now = self._read()  # another process may have changed them
                except EncryptionError:  # what was altered is replaced
                    now = self._of(b"")
                edited = replace(now, **changes_of(now))
                if edited != now:
                    from nearhand.bundle.document import serialize  # as above

                    self._store.put(NAME, serialize(edited))
            self._hold(edited)
            return edited

    def _hold(self, preferences: Preferences) -> None:
        self._current = preferences
        self._fresh_until_ns = self._clock.monotonic_ns() + _FRESH_NS

    def _read(self) -> Preferences:
        return self._of(self._store.get(NAME))

    def _of(self, content: bytes | None) -> Preferences:
        if content is not None:
            try:
                return read_preferences(content)
            except StorageError as error:
                self._meter.degraded("the user's choices are damaged: consent is off until it is given again", error)
                return Preferences(consent="off")
        return Preferences(consent="off") if self._store.quarantined else Preferences()


def _without(preferences: Preferences, field: str, text: str) -> tuple[str, ...]:
    return tuple(other for other in getattr(preferences, field) if other != text)


def read_preferences(content: bytes) -> Preferences:
    """What ``serialize`` wrote.

    Raises:
        StorageError: it is damaged.
    """

    from nearhand.bundle.document import decode, load  # many users never choose

    def refuse(problem: str, place: str, remedy: str) -> NearhandError:
        return StorageError(problem, place=place, remedy=_REMEDY)

    try:
        found: Preferences = decode(Preferences, load(content, place=NAME), place=f"{NAME}: ", refuse=refuse)
    except BundleFormatError as error:
        raise StorageError(error.problem, place=NAME, remedy=_REMEDY) from error
    return found


def check_consent(level: str) -> Consent:
    """
    Raises:
        UsageError: it is no level.
    """
    for known in CONSENTS:
        if isinstance(level, str) and level == known:
            return known
    raise UsageError(
        f"{shown(level)} is no level of consent", place="set_consent", remedy="use 'off', 'local' or 'sync'"
    )
