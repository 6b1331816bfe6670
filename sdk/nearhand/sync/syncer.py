"""The outbox is emptied: erasures first, then events, then pushed features are asked for."""

from __future__ import annotations

import base64
import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from nearhand.clock import Clock
from nearhand.errors import UsageError
from nearhand.events import EventLog, EventSchema
from nearhand.events.outbox import Parcel
from nearhand.monitoring import Meter
from nearhand.network import Answer, Call, Transport, default_transport
from nearhand.privacy import Audit, PreferenceStore
from nearhand.profile import ProfileStore
from nearhand.records import dataclass
from nearhand.sync.config import SyncConfig
from nearhand.sync.identity import (
    Erasure,
    Install,
    canonical,
    drop_erasure,
    drop_install,
    erasures,
    find_install,
    require_install,
    signed,
)
from nearhand.sync.lock import alone
from nearhand.sync.messages import UnsendableError, Writer
from nearhand.sync.report import SyncReport, SyncStatus
from nearhand.sync.run import EndedError, Pause, Run, UnreadableError

OUTCOME = "sync"
"""Name of the value in the store: how the latest sync ended, and which features are known."""
_DELETIONS = 1_000  # of one request
_LEVEL = 6  # of gzip: more takes longer than it saves


class Push(Protocol):
    """Takes a pushed feature; see :meth:`nearhand.features.store.FeatureStore.push`."""

    def __call__(self, name: str, values: Sequence[float], *, ttl_seconds: float, source: str) -> object: ...


@dataclass(frozen=True)
class _Batch:
    parcel: Parcel
    install: Install
    ids: Sequence[str]
    through: int
    unsent: Mapping[str, int]
    left_out: Mapping[str, int]
    call: Call


