"""Kafka and Redis for tests: the client library's own mock cluster, and a real redis-server."""

from __future__ import annotations

import ctypes
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import files
from pathlib import Path
from typing import Any

import redis
from confluent_kafka import Consumer, TopicPartition

_PRODUCER = 0
_PRODUCE = 0  # the protocol's number of the request
QUIET = {"log_level": 0}


class MockCluster:
    """Three brokers in this process, on ports of 127.0.0.1 that any client can use.

    The library has them for its own tests; Python reaches them by its C functions only. Their topics have their leaders
    for ever: where a broker is down, the partitions that it leads are.
    """

    def __init__(self, brokers: int = 3) -> None:
        library = self._library = ctypes.CDLL(str(_library()))
        for name, result, arguments in (
            ("rd_kafka_conf_new", ctypes.c_void_p, ()),
            ("rd_kafka_conf_set", ctypes.c_int, (ctypes.c_void_p, *(ctypes.c_char_p,) * 3, ctypes.c_size_t)),
            ("rd_kafka_new", ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t)),
            ("rd_kafka_destroy", None, (ctypes.c_void_p,)),
            ("rd_kafka_mock_cluster_new", ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_int)),
            ("rd_kafka_mock_cluster_destroy", None, (ctypes.c_void_p,)),
            ("rd_kafka_mock_cluster_bootstraps", ctypes.c_char_p, (ctypes.c_void_p,)),
            ("rd_kafka_mock_topic_create", ctypes.c_int, (ctypes.c_void_p, ctypes.c_char_p, *(ctypes.c_int,) * 2)),
            ("rd_kafka_mock_broker_set_down", ctypes.c_int, (ctypes.c_void_p, ctypes.c_int32)),
            ("rd_kafka_mock_broker_set_up", ctypes.c_int, (ctypes.c_void_p, ctypes.c_int32)),
            ("rd_kafka_mock_broker_set_rtt", ctypes.c_int, (ctypes.c_void_p, ctypes.c_int32, ctypes.c_int)),
            ("rd_kafka_mock_start_request_tracking", None, (ctypes.c_void_p,)),
            ("rd_kafka_mock_stop_request_tracking", None, (ctypes.c_void_p,)),
            ("rd_kafka_mock_get_requests", ctypes.POINTER(ctypes.c_void_p), (ctypes.c_void_p, ctypes.c_void_p)),
            ("rd_kafka_mock_request_api_key", ctypes.c_int16, (ctypes.c_void_p,)),
            ("rd_kafka_mock_request_destroy_array", None, (ctypes.c_void_p, ctypes.c_size_t)),
            (
                "rd_kafka_mock_partition_set_leader",
                ctypes.c_int,
                (ctypes.c_void_p, ctypes.c_char_p, *(ctypes.c_int32,) * 2),
            ),
        ):
            function = getattr(library, name)
            function.restype = result
            function.argtypes = arguments
        self._brokers = brokers
        text = ctypes.create_string_buffer(256)
        configuration = library.rd_kafka_conf_new()
        library.rd_kafka_conf_set(configuration, b"log_level", b"0", text, len(text))
        library.rd_kafka_conf_set(configuration, b"bootstrap.servers", b"127.0.0.1:9", text, len(text))
        self._handle = library.rd_kafka_new(_PRODUCER, configuration, text, len(text))
        assert self._handle, text.value
        self._cluster = library.rd_kafka_mock_cluster_new(self._handle, brokers)
        assert self._cluster
        self.bootstrap: str = library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()

    def create(self, topic: str, partitions: int = 6) -> None:
        """Make a topic whose partitions are led by the brokers in turn."""
        for name in (topic, f"{topic}.erasures"):
            assert self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 3) == 0
            for partition in range(partitions):
                self.lead(name, partition, partition % 3 + 1)

    def lead(self, topic: str, partition: int, broker: int) -> None:
        """Make a broker the leader of a partition."""
        self._library.rd_kafka_mock_partition_set_leader(self._cluster, topic.encode(), partition, broker)

    def down(self, broker: int) -> None:
        """Make a broker, 1 to 3, unreachable."""
        assert self._library.rd_kafka_mock_broker_set_down(self._cluster, broker) == 0

    def up(self, broker: int) -> None:
        """Make it reachable again."""
        assert self._library.rd_kafka_mock_broker_set_up(self._cluster, broker) == 0

    @contextmanager
    def slow_answers(self, milliseconds: int) -> Iterator[None]:
        """The brokers do at once what they are asked, and take their time to say so."""
        library, cluster = self._library, self._cluster
        library.rd_kafka_mock_start_request_tracking(cluster)
        for broker in range(1, self._brokers + 1):
            assert library.rd_kafka_mock_broker_set_rtt(cluster, broker, milliseconds) == 0
        try:
            yield
        finally:
            for broker in range(1, self._brokers + 1):
                library.rd_kafka_mock_broker_set_rtt(cluster, broker, 0)
            library.rd_kafka_mock_stop_request_tracking(cluster)

    def was_sent_records(self) -> bool:
        """Whether a request that has records has come since the answers are slow."""
        count = ctypes.c_size_t()
        requests = self._library.rd_kafka_mock_get_requests(self._cluster, ctypes.byref(count))
        kinds = [self._library.rd_kafka_mock_request_api_key(requests[index]) for index in range(count.value)]
        self._library.rd_kafka_mock_request_destroy_array(requests, count)
        return _PRODUCE in kinds

    def close(self) -> None:
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._handle)


