"""What Prometheus reads."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The counters of one endpoint."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.accepted = Counter("nearhand_events_accepted", "Events stored", registry=registry)
        self.duplicates = Counter("nearhand_events_duplicate", "Events that were stored before", registry=registry)
        self.refused = Counter("nearhand_events_refused", "Events refused, by code", ["code"], registry=registry)
        self.erased = Counter("nearhand_events_erased", "Events erased at a user's request", registry=registry)
        self.requests = Counter(
            "nearhand_requests", "Requests answered", ["action", "status", "code"], registry=registry
        )
        self.seconds = Histogram(
            "nearhand_request_seconds",
            "Time from the head of a request to its answer",
            ["action"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.bytes = Counter("nearhand_body_bytes", "Decompressed bytes of the bodies read", registry=registry)
        self.sink_failures = Counter(
            "nearhand_sink_failures",
            "Requests that got 503 because of the sink or of what remembers",
            registry=registry,
        )
        self.in_flight = Gauge("nearhand_requests_in_flight", "Requests worked on now", registry=registry)
        self.reconciled = Counter(
            "nearhand_claims_reconciled",
            "Events whose place in Kafka was not known, and was looked up",
            ["outcome"],
            registry=registry,
        )

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self._registry)
