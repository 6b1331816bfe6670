"""From events to the bandit: which list an event answers, what reward that is, and where what was learned is kept."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from types import NoneType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nearhand.bundle.serving import Learning
from nearhand.errors import UsageError
from nearhand.events import JSON, RESET, EventLog, RecordedEvent
from nearhand.hashing import murmur3_32
from nearhand.learning.bandit import LinearBandit
from nearhand.learning.exposures import Exposures, UnreadableExposureError
from nearhand.monitoring import Meter
from nearhand.profile import ProfileStore

if TYPE_CHECKING:
    from numpy.typing import NDArray

VALUE = "bandit"
PROJECTED = 32

IMPRESSION = "impression"

_VERSION = 1
_SEED = 0x6C656172  # of the signs of the projection: any number, but always the same
# Events that may be folded in memory only. The log's caps by age never take one of its latest 100, so after a kill
# they are there to be folded again.
_UNSAVED = 64
_PRUNED_EVERY = 64  # lists


class Credit(NamedTuple):
    """What an item of a list has earned: which update of the bandit it was, and its reward; None: it was only seen."""

    update: int
    reward: float | None


class Learner:
    """A bandit, and what it has learned from a profile's events. Safe for several threads.

    **Rewards.** An event teaches if it names a list that is still in the journal, of this space and with features of
    this dimension, and an item of it. Its type's reward in ``policy.rewards`` counts; an ``impression`` that is no
    reward there counts 0 until a reward comes. Each (list, item) is one update, made when it is first heard of, with
    the largest reward that came, whenever it came: a later, larger one corrects that update, weighted as what has been
    forgotten since says. So an event that is recorded again, or comes twice, changes nothing.

    **State.** The value "bandit" of the store holds the bandit, the credits, and the sequence number ``through`` up to
    which events are folded. It is written after at most 64 events and by :meth:`save`; whatever a kill takes is folded
    again from the log by :meth:`follow`, to the same bits. When an event was forgotten, everything is folded again; a
    reward whose list or event is not kept any more is then lost. The marker of a reset, when it is met, resets.

    Args:
        store: where the state is kept.
        exposures: the lists that were given.
        policy: how to learn.
        factors: the length of item vectors.
        space: what the vectors mean; see :class:`nearhand.learning.Exposure`. A state of another one is not used.
        meter: counts a state that cannot be read; it is then learned again from the log.

    Raises:
        StorageError: the state cannot be read. EncryptionError: it was written with another key.
    """

    def __init__(
        self,
        store: ProfileStore,
        exposures: Exposures,
        policy: Learning,
        *,
        factors: int,
        space: str,
        meter: Meter,
    ) -> None:
        self._store = store
        self._exposures = exposures
        self._rewards = {kind: float(reward) for kind, reward in policy.rewards.items()}
        self._space = space
        self._factors = factors
        self._projection = _signs(factors) if factors > PROJECTED else None
        self._bandit = LinearBandit(policy, min(factors, PROJECTED) + 1)
        self._lock = threading.RLock()
        self._through = self._unsaved = self._pruned_at = 0
        self._rewrites: int | None = None
        self._credits: dict[str, dict[int, Credit]] = {}
        self._meter = meter
        self._read()

    @property
    def through(self) -> int:
        """The sequence number of the last event that is folded; 0: none."""
        return self._through

    @property
    def updates(self) -> int:
        """How many (list, item) pairs have been learned from since the last reset."""
        return self._bandit.updates

    def features(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """The bandit's input for item vectors.

        More than 32 factors are projected to 32 by a fixed matrix of ±1 (Achlioptas 2003), whose signs in a factor's
        row are the bits of the MurmurHash3 of its number. The result is scaled to length 1, if it is not 0, and a last
        feature 1 is added.

        Args:
            vectors: float32 [n, factors].

        Returns:
            float32 [n, min(factors, 32) + 1].

        Raises:
            UsageError: the vectors have another number of factors.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self._factors:
            problem = f"have the shape {list(vectors.shape)}, not [n, {self._factors}]"
            raise UsageError(problem, place="item vectors", remedy="give the vectors of this bundle's items")
        short = vectors if self._projection is None else vectors @ self._projection
        lengths = np.linalg.norm(short, axis=1, keepdims=True)
        features = np.ones((len(vectors), short.shape[1] + 1), np.float32)
        features[:, :-1] = short / np.maximum(lengths, np.finfo(np.float32).tiny)
        return features

    def bonus(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """What is hoped of items: float64 [n], in rewards, of features float32 [n, d]; see :class:`LinearBandit`.

        Raises:
            UsageError: the features are not those of this bandit.
        """
        with self._lock:
            return self._bandit.bonus(features)

    def follow(self, log: EventLog) -> None:
        """Fold what the log holds beyond :attr:`through`; everything anew if an event was forgotten.

        Raises:
            StorageError: the log or the journal cannot be read, or the state not be written.
        """
        with self._lock:
            reading = log.read("", self._through, self._rewrites)
            if reading.rewrites != self._rewrites:
                self._refold(reading.events, reading.through, reading.rewrites)
                self.save_unless_forgotten(log)
                return
            # If the log has evicted what is not folded here, it gives all it has: what is folded is passed over.
            for event in reading.events:
                self._fold(event)
            self._through = reading.through
            if self._unsaved >= _UNSAVED:
                self.save_unless_forgotten(log)

    def save_unless_forgotten(self, log: EventLog) -> None:
        """:meth:`save`, unless an event was forgotten since, or all were, by whoever else has the profile open.

        What was learned from it is not to be written down any more; the next :meth:`follow` learns anew.

        Raises:
            StorageError: the log cannot be read, or the state not be written.
        """
        # Nobody else can clear the store in between, which is what they do after they have changed the log.
        with self._lock, self._store.transaction():
            if self._rewrites is not None and self._rewrites == log.rewrites():
                self.save()

    def observe(self, event: RecordedEvent) -> bool:
        """Fold one event. They have to come in the order of their sequence numbers; one that is folded is passed over.

        Returns:
            whether it taught something.

        Raises:
            StorageError: the journal cannot be read, or the state not be written.
        """
        with self._lock:
            taught = self._fold(event)
            if self._unsaved >= _UNSAVED:
                self.save()
            return taught

    def replay(self, events: Iterable[RecordedEvent]) -> None:
        """Forget what was learned, learn from these events, in the order of their sequence numbers, and save.

        The same events give the same bits, as far as the lists they name are still kept.

        Raises:
            StorageError: the journal cannot be read, or the state not be written.
        """
        with self._lock:
            self._refold(events, 0, self._rewrites)
            self.save()

    def reset(self) -> None:
        """Forget what was learned, and save. Events up to :attr:`through` stay folded: they teach nothing any more.

        Folding everything anew would teach them again, unless the log has the marker of a reset too.

        Raises:
            StorageError: the state could not be written.
        """
        with self._lock:
            self._forget()
            self.save()

    def save(self) -> None:
        """Write the state down.

        Raises:
            StorageError: it could not be written.
        """
        with self._lock:
            self._prune()
            self._store.put(VALUE, json.dumps(self.export(), separators=(",", ":")).encode())
            self._unsaved = 0

    def export(self) -> dict[str, JSON]:
        """The state as JSON that reads back to the same bits.

        ``version`` 1; ``space``; ``through`` and ``rewrites``: how far the log is folded, and its number then (null:
        none was read yet); ``bandit``: see :meth:`LinearBandit.dump`; ``credits``: recommendation_id → for each of its
        items that was heard of, [position, update, reward or null].
        """
        with self._lock:
            return {
                "version": _VERSION,
                "space": self._space,
                "through": self._through,
                "rewrites": self._rewrites,
                "bandit": self._bandit.dump(),
                "credits": {
                    recommendation_id: [[position, *credit] for position, credit in credits.items()]
                    for recommendation_id, credits in self._credits.items()
                },
            }

    def import_(self, content: object, log: EventLog) -> None:
        """Become what :meth:`export` gave, here or on another device, and save.

        Args:
            content: what it gave.
            log: the profile's log. All it holds now counts as folded: import the events first.

        Raises:
            UsageError: it is no export, or one of another space or dimension. Nothing has changed.
            StorageError: the log cannot be read, or the state not be written.
        """
        with self._lock:
            reading = log.read("", 0, None)
            self._load(content)
            self._through, self._rewrites = reading.through, reading.rewrites
            self.save()

    def reload(self, log: EventLog) -> None:
        """Begin from what the store has now, after its contents and the log's were replaced.

        All that the log holds counts as folded if the store has a state; else it is folded anew.

        Raises:
            StorageError: the log or the state cannot be read, or the state not be written.
        """
        with self._lock:
            self._begin()
            if self._read():
                reading = log.read("", 0, None)
                self._through, self._rewrites = reading.through, reading.rewrites
                self.save()

    def _read(self) -> bool:
        """Take the state from the store; whether there was one of this space."""
        content = self._store.get(VALUE)
        if content is None:
            return False
        try:
            document = json.loads(content)
            if isinstance(document, dict) and document.get("space") != self._space:
                return False
            self._load(document)
        except (ValueError, RecursionError, UsageError) as error:
            self._meter.degraded("what was learned could not be read, and is learned again from the log", error)
            return False
        return True

    def _begin(self) -> None:
        self._through = self._unsaved = 0
        self._rewrites = None
        self._forget()

    def _forget(self) -> None:
        self._bandit.reset()
        self._credits = {}
        self._pruned_at = 0

    def _refold(self, events: Iterable[RecordedEvent], through: int, rewrites: int | None) -> None:
        self._begin()
        for event in events:
            self._fold(event)
        self._through = max(self._through, through)
        self._rewrites = rewrites

    def _fold(self, event: RecordedEvent) -> bool:
        if event.sequence <= self._through:
            return False
        taught = False
        if event.event == RESET:
            self._forget()
        elif event.event in self._rewards or event.event == IMPRESSION:
            taught = self._credit(event)
        # Last: an event whose list could not be looked up, because the disk failed, is folded when it is offered again.
        self._through = event.sequence
        self._unsaved += 1
        return taught

    def _credit(self, event: RecordedEvent) -> bool:
        try:
            found = self._exposures.attributed(event)
        except UnreadableExposureError as error:  # the other lists still teach
            self._meter.degraded("a list that was noted cannot be read, and teaches nothing", error)
            return False
        if found is None:
            return False
        exposure, position = found
        if exposure.space != self._space or exposure.features.shape[1] != self._bandit.dimension:
            return False
        x = exposure.features[position]
        reward = self._rewards.get(event.event)
        credits = self._credits.setdefault(exposure.recommendation_id, {})
        credit = credits.get(position)
        if credit is None:
            self._bandit.update(x, reward or 0.0)
            credits[position] = Credit(self._bandit.updates, reward)
        elif reward is not None and (credit.reward is None or reward > credit.reward):
            self._bandit.correct(x, credit.reward or 0.0, reward, credit.update)
            credits[position] = Credit(credit.update, reward)
        else:
            return False
        return True

    def _prune(self) -> None:
        """Let go of the credits of lists that are not kept any more, to which no event can be attributed."""
        if len(self._credits) >= self._pruned_at + _PRUNED_EVERY:
            kept = self._exposures.kept()
            self._credits = {name: credits for name, credits in self._credits.items() if name in kept}
            self._pruned_at = len(self._credits)

    def _load(self, content: object) -> None:
        """Raises UsageError, and changes nothing, if it is not what :meth:`export` gave."""
        if not isinstance(content, Mapping) or content.get("version") != _VERSION:
            raise _no_export("version", f"is not {_VERSION}")
        if content.get("space") != self._space:
            raise _no_export("space", f"is {content.get('space')!r}, not {self._space!r}")
        through, rewrites = content.get("through"), content.get("rewrites")
        if type(through) is not int or through < 0:
            raise _no_export("through", f"is {through!r}, not a whole number from 0")
        if rewrites is not None and type(rewrites) is not int:
            raise _no_export("rewrites", f"is {rewrites!r}, not a whole number")
        credits = _read_credits(content.get("credits"))
        self._bandit.load(content.get("bandit"))
        self._through, self._rewrites, self._credits = through, rewrites, credits
        self._pruned_at = self._unsaved = 0


def _read_credits(content: object) -> dict[str, dict[int, Credit]]:
    try:
        if not isinstance(content, Mapping):
            raise TypeError("not an object")
        credits: dict[str, dict[int, Credit]] = {}
        for recommendation_id, entries in content.items():
            kept = credits.setdefault(recommendation_id, {})
            for position, update, reward in entries:
                if type(position) is not int or type(update) is not int or type(reward) not in (int, float, NoneType):
                    raise TypeError(f"{[position, update, reward]!r}")
                kept[position] = Credit(update, reward)
    except (TypeError, ValueError) as error:
        raise _no_export("credits", f"are not lists of [position, update, reward] ({error})") from None
    return credits


def _signs(factors: int) -> NDArray[np.float32]:
    """float32 [factors, 32] of ±1."""
    bits = [murmur3_32(factor.to_bytes(4, "little"), _SEED) for factor in range(factors)]
    ones = np.array(bits, np.uint32)[:, None] >> np.arange(PROJECTED, dtype=np.uint32) & 1
    return np.where(ones, np.float32(1), np.float32(-1))


def _no_export(field: str, problem: str) -> UsageError:
    return UsageError(problem, place=f"learned state {field}", remedy="give what export() gave, or reset it")
