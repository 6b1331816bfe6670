"""Candidates of the device, ranked by a heavy model in the cloud: decided, asked, waited for and given up.

A call runs in a thread of its own, of which there are few; whoever made it waits as long as the deadline allows, and
leaves it behind then. What is left behind ends by itself, and nobody waits for it: not the app's end either.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nearhand.clock import Clock
from nearhand.errors import CancelledError, NearhandError, StorageError, UsageError
from nearhand.hybrid.breaker import Breaker
from nearhand.hybrid.client import InferenceClient
from nearhand.hybrid.config import HybridConfig
from nearhand.hybrid.messages import ModelMetadata, RefusedError
from nearhand.hybrid.router import Facts, Route, Surroundings, confidence, decide
from nearhand.hybrid.status import HybridStatus, RouteDecision
from nearhand.hybrid.tally import Decided, Tally
from nearhand.hybrid.tensors import Array, ProtocolError, TensorSpec, names, refuse
from nearhand.monitoring import Meter
from nearhand.network import AnswerTooLargeError, DeadlineError, NetworkError, Transport
from nearhand.privacy import Audit
from nearhand.records import dataclass

_DAY_MS = 86_400_000
_ANSWER_BYTES = 262_144
"""Two hundred scores are a fiftieth of it."""
_CATALOGUE_PAUSE_MS = 3_600_000
"""A server with another catalogue is asked again an hour later: one of the two has to be updated first."""
_CATALOGUE = "catalogue:"
_HOPELESS = frozenset({401, 403, 404, 405, 410, 413, 415, 422, 501})
"""The next call would be answered the same, so the breaker opens at once."""
_LOOK_S = 0.01
"""How often a call that can be cancelled looks whether it is."""


class _WithdrawnError(NearhandError):
    """The user no longer allows it."""


@dataclass(frozen=True, eq=False)
class Reranked:
    """The cloud's answer.

    Attributes:
        at: intp [n], places among the candidates that were given; scores: float64 [n], theirs.
    """

    at: NDArray[np.intp]
    scores: NDArray[np.float64]


_OUTCOMES: tuple[tuple[type[NearhandError], str], ...] = (
    (DeadlineError, "timeout"),
    (AnswerTooLargeError, "too_large"),
    (NetworkError, "network"),
    (ProtocolError, "malformed"),
    (_WithdrawnError, "consent"),
    (StorageError, "not_noted"),
)


class CloudReranker:
    """Ranks one profile's candidates in the cloud. Safe for several threads."""

    def __init__(
        self,
        config: HybridConfig,
        *,
        model: str,
        bundle_version: str,
        catalogue: str,
        installed_at: int,
        consents: Callable[[], bool],
        audit: Audit,
        surroundings: Callable[[], Surroundings] | None,
        clock: Clock,
        meter: Meter,
        transport: Transport | None = None,
    ) -> None:
        """
        Args:
            model: the name of the model if the configuration has none.
            catalogue: SHA-256 of the items' file, hex: rows mean nothing to a server with another one.
            installed_at: when the bundle was installed here, ms since the epoch.
            consents: whether the user allows that something is sent.
            audit: where it is written that something leaves, before it does.
            surroundings: the app's; None: nothing is known.
            transport: see :class:`InferenceClient`.
        """
        self._config = config
        self._model = config.model or model
        self._parameters = {"bundle_version": bundle_version, "catalogue": catalogue}
        self._installed_at = installed_at
        self._consents = consents
        self._audit = audit
        self._surroundings = surroundings
        self._clock = clock
        self._meter = meter
        self._client = InferenceClient(
            config.endpoint,
            transport=transport,
            headers=config.headers,
            binary=config.binary,
            allow_plain_http=config.allow_plain_http,
            max_answer_bytes=_ANSWER_BYTES,
        )
        policy = config.policy
        self._breaker = Breaker(
            clock,
            failures=policy.breaker_failures,
            first_ms=policy.breaker_first_ms,
            longest_ms=policy.breaker_longest_ms,
        )
        self._tally = Tally(clock)
        self._lock = threading.Lock()
        self._closed = False
        self._metadata: ModelMetadata | None = None
        self._under_way: set[AskedCloud] = set()
        self._abandoned = 0

    def ask(
        self,
        *,
        k: int,
        rows: NDArray[np.int32],
        weights: NDArray[np.float32],
        candidates: NDArray[np.int32],
        scores: NDArray[np.float64],
        features: Callable[[], NDArray[np.float32]] | None,
        left_ms: float | None,
    ) -> AskedCloud | None:
        """Decide, and begin to ask; None: the list stays on the device.

        Args:
            k: how many items are wanted.
            rows, weights: the history, [h], the latest last.
            candidates: item rows, [n]; scores: theirs by retrieval, [n].
            features: makes the profile's feature vector, [f]; None: there is none.
            left_ms: of the deadline; None: there is none.

        Raises:
            StorageError: the features cannot be read.
        """
        sure = confidence(scores)
        facts = Facts(
            consent=self._consents(),
            history=len(rows),
            confidence=sure,
            candidates=len(candidates),
            left_ms=left_ms,
            surroundings=self._around(),
            bundle_age_days=(self._clock.now_ms() - self._installed_at) / _DAY_MS,
            breaker=self._breaker.state,
            is_busy=self._is_busy(),
            is_too_many=min(k, len(candidates)) > self._config.max_candidates,
            p90_ms=self._tally.percentile_ms(0.90),
        )
        route = decide(self._config.policy, facts)
        if route.where == "local":
            self._decided(route, facts, "local")
            return None
        best = np.sort(np.lexsort((candidates, -scores))[: self._config.max_candidates])
        vector = features() if features is not None and self._config.shares_features else None
        number = self._breaker.begin()
        if number is None:  # another thread has its trial, or has just made it open
            self._decided(Route("local", "breaker_open"), facts, "local")
            return None
        budget = self._config.policy.timeout_ms
        if left_ms is not None:
            budget = min(budget, left_ms - self._config.policy.reserve_ms)
        inputs = {"history": rows[None], "weights": weights[None], "candidates": candidates[best][None]}
        if vector is not None:
            inputs["features"] = vector[None]
        asked = AskedCloud(self, number, best, inputs, budget, is_alone=route.where == "cloud")
        with self._lock:
            if self._closed or len(self._under_way) >= self._config.max_calls:
                self._breaker.dropped(number)
                self._decided(Route("local", "busy"), facts, "local")
                return None
            self._under_way.add(asked)
        asked.decided = self._decided(route, facts, "pending")
        # A daemon: one that hangs does not keep the app from ending.
        threading.Thread(target=self._run, args=(asked,), name="nearhand-hybrid", daemon=True).start()
        return asked

    def status(self) -> HybridStatus:
        """What was decided, and how the server does."""
        calls, sent, received = self._tally.traffic()
        with self._lock:
            in_flight, abandoned = len(self._under_way), self._abandoned
        return HybridStatus(
            endpoint=self._client.endpoint,
            model=self._model,
            breaker=self._breaker.state,
            opens_in_ms=self._breaker.opens_in_ms,
            decisions=self._tally.decisions(),
            outcomes=self._tally.outcomes(),
            last=self._tally.last(),
            calls=calls,
            sent_bytes=sent,
            received_bytes=received,
            in_flight=in_flight,
            abandoned=abandoned,
            p50_ms=self._tally.percentile_ms(0.50),
            p90_ms=self._tally.percentile_ms(0.90),
            p99_ms=self._tally.percentile_ms(0.99),
        )

    def forget(self) -> None:
        """After the profile's data were replaced."""
        self._audit.forget()

    def close(self) -> None:
        """Begin no call any more, and wake who waits for one; what is under way ends by itself."""
        with self._lock:
            self._closed = True
            waiting = list(self._under_way)
        for asked in waiting:
            asked.settle("closed", None)
        self._client.close()

    def ended(self, asked: AskedCloud, outcome: str, waited_ms: float) -> None:
        """Count how an answer that was waited for came out."""
        self._tally.ended(asked.decided, outcome, waited_ms)
        if outcome != "cloud":
            self._meter.skipped(f"the cloud's ranking was not used: {outcome}")

    def abandoned(self, asked: AskedCloud) -> None:
        """Nobody waits for a call any more."""
        with self._lock:
            self._abandoned += 1
        self._breaker.failed(asked.number)

    def now_ms(self) -> float:
        """Of the monotonic clock."""
        return self._clock.monotonic_ns() / 1e6

    def _decided(self, route: Route, facts: Facts, outcome: str) -> Decided:
        return self._tally.decided(
            RouteDecision(
                at=self._clock.now_ms(),
                where=route.where,
                reason=route.reason,
                outcome=outcome,
                left_ms=facts.left_ms,
                confidence=facts.confidence,
                waited_ms=0.0,
            )
        )

    def _is_busy(self) -> bool:
        with self._lock:
            return self._closed or len(self._under_way) >= self._config.max_calls

    def _around(self) -> Surroundings:
        if self._surroundings is None:
            return Surroundings()
        problem, cause = "", None
        try:
            found: object = self._surroundings()
        except Exception as error:  # noqa: BLE001 - the app's code, which must not take the list down with it
            problem, cause = f"raised {type(error).__name__}", error
        else:
            if isinstance(found, Surroundings):
                return found
            problem = f"returned a {type(found).__name__}"
        failure = UsageError(problem, place="surroundings", remedy="return a Surroundings")
        failure.__cause__ = cause
        self._meter.degraded("the app's surroundings are not known, and the cloud was not asked", failure)
        return Surroundings("none")

    # In the thread of a call.

    def _run(self, asked: AskedCloud) -> None:
        try:
            asked.settle("cloud", self._answer(asked))
        except NearhandError as error:
            asked.settle(_outcome(error), None, error)
        finally:
            with self._lock:
                self._under_way.discard(asked)

    def _answer(self, asked: AskedCloud) -> Reranked:
        metadata = self._known_metadata()
        inputs = _fitted(asked.inputs, metadata, self._client.endpoint)
        start = self.now_ms()
        if (left := asked.ends_ms - start) <= 0 or asked.is_settled:
            raise DeadlineError("no time is left to ask", place=self._client.endpoint, remedy="allow more time")
        try:
            found = self._client.infer(
                self._model,
                inputs,
                ("scores",),
                version=self._config.version,
                parameters=self._parameters,
                timeout_ms=left,
                leaving=self._leaving,
            )
        except DeadlineError:
            self._tally.took(self.now_ms() - start)
            raise
        except (RefusedError, ProtocolError):
            self._metadata = None
            raise
        self._tally.took(self.now_ms() - start)
        self._tally.came(found.received_bytes)
        return Reranked(asked.at, _scores(found.outputs["scores"], inputs, len(asked.at), self._client.endpoint))

    def _known_metadata(self) -> ModelMetadata:
        """Asked for under no deadline but the policy's: the next call profits from it, even if this one is late."""
        known = self._metadata
        if known is None:
            if not self._consents():
                raise _withdrawn()
            timeout = self._config.policy.timeout_ms
            known = self._client.model(self._model, version=self._config.version, timeout_ms=timeout)
            self._metadata = known
        return known

    def _leaving(self, size: int) -> None:
        """Right before a request leaves: what is not allowed any more, or cannot be noted, does not leave."""
        if not self._consents():
            raise _withdrawn()
        self._audit.note_more("history and candidates", count=1, size=size, to=self._config.endpoint, why="recommend")
        self._tally.left(size)

    def tell_breaker(self, asked: AskedCloud, error: NearhandError | None) -> None:
        """What a call's outcome says of the server."""
        match error:
            case None:
                self._breaker.succeeded(asked.number)
            case RefusedError() if error.text.startswith(_CATALOGUE):
                self._breaker.failed(asked.number, pause_ms=_CATALOGUE_PAUSE_MS)
            case RefusedError():
                hopeless = error.status in _HOPELESS
                self._breaker.failed(asked.number, pause_ms=error.retry_after_ms, at_once=hopeless)
            case NetworkError() | ProtocolError():
                self._breaker.failed(asked.number)
            case _:
                self._breaker.dropped(asked.number)


