"""The device, top to bottom: event → log → history and features → candidates → recommendation and explanation."""

from __future__ import annotations

import reprlib
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from nearhand.bundle import BundleFolder, open_slot
from nearhand.bundle.durable import path_of, storage_errors
from nearhand.bundle.schema import Items, RuntimeName
from nearhand.cipher import KeyProvider, cipher_of
from nearhand.clock import Clock, SystemClock
from nearhand.config import Config
from nearhand.errors import EncryptionError, StorageError, UsageError
from nearhand.events import DAY_MS, Caps, Event, EventLog, RecordedEvent, Scalar, unrecorded, unrecorded_many
from nearhand.features import CompiledProgram, ItemTable, compile_program, read_program
from nearhand.features.cache import PushedFeatures
from nearhand.features.prepared import pack_program, prepared_program
from nearhand.features.store import FeatureStore, ProgramCheckpointer
from nearhand.learning import Exposures, exposures
from nearhand.monitoring import Meter
from nearhand.predicting import Prediction, Predictors, Segment
from nearhand.privacy import PreferenceStore
from nearhand.profile import ERASING, ProfileStore
from nearhand.ranking import Predicate, Predictor, check_columns
from nearhand.recommending import Recommendation, Recommender, Request, check_context
from nearhand.retrieval import OpenedRetriever, open_retriever
from nearhand.runtime import Runtime, guarded, installed_runtimes
from nearhand.version import __version__

if TYPE_CHECKING:  # an app that only asks for lists does not wait for these
    from nearhand.decisions import BestTime, Decider, Decision, LoggedRhythm
    from nearhand.hybrid import CloudReranker, HybridConfig, Surroundings
    from nearhand.learning import Learner
    from nearhand.network import Transport
    from nearhand.privacy import Privacy
    from nearhand.status import Status
    from nearhand.sync import SyncConfig, Syncer, SyncReport


