"""Candidates of the device, ranked by a heavy model in the cloud: decided, asked, waited for and given up.

A call runs in a thread of its own, of which there are few; whoever made it waits as long as the deadline allows, and
leaves it behind then. What is left behind ends by itself, and nobody waits for it: not the app's end either.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nearhand.clock import Clock
from nearhand.errors import CancelledError, NearhandError, StorageError, UsageError
from nearhand.features import CompiledProgram, FeatureVector
from nearhand.hybrid.allowed import Allowed
from nearhand.hybrid.breaker import Breaker
from nearhand.hybrid.client import InferenceClient
from nearhand.hybrid.config import HybridConfig
from nearhand.hybrid.messages import ModelMetadata, RefusedError
from nearhand.hybrid.question import NoFeaturesError, OtherCatalogueError, Question, Questions
from nearhand.hybrid.router import Facts, Route, Surroundings, confidence, decide
from nearhand.hybrid.status import HybridStatus, RouteDecision
from nearhand.hybrid.tally import Decided, Tally
from nearhand.hybrid.tensors import ProtocolError, refuse
from nearhand.monitoring import Meter
from nearhand.network import AnswerTooLargeError, DeadlineError, NetworkError, Transport
from nearhand.privacy import Audit
from nearhand.records import dataclass
from nearhand.retrieval import HistoryItem

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
    (OtherCatalogueError, "catalogue"),
    (NoFeaturesError, "features"),
    (StorageError, "not_noted"),
)


class CloudReranker:
    """Ranks one profile's candidates in the cloud. Safe for several threads."""

    def __init__(
        self,
        config: HybridConfig,
        *,
        model: str,
        parameters: Mapping[str, str],
        program: CompiledProgram | None,
        allowed: Allowed,
        installed_at: int,
        consents: Callable[[], bool],
        still_consents: Callable[[], bool],
        audit: Audit,
        surroundings: Callable[[], Surroundings] | None,
        clock: Clock,
        meter: Meter,
        transport: Transport | None = None,
    ) -> None:
        """
        Args:
            model: the name of the model if the configuration has none.
            parameters: of each request: ``bundle_version``, and the SHA-256 of the bundle's files, in hex, that its
                numbers mean nothing without: ``catalogue`` (the items) and ``program`` (the features, "" if none).
            program: what the features are made by; None: there are none.
            allowed: what of the profile may be sent.
            installed_at: when the bundle was installed here, ms since the epoch.
            consents: whether the user allows that something is sent; still_consents: the same, read from the disk, for
                another process may have changed it.
            audit: where it is written that something leaves, before it does.
            surroundings: the app's; None: nothing is known.
            transport: see :class:`InferenceClient`.
        """
        self._config = config
        self._model = config.model or model
        self._parameters = dict(parameters)
        self._questions = Questions(config, self._parameters, program)
        self._allowed = allowed
        self._installed_at = installed_at
        self._consents = consents
        self._still_consents = still_consents
        self._audit = audit
        self._surroundings = surroundings
        self._clock = clock
        self._meter = meter
        self._client = InferenceClient(
            config.endpoint,
            transport=transport,
            headers=config.headers,
            binary=config.binary,
            allow_http=config.allow_http,
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
        history: Sequence[HistoryItem],
        candidates: NDArray[np.int32],
        scores: NDArray[np.float64],
        features: Callable[[], FeatureVector] | None,
        left_ms: float | None,
    ) -> AskedCloud | None:
        """Decide, and begin to ask; None: the list stays on the device.

        Args:
            k: how many items are wanted.
            history: its items, the latest last.
            candidates: item rows, [n]; scores: theirs by retrieval, [n].
            features: reads the profile's features; None: there are none.
            left_ms: of the deadline; None: there is none.

        Raises:
            StorageError, EncryptionError: the profile cannot be read.
        """
        consent = self._consents()
        sent = self._allowed.history(history if consent else ())
        facts = Facts(
            consent=consent,
            history=sent.items,
            confidence=confidence(scores),
            candidates=len(candidates),
            left_ms=left_ms,
            surroundings=self._around(),
            bundle_age_days=(self._clock.now_ms() - self._installed_at) / _DAY_MS,
            breaker=self._breaker.state,
            is_busy=self._is_busy(),
            is_too_many=min(k, len(candidates)) > self._config.max_candidates,
            p90_ms=self._tally.expected_ms(),
        )
        route = decide(self._config.policy, facts)
        if route.where == "local":
            self._decided(route, facts, "local")
            return None
        vector = None
        if features is not None and self._config.shares_features and self._allowed.everything():
            vector = features()
        number = self._breaker.begin()
        if number is None:  # another thread has its trial, or has just made it open
            self._decided(Route("local", "breaker_open"), facts, "local")
            return None
        budget = self._config.policy.timeout_ms
        if left_ms is not None:
            budget = min(budget, left_ms - self._config.policy.reserve_ms)
        question = Question(k, sent, candidates, scores, vector)
        asked = AskedCloud(self, number, question, budget, is_alone=route.where == "cloud")
        with self._lock:
            is_busy = self._closed or len(self._under_way) >= self._config.max_calls
            if not is_busy:
                self._under_way.add(asked)
        if is_busy:
            self._breaker.dropped(number)
            self._decided(Route("local", "busy"), facts, "local")
            return None
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
        at, inputs = self._questions.inputs(asked.question, metadata)
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
        except (DeadlineError, RefusedError, ProtocolError) as error:
            self._tally.took(self.now_ms() - start)
            if not isinstance(error, DeadlineError):
                self._metadata = None
            raise
        self._tally.took(self.now_ms() - start)
        self._tally.came(found.received_bytes)
        scores = found.outputs["scores"]
        if scores.dtype != np.float32 or scores.shape != (1, len(at)):
            problem = f"gives {scores.dtype} {list(scores.shape)}, and FP32 {[1, len(at)]} was asked for"
            raise refuse(problem, f"{self._client.endpoint}: output 'scores'")
        return Reranked(at, scores[0].astype(np.float64))

    def _known_metadata(self) -> ModelMetadata:
        """Asked for under no deadline but the policy's: the next call profits from it, even if this one is late."""
        known = self._metadata
        if known is None:
            if not self._still_consents():
                raise _withdrawn()
            timeout = self._config.policy.timeout_ms
            known = self._client.model(self._model, version=self._config.version, timeout_ms=timeout)
            self._metadata = known
        return known

    def _leaving(self, size: int) -> None:
        """Right before a request leaves: what is not allowed any more, or cannot be noted, does not leave."""
        if not self._still_consents():
            raise _withdrawn()
        self._audit.note_more("history and candidates", count=1, size=size, to=self._config.endpoint, why="recommend")
        self._tally.left(size)

    def tell_breaker(self, asked: AskedCloud, error: NearhandError | None) -> None:
        """What a call's outcome says of the server."""
        match error:
            case None:
                self._breaker.succeeded(asked.number)
            case OtherCatalogueError():
                self._metadata = None
                self._breaker.failed(asked.number, pause_ms=_CATALOGUE_PAUSE_MS)
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
        question: Question,
        budget_ms: float,
        *,
        is_alone: bool,
    ) -> None:
        """
        Args:
            number: the breaker's.
            budget_ms: for all of it.
            is_alone: whether the device does not rank at the same time.
        """
        self._owner = owner
        self.number = number
        self.question = question
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