class AskedCloud:
    """A call, and whoever waits for it."""

    decided: Decided

    def __init__(
        self,
        owner: CloudReranker,
        number: int,
        at: NDArray[np.intp],
        inputs: dict[str, Array],
        budget_ms: float,
        *,
        is_alone: bool,
    ) -> None:
        """
        Args:
            number: the breaker's.
            at: places of the candidates that are sent.
            budget_ms: for all of it.
            is_alone: whether the device does not rank at the same time.
        """
        self._owner = owner
        self.number = number
        self.at = at
        self.inputs = inputs
        self.ends_ms = owner.now_ms() + budget_ms
        self.is_alone = is_alone
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._outcome: str | None = None
        self._found: Reranked | None = None

    @property
    def is_settled(self) -> bool:
        """Whether nobody waits for it any more."""
        return self._outcome is not None

    def settle(self, outcome: str, found: Reranked | None, error: NearhandError | None = None) -> None:
        """Tell how it came out; what is told first holds."""
        with self._lock:
            if self._outcome is not None:
                return
            self._outcome, self._found = outcome, found
        if outcome == "closed":
            pass
        elif outcome == "late":
            self._owner.abandoned(self)
        else:
            self._owner.tell_breaker(self, error)
        self._done.set()

    def wait(self, cancelled: threading.Event | None) -> Reranked | None:
        """The cloud's scores; None: there are none in time.

        Raises:
            CancelledError: the caller has cancelled.
        """
        start = self._owner.now_ms()
        left_s = max(0.0, self.ends_ms - start) / 1000
        if cancelled is None:
            self._done.wait(left_s)
        else:
            while left_s > 0 and not self._done.wait(min(_LOOK_S, left_s)):
                left_s -= _LOOK_S
                if cancelled.is_set():
                    self.settle("cancelled", None, CancelledError("the call was cancelled"))
        self.settle("late", None)
        with self._lock:
            outcome, found = self._outcome or "late", self._found
        self._owner.ended(self, outcome, self._owner.now_ms() - start)
        return found


