"""What was done to a log, told line by line while it happens, and whether the log holds what its teller was promised.

A line goes out before each operation and after it has returned, so that whatever ends the process, the reader of the
lines knows what was acknowledged, and what was under way.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from nearhand.clock import Clock, SystemClock
from nearhand.config import Durability
from nearhand.errors import NearhandError
from nearhand.events import RESET, Caps, Event, EventLog, RecordedEvent, Snapshot, recorded_from_json, recorded_to_json
from nearhand.features.store import FeatureStore

T = TypeVar("T")
Fact = tuple[int, str, int, str]
"""Of an event: its sequence number, identifier, epoch and type."""


def fact(event: RecordedEvent) -> Fact:
    return event.sequence, event.event_id, event.epoch, event.event


class FactKeeper:
    """A checkpointer whose state is the list of the facts it was given: nothing may be missing, or there twice."""

    fingerprint = "facts-1"

    def fold(self, state: bytes | None, events: Sequence[RecordedEvent], as_of: int) -> bytes:
        return json.dumps([*facts_in(state), *map(fact, events)]).encode()


def facts_in(state: bytes | None) -> list[Fact]:
    return [(sequence, event_id, epoch, event) for sequence, event_id, epoch, event in json.loads(state or b"[]")]


def open_log(
    path: Path, *, clock: Clock | None = None, durability: Durability = "process", max_bytes: int = 16_000_000
) -> EventLog:
    return EventLog(
        path,
        clock=clock or SystemClock(),
        durability=durability,
        caps=Caps(max_bytes=max_bytes),
        checkpointer=FactKeeper(),
    )


def viewed(event_id: str, text: str = "") -> Event:
    """An event whose content is told by its identifier, so that none can be taken for another one."""
    return Event("item_viewed", item_id=f"m-{event_id}", event_id=event_id, properties={"text": text} if text else None)


class Closable(Protocol):
    def close(self) -> None: ...


class Teller:
    """Does things to a log and tells of them.

    Args:
        say: takes each line. A line is short enough for a pipe to take it whole.
        name: tells this teller's lines from those of others.
        tries: how often something is done that fails.

    Attributes:
        gave_up: what failed each time.
    """

    def __init__(self, say: Callable[[str], None], name: str = "", *, tries: int = 1) -> None:
        self._say = say
        self._name = name
        self._tries = tries
        self.gave_up: list[str] = []

    def open(self, make: Callable[[], T]) -> T | None:
        return self._do("open", [], make)

    def close(self, what: Closable) -> None:
        self._do("close", [], what.close)

    def append(self, log: EventLog, event: Event) -> RecordedEvent | None:
        assert event.event_id
        return self._do("append", [event.event_id], lambda: log.append(event))

    def append_many(self, log: EventLog, events: Sequence[Event]) -> list[RecordedEvent] | None:
        return self._do("append", [str(event.event_id) for event in events], lambda: log.append_many(events))

    def reset(self, log: EventLog) -> RecordedEvent | None:
        return self._do("reset", [], log.reset)

    def forget(self, log: EventLog, event_id: str) -> bool | None:
        return self._do("forget", [event_id], lambda: log.forget(event_id))

    def read(self, store: FeatureStore) -> None:
        self._do("read", [], store.vector)

    def push(self, store: FeatureStore, name: str, values: Sequence[float]) -> None:
        self._do("push", [], lambda: store.push(name, values, ttl_seconds=10 * 86_400, source="a test"))

    def enforce_caps(self, log: EventLog) -> None:
        self._do("evict", [], log.enforce_caps)

    def save_snapshot(self, log: EventLog) -> bool | None:
        def save() -> bool:
            reading = log.read(FactKeeper.fingerprint, 0, None)
            state = FactKeeper().fold(reading.state, reading.events, 0)
            return log.save_snapshot(FactKeeper.fingerprint, Snapshot(state, reading.through, reading.rewrites))

        return self._do("snapshot", [], save)

    def _do(self, operation: str, ids: list[str], call: Callable[[], T]) -> T | None:
        """What ``call`` gives; None if it raises one of the SDK's own errors each time. Others go through."""
        for _ in range(self._tries):
            self._say(json.dumps({"by": self._name, "does": operation, "ids": ids}))
            try:
                return self._acknowledge(call())
            except NearhandError as error:
                self._say(json.dumps({"by": self._name, "error": f"{type(error).__name__}: {error}"}))
        self.gave_up.append(f"{operation} {ids}")
        return None

    def _acknowledge(self, result: T) -> T:
        events = result if isinstance(result, list) else [result] if isinstance(result, RecordedEvent) else []
        answer = {"by": self._name, "events": [recorded_to_json(event) for event in events]}
        self._say(json.dumps({**answer, "true": result is True}))
        return result


