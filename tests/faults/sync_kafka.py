"""A cluster of Kafka brokers for tests: librdkafka's own mock, any of whose brokers can be made unreachable.

The Python client can start such a cluster (``test.mock.num.brokers``), but not stop one of its brokers; so the library
that comes with the client is called directly. A broker here keeps at most 5 MB of a partition, and it takes a batch
twice that an idempotent producer sends twice: a real one would not.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import confluent_kafka

from tests.faults.needs import unavailable

PARTITIONS = 6
_PRODUCER = 0


class KafkaCluster:
    """Three brokers with the identifiers 1 to 3. Made by :func:`kafka_cluster`."""

    def __init__(self, library: ctypes.CDLL, cluster: ctypes.c_void_p) -> None:
        self._library = library
        self._cluster = cluster

    @property
    def bootstrap(self) -> str:
        """The addresses of the brokers, separated by commas."""
        return str(self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode())

    def create(self, topic: str) -> None:
        """Make a topic of six partitions that all brokers replicate."""
        self._call("rd_kafka_mock_topic_create", topic.encode(), PARTITIONS, 3)

    def stop(self, broker: int) -> None:
        """Nothing reaches the broker any more; its partitions keep it as their leader."""
        self._call("rd_kafka_mock_broker_set_down", broker)

    def start(self, broker: int) -> None:
        """It can be reached again."""
        self._call("rd_kafka_mock_broker_set_up", broker)

    def elect(self, topic: str, without: int) -> None:
        """The other two brokers lead all partitions."""
        left = [broker for broker in (1, 2, 3) if broker != without]
        for partition in range(PARTITIONS):
            self._call("rd_kafka_mock_partition_set_leader", topic.encode(), partition, left[partition % 2])

    def records(self, topic: str) -> list[confluent_kafka.Message]:
        """All that the topic holds."""
        consumer = confluent_kafka.Consumer(
            {"bootstrap.servers": self.bootstrap, "group.id": "check", "enable.partition.eof": True, "log_level": 0}
        )
        try:
            first = confluent_kafka.OFFSET_BEGINNING
            consumer.assign([confluent_kafka.TopicPartition(topic, each, first) for each in range(PARTITIONS)])
            found: list[confluent_kafka.Message] = []
            ended = 0
            while ended < PARTITIONS:
                message = consumer.poll(10)
                assert message is not None, f"the end of {PARTITIONS - ended} partitions was not reached"
                error = message.error()
                if error is None:
                    found.append(message)
                else:
                    assert error.code() == confluent_kafka.KafkaError._PARTITION_EOF, error
                    ended += 1
            return found
        finally:
            consumer.close()

    def _call(self, name: str, *arguments: bytes | int) -> None:
        error = getattr(self._library, name)(self._cluster, *arguments)
        assert error == 0, f"{name}{arguments}: error {error} of librdkafka"


@contextmanager
def kafka_cluster() -> Iterator[KafkaCluster]:
    """A cluster in threads of this process."""
    library = _library()
    configuration = ctypes.c_void_p(library.rd_kafka_conf_new())
    said = ctypes.create_string_buffer(512)
    assert library.rd_kafka_conf_set(configuration, b"log_level", b"0", said, len(said)) == 0, said.value
    client = ctypes.c_void_p(library.rd_kafka_new(_PRODUCER, configuration, said, len(said)))
    assert client, said.value
    cluster = ctypes.c_void_p(library.rd_kafka_mock_cluster_new(client, 3))
    try:
        yield KafkaCluster(library, cluster)
    finally:
        library.rd_kafka_mock_cluster_destroy(cluster)
        library.rd_kafka_destroy(client)


def _library() -> ctypes.CDLL:
    found = sorted(Path(confluent_kafka.__file__).parents[1].glob("confluent_kafka.libs/librdkafka-*.so*"))
    if not found:
        unavailable("confluent-kafka comes without a library of its own here")
    library = ctypes.CDLL(str(found[0]))
    for name, kind in _RESULTS.items():
        getattr(library, name).restype = kind
    return library


_RESULTS: dict[str, Any] = {
    "rd_kafka_conf_new": ctypes.c_void_p,
    "rd_kafka_new": ctypes.c_void_p,
    "rd_kafka_mock_cluster_new": ctypes.c_void_p,
    "rd_kafka_mock_cluster_bootstraps": ctypes.c_char_p,
    "rd_kafka_mock_cluster_destroy": None,
    "rd_kafka_destroy": None,
}