def _outcome(error: NearhandError) -> str:
    if isinstance(error, RefusedError):
        return "catalogue" if error.text.startswith(_CATALOGUE) else f"status_{error.status}"
    return next((outcome for kind, outcome in _OUTCOMES if isinstance(error, kind)), "not_sent")


def _withdrawn() -> _WithdrawnError:
    return _WithdrawnError("the user does not allow it", place="consent", remedy="ask the user")


def _fitted(inputs: dict[str, Array], metadata: ModelMetadata, place: str) -> dict[str, Array]:
    """The inputs in the shapes that the model has; one whose metadata name no inputs takes them as they are.

    Raises:
        ProtocolError: the model is no such ranker.
    """
    specs = {spec.name: spec for spec in metadata.inputs}
    if not specs:
        return {name: array for name, array in inputs.items() if name != "features"}
    if not {"history", "candidates"} <= specs.keys():
        problem = f"has the inputs {names(metadata.inputs)}, and no history and candidates"
        raise refuse(problem, f"{place}: model {metadata.name}")
    return {name: _fit(name, array, specs[name], place) for name, array in inputs.items() if name in specs}


def _fit(name: str, array: Array, spec: TensorSpec, place: str) -> Array:
    length = spec.shape[-1] if spec.shape else -1
    given = array.shape[1]
    if length < 0 or length == given:
        return array
    fill = np.full((1, max(0, length - given)), 0 if name in ("weights", "features") else -1, array.dtype)
    if name == "features" or (name == "candidates" and length < given):
        raise refuse(f"takes {length} {name}, and the device has {given}", place)
    if name == "candidates":
        return np.concatenate([array, fill], axis=1)
    return np.concatenate([fill, array[:, -length:]], axis=1)  # the latest last


def _scores(scores: Array, inputs: dict[str, Array], count: int, place: str) -> NDArray[np.float64]:
    shape = inputs["candidates"].shape
    if scores.dtype != np.float32 or scores.shape != shape:
        problem = f"gives {scores.dtype} {list(scores.shape)}, and FP32 {list(shape)} was asked for"
        raise refuse(problem, f"{place}: output 'scores'")
    return scores[0, :count].astype(np.float64)
