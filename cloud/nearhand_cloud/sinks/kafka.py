"""The sink for Kafka: an event is claimed in the ledger, sent, acknowledged by the brokers, and marked as done.

Between the acknowledgement and the mark a process can die. Then the claim lapses, and whoever finds it reads the topic
from where the event can be at the earliest, and so knows whether it is there.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
from functools import partial
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from nearhand.clock import Clock
from nearhand_cloud.events import StoredEvent, install_digest, message_digest
from nearhand_cloud.metrics import Metrics
from nearhand_cloud.refusal import RefusalError, UnavailableError
from nearhand_cloud.sinks.ledger import Lapsed, Ledger, Place
from nearhand_cloud.sinks.sink import Batch, Erasure, Kept

_SEND_MS = 10_000
_MARGIN_MS = 5_000
_ASK_S = 5.0
_POLL_S = 0.1
_RECONCILE_S = 1.0
_REMEDY = "look at the brokers and the way to them"


def lease_ms(options: Mapping[str, Any]) -> int:
    """How long a claim lasts: longer than anything that the process which made it can still send."""
    return int(options.get("message.timeout.ms", _SEND_MS)) + _MARGIN_MS


class KafkaSink:
    """See :class:`nearhand_cloud.sinks.sink.Sink`.

    Records have the key ``<install id>:<event id>`` and an event as JSON. All events of an install are in one
    partition, in the order in which they came. Requests to erase go to the topic ``<topic>.erasures``.

    Args:
        options: properties of the Kafka client, ``bootstrap.servers`` among them.
        topic: the topic of the events.
        ledger: remembers which events are stored.
        clock: what ``received_at`` is read from.
        metrics: count what was looked up.

    Raises:
        UnavailableError: the brokers cannot be reached, or the topic does not exist.
    """

    def __init__(self, options: dict[str, Any], topic: str, ledger: Ledger, clock: Clock, metrics: Metrics) -> None:
        self._options = options
        self._topic = topic
        self._ledger = ledger
        self._clock = clock
        self._metrics = metrics
        self._producer = self._made()
        self._fatal = False
        self._ends = self._find_ends()
        self._closing = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="nearhand-cloud-kafka", daemon=True)
        self._thread.start()
        self._reconciling = asyncio.create_task(self._reconcile_often())

    async def keep(self, batch: Batch) -> Kept:
        """See :meth:`Sink.keep`."""
        events: dict[bytes, StoredEvent] = {}
        for event in batch.events:
            events.setdefault(message_digest(event.event_id), event)
        install = install_digest(batch.install_id)
        partition = int.from_bytes(install[:8]) % len(self._ends)
        token = os.urandom(8)
        place = Place(partition, self._ends[partition])
        fresh = await self._ledger.claim(batch.install_id, batch.install_key, list(events), place, token)
        sent = await self._send(partition, batch.install_id, [events[message] for message in fresh])
        done = [message for message, state in zip(fresh, sent, strict=True) if state is Sent.STORED]
        released = [message for message, state in zip(fresh, sent, strict=True) if state is Sent.NOT]
        if done or released:
            await self._ledger.settle(install, token, done=done, released=released)
        if len(done) < len(fresh):
            problem = f"{len(fresh) - len(done)} of {len(fresh)} events were not acknowledged"
            raise UnavailableError(problem, place="Kafka", remedy=_REMEDY)
        return Kept(len(done), len(batch.events) - len(done))

    async def erase(self, erasure: Erasure) -> int:
        """See :meth:`Sink.erase`."""
        erased = await self._ledger.begin_erasure(erasure)
        record = {
            "install_id": erasure.install_id,
            "scope": "install" if erasure.event_ids is None else "events",
            "event_ids": erasure.event_ids,
            "at": self._clock.now_ms(),
        }
        delivery = _Delivery(1)
        self._produce(delivery, 0, f"{self._topic}.erasures", erasure.install_id, record)
        if await delivery.future != [Sent.STORED]:
            raise UnavailableError("the erasure was not acknowledged", place="Kafka", remedy=_REMEDY)
        await self._ledger.finish_erasure(erasure)
        return erased

    async def features(self, install_id: str, install_key: bytes) -> str | None:
        """See :meth:`Sink.features`."""
        return await self._ledger.features(install_id, install_key)

    async def put_features(self, install_id: str, text: str | None) -> None:
        """See :meth:`Sink.put_features`."""
        await self._ledger.put_features(install_id, text)

    async def check(self) -> None:
        """See :meth:`Sink.check`."""
        await self._ledger.check()
        if self._reconciling.done():
            raise UnavailableError("claims are not looked up any more", place="Kafka", remedy="restart the endpoint")
        await asyncio.to_thread(self._partitions)

    async def close(self) -> None:
        """See :meth:`Sink.close`."""
        self._closing = True
        self._reconciling.cancel()
        with suppress(asyncio.CancelledError):
            await self._reconciling
        await asyncio.to_thread(self._producer.flush, lease_ms(self._options) / 1000)
        self._closed.set()
        await asyncio.to_thread(self._thread.join)
        await self._ledger.close()

    async def _send(self, partition: int, install_id: str, events: Sequence[StoredEvent]) -> Sequence[Sent]:
        """Send events, and wait for what comes of each."""
        if not events:
            return []
        delivery = _Delivery(len(events))
        received_at = self._clock.now_ms()
        for index, event in enumerate(events):
            key = f"{install_id}:{event.event_id}"
            self._produce(delivery, index, self._topic, key, event.record(install_id, received_at), partition)
        return await delivery.future

    def _produce(
        self, delivery: _Delivery, index: int, topic: str, key: str, record: object, partition: int = -1
    ) -> None:
        value = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
        try:
            self._producer.produce(topic, value, key, partition, partial(self._reported, delivery, index))
        except (BufferError, KafkaException):  # the queue is full, or the producer has failed: it is not sent
            delivery.report(index, Sent.NOT)

    def _reported(self, delivery: _Delivery, index: int, error: KafkaError | None, message: Message) -> None:
        """Called in the thread that polls. Of what timed out on its way nobody knows whether it arrived."""
        if error is None and message.topic() == self._topic:
            partition, offset = _position(message)
            self._ends[partition] = max(self._ends[partition], offset + 1)
        delivery.report(index, Sent.STORED if error is None else Sent.PERHAPS)

    def _made(self) -> Producer:
        return Producer(
            {
                "linger.ms": 1,
                "message.timeout.ms": _SEND_MS,
                "log.connection.close": False,
                **self._options,
                "enable.idempotence": True,
                "acks": "all",
                "error_cb": self._failed,
            }
        )

    def _failed(self, error: KafkaError) -> None:
        if error.fatal():
            self._fatal = True

    def _poll(self) -> None:
        while not self._closed.is_set():
            producer = self._producer
            producer.poll(_POLL_S)
            if self._fatal:  # an idempotent producer that has lost count sends nothing any more
                self._producer, self._fatal = self._made(), False
                producer.purge()
                producer.flush(1)  # so that those who wait are told

    def _partitions(self) -> int:
        try:
            found = self._producer.list_topics(self._topic, timeout=_ASK_S).topics[self._topic]
            if found.error is not None:
                raise KafkaException(found.error)
        except KafkaException as error:
            raise UnavailableError(str(error.args[0]), place=f"Kafka topic {self._topic}", remedy=_REMEDY) from error
        return len(found.partitions)

    def _find_ends(self) -> list[int]:
        """For each partition an offset that no event that is sent from now on can be before."""
        with _reader(self._options) as consumer:
            return [_end(consumer, self._topic, partition) for partition in range(self._partitions())]

    async def _reconcile_often(self) -> None:
        # A cancellation alone may be lost: clients swallow one that comes just when they are answered.
        while not self._closing:
            try:
                await self._reconcile()
            except (UnavailableError, RefusalError, KafkaException):  # it is tried again
                self._metrics.reconciled.labels("failed").inc()
            await asyncio.sleep(_RECONCILE_S)

    async def _reconcile(self) -> None:
        """Settle the claims that have lapsed."""
        by_partition: dict[int, list[Lapsed]] = defaultdict(list)
        for claim in await self._ledger.lapsed():
            by_partition[claim.place.partition].append(claim)
        for partition, claims in by_partition.items():
            wanted = {(claim.install, claim.message) for claim in claims}
            floor = min(claim.place.floor for claim in claims)
            found = await asyncio.to_thread(_look_up, self._options, self._topic, partition, floor, wanted)
            by_owner: dict[tuple[bytes, bytes], tuple[list[bytes], list[bytes]]] = defaultdict(lambda: ([], []))
            for claim in claims:
                is_there = (claim.install, claim.message) in found
                self._metrics.reconciled.labels("stored" if is_there else "released").inc()
                by_owner[claim.install, claim.token][0 if is_there else 1].append(claim.message)
            for (install, token), (done, released) in by_owner.items():
                await self._ledger.settle(install, token, done=done, released=released)


class Sent(Enum):
    """What came of an event that was sent."""

    STORED = "stored"
    NOT = "not"
    PERHAPS = "perhaps"


class _Delivery:
    """Waits in the event loop for what the polling thread reports of some records."""

    def __init__(self, count: int) -> None:
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[list[Sent]] = self._loop.create_future()
        self._sent = [Sent.PERHAPS] * count
        self._missing = count
        self._lock = threading.Lock()

    def report(self, index: int, sent: Sent) -> None:
        """Say what came of one."""
        with self._lock:
            self._sent[index] = sent
            self._missing -= 1
            complete = not self._missing
        if complete:
            self._loop.call_soon_threadsafe(self._resolve)

    def _resolve(self) -> None:
        if not self.future.done():  # whoever waited may have gone
            self.future.set_result(self._sent)


@contextmanager
def _reader(options: dict[str, Any]) -> Iterator[Consumer]:
    """A consumer that belongs to no group and commits nothing."""
    consumer = Consumer(
        {
            "log.connection.close": False,
            **options,
            "group.id": "nearhand-cloud",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
    )
    try:
        yield consumer
    except KafkaException as error:
        raise UnavailableError(str(error.args[0]), place="Kafka", remedy=_REMEDY) from error
    finally:
        consumer.close()


def _position(message: Message) -> tuple[int, int]:
    partition, offset = message.partition(), message.offset()
    assert partition is not None and offset is not None, "every record that a broker has, has a place"  # noqa: PT018
    return partition, offset


def _end(consumer: Consumer, topic: str, partition: int) -> int:
    marks = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_ASK_S, cached=False)
    if marks is None:
        raise UnavailableError("no answer", place=f"Kafka topic {topic}, partition {partition}", remedy=_REMEDY)
    return int(marks[1])


def _look_up(
    options: dict[str, Any], topic: str, partition: int, floor: int, wanted: set[tuple[bytes, bytes]]
) -> set[tuple[bytes, bytes]]:
    """Which of some events are in a partition from an offset on: the digests of their installs and ids."""
    found: set[tuple[bytes, bytes]] = set()
    with _reader(options) as consumer:
        end = _end(consumer, topic, partition)
        if floor >= end:
            return found
        consumer.assign([TopicPartition(topic, partition, floor)])
        while True:
            message = consumer.poll(_ASK_S)
            if message is None:
                problem = f"partition {partition} could not be read up to {end}"
                raise UnavailableError(problem, place=f"Kafka topic {topic}", remedy=_REMEDY)
            error = message.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(error)
            key = message.key()
            if error is None and key is not None:
                install_id, _, event_id = key.decode(errors="replace").partition(":")
                found.add((install_digest(install_id), message_digest(event_id)))
            if _position(message)[1] >= end - 1:
                return found & wanted
