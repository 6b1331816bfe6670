"""What the profile's user has chosen: consent, and what lists have to leave out or show less of."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from nearhand.bundle.document import decode, load, serialize
from nearhand.errors import BundleFormatError, NearhandError, StorageError, UsageError
from nearhand.profile import ProfileStore

Consent: TypeAlias = Literal["off", "local", "sync"]
CONSENTS: tuple[Consent, ...] = ("off", "local", "sync")

_NAME = "preferences"
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
    """The preferences of a profile, kept in its store. Safe for several threads."""

    def __init__(self, store: ProfileStore) -> None:
        """
        Raises:
            StorageError: they cannot be read, or are damaged.
        """
        self._store = store
        self._lock = threading.Lock()
        content = store.get(_NAME)
        self._current = Preferences() if content is None else read_preferences(content)

    @property
    def current(self) -> Preferences:
        """What holds now."""
        return self._current

    def change(self, **changes: Any) -> Preferences:
        """Set some of them, durably.

        Raises:
            StorageError: they could not be written, and are as before.
        """
        with self._lock:
            return self._set(replace(self._current, **changes))

    def add(self, field: str, text: str, *, keep: int = 10_000) -> Preferences:
        """Put a text at the end of a list, once; of more than ``keep`` the first goes."""
        with self._lock:
            texts = [other for other in getattr(self._current, field) if other != text]
            changes: dict[str, Any] = {field: (*texts, text)[-keep:]}
            return self._set(replace(self._current, **changes))

    def remove(self, field: str, text: str) -> bool:
        """Take a text out of a list; whether it was there."""
        with self._lock:
            texts = getattr(self._current, field)
            if text not in texts:
                return False
            changes: dict[str, Any] = {field: tuple(other for other in texts if other != text)}
            self._set(replace(self._current, **changes))
            return True

    def forget(self) -> None:
        """Back to what a new profile has, in memory; the store was cleared."""
        with self._lock:
            self._current = Preferences()

    def _set(self, preferences: Preferences) -> Preferences:
        self._store.put(_NAME, serialize(preferences))
        self._current = preferences
        return preferences


def read_preferences(content: bytes) -> Preferences:
    """What ``serialize`` wrote.

    Raises:
        StorageError: it is damaged.
    """

    def refuse(problem: str, place: str, remedy: str) -> NearhandError:
        return StorageError(problem, place=place, remedy=_REMEDY)

    try:
        found: Preferences = decode(Preferences, load(content, place=_NAME), place=f"{_NAME}: ", refuse=refuse)
    except BundleFormatError as error:
        raise StorageError(error.problem, place=_NAME, remedy=_REMEDY) from error
    return found


def check_consent(level: str) -> Consent:
    """
    Raises:
        UsageError: it is no level.
    """
    for known in CONSENTS:
        if level == known:
            return known
    raise UsageError(f"{level!r} is no level of consent", place="set_consent", remedy="use 'off', 'local' or 'sync'")
