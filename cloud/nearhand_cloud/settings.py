"""What an operator chooses, on the command line or in the environment."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from nearhand.errors import UsageError

ENVIRONMENT = "NEARHAND_CLOUD_"


@dataclass(frozen=True)
class Settings:
    """The choices of one endpoint process.

    Attributes:
        write_keys: what devices authenticate with; any of them is good, so that one can be replaced by the next.
        data: the folder of the SQLite files; None: nothing is kept in files (Kafka and Redis only).
        host: the address to listen on.
        port: the port to listen on; 0: a free one.
        server_key: what the backend authenticates with; None: nobody can push features.
        sink: ``"sqlite"`` or ``"kafka"``.
        kafka: Kafka's bootstrap servers, ``host:port`` with commas between them.
        kafka_options: further properties of the Kafka client (security, time-outs), by name.
        topic: the topic that events go to; requests to erase go to ``<topic>.erasures``.
        dedup: what remembers the events that are stored, ``"sqlite"`` or ``"redis"``.
        dedup_days: for how many days it does, if the sink is Kafka.
        redis: Redis's address, such as ``redis://host:6379/0``.
        files: the folder that ``/v1/files`` serves; None: nothing.
        rate: requests per second that one install may make in the long run; 0: any number.
        burst: requests that it may make at once.
        in_flight: requests that are worked on at the same time; more get 503.
        body_s: seconds that a body may take to arrive.
        shutdown_s: seconds that requests in flight get when the process is told to stop.
        audit: the file of the audit log; ``"-"``: standard error.
        heavy: the bundle that a child process serves as a heavy model; None: none.
        heavy_port: the port where it does, on the same host; 0: a free one.

    Raises:
        UsageError: a choice is wrong; ``place`` names it.
    """

    write_keys: tuple[str, ...] = field(repr=False)
    data: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8700
    server_key: str | None = field(default=None, repr=False)
    sink: str = "sqlite"
    kafka: str | None = None
    kafka_options: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    topic: str = "nearhand.events"
    dedup: str = "sqlite"
    dedup_days: int = 30
    redis: str | None = field(default=None, repr=False)
    files: Path | None = None
    rate: float = 50.0
    burst: int = 200
    in_flight: int = 256
    body_s: float = 30.0
    shutdown_s: float = 20.0
    audit: str = "-"
    heavy: Path | None = None
    heavy_port: int = 8090

    def __post_init__(self) -> None:
        if not self.write_keys or any(not 8 <= len(key) <= 256 for key in self.write_keys):
            raise _wrong(
                "write_key", "there is none, or one has not 8 to 256 characters", "give one or more write keys"
            )
        if any(":" in key or not key.isascii() or not key.isprintable() for key in self.write_keys):
            raise _wrong("write_key", "one has a colon or is not printable ASCII", "use letters, digits, '-' and '_'")
        if self.server_key is not None and (len(self.server_key) < 16 or self.server_key in self.write_keys):
            remedy = "use 16 characters or more, and not a write key"
            raise _wrong("server_key", "is short, or is one of the write keys, which every device knows", remedy)
        for name, allowed in (("sink", ("sqlite", "kafka")), ("dedup", ("sqlite", "redis"))):
            if getattr(self, name) not in allowed:
                raise _wrong(name, f"{getattr(self, name)!r} is not a choice", f"use {' or '.join(allowed)}")
        if self.sink == "sqlite" and self.dedup == "redis":
            remedy = "leave --dedup at sqlite, or take --sink kafka"
            raise _wrong("dedup", "the SQLite sink has what it remembers in the transaction of the events", remedy)
        if self.sink == "kafka" and not self.kafka:
            raise _wrong("kafka", "is missing", "give the bootstrap servers, such as --kafka broker:9092")
        if self.dedup == "redis" and not self.redis:
            raise _wrong("redis", "is missing", "give its address, such as --redis redis://host:6379/0")
        if self.dedup == "sqlite" and self.data is None:
            raise _wrong("data", "is missing", "give the folder of the SQLite files with --data DIR")
        for name, low, high in (
            ("port", 0, 65_535),
            ("heavy_port", 0, 65_535),
            ("dedup_days", 1, 3_650),
            ("rate", 0, 1e6),
            ("burst", 1, 1_000_000),
            ("in_flight", 1, 100_000),
            ("body_s", 0.1, 3_600),
            ("shutdown_s", 0, 3_600),
        ):
            if not low <= getattr(self, name) <= high:
                raise _wrong(name, f"{getattr(self, name)} is not from {low:g} to {high:g}", "choose one that is")
        if self.files is not None and not self.files.is_dir():
            raise _wrong("files", f"{self.files} is no folder", "make it, or leave the option out")


def read_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """The settings of a command line; what it does not say, the environment may say.

    Args:
        arguments: without the name of the program.
        environment: ``NEARHAND_CLOUD_WRITE_KEY`` stands for ``--write-key``, and so on.

    Raises:
        UsageError: a choice is wrong. SystemExit: the command line is, or it asks for help.
    """
    values: dict[str, Any] = {}
    for option in _OPTIONS:
        text = environment.get(ENVIRONMENT + option.name.upper())
        if text is not None:
            values[option.name] = option.read(text)
    values |= {name: value for name, value in vars(_parser().parse_args(arguments)).items() if value is not None}
    keys = values.pop("write_key", "")
    options = values.pop("kafka_option", "")
    return Settings(
        write_keys=tuple(key for key in keys.split(",") if key),
        kafka_options=tuple(_option(text) for text in options.split(",") if text),
        **values,
    )


def _option(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise _wrong("kafka_option", f"{text!r} is not NAME=VALUE", "give such as security.protocol=SASL_SSL")
    return name.strip(), value.strip()


def _wrong(name: str, problem: str, remedy: str) -> UsageError:
    return UsageError(problem, place="--" + name.replace("_", "-"), remedy=remedy)


@dataclass(frozen=True)
class _Option:
    name: str
    kind: type[str] | type[int] | type[float] | type[Path]
    metavar: str
    text: str

    def read(self, text: str) -> object:
        """The value of a text that the environment gives."""
        try:
            return self.kind(text)
        except ValueError:
            problem = f"{text!r} is no number"
            raise UsageError(problem, place=ENVIRONMENT + self.name.upper(), remedy="see --help") from None


_OPTIONS = (
    _Option("write_key", str, "KEY[,KEY]", "what devices authenticate with"),
    _Option("server_key", str, "KEY", "what the backend authenticates with when it pushes features"),
    _Option("data", Path, "DIR", "the folder of the SQLite files; it is made if need be"),
    _Option("host", str, "ADDRESS", "the address to listen on"),
    _Option("port", int, "PORT", "the port to listen on; 0 takes a free one"),
    _Option("sink", str, "sqlite|kafka", "where events go"),
    _Option("kafka", str, "HOST:PORT[,…]", "Kafka's bootstrap servers"),
    _Option("kafka_option", str, "NAME=VALUE[,…]", "further properties of the Kafka client"),
    _Option("topic", str, "TOPIC", "the topic of the events"),
    _Option("dedup", str, "sqlite|redis", "what remembers which events are stored"),
    _Option("dedup_days", int, "DAYS", "for how long it does, if events go to Kafka"),
    _Option("redis", str, "URL", "Redis's address, such as redis://host:6379/0"),
    _Option("files", Path, "DIR", "the folder that /v1/files serves"),
    _Option("rate", float, "NUMBER", "requests per second of one install; 0 for any number"),
    _Option("burst", int, "NUMBER", "requests of one install at once"),
    _Option("in_flight", int, "NUMBER", "requests that are worked on at the same time"),
    _Option("body_s", float, "SECONDS", "how long a body may take to arrive"),
    _Option("shutdown_s", float, "SECONDS", "what requests in flight get when the process is told to stop"),
    _Option("audit", str, "FILE|-", "the audit log; - is standard error"),
    _Option("heavy", Path, "BUNDLE", "a bundle that MLServer serves beside the endpoint, as a heavy model"),
    _Option("heavy_port", int, "PORT", "where it does; 0 takes a free one"),
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nearhand_cloud",
        description="The endpoint that devices with Nearhand sync to.",
        epilog=f"Every option may also be given in the environment, as {ENVIRONMENT}WRITE_KEY for --write-key.",
        allow_abbrev=False,
    )
    defaults = {each.name: each.default for each in fields(Settings)}
    for option in _OPTIONS:
        default = defaults.get(option.name)
        told = f" (default: {default})" if isinstance(default, str | int | float) else ""
        name = "--" + option.name.replace("_", "-")
        parser.add_argument(name, type=option.kind, metavar=option.metavar, help=option.text + told)
    return parser