class Syncer:
    """Syncs one profile. Safe for several threads and processes: one at a time does it.

    Args:
        push: takes pushed features; None: the bundle has none.
        event_types: those that the bundle declares.
        lock: the path of a file, which is made, that is locked for the time of a sync.
        transport: None: the one over urllib3, when it is needed.
        pause, draw: see :class:`nearhand.sync.run.Run`.
    """

    def __init__(
        self,
        config: SyncConfig,
        *,
        log: EventLog,
        store: ProfileStore,
        preferences: PreferenceStore,
        push: Push | None,
        event_types: Mapping[str, EventSchema],
        lock: Path,
        clock: Clock,
        meter: Meter,
        transport: Transport | None = None,
        pause: Pause = threading.Event.wait,
        draw: Callable[[], float] = lambda: int.from_bytes(os.urandom(4), "little") / 2**32,
    ) -> None:
        self._config = config
        self._log = log
        self._store = store
        self._preferences = preferences
        self._push = push
        self._lock = lock
        self._clock = clock
        self._meter = meter
        self._given = transport
        self._transport = transport
        self._pause = pause
        self._draw = draw
        self._audit = Audit(store, clock)
        self._writer = Writer(config, event_types)
        self._url = config.url.rstrip("/")
        self._stop = threading.Event()
        self._not_before_ns = 0

    def sync(self, cancelled: threading.Event | None = None) -> SyncReport:
        """See :meth:`nearhand.Personalizer.sync`."""
        stop = self._stop
        with alone(self._lock) as is_free:
            if not is_free:
                return self._ended(SyncReport(errors=("another sync of this profile is running",)))
            if (wait_ns := self._not_before_ns - self._clock.monotonic_ns()) > 0:
                errors = ("the endpoint has asked to wait",)
                return self._ended(SyncReport(errors=errors, retry_after_ms=wait_ns // 1_000_000 + 1))
            transport = self._transport = self._transport or default_transport()
            run = Run(self._config, transport, self._clock, stop, cancelled, self._pause, self._draw)
            try:
                self._all(run)
                run.report = replace(run.report, is_complete=not run.report.errors)
            except EndedError as end:
                self._note(run, end)
            except UsageError:
                if not stop.is_set():
                    raise
            if stop.is_set():
                return run.report  # the profile may be closed by now
            self._save(run.report)
            return self._ended(run.report)

    def interrupt(self) -> None:
        """End a sync that is running, as soon as the call is answered that it is making."""
        self._stop.set()
        self._stop = threading.Event()

    def close(self) -> None:
        """End a sync that is running, and close the connections of the own transport."""
        self.interrupt()
        if self._given is None and self._transport is not None:
            self._transport.close()

    def status(self) -> SyncStatus:
        """How the outbox is doing.

        Raises:
            StorageError: it cannot be read.
        """
        install, outcome = find_install(self._store), self._outcome()
        return SyncStatus(
            pending=self._log.outbox.pending(),
            dropped=self._log.outbox.unsent(),
            erasures=len(erasures(self._store)) + len(self._log.outbox.deletions(_DELETIONS)),
            install=None if install is None else install.install_id[:8],
            last_success_at=outcome.get("last_success_at"),
            last_error=outcome.get("last_error"),
        )

    def _all(self, run: Run) -> None:
        self._erase(run)
        is_deleted = self._delete(run)
        if self._preferences.fresh().consent != "sync":
            return
        self._send(run)
        if is_deleted:
            self._delete(run)  # what was forgotten in the meantime
        if self._config.features and self._push is not None:
            self._pull(run, self._push)

    # Erasures: what the user has taken back leaves whatever the consent says by now.

    def _erase(self, run: Run) -> None:
        for erasure in erasures(self._store):
            if self._request_erasure(run, erasure, count=1):
                drop_erasure(self._store, erasure.request["nonce"])

    def _delete(self, run: Run) -> bool:
        """Whether the endpoint has done what it was asked."""
        outbox = self._log.outbox
        while event_ids := outbox.deletions(_DELETIONS):
            install = find_install(self._store)
            if install is not None:  # else it went with a damaged file, and what it sent cannot be reached any more
                erasure = signed(install, "events", event_ids)
                if not self._request_erasure(run, erasure, count=len(event_ids)):
                    return False
            outbox.deleted(event_ids)
        return True

    def _request_erasure(self, run: Run, erasure: Erasure, count: int) -> bool:
        body = canonical(erasure.request)
        # With the key the endpoint can note it for an install whose first batch is still on its way.
        headers = self._headers("application/json", erasure.key)

        def make() -> Call:
            self._audit.note("request to erase", count=count, size=len(body), to=self._url, why="erase")
            return Call("POST", f"{self._url}/v1/erasures", headers, body)

        # 404 and 409: there is nothing (any more). 403: it is erased whole, or not signed as the endpoint wants it.
        answer = run.exchange(make, lambda answer: answer, 403, 404, 409)
        assert answer is not None
        code = _code(answer)
        if (answer.status == 403 and code != "erased") or (answer.status == 404 and code != "unknown-install"):
            run.trouble(f"erasures: HTTP {answer.status} {code}")
            return False
        run.add(erasures=1)
        return True

    # Events

    def _send(self, run: Run) -> None:
        limit = self._config.max_events
        batch: _Batch | None = None

        def make() -> Call | None:
            nonlocal batch
            batch = self._batch(run, limit)
            return None if batch is None else batch.call

        def read(answer: Answer) -> Answer | _Intake:
            return answer if answer.status in (403, 413) else _Intake.of(answer, 0 if batch is None else len(batch.ids))

        while (answer := run.exchange(make, read, 403, 413)) is not None:
            assert batch is not None
            if isinstance(answer, _Intake):
                self._settle(run, batch, answer)
                if batch.parcel.is_cut or batch.through < batch.parcel.through:
                    run.pace(len(batch.ids))
            elif answer.status == 403:
                if _code(answer) == "erased":
                    drop_install(self._store, batch.install)
                raise EndedError(f"{self._writer.path[4:]}: HTTP 403 {_code(answer)}")
            elif len(batch.ids) > 1:
                limit = len(batch.ids) // 2
            else:
                unsent = Counter(batch.unsent) + Counter({"too large": 1})
                self._log.outbox.settle(batch.parcel, batch.through, unsent)

    def _batch(self, run: Run, limit: int) -> _Batch | None:
        """The next batch, with its entry in the audit log; None: there is nothing that may be sent."""
        outbox = self._log.outbox
        while True:
            run.check()
            if self._preferences.fresh().consent != "sync":
                return None
            # Before the events are read: if all is erased after that, what is sent goes under what is erased there too.
            install = require_install(self._store)
            if install is None:
                raise EndedError("the profile is being erased")
            parcel = outbox.take(limit, self._config.max_batch_bytes)
            if parcel is None:
                return None
            if find_install(self._store) != install:
                continue  # erased in between: what was recorded since must not go under it
            messages: list[bytes] = []
            ids, unsent, left_out = [], Counter[str](), Counter[str]()
            through, room = parcel.through, self._config.max_batch_bytes - 100
            for event in parcel.events:
                names = Counter[str]()
                try:
                    message = self._writer.message(event, install.install_id, names)
                except UnsendableError as error:
                    unsent[str(error)] += 1
                    continue
                room -= len(message) + 1
                if room < 0 and messages:
                    through = event.sequence - 1
                    break
                messages.append(message)
                ids.append(event.event_id)
                left_out += names
            if not messages:
                outbox.settle(parcel, through, unsent)
                continue
            body = _compressed(self._writer.body(messages, self._clock.now_ms()))
            self._audit.note("events", count=len(ids), size=len(body), to=self._url, why="sync")
            if self._preferences.current.consent != "sync":
                return None
            headers = self._headers(self._writer.content_type, install.key) | {"content-encoding": "gzip"}
            call = Call("POST", self._url + self._writer.path, headers, body)
            return _Batch(parcel, install, ids, through, unsent, left_out, call)

    def _settle(self, run: Run, batch: _Batch, intake: _Intake) -> None:
        codes = Counter(f"refused: {code}" for code in intake.refused)
        self._log.outbox.settle(batch.parcel, batch.through, Counter(batch.unsent) + codes)
        run.add(events_sent=intake.accepted + intake.duplicates, duplicates=intake.duplicates)
        run.refuse(Counter(intake.refused))
        run.leave_out(batch.left_out)

    # Pushed features

    def _pull(self, run: Run, push: Push) -> None:
        outcome, now = self._outcome(), self._clock.now_ms()
        is_fresh = outcome.get("pulled_at", now + 1) <= now < outcome.get("fresh_until", now)
        # Once half of their time to live is over they are asked for again, even if they are the same.
        known = {"if-none-match": outcome["etag"]} if is_fresh and outcome.get("etag") else {}

        install: Install | None = None

        def make() -> Call | None:
            nonlocal install
            install = find_install(self._store)
            if install is None or self._preferences.fresh().consent != "sync":
                return None
            self._audit.note("request for features", count=1, size=0, to=self._url, why="sync")
            headers = self._headers(None, install.key) | known
            return Call("GET", f"{self._url}/v1/features?install_id={install.install_id}", headers)

        answer = run.exchange(make, lambda answer: (answer, _features(answer)), 304, 404)
        if answer is None or answer[0].status != 200 or find_install(self._store) != install:
            return  # there are none, or they are of a profile that was erased in the meantime
        lifetimes = []
        for feature in answer[1]:
            try:
                ttl_ms = feature["ttl_ms"]
                push(feature["name"], feature["values"], ttl_seconds=ttl_ms / 1000, source=feature["source"])
            except (UsageError, TypeError, KeyError, OverflowError) as error:
                self._meter.skipped(f"a pushed feature of the endpoint was not taken over: {error}"[:300])
            else:
                lifetimes.append(ttl_ms)
                run.add(features=1)
        fresh_until = now + min(lifetimes, default=0) // 2
        self._put_outcome(etag=answer[0].headers.get("etag"), pulled_at=now, fresh_until=fresh_until)

    # How it went

    def _note(self, run: Run, end: EndedError) -> None:
        if end.problem is not None:
            run.trouble(end.problem)
        if end.retry_after_ms is not None:
            wait_ms = int(end.retry_after_ms)
            run.report = replace(run.report, retry_after_ms=wait_ms)
            if end.is_named:
                self._not_before_ns = self._clock.monotonic_ns() + wait_ms * 1_000_000

    def _ended(self, report: SyncReport) -> SyncReport:
        outbox = self._log.outbox
        return replace(report, dropped=outbox.unsent(), pending=outbox.pending())

    def _save(self, report: SyncReport) -> None:
        found = {"last_success_at": self._clock.now_ms()} if report.is_complete else {}
        self._put_outcome(last_error=report.errors[0] if report.errors else None, **found)

    def _outcome(self) -> dict[str, Any]:
        content = self._store.get(OUTCOME)
        return {} if content is None else json.loads(content)

    def _put_outcome(self, **found: Any) -> None:
        with self._store.transaction():
            self._store.put(OUTCOME, json.dumps({**self._outcome(), **found}).encode())

    def _headers(self, content_type: str | None, install_key: str) -> dict[str, str]:
        key = base64.b64encode(f"{self._config.write_key}:".encode()).decode()
        found = {**self._config.headers, "authorization": f"Basic {key}", "x-nearhand-install-key": install_key}
        if content_type is not None:
            found["content-type"] = content_type
        return found


@dataclass(frozen=True)
class _Intake:
    """What the endpoint says of a batch: how many are new, how many it had, and why it does not take the others."""

    accepted: int
    duplicates: int
    refused: Sequence[str]

    @classmethod
    def of(cls, answer: Answer, sent: int) -> _Intake:
        """
        Raises:
            UnreadableError: it does not account for each event that was sent.
        """
        content = _json(answer)
        try:
            accepted, duplicates, refused = (content[name] for name in ("accepted", "duplicates", "refused"))
            codes = [str(each["code"])[:64] for each in refused]
            total = accepted + duplicates + len(codes)
        except (TypeError, KeyError) as error:
            raise UnreadableError(f"{type(error).__name__} in it") from error
        if type(accepted) is not int or type(duplicates) is not int or min(accepted, duplicates) < 0 or total != sent:
            raise UnreadableError(f"it speaks of {total!r} events, and {sent} were sent")
        return cls(accepted, duplicates, codes)


def _features(answer: Answer) -> Sequence[Mapping[str, Any]]:
    if answer.status != 200:
        return ()
    content = _json(answer)
    features = content.get("features") if isinstance(content, dict) else None
    if not isinstance(features, list) or not all(isinstance(each, dict) for each in features):
        raise UnreadableError("it holds no features")
    return features


def _code(answer: Answer) -> str:
    try:
        content = _json(answer)
    except UnreadableError:
        return ""
    return str(content.get("code", ""))[:64] if isinstance(content, dict) else ""


def _json(answer: Answer) -> Any:
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError) as error:
        raise UnreadableError("it is no JSON") from error


def _compressed(body: bytes) -> bytes:
    import gzip  # not before something is sent

    return gzip.compress(body, _LEVEL, mtime=0)