@dataclass
class Told:
    """What the lines say."""

    acknowledged: dict[str, RecordedEvent] = field(default_factory=dict)
    uncertain: list[list[str]] = field(default_factory=list)
    """The identifiers of each append that failed or was cut off, in the order of their starts; of a reset, none."""
    resets: int = 0
    """How many resets failed or were cut off."""
    forgotten: set[str] = field(default_factory=set)
    perhaps_forgotten: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)
    forgiven: bool = False

    @classmethod
    def of(cls, lines: Iterable[str]) -> Told:
        told = cls()
        under_way: dict[str, dict[str, Any]] = {}
        for line in map(json.loads, lines):
            if "does" in line:
                under_way[line["by"]] = line
            else:
                told._hear(under_way.pop(line["by"]), line)
        for attempt in under_way.values():
            told._hear(attempt, None)
        return told

    def forgive(self) -> None:
        """Nothing was promised: what comes last may be missing, or not forgotten, as long as the rest is consistent."""
        self.forgiven = True
        self.perhaps_forgotten |= self.forgotten
        self.forgotten = set()

    def _hear(self, attempt: dict[str, Any], answer: dict[str, Any] | None) -> None:
        if answer and "error" in answer:
            self.errors.append(f"{attempt['does']} {attempt['ids']}: {answer['error']}")
            answer = None
        match attempt["does"]:
            case "append" | "reset" if answer is not None:
                events = map(recorded_from_json, answer["events"])
                self.acknowledged |= {event.event_id: event for event in events}
            case "append":
                self.uncertain.append(attempt["ids"])
            case "reset":
                self.resets += 1
            case "forget" if answer is None:
                self.perhaps_forgotten |= set(attempt["ids"])
            case "forget" if answer is not None and answer["true"]:
                self.forgotten |= set(attempt["ids"])


def check_log(path: Path, told: Told, *, most_uncertain: int = 1) -> list[Fact]:
    """Open a log that nobody uses any more and compare it with what was told; returns all that it was given and kept.

    Args:
        most_uncertain: of how many operations that were not acknowledged something may be there all the same.

    Raises:
        AssertionError: it does not hold what it has to, or holds what it must not.
    """
    with open_log(path) as log:
        evicted = facts_in(log.checkpoint(FactKeeper.fingerprint))
        events = log.since(0)
        for event in events:
            assert told.acknowledged.get(event.event_id, event) == event, "what is stored is not what was acknowledged"
        stored = [fact(event) for event in events]
        whole = [*evicted, *stored]
        assert sum(log.drops().values()) == len(evicted), "what was evicted was not counted"
        check_order(whole)
        _check_promises(whole, told, most_uncertain)
        snapshot = log.snapshot(FactKeeper.fingerprint)
        if snapshot is not None:
            later = [facts for facts in stored if facts[0] > snapshot.through]
            assert [*facts_in(snapshot.state), *later] == whole, "a stale snapshot"
        gone = (told.forgotten | told.perhaps_forgotten) - {facts[1] for facts in whole}
        files = [*path.parent.glob(path.name + "*")]
        # Not in the index yet. If the first frame of the write-ahead log is torn, SQLite, opening it, fills the index
        # with memory of this process that it has not cleared, and all identifiers have been in there.
        _check_gone(gone, [file for file in files if not file.name.endswith("-shm")])
        assert fact(log.append(viewed("one more")))[0] > max((facts[0] for facts in whole), default=0)
        assert log.forget("one more")
        _check_gone({*gone, "one more"}, files)  # the first write has cleared it
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return whole


def _check_gone(event_ids: Iterable[str], files: Iterable[Path]) -> None:
    kept = b"".join(file.read_bytes() for file in files)
    for event_id in event_ids:
        assert event_id.encode() not in kept, f"{event_id} was forgotten, and is still in the file"


def check_order(whole: list[Fact]) -> None:
    """All that a log was given and kept has increasing numbers, no event twice, and epochs that count the resets."""
    numbers = [sequence for sequence, *_ in whole]
    assert numbers == sorted(set(numbers)), "a sequence number is there twice, or out of order"
    ids = [event_id for _, event_id, *_ in whole]
    assert len(ids) == len(set(ids)), "an event is there twice"
    epoch = 0
    for facts in whole:
        epoch += facts[3] == RESET
        assert facts[2] == epoch, f"{facts} is not of epoch {epoch}"


def _check_promises(whole: list[Fact], told: Told, most_uncertain: int) -> None:
    present = {facts[1]: facts for facts in whole}
    for event_id, event in told.acknowledged.items():
        facts = fact(event)
        if event_id in told.forgotten:
            assert event_id not in present, f"{event_id} was forgotten, and is there"
        elif event_id in present:
            assert present[event_id] == facts, f"{facts} was acknowledged; there is {present[event_id]}"
        elif event_id not in told.perhaps_forgotten:
            assert told.forgiven, f"{facts} was acknowledged, and is missing"
            assert not whole or facts[0] > whole[-1][0], f"{facts} is missing, and there are later ones"
    extra = present.keys() - told.acknowledged.keys()
    found = 0
    for ids in told.uncertain:
        if extra & set(ids):
            found += 1
            assert set(ids) <= present.keys(), f"only a part of {ids} is there"
            extra -= set(ids)
    resets = [event_id for event_id in extra if present[event_id][3] == RESET]
    assert len(resets) <= told.resets, f"resets nobody asked for: {resets}"
    assert extra == set(resets), f"nobody recorded {extra - set(resets)}"
    assert found + len(resets) <= most_uncertain, "more is there than what was cut off"