class Personalizer:
    """Personalization for one local profile. Make one with :meth:`open`; safe to call from several threads."""

    def __init__(
        self,
        *,
        bundle: BundleFolder,
        items: Items | None,
        log: EventLog,
        store: ProfileStore,
        pushed: PushedFeatures | None,
        features: FeatureStore | None,
        config: Config,
        clock: Clock,
        meter: Meter,
        runtimes: Mapping[RuntimeName, Callable[[], Runtime]],
        selftests: Path,
        is_encrypted: bool,
        sync: SyncConfig | None,
        sync_lock: Path,
        transport: Transport | None,
        hybrid: HybridConfig | None,
        surroundings: Callable[[], Surroundings] | None,
    ) -> None:
        manifest = bundle.manifest
        self._bundle = bundle
        self._items = items
        self._log = log
        self._store = store
        self._features = features
        self._config = config
        self._clock = clock
        self._meter = meter
        self._runtimes = runtimes
        self._selftests = selftests
        self._is_encrypted = is_encrypted
        self._closed = False
        self._not_recorded = 0
        self._loading = threading.RLock()
        self._retriever: OpenedRetriever | None = None
        self._pushed = pushed
        self._preferences = PreferenceStore(store, clock, meter)
        self._predictors = Predictors(
            manifest,
            features,
            lambda: self._preferences.current.uses_history,
            self._load_predictor,
            self._passed_over,
            config.locale,
        )
        self._learner: Learner | None = None
        self._hybrid: CloudReranker | None = None
        if hybrid is not None and items is not None:
            from nearhand.hybrid.opening import open_reranker

            self._hybrid = open_reranker(
                hybrid, bundle, surroundings, self._preferences, log, features, store, clock, meter, transport
            )
        self._recommender = None if items is None else self._make_recommender(items)
        if self._recommender is not None:
            self._opened_retriever()
        self._syncer: Syncer | None = None
        if sync is not None:
            from nearhand.sync import Syncer

            self._syncer = Syncer(
                sync,
                log=log,
                store=store,
                preferences=self._preferences,
                push=None if features is None else features.push,
                event_types=manifest.event_types,
                lock=sync_lock,
                clock=clock,
                meter=meter,
                transport=transport,
            )

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
            transport: what carries all calls; None: urllib3, which is imported at the first one.
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
        source, data = path_of(bundle, "open(bundle)"), path_of(data_dir, "open(data_dir)")
        _check_given(config, clock, runtimes, sync, transport, hybrid, surroundings)
        config, clock = config or Config(), clock or SystemClock()
        profile = data / "profiles" / config.profile
        meter = Meter(clock)
        cipher = None if key_provider is None else cipher_of(key_provider)
        if source.is_dir():
            folder = open_slot(source, __version__)
        else:
            from nearhand.bundle import install_bundle  # who gives a slot does not wait for it

            folder = install_bundle(source, data / "slots", sdk_version=__version__)
        items = None if folder.manifest.items is None else folder.items()
        program = _compiled_program(folder, items)
        if folder.unprepared is not None:
            meter.degraded("what was prepared of the bundle is not used", folder.unprepared)
        if folder.prepared is None and not source.is_dir():
            _prepare(folder, items, program, meter)
        with ExitStack() as unless_it_opens:
            log = EventLog(
                profile / "events.db",
                clock=clock,
                durability=config.durability,
                event_types=folder.manifest.event_types,
                caps=Caps(max_bytes=config.log_bytes, max_age_ms=config.log_days * DAY_MS),
                checkpointer=None if program is None else ProgramCheckpointer(program, meter),
                cipher=cipher,
            )
            unless_it_opens.callback(log.close)
            store = ProfileStore(profile / "profile.db", durability=config.durability, cipher=cipher)
            unless_it_opens.callback(store.close)
            pushed = features = None
            if program is not None:
                pushed = PushedFeatures(
                    profile / "pushed.db",
                    clock=clock,
                    meter=meter,
                    budget_bytes=config.pushed_bytes,
                    cipher=cipher,
                    opens=bool(program.pushed),
                )
                unless_it_opens.callback(pushed.close)
                features = FeatureStore(program, log, pushed, clock=clock, meter=meter)
            personalizer = cls(
                bundle=folder,
                items=items,
                log=log,
                store=store,
                pushed=pushed,
                features=features,
                config=config,
                clock=clock,
                meter=meter,
                runtimes=guarded(installed_runtimes() if runtimes is None else runtimes),
                selftests=data / "selftests",
                is_encrypted=cipher is not None,
                sync=sync,
                sync_lock=profile / "sync.lock",
                transport=transport,
                hybrid=hybrid,
                surroundings=surroundings,
            )
            if store.get(ERASING) is not None:
                personalizer._privacy.finish_erasure(meter)
            unless_it_opens.pop_all()
        return personalizer

    def record(self, event: Event) -> RecordedEvent:
        """Keep an event. When this returns the event is durable, as ``Config.durability`` says.

        Its type is one of ``nearhand.events.EVENT_TYPES`` or one that the bundle declares. If the user does not allow
        recording (``privacy.set_consent("off")``) nothing is kept: what is returned then has the sequence number 0.

        Raises:
            EventError: the event is malformed; names the field.
            StorageError: the event could not be written, and is not kept.
        """
        self._check_open()
        with self._meter.timed("record"):
            consent = self._preferences.current.consent
            if consent == "off":
                found = unrecorded(event, self._bundle.manifest.event_types, self._clock)
                self._not_recorded += 1
                return found
            return self._log.append(event, sendable=consent == "sync")

    def record_many(self, events: Sequence[Event]) -> list[RecordedEvent]:
        """Keep a burst of events, all or none, at about the price of one; see :meth:`record`.

        Raises:
            EventError: one of them is malformed; names it and its field.
            StorageError: they could not be written, and none is kept.
        """
        self._check_open()
        if not isinstance(events, Iterable):
            raise UsageError(f"is {events!r}", place="events", remedy="record several events")
        with self._meter.timed("record_many"):
            consent = self._preferences.current.consent
            if consent == "off":
                found = unrecorded_many(events, self._bundle.manifest.event_types, self._clock)
                self._not_recorded += len(found)
                return found
            return self._log.append_many(events, sendable=consent == "sync")

    def events(self, after: int = 0) -> list[RecordedEvent]:
        """All that the profile's log holds, in the order it was recorded, for a screen that shows it to its user.

        Args:
            after: the ``sequence`` of the last event that the app has already; 0: all.

        Raises:
            StorageError: the log cannot be read. UsageError: ``after`` is no sequence number.
        """
        self._check_open()
        return self._log.since(after)

    @property
    def features(self) -> FeatureStore:
        """The profile's features, under the bundle's feature program.

        Raises:
            UsageError: the bundle has no feature program.
        """
        self._check_open()
        if self._features is None:
            name = self._bundle.manifest.name
            raise UsageError("has no feature program", place=f"bundle {name}", remedy="convert it with one")
        return self._features

    @property
    def privacy(self) -> Privacy:
        """What the user can do with the profile: consent, block, forget, reset, erase, export and import."""
        self._check_open()
        return self._privacy

    @cached_property
    def _privacy(self) -> Privacy:
        from nearhand.decisions import decider
        from nearhand.learning import learner
        from nearhand.privacy import Kept, Privacy
        from nearhand.sync import ERASURES, part

        manifest, features, recommender = self._bundle.manifest, self._features, self._recommender
        kept = Kept(
            log=self._log,
            store=self._store,
            pushed=self._pushed,
            fingerprint=None if features is None else features.program.fingerprint,
            bundle=manifest.name,
            bundle_version=manifest.version,
            items=self._items,
            values=(learner.VALUE, *self._decider.values),
            journals=(exposures.JOURNAL, decider.JOURNAL),
            erasures=ERASURES,
            part=part,
            alone=nullcontext if recommender is None else recommender.between_lists,
            settle=self._settle,
            changed=self._forget_memory,
        )
        return Privacy(kept, self._preferences, self._clock)

    @cached_property
    def _decider(self) -> Decider:
        from nearhand.decisions import Decider

        return Decider(self._store, self._bundle.manifest.decisions, self._clock, _seed_bytes(self._config.seed))

    @cached_property
    def _rhythm(self) -> LoggedRhythm:
        from nearhand.decisions import LoggedRhythm

        return LoggedRhythm(self._log, self._clock)

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
        with self._meter.timed("recommend"):
            return self._recommending().recommend(request)

    def similar(self, item_id: str, k: int = 10) -> list[Recommendation]:
        """The ``k`` items most like one item, best first: by the cosine of their whitened item vectors.

        The cosine orders the candidates with the largest inner products (at least 100), so in a large catalogue an
        item that hardly anybody met can be missing here even if its direction fits. What the user has blocked is not
        among them.

        Raises:
            UsageError: the item is not in the catalogue, or ``k`` is not a positive integer.
            ModelError: the runtime fails.
        """
        with self._meter.timed("similar"):
            return self._recommending().similar(item_id, k)

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
        self._check_open()
        with self._meter.timed("predict"):
            return self._predictors.predict(name, _checked(context))

    def segment(self, name: str | None = None, *, context: Mapping[str, Scalar] | None = None) -> Segment:
        """The cluster that the profile belongs to now; see :meth:`predict` for the arguments and errors."""
        self._check_open()
        with self._meter.timed("segment"):
            return self._predictors.segment(name, _checked(context))

    def decide(self, name: str, *, context: Mapping[str, Scalar] | None = None) -> Decision:
        """What to do, by the bundle's rules for a prediction: an action such as ``offer-discount``, or none.

        Frequency caps, the cooldown and the holdout are kept to. The decision is noted before this returns, and counts
        as carried out. Name its ``decision_id`` as ``recommendation_id`` in the events that come of it.

        While the user's consent is ``off`` nothing is noted, and the decision is to do nothing.

        Raises:
            UsageError: the bundle has no such decision. ModelError, RuntimeUnavailableError: there is no prediction.
            StorageError: the decision could not be noted, and is not made.
        """
        self._check_open()
        given = _checked(context)
        with self._meter.timed("decide"):
            manifest = self._bundle.manifest
            policy = next((policy for policy in manifest.decisions if policy.name == name), None)
            if policy is None:
                return self._decider.decide(name, 0.0, version=manifest.version)  # which says what there is
            if self._preferences.current.consent == "off":
                return self._decider.withheld(name)
            found = self._predictors.predict(policy.predictor, given)
            return self._decider.decide(
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
        self._check_open()
        with self._meter.timed("best_time"):
            return self._rhythm.best_time(
                within_hours=within_hours,
                quiet=quiet,
                not_before_ms=not_before_ms,
                uses_history=self._preferences.current.uses_history,
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
        self._check_open()
        if self._syncer is None:
            raise UsageError("there is no endpoint", place="sync", remedy="give Personalizer.open(sync=SyncConfig(…))")
        if not isinstance(cancelled, threading.Event | None):
            problem = f"is {reprlib.repr(cancelled)}"
            raise UsageError(problem, place="sync(cancelled)", remedy="give a threading.Event, or None")
        with self._meter.timed("sync"):
            return self._syncer.sync(cancelled)

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
        self._check_open()
        if self._syncer is not None:
            self._syncer.interrupt()
        self._save()
        self._unload()

    def resume(self) -> None:
        """Load the retrieval model again after :meth:`pause`, so that the next list does not wait for it.

        Raises:
            RuntimeUnavailableError: no installed runtime computes this bundle correctly here any more.
        """
        self._check_open()
        if self._recommender is not None:
            self._opened_retriever()

    def shed_memory(self, *, all_models: bool = False) -> None:
        """For warnings of low memory: drop caches and predictors, or all models; they are loaded again when used."""
        self._check_open()
        if all_models:
            self._unload()
        else:
            self._predictors.close()
        if self._features is not None:
            self._features.shed()

    def status(self) -> Status:
        """What is loaded, how it performs, and what was degraded.

        Raises:
            StorageError: the event log cannot be read.
        """
        from nearhand.status import Status

        self._check_open()
        manifest = self._bundle.manifest
        opened = self._retriever
        fold = None if self._recommender is None else self._recommender.catch_up()
        return Status(
            bundle=manifest.name,
            bundle_version=manifest.version,
            digest=self._bundle.digest,
            slot=str(self._bundle.folder),
            runtime=None if opened is None else opened.runtime,
            runtime_version=None if opened is None else opened.runtime_version,
            precision=None if opened is None else opened.precision,
            profile=self._config.profile,
            consent=self._preferences.current.consent,
            is_encrypted=self._is_encrypted,
            items=0 if self._items is None else self._items.count,
            events=self._log.count(),
            log_bytes=self._log.bytes_on_disk(),
            not_recorded=self._not_recorded,
            unknown_items=0 if fold is None else fold.unknown_items,
            drops=self._log.drops(),
            eviction_failures=self._log.eviction_failures,
            quarantined=self._log.quarantined + self._store.quarantined,
            features=None if self._features is None else self._features.status(),
            hybrid=None if self._hybrid is None else self._hybrid.status(),
            learned=None if self._learner is None else self._learner.updates,
            is_paused=self._recommender is not None and opened is None,
            latencies=self._meter.latencies(),
            degradations=self._meter.degradations(),
            sync=None if self._syncer is None else self._syncer.status(),
        )

    def close(self) -> None:
        """Free the models and close the log. Closing twice is fine; any other call afterwards is a UsageError."""
        if not self._closed:
            self._closed = True
            with ExitStack() as closing:
                closing.callback(self._log.close)
                closing.callback(self._store.close)
                if self._features is not None:
                    closing.callback(self._features.close)
                closing.callback(self._save_learned)
                closing.callback(self._unload)
                if self._recommender is not None:
                    closing.callback(self._recommender.close)
                if self._syncer is not None:
                    closing.callback(self._syncer.close)
                if self._hybrid is not None:
                    closing.callback(self._hybrid.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _make_recommender(self, items: Items) -> Recommender:
        manifest = self._bundle.manifest
        retrieval, policy = manifest.retrieval, manifest.listing
        space = manifest.model("encoder").variants[0].file.sha256
        outputs = manifest.model("encoder").variants[0].outputs
        factors = next(spec.shape[-1] for spec in outputs if spec.name == "user_vector")
        journal = Exposures(self._store, self._clock)
        if policy is not None and policy.learning is not None:
            from nearhand.learning import Learner

            self._learner = Learner(
                self._store,
                journal,
                policy.learning,
                factors=factors,
                space=space,
                meter=self._meter,
            )
        ranker = None if policy is None else policy.ranker
        if ranker is not None:
            check_columns(self.features.program, manifest.table_model(ranker))
        return Recommender(
            retrieval=retrieval,
            name=manifest.name,
            policy=policy,
            items=items,
            space=space,
            retriever=lambda: self._opened_retriever().retriever,
            ranker=None if ranker is None else lambda: self._predictors.using(ranker),
            log=self._log,
            features=self._features,
            preferences=self._preferences,
            exposures=journal,
            learner=self._learner,
            reranker=self._hybrid,
            clock=self._clock,
            meter=self._meter,
            locale=self._config.locale,
            seed=self._config.seed,
        )

    def _recommending(self) -> Recommender:
        self._check_open()
        if self._recommender is None:
            self._bundle.manifest.retrieval  # noqa: B018 - raises, and says what the bundle has instead
            raise AssertionError
        return self._recommender

    def _opened_retriever(self) -> OpenedRetriever:
        with self._loading:
            if self._retriever is None:
                self._check_open()  # again: nothing is loaded that nobody would close
                self._retriever = open_retriever(
                    self._bundle, self._config, self._runtimes, self._selftests, self._meter
                )
            return self._retriever

    def _load_predictor(self, name: str) -> Predictor:
        self._check_open()
        return Predictor.of(self._bundle, name, config=self._config, runtimes=self._runtimes, selftests=self._selftests)

    def _passed_over(self, reason: str) -> None:
        self._meter.skipped(f"variant was passed over: {reason}")

    def _unload(self) -> None:
        self._predictors.close()
        if self._recommender is not None:
            with self._recommender.between_lists(), self._loading:
                opened, self._retriever = self._retriever, None
                if opened is not None:
                    opened.retriever.close()

    def _save(self) -> None:
        if self._features is not None:
            self._features.save()
        self._save_learned()

    def _save_learned(self) -> None:
        if self._learner is not None:
            try:
                self._learner.save_unless_forgotten(self._log)
            except (StorageError, EncryptionError) as error:  # it is learned again from the log
                self._meter.degraded("what was learned was not saved", error)

    def _forget_memory(self) -> None:
        """After the profile's data were replaced: nothing of the old ones stays in memory."""
        self._rhythm.forget()
        if self._hybrid is not None:
            self._hybrid.forget()
        if self._recommender is not None:
            self._recommender.forget()
        if self._learner is not None:
            try:
                self._learner.reload(self._log)
            except StorageError as error:
                self._meter.degraded("what was learned was not taken over, and is learned again from the log", error)

    def _settle(self) -> None:
        if self._learner is not None:
            self._learner.follow(self._log)
            self._learner.save()

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("the Personalizer is closed", remedy="open it again")


def _compiled_program(bundle: BundleFolder, items: Items | None) -> CompiledProgram | None:
    reference = bundle.manifest.features
    if reference is None:
        return None
    if bundle.prepared is not None and (known := prepared_program(bundle.prepared, items)) is not None:
        return known
    place = f"bundle {bundle.manifest.name}: {reference.file.path}"
    with storage_errors(place):
        program = read_program(bundle.path(reference.file).read_bytes(), place=place)
    return compile_program(program, ItemTable.empty() if items is None else ItemTable.of_bundle(items))


def _prepare(folder: BundleFolder, items: Items | None, program: CompiledProgram | None, meter: Meter) -> None:
    """Keep what was made of a bundle's documents, so that the next start of the app need not make it."""
    from nearhand.bundle import prepare

    try:
        prepare(folder, items, {} if program is None else pack_program(program))
    except StorageError as error:
        meter.degraded("nothing was prepared of the bundle, and the next start takes longer", error)


def _check_given(
    config: Config | None,
    clock: Clock | None,
    runtimes: Mapping[RuntimeName, Callable[[], Runtime]] | None,
    sync: SyncConfig | None,
    transport: Transport | None,
    hybrid: HybridConfig | None,
    surroundings: Callable[[], Surroundings] | None,
) -> None:
    """
    Raises:
        UsageError: one of them is not what :meth:`Personalizer.open` takes; names it.
    """

    def has(given: object, *methods: str) -> bool:
        return all(callable(getattr(given, name, None)) for name in methods)

    wrong: list[tuple[str, object, str]] = []
    if not isinstance(config, Config | None):
        wrong.append(("config", config, "give a nearhand.Config"))
    if clock is not None and not has(clock, "now_ms", "utc_offset_minutes", "monotonic_ns"):
        wrong.append(("clock", clock, "give a nearhand.clock.Clock"))
    if not isinstance(runtimes, Mapping | None):
        wrong.append(("runtimes", runtimes, "give a mapping of names to what makes a runtime"))
    if transport is not None and not has(transport, "send", "close"):
        wrong.append(("transport", transport, "give a nearhand.network.Transport"))
    if surroundings is not None and not callable(surroundings):
        wrong.append(("surroundings", surroundings, "give a function that returns nearhand.hybrid.Surroundings"))
    if sync is not None:
        from nearhand.sync import SyncConfig

        if not isinstance(sync, SyncConfig):
            wrong.append(("sync", sync, "give a nearhand.sync.SyncConfig"))
    if hybrid is not None:
        from nearhand.hybrid import HybridConfig

        if not isinstance(hybrid, HybridConfig):
            wrong.append(("hybrid", hybrid, "give a nearhand.hybrid.HybridConfig"))
    for name, given, remedy in wrong:
        raise UsageError(f"is {reprlib.repr(given)}", place=f"open({name})", remedy=f"{remedy}, or None")


def _seed_bytes(seed: int | None) -> bytes | None:
    return None if seed is None else seed.to_bytes(16, "little", signed=True)


def _checked(context: Mapping[str, Scalar] | None) -> Mapping[str, Scalar]:
    if context is None:
        return {}
    check_context(context)
    return context
