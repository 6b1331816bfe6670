"""The device, top to bottom: event → log → history and features → candidates → recommendation and explanation."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from nearhand.bundle.schema import RuntimeName
from nearhand.cipher import KeyProvider
from nearhand.clock import Clock
from nearhand.config import Config
from nearhand.errors import UsageError, shown
from nearhand.events import Event, RecordedEvent, Scalar, unrecorded, unrecorded_many
from nearhand.features.store import FeatureStore
from nearhand.opened import OpenProfile, open_profile
from nearhand.predicting import Prediction, Segment
from nearhand.ranking import Predicate
from nearhand.recommending import Recommendation, Request, check_context
from nearhand.runtime import Runtime

if TYPE_CHECKING:  # an app that only asks for lists does not wait for these
    from nearhand.decisions import BestTime, Decision
    from nearhand.hybrid import HybridConfig, Surroundings
    from nearhand.network import Transport
    from nearhand.privacy import Privacy
    from nearhand.status import Status
    from nearhand.sync import SyncConfig, SyncReport


class Personalizer:
    """Personalization for one local profile. Make one with :meth:`open`; safe to call from several threads."""

    def __init__(self, opened: OpenProfile) -> None:
        """See :meth:`open`."""
        self._opened = opened

    @classmethod
    def open(
        cls,
        bundle: str | Path,
        data_dir: str | Path,
        *,
        config: Config | None = None,
        clock: Clock | None = None,
        runtimes: Mapping[RuntimeName, Callable[[], Runtime]] | None = None,
        key_provider: KeyProvider | None = None,
        sync: SyncConfig | None = None,
        transport: Transport | None = None,
        hybrid: HybridConfig | None = None,
        surroundings: Callable[[], Surroundings] | None = None,
    ) -> Personalizer:
        """Open a bundle and the profile's event log. Needs no network.

        The first opening of a bundle verifies all of it, unpacks it below ``data_dir`` and runs its golden vectors on
        this device; later openings skip all three.

        Args:
            bundle: a ``.nearhand`` file, or the folder of an installed slot.
            data_dir: a folder of the app's own storage; created if need be.
            config: choices; see :class:`Config`.
            clock: where the time comes from; the system's clock unless a test moves it.
            runtimes: the runtimes to choose from; by default those that are installed.
            key_provider: gives the key with which all that the profile stores is encrypted; None: it is not. Which of
                the two it is has to stay the same for a profile.
            sync: the endpoint that :meth:`sync` sends to; None: nothing ever leaves the device.
            transport: what carries all calls, for the app to close; None: urllib3, which is imported at the first one.
            hybrid: a server that may rank lists with a heavier model, for users who allow it (``sync``); see
                :class:`nearhand.hybrid.HybridConfig`. None: all lists are ranked on the device.
            surroundings: tells what network there is, and how the battery is; it has to return at once.

        Raises:
            UsageError: an argument is of the wrong type.
            BundleError: the bundle is refused; nothing was written.
            EncryptionError: there is no key, or it is not that of the profile; nothing was changed.
            RuntimeUnavailableError: no installed runtime computes this bundle correctly here.
            StorageError: the data folder or the event log cannot be used.
        """
        return cls(
            open_profile(
                bundle,
                data_dir,
                config=config,
                clock=clock,
                runtimes=runtimes,
                key_provider=key_provider,
                sync=sync,
                transport=transport,
                hybrid=hybrid,
                surroundings=surroundings,
            )
        )

    def record(self, event: Event) -> RecordedEvent:
        """Keep an event. When this returns the event is durable, as ``Config.durability`` says.

        Its type is one of ``nearhand.events.EVENT_TYPES`` or one that the bundle declares. If the user does not allow
        recording (``privacy.set_consent("off")``) nothing is kept: what is returned then has the sequence number 0.

        Raises:
            EventError: the event is malformed; names the field.
            StorageError: the event could not be written, and is not kept.
        """
        self._opened.check_open()
        with self._opened.meter.timed("record"):
            consent = self._opened.preferences.current.consent
            if consent == "off":
                found = unrecorded(event, self._opened.bundle.manifest.event_types, self._opened.clock)
                self._opened.not_recorded += 1
                return found
            return self._opened.log.append(event, sendable=consent == "sync")

    def record_many(self, events: Sequence[Event]) -> list[RecordedEvent]:
        """Keep a burst of events, all or none, at about the price of one; see :meth:`record`.

        Raises:
            EventError: one of them is malformed; names it and its field.
            StorageError: they could not be written, and none is kept.
        """
        self._opened.check_open()
        if not isinstance(events, Iterable):
            raise UsageError(f"is {shown(events)}", place="events", remedy="record several events")
        with self._opened.meter.timed("record_many"):
            consent = self._opened.preferences.current.consent
            if consent == "off":
                found = unrecorded_many(events, self._opened.bundle.manifest.event_types, self._opened.clock)
                self._opened.not_recorded += len(found)
                return found
            return self._opened.log.append_many(events, sendable=consent == "sync")

    def events(self, after: int = 0) -> list[RecordedEvent]:
        """All that the profile's log holds, in the order it was recorded, for a screen that shows it to its user.

        Args:
            after: the ``sequence`` of the last event that the app has already; 0: all.

        Raises:
            StorageError: the log cannot be read. UsageError: ``after`` is no sequence number.
        """
        self._opened.check_open()
        return self._opened.log.since(after)

    @property
    def features(self) -> FeatureStore:
        """The profile's features, under the bundle's feature program.

        Raises:
            UsageError: the bundle has no feature program.
        """
        self._opened.check_open()
        return self._opened.feature_store()

    @property
    def privacy(self) -> Privacy:
        """What the user can do with the profile: consent, block, forget, reset, erase, export and import."""
        self._opened.check_open()
        return self._opened.privacy

    def recommend(
        self,
        k: int = 10,
        *,
        context: Mapping[str, Scalar] | None = None,
        deadline_ms: float | None = None,
        cancelled: threading.Event | None = None,
        candidates: Sequence[str] = (),
        pinned: Mapping[int, str] | None = None,
        unavailable: Collection[str] = (),
        only: Collection[str] | None = None,
        user_age: int | None = None,
        predicate: Predicate | None = None,
    ) -> list[Recommendation]:
        """The ``k`` best items for this profile, best first.

        There are fewer if the policy's caps and the filters leave no more of the candidates.

        Items the user has already seen, and those that were blocked, are not recommended. Without a positive history
        the most popular items are, and also when the models or the log fail: ``status().degradations`` says so.

        Args:
            k, context, deadline_ms, cancelled, candidates, pinned, unavailable, only, user_age, predicate: see
                :class:`nearhand.recommending.Request`.

        Raises:
            UsageError: an argument is wrong, or the bundle makes no recommendations.
            CancelledError: ``cancelled`` was set.
        """
        request = Request(
            k=k,
            context={} if context is None else context,
            deadline_ms=deadline_ms,
            cancelled=cancelled,
            candidates=candidates,
            pinned={} if pinned is None else pinned,
            unavailable=unavailable,
            only=only,
            user_age=user_age,
            predicate=predicate,
        )
        with self._opened.meter.timed("recommend"):
            return self._opened.recommending().recommend(request)

    def similar(self, item_id: str, k: int = 10) -> list[Recommendation]:
        """The ``k`` items most like one item, best first: by the cosine of their whitened item vectors.

        The cosine orders the candidates with the largest inner products (at least 100), so in a large catalogue an
        item that hardly anybody met can be missing here even if its direction fits. What the user has blocked is not
        among them.

        Raises:
            UsageError: the item is not in the catalogue, or ``k`` is not a positive integer.
            ModelError: the runtime fails.
        """
        with self._opened.meter.timed("similar"):
            return self._opened.recommending().similar(item_id, k)

    def predict(self, name: str | None = None, *, context: Mapping[str, Scalar] | None = None) -> Prediction:
        """What a predictor of the bundle says of the profile now, such as the probability that its user leaves.

        If the user does not let the history be looked at (``privacy``), it is what it says of a new profile.

        Args:
            name: the predictor's; None if the bundle has only one.
            context: the situation, for features of the request.

        Raises:
            UsageError: the bundle has no such predictor, or no feature program.
            RuntimeUnavailableError: no installed runtime computes it correctly here.
            ModelError: the runtime fails, or the prediction is no number. StorageError: the log cannot be read.
        """
        self._opened.check_open()
        with self._opened.meter.timed("predict"):
            return self._opened.predictors.predict(name, _checked(context))

    def segment(self, name: str | None = None, *, context: Mapping[str, Scalar] | None = None) -> Segment:
        """The cluster that the profile belongs to now; see :meth:`predict` for the arguments and errors."""
        self._opened.check_open()
        with self._opened.meter.timed("segment"):
            return self._opened.predictors.segment(name, _checked(context))

    def decide(self, name: str, *, context: Mapping[str, Scalar] | None = None) -> Decision:
        """What to do, by the bundle's rules for a prediction: an action such as ``offer-discount``, or none.

        Frequency caps, the cooldown and the holdout are kept to. The decision is noted before this returns, and counts
        as carried out. Name its ``decision_id`` as ``recommendation_id`` in the events that come of it.

        While the user's consent is ``off`` nothing is noted, and the decision is to do nothing.

        Raises:
            UsageError: the bundle has no such decision. ModelError, RuntimeUnavailableError: there is no prediction.
            StorageError: the decision could not be noted, and is not made.
        """
        self._opened.check_open()
        given = _checked(context)
        with self._opened.meter.timed("decide"):
            manifest = self._opened.bundle.manifest
            known = manifest.decisions if isinstance(name, str) else ()
            policy = next((policy for policy in known if policy.name == name), None)
            if policy is None:
                return self._opened.decider.decide(name, 0.0, version=manifest.version)  # which says what there is
            if self._opened.preferences.current.consent == "off":
                return self._opened.decider.withheld(name)
            found = self._opened.predictors.predict(policy.predictor, given)
            return self._opened.decider.decide(
                name, found.value, version=found.version, explanation=found.explanation.text, context=given
            )

    def best_time(
        self,
        *,
        within_hours: int = 24,
        quiet: tuple[int, int] | None = (22, 8),
        not_before_ms: int | None = None,
    ) -> BestTime:
        """When to notify this user, by their own rhythm; see :meth:`nearhand.decisions.Rhythm.best_time`.

        Raises:
            UsageError: an argument is wrong. StorageError: the log cannot be read.
        """
        self._opened.check_open()
        with self._opened.meter.timed("best_time"):
            return self._opened.rhythm.best_time(
                within_hours=within_hours,
                quiet=quiet,
                not_before_ms=not_before_ms,
                uses_history=self._opened.preferences.current.uses_history,
            )

    def sync(self, *, cancelled: threading.Event | None = None) -> SyncReport:
        """Send what the user allows to be sent, and take over pushed features; see ``SyncConfig`` for its bounds.

        Requests to erase go first, whatever is allowed by now. One sync of a profile runs at a time. It ends early when
        ``cancelled`` is set, at :meth:`pause` and at :meth:`close`, once the call is answered that it is making.

        Trouble with the network or the endpoint raises nothing: the report says what was in the way.

        Raises:
            UsageError: the Personalizer was opened without ``sync``, urllib3 is not installed, or ``cancelled`` is no
                threading.Event.
            StorageError: what is to be sent cannot be read, or noted as sent; it is sent again.
        """
        self._opened.check_open()
        if self._opened.syncer is None:
            raise UsageError("there is no endpoint", place="sync", remedy="give Personalizer.open(sync=SyncConfig(…))")
        if not isinstance(cancelled, threading.Event | None):
            problem = f"is {shown(cancelled)}"
            raise UsageError(problem, place="sync(cancelled)", remedy="give a threading.Event, or None")
        with self._opened.meter.timed("sync"):
            return self._opened.syncer.sync(cancelled)

    async def sync_async(self) -> SyncReport:
        """:meth:`sync` in a worker thread; cancelling it ends the sync early."""
        import asyncio  # what awaits this has it already; others would pay 3 MB for it

        cancelled = threading.Event()
        try:
            return await asyncio.to_thread(self.sync, cancelled=cancelled)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def record_async(self, event: Event) -> RecordedEvent:
        """:meth:`record` in a worker thread. What was begun is finished, even if nobody waits for it any more."""
        import asyncio  # what awaits this has it already; others would pay 3 MB for it

        return await asyncio.to_thread(self.record, event)

    async def recommend_async(self, k: int = 10, **request: Any) -> list[Recommendation]:
        """:meth:`recommend` in a worker thread; cancelling it ends the call early."""
        import asyncio  # what awaits this has it already; others would pay 3 MB for it

        cancelled = request.get("cancelled") or threading.Event()
        try:
            return await asyncio.to_thread(self.recommend, k, **{**request, "cancelled": cancelled})
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def predict_async(self, name: str | None = None, **request: Any) -> Prediction:
        """:meth:`predict` in a worker thread."""
        import asyncio  # what awaits this has it already; others would pay 3 MB for it

        return await asyncio.to_thread(self.predict, name, **request)

    def pause(self) -> None:
        """Prepare for the background: end a sync, write down what is only in memory, and unload the models.

        Everything can still be called: what needs a model loads it again, as :meth:`resume` does in advance.
        """
        self._opened.check_open()
        if self._opened.syncer is not None:
            self._opened.syncer.interrupt()
        self._opened.save()
        self._opened.unload()

    def resume(self) -> None:
        """Load the retrieval model again after :meth:`pause`, so that the next list does not wait for it.

        Raises:
            RuntimeUnavailableError: no installed runtime computes this bundle correctly here any more.
        """
        self._opened.check_open()
        if self._opened.recommender is not None:
            self._opened.retriever()

    def shed_memory(self, *, all_models: bool = False) -> None:
        """For warnings of low memory: drop caches and predictors, or all models; they are loaded again when used."""
        self._opened.check_open()
        if all_models:
            self._opened.unload()
        else:
            self._opened.predictors.close()
        if self._opened.features is not None:
            self._opened.features.shed()

    def status(self) -> Status:
        """What is loaded, how it performs, and what was degraded.

        Raises:
            StorageError: the event log cannot be read.
        """
        self._opened.check_open()
        return self._opened.status()

    def close(self) -> None:
        """Free the models and close the log. Closing twice is fine; any other call afterwards is a UsageError."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _checked(context: Mapping[str, Scalar] | None) -> Mapping[str, Scalar]:
    if context is None:
        return {}
    check_context(context)
    return context
