"""What a profile's user can do with it: consent, block, forget, reset, erase, export and import."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from nearhand.bundle.document import serialize
from nearhand.bundle.durable import path_of, storage_errors
from nearhand.bundle.schema import Items
from nearhand.clock import Clock
from nearhand.errors import StorageError, UsageError, shown
from nearhand.events import EventLog, RecordedEvent
from nearhand.events.event import MAX_ID_CHARACTERS, is_name
from nearhand.features.cache import PushedFeatures
from nearhand.monitoring import Meter
from nearhand.privacy.archive import Archive, read_profile, write_profile
from nearhand.privacy.audit import Audit, AuditEntry
from nearhand.privacy.preferences import NAME, Consent, Preferences, PreferenceStore, check_consent
from nearhand.profile import ERASING, ProfileStore
from nearhand.records import dataclass

_LESS_LIKE_KEPT = 100
_MOST_RESETS = 2**53  # nobody has made so many, and the next one, or an erasure, has to be able to count on


@dataclass(frozen=True)
class Kept:
    """Where a profile's data are, and what they belong to.

    Attributes:
        pushed: its pushed features; None: the bundle has no feature program.
        fingerprint: of the feature program; None as above.
        values, journals: those of the store that go into an export.
        erasures: name of the value of the store that outlives an erasure: the requests to erase what was sent.
        part: writes such a request, in place of what the endpoint knows the profile by.
        alone: while it is held, nothing is written that was derived from the events, such as a list.
        settle: learns from all that the log holds, anew if an event was forgotten, and writes down what was learned.
        changed: is called after all of it was replaced, so that nothing old stays in memory.
    """

    log: EventLog
    store: ProfileStore
    pushed: PushedFeatures | None
    fingerprint: str | None
    bundle: str
    bundle_version: str
    items: Items | None
    values: tuple[str, ...]
    journals: tuple[str, ...]
    erasures: str
    part: Callable[[ProfileStore], None]
    alone: Callable[[], AbstractContextManager[None]]
    settle: Callable[[], None]
    changed: Callable[[], None]


class Privacy:
    """The user's control over one profile; :attr:`nearhand.Personalizer.privacy`. Safe for several threads."""

    def __init__(self, kept: Kept, preferences: PreferenceStore, clock: Clock) -> None:
        self._kept = kept
        self._preferences = preferences
        self._clock = clock
        self._audit = Audit(kept.store, clock)
        self._exporting = threading.Lock()

    @property
    def preferences(self) -> Preferences:
        """The user's choices."""
        return self._preferences.current

    def set_consent(self, level: Consent, *, include_past: bool = False) -> None:
        """Choose what may be done with the user's events.

        Args:
            level: ``off``: nothing is recorded, and lists are the same for everybody; ``local``: everything stays on
                this device; ``sync``: what is recorded from now on may also be sent to the app's endpoint. What was
                recorded before stays until it is erased. Nothing more is sent once it is ``off`` or ``local``.
            include_past: whether the user wants to send what was recorded without this consent too.

        Raises:
            UsageError: there is no such level, it does not let the past be sent, or ``include_past`` is neither True
                nor False. StorageError: it could not be kept,
                and is as before, or the past could not be let go.
        """
        chosen = check_consent(level)
        _check_bool("set_consent(include_past)", include_past)
        if include_past and chosen != "sync":
            raise UsageError(f"is not for {level!r}", place="set_consent(include_past)", remedy="use it with 'sync'")
        self._preferences.change(consent=chosen)
        if include_past:
            self._kept.log.outbox.allow_past()

    def set_personalized(self, personalized: bool) -> None:
        """Choose whether lists look at the history at all; False gives everybody's list, and keeps recording.

        Raises:
            UsageError: it is neither True nor False. StorageError: it could not be kept, and is as before.
        """
        _check_bool("set_personalized", personalized)
        self._preferences.change(personalized=personalized)

    def block(self, *, item_id: str | None = None, category: str | None = None) -> None:
        """Never recommend an item, or the items of a category: a genre or a director, as the catalogue writes it.

        The latest 10,000 items and 10,000 categories stay blocked.

        Raises:
            UsageError: not exactly one of the two is given, or no item is of that category.
            StorageError: it could not be kept, and is as before.
        """
        field, text = _choice("block", item_id, category)
        if category is not None and not (isinstance(category, str) and category in self._categories()):
            problem = f"no item is of the category {shown(category)}"
            raise UsageError(problem, place="block(category)", remedy="use one of the catalogue")
        if category is None and not (isinstance(item_id, str) and is_name(item_id, MAX_ID_CHARACTERS)):
            problem = f"{shown(item_id)} is no identifier"
            raise UsageError(problem, place="block(item_id)", remedy="give an item id of 1 to 256 characters")
        self._preferences.add(field, text)

    def unblock(self, *, item_id: str | None = None, category: str | None = None) -> bool:
        """Undo :meth:`block`; whether it was blocked. Errors as there, but any category can be unblocked."""
        return self._preferences.remove(*_choice("unblock", item_id, category))

    def less_like(self, item_id: str) -> None:
        """Show less of what is like this item, and not the item itself; the latest 100 such wishes hold.

        Raises:
            UsageError: the catalogue does not have it. StorageError: it could not be kept, and is as before.
        """
        items = self._kept.items
        if items is None or not isinstance(item_id, str) or item_id not in items.rows:
            problem = f"item {shown(item_id)} is not in the catalogue of {self._kept.bundle}"
            raise UsageError(problem, place="less_like(item_id)", remedy="use an item id of this bundle")
        self._preferences.add("less_like", item_id, keep=_LESS_LIKE_KEPT)

    def undo_less_like(self, item_id: str) -> bool:
        """Undo :meth:`less_like`; whether it held."""
        return self._preferences.remove("less_like", item_id)

    def forget(self, event_id: str) -> bool:
        """Delete an event, and all that was derived from it; see :meth:`nearhand.events.EventLog.forget`.

        What was learned from it is unlearned: the events that are left are learned from anew. The lists that were given
        while it was there, and the decisions, stay noted. If it was sent, the next sync asks the endpoint to delete it.

        Returns:
            whether it was there.

        Raises:
            StorageError: it, or what was learned from it, could not be deleted; call it again. UsageError: it is no
                identifier, or that of the marker of a reset.
        """
        with self._kept.alone():
            found = self._kept.log.forget(event_id)
            self._kept.settle()  # even if it was not there: an earlier call may have failed here
            self._kept.store.wipe()
        return found

    def reset(self) -> RecordedEvent:
        """Begin anew: what came before stays visible and is no taste any more. Blocks and consent stay.

        Raises:
            StorageError: it has not happened, but for the end of what less was wanted of; call it again.
        """
        self._preferences.change(less_like=())
        return self._kept.log.reset()

    def erase(self) -> None:
        """Delete everything of the profile: events, features, what was learned, shown, decided, chosen and noted.

        No trace of it is left in its files, free pages and write-ahead logs included. The profile is then like a new
        one, consent and blocks included. If anything was ever sent, a signed request to erase that too stays, which
        names no more than the random identifier that it was sent under; the next sync sends it.

        If the app is killed in the middle, the next opening of the profile finishes it; until then nothing is sent.

        Raises:
            StorageError: it could not be done whole, but as far as possible; call it again.
        """
        kept = self._kept
        with kept.alone(), ExitStack() as steps:  # the last one is done first, and each, whatever another one raises
            # Also if something was raised: who was told goes on, and what is recorded next is not to be erased later.
            steps.callback(kept.store.put, ERASING, None)
            steps.callback(kept.changed)
            steps.callback(self._preferences.fresh)
            steps.callback(self._clear_store)
            if kept.pushed is not None:
                steps.callback(kept.pushed.clear)
            steps.callback(kept.log.erase)
            # Before the log is: with it go the requests to delete what was forgotten, and this is in their place.
            steps.callback(kept.part, kept.store)
            steps.callback(kept.store.put, ERASING, b"1")

    def finish_erasure(self, meter: Meter) -> None:
        """Do again what the app was killed in the middle of, or count that it cannot be done now."""
        try:
            self.erase()
        except StorageError as error:
            meter.degraded("an erasure that was begun is not finished", error)

    def export(self, path: str | Path) -> int:
        """Write all of the profile into one JSON document; its keys are those of :mod:`nearhand.privacy.archive`.

        It is not encrypted: it is the user's, to read.

        Returns:
            its bytes.

        Raises:
            UsageError: it is no path of an ordinary file. StorageError: it could not be written. What was there is as
                before.
        """
        target = path_of(path, "export(path)")
        with storage_errors(str(target)):
            is_in_the_way = target.exists() and not target.is_file()
        if is_in_the_way or not target.name:  # a device or a pipe would be replaced by a file
            problem = f"{str(target)!r} is no ordinary file"
            raise UsageError(problem, place="export(path)", remedy="give the path of a file to be written")
        kept = self._kept
        with kept.alone():
            epoch = kept.log.epoch()
            # At one instant: no event is both here and in the state of those that the caps have evicted.
            reading = kept.log.read(kept.fingerprint or "", materialized=False)
            events = reading.events
            kept.settle()
            archive = Archive(
                exported_at=self._clock.now_ms(),
                bundle=kept.bundle,
                bundle_version=kept.bundle_version,
                preferences=self.preferences,
                events=events,
                fingerprint=kept.fingerprint,
                state=None if kept.fingerprint is None else reading.state,
                epoch=max(epoch, events[-1].epoch if events else 0),
                values={name: content for name in kept.values if (content := kept.store.get(name)) is not None},
                journals={name: kept.store.entries(name) for name in kept.journals},
            )

        def note(size: int) -> None:
            self._audit.note("profile", count=len(events), size=size, to="a file", why="export")

        with self._exporting:  # two into one file, each whole
            return write_profile(target, archive, note)

    def import_(self, path: str | Path) -> int:
        """Take over what :meth:`export` wrote, here or on another device, into a profile that has no events yet.

        Lists are then the same as they were there, with the same bundle. What was chosen, shown and decided in this
        profile so far is replaced; pushed features and the audit log stay.

        Returns:
            how many events there were.

        Raises:
            UsageError: the profile has events, or the file is no profile. EventError: an event is malformed.
            StorageError: it cannot be read or written. In each case the profile is as before.
        """
        source = path_of(path, "import_(path)")
        archive = read_profile(source)
        if not 0 <= archive.epoch < _MOST_RESETS:
            problem = f"is damaged (the epoch is {archive.epoch})"
            raise UsageError(problem, place=str(source), remedy="give a file that privacy.export has written")
        kept = self._kept
        values = {NAME: serialize(archive.preferences), **{name: archive.values.get(name) for name in kept.values}}
        journals = {name: archive.journals.get(name, ()) for name in kept.journals}
        with kept.alone():
            if kept.log.count():
                raise UsageError("the profile has events", place="import_", remedy="erase it, or use another profile")
            before = (
                {name: kept.store.get(name) for name in values},
                {name: kept.store.entries(name) for name in journals},
            )
            kept.store.replace(values, journals)
            try:
                # Last: a profile that was killed before has no events, and can be imported into again.
                kept.log.restore(archive.events, archive.epoch, archive.fingerprint, archive.state)
            except BaseException:
                kept.store.replace(*before)
                raise
            self._preferences.hold(archive.preferences)
            kept.changed()
        return len(archive.events)

    def audit(self) -> list[AuditEntry]:
        """What left the device, when and why, the latest last.

        Raises:
            StorageError: it cannot be read.
        """
        return self._audit.entries()

    def _clear_store(self) -> None:
        self._kept.part(self._kept.store)  # again, if it could not be done before
        self._kept.store.clear(keep=(self._kept.erasures, ERASING))

    def _categories(self) -> set[str]:
        items = self._kept.items
        if items is None:
            return set()
        # An item without a director has the text "".
        return {*(genre for genres in items.genres for genre in genres), *items.directors} - {""}


def _check_bool(place: str, value: object) -> None:
    if type(value) is not bool:
        raise UsageError(f"is {shown(value)}", place=place, remedy="give True or False")


def _choice(place: str, item_id: str | None, category: str | None) -> tuple[str, str]:
    """The field of the preferences, and what is to be in it."""
    if item_id is not None and category is None:
        return "blocked_items", item_id
    if category is not None and item_id is None:
        return "blocked_categories", category
    raise UsageError("exactly one of item_id and category is needed", place=place, remedy="give one of them")