def _library() -> Path:
    """The library that confluent_kafka itself uses."""
    for file in files("confluent-kafka") or ():
        if file.name.startswith("librdkafka"):
            return Path(str(file.locate()))
    raise AssertionError("confluent-kafka brings no librdkafka of its own")


def consumed(bootstrap: str, topic: str) -> list[dict[str, Any]]:
    """Every record of a topic, as it is: its key and the JSON of its value, partition by partition.

    It raises AssertionError if a single offset of a partition, from 0 to its end, is not read.
    """
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "tests", "enable.auto.commit": False, **QUIET})
    records: list[dict[str, Any]] = []
    try:
        partitions = [
            TopicPartition(topic, number, 0) for number in consumer.list_topics(topic, 20).topics[topic].partitions
        ]
        unread: dict[int, tuple[int, int]] = {}
        for partition in partitions:
            marks = consumer.get_watermark_offsets(partition, timeout=20, cached=False)
            assert marks is not None, f"{partition} says nothing"
            if marks[1] > 0:
                unread[partition.partition] = 0, marks[1]
        consumer.assign(partitions)
        while unread:
            message = consumer.poll(20)
            assert message is not None, f"partitions {unread} of {topic} cannot be read"
            error, value, key, number = message.error(), message.value(), message.key(), message.partition()
            assert error is None, error
            assert value is not None
            assert key is not None
            assert number is not None
            first, end = unread[number]
            assert message.offset() == first, (
                f"partition {number} of {topic} goes on at {message.offset()}, not {first}"
            )
            records.append({"key": key.decode(), **json.loads(value)})
            if first + 1 < end:
                unread[number] = first + 1, end
            else:
                del unread[number]
    finally:
        consumer.close()
    return records


class RedisServer:
    """A real redis-server on a free port, which may be stopped and started again with what it has."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it, and return when it answers."""
        program = shutil.which("redis-server")
        assert program is not None, "install redis-server"
        options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": self._folder,
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen([program, *words], stdout=log, stderr=log)
        with redis.Redis.from_url(self.url) as client:
            until = time.monotonic() + 30
            while True:
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    assert time.monotonic() < until, (self._folder / "redis.log").read_text()
                    time.sleep(0.02)

    def stop(self) -> None:
        """``kill -9``."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def running_redis(folder: Path) -> Iterator[RedisServer]:
    """A redis-server for as long as it is wanted."""
    server = RedisServer(folder)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def running_kafka() -> Iterator[MockCluster]:
    """A mock cluster for as long as it is wanted."""
    cluster = MockCluster()
    try:
        yield cluster
    finally:
        cluster.close()
