"""One profile that is open: the bundle's models, the profile's data, and what is made of both."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from nearhand.bundle import BundleFolder, open_slot
from nearhand.bundle.durable import path_of, storage_errors
from nearhand.bundle.schema import Items, RuntimeName
from nearhand.cipher import KeyProvider, cipher_of
from nearhand.clock import Clock, SystemClock
from nearhand.config import Config
from nearhand.errors import EncryptionError, StorageError, UsageError, shown
from nearhand.events import DAY_MS, Caps, EventLog
from nearhand.features import CompiledProgram, ItemTable, compile_program, read_program
from nearhand.features.cache import PushedFeatures
from nearhand.features.prepared import pack_program, prepared_program
from nearhand.features.store import FeatureStore, ProgramCheckpointer
from nearhand.learning import Exposures, exposures
from nearhand.monitoring import Meter
from nearhand.predicting import Predictors
from nearhand.privacy import PreferenceStore
from nearhand.profile import ERASING, ProfileStore
from nearhand.ranking import Predictor, check_columns
from nearhand.recommending import Recommender
from nearhand.retrieval import OpenedRetriever, open_retriever
from nearhand.runtime import Runtime, guarded, installed_runtimes
from nearhand.version import __version__

if TYPE_CHECKING:  # an app that only asks for lists does not wait for these
    from nearhand.decisions import Decider, LoggedRhythm
    from nearhand.hybrid import CloudReranker, HybridConfig, Surroundings
    from nearhand.learning import Learner
    from nearhand.network import Transport
    from nearhand.privacy import Privacy
    from nearhand.status import Status
    from nearhand.sync import SyncConfig, Syncer


class OpenProfile:
    """What the verbs of a :class:`nearhand.Personalizer` work with; made by :func:`open_profile`.

    Attributes:
        items, features, recommender: None if the bundle has no catalogue, or no feature program.
        learner, hybrid, syncer: None if the bundle, or the app, does not want them.
        not_recorded: how many events were not kept, because the user does not allow it.
    """

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
        self.bundle = bundle
        self.items = items
        self.log = log
        self.store = store
        self.features = features
        self.config = config
        self.clock = clock
        self.meter = meter
        self._runtimes = runtimes
        self._selftests = selftests
        self._is_encrypted = is_encrypted
        self._closed = False
        self.not_recorded = 0
        self._loading = threading.RLock()
        self._retriever: OpenedRetriever | None = None
        self.pushed = pushed
        self.preferences = PreferenceStore(store, clock, meter)
        self.predictors = Predictors(
            manifest,
            features,
            lambda: self.preferences.current.uses_history,
            self._load_predictor,
            self._passed_over,
            config.locale,
        )
        self.learner: Learner | None = None
        self.hybrid: CloudReranker | None = None
        if hybrid is not None and items is not None:
            from nearhand.hybrid.opening import open_reranker

            self.hybrid = open_reranker(
                hybrid, bundle, surroundings, self.preferences, log, features, store, clock, meter, transport
            )
        self.recommender = None if items is None else self._make_recommender(items)
        if self.recommender is not None:
            self.retriever()
        self.syncer: Syncer | None = None
        if sync is not None:
            from nearhand.sync import Syncer

            self.syncer = Syncer(
                sync,
                log=log,
                store=store,
                preferences=self.preferences,
                push=None if features is None else features.push,
                event_types=manifest.event_types,
                lock=sync_lock,
                clock=clock,
                meter=meter,
                transport=transport,
            )

    @cached_property
    def privacy(self) -> Privacy:
        """What the user can do with the profile."""
        from nearhand.decisions import decider
        from nearhand.learning import learner
        from nearhand.privacy import Kept, Privacy
        from nearhand.sync import ERASURES, part

        manifest, features, recommender = self.bundle.manifest, self.features, self.recommender
        kept = Kept(
            log=self.log,
            store=self.store,
            pushed=self.pushed,
            fingerprint=None if features is None else features.program.fingerprint,
            bundle=manifest.name,
            bundle_version=manifest.version,
            items=self.items,
            values=(learner.VALUE, *self.decider.values),
            journals=(exposures.JOURNAL, decider.JOURNAL),
            erasures=ERASURES,
            part=part,
            alone=nullcontext if recommender is None else recommender.between_lists,
            settle=self._settle,
            changed=self._forget_memory,
        )
        return Privacy(kept, self.preferences, self.clock)

    @cached_property
    def decider(self) -> Decider:
        """Makes the bundle's decisions, and notes them."""
        from nearhand.decisions import Decider

        return Decider(self.store, self.bundle.manifest.decisions, self.clock, _seed_bytes(self.config.seed))

    @cached_property
    def rhythm(self) -> LoggedRhythm:
        """When the user is there, by the log."""
        from nearhand.decisions import LoggedRhythm

        return LoggedRhythm(self.log, self.clock)

    def feature_store(self) -> FeatureStore:
        """
        Raises:
            UsageError: the bundle has no feature program.
        """
        if self.features is None:
            name = self.bundle.manifest.name
            raise UsageError("has no feature program", place=f"bundle {name}", remedy="convert it with one")
        return self.features

    def _make_recommender(self, items: Items) -> Recommender:
        manifest = self.bundle.manifest
        retrieval, policy = manifest.retrieval, manifest.listing
        space = manifest.model("encoder").variants[0].file.sha256
        outputs = manifest.model("encoder").variants[0].outputs
        factors = next(spec.shape[-1] for spec in outputs if spec.name == "user_vector")
        journal = Exposures(self.store, self.clock)
        if policy is not None and policy.learning is not None:
            from nearhand.learning import Learner

            self.learner = Learner(
                self.store,
                journal,
                policy.learning,
                factors=factors,
                space=space,
                meter=self.meter,
            )
        ranker = None if policy is None else policy.ranker
        if ranker is not None:
            check_columns(self.feature_store().program, manifest.table_model(ranker))
        return Recommender(
            retrieval=retrieval,
            name=manifest.name,
            policy=policy,
            items=items,
            space=space,
            retriever=lambda: self.retriever().retriever,
            ranker=None if ranker is None else lambda: self.predictors.using(ranker),
            log=self.log,
            features=self.features,
            preferences=self.preferences,
            exposures=journal,
            learner=self.learner,
            reranker=self.hybrid,
            clock=self.clock,
            meter=self.meter,
            locale=self.config.locale,
            seed=self.config.seed,
        )

    def recommending(self) -> Recommender:
        """
        Raises:
            UsageError: it is closed, or the bundle makes no recommendations.
        """
        self.check_open()
        if self.recommender is None:
            self.bundle.manifest.retrieval  # noqa: B018 - raises, and says what the bundle has instead
            raise AssertionError
        return self.recommender

    def retriever(self) -> OpenedRetriever:
        """The retrieval model, loaded if it is not.

        Raises:
            UsageError: it is closed.
            RuntimeUnavailableError: no installed runtime computes this bundle correctly here.
        """
        with self._loading:
            if self._retriever is None:
                self.check_open()  # again: nothing is loaded that nobody would close
                self._retriever = open_retriever(self.bundle, self.config, self._runtimes, self._selftests, self.meter)
            return self._retriever

    def _load_predictor(self, name: str) -> Predictor:
        self.check_open()
        return Predictor.of(self.bundle, name, config=self.config, runtimes=self._runtimes, selftests=self._selftests)

    def _passed_over(self, reason: str) -> None:
        self.meter.skipped(f"variant was passed over: {reason}")

    def unload(self) -> None:
        """Free all models. Whoever needs one loads it again."""
        self.predictors.close()
        if self.recommender is not None:
            with self.recommender.between_lists(), self._loading:
                opened, self._retriever = self._retriever, None
                if opened is not None:
                    opened.retriever.close()

    def save(self) -> None:
        """Write down what is only in memory."""
        if self.features is not None:
            self.features.save()
        self._save_learned()

    def _save_learned(self) -> None:
        if self.learner is not None:
            try:
                self.learner.save_unless_forgotten(self.log)
            except (StorageError, EncryptionError) as error:  # it is learned again from the log
                self.meter.degraded("what was learned was not saved", error)

    def _forget_memory(self) -> None:
        """After the profile's data were replaced: nothing of the old ones stays in memory."""
        self.rhythm.forget()
        if self.hybrid is not None:
            self.hybrid.forget()
        if self.recommender is not None:
            self.recommender.forget()
        if self.learner is not None:
            try:
                self.learner.reload(self.log)
            except (StorageError, EncryptionError) as error:
                self.meter.degraded("what was learned was not taken over, and is learned again from the log", error)

    def _settle(self) -> None:
        if self.learner is not None:
            self.learner.follow(self.log)
            self.learner.save()

    def status(self) -> Status:
        """See :meth:`nearhand.Personalizer.status`."""
        from nearhand.status import Status

        manifest = self.bundle.manifest
        opened = self._retriever
        fold = None if self.recommender is None else self.recommender.catch_up()
        return Status(
            bundle=manifest.name,
            bundle_version=manifest.version,
            digest=self.bundle.digest,
            slot=str(self.bundle.folder),
            runtime=None if opened is None else opened.runtime,
            runtime_version=None if opened is None else opened.runtime_version,
            precision=None if opened is None else opened.precision,
            profile=self.config.profile,
            consent=self.preferences.current.consent,
            is_encrypted=self._is_encrypted,
            items=0 if self.items is None else self.items.count,
            events=self.log.count(),
            log_bytes=self.log.bytes_on_disk(),
            not_recorded=self.not_recorded,
            unknown_items=0 if fold is None else fold.unknown_items,
            drops=self.log.drops(),
            eviction_failures=self.log.eviction_failures,
            quarantined=self.log.quarantined + self.store.quarantined,
            features=None if self.features is None else self.features.status(),
            hybrid=None if self.hybrid is None else self.hybrid.status(),
            learned=None if self.learner is None else self.learner.updates,
            is_paused=self.recommender is not None and opened is None,
            latencies=self.meter.latencies(),
            degradations=self.meter.degradations(),
            sync=None if self.syncer is None else self.syncer.status(),
        )

    def check_open(self) -> None:
        """
        Raises:
            UsageError: it is closed.
        """
        if self._closed:
            raise UsageError("the Personalizer is closed", remedy="open it again")

    def close(self) -> None:
        """Free the models and close what is stored; twice is fine."""
        if not self._closed:
            self._closed = True
            with ExitStack() as closing:
                closing.callback(self.log.close)
                closing.callback(self.store.close)
                if self.features is not None:
                    closing.callback(self.features.close)
                closing.callback(self._save_learned)
                closing.callback(self.unload)
                if self.recommender is not None:
                    closing.callback(self.recommender.close)
                if self.syncer is not None:
                    closing.callback(self.syncer.close)
                if self.hybrid is not None:
                    closing.callback(self.hybrid.close)


def open_profile(
    bundle: str | Path,
    data_dir: str | Path,
    *,
    config: Config | None,
    clock: Clock | None,
    runtimes: Mapping[RuntimeName, Callable[[], Runtime]] | None,
    key_provider: KeyProvider | None,
    sync: SyncConfig | None,
    transport: Transport | None,
    hybrid: HybridConfig | None,
    surroundings: Callable[[], Surroundings] | None,
) -> OpenProfile:
    """See :meth:`nearhand.Personalizer.open` for the arguments and errors."""
    source, data = path_of(bundle, "open(bundle)"), path_of(data_dir, "open(data_dir)")
    _check_given(config, clock, runtimes, sync, transport, hybrid, surroundings)
    if transport is not None:
        from nearhand.network.guard import guarded as guarded_transport

        transport = guarded_transport(transport)
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
        opened = OpenProfile(
            bundle=folder,
            items=items,
            log=log,
            store=store,
            pushed=pushed,
            features=features,
            config=config,
            clock=clock,
            meter=meter,
            runtimes=guarded(installed_runtimes(config.runtime) if runtimes is None else runtimes),
            selftests=data / "selftests",
            is_encrypted=cipher is not None,
            sync=sync,
            sync_lock=profile / "sync.lock",
            transport=transport,
            hybrid=hybrid,
            surroundings=surroundings,
        )
        if store.get(ERASING) is not None:
            opened.privacy.finish_erasure(meter)
        unless_it_opens.pop_all()
    return opened


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
        raise UsageError(f"is {shown(given)}", place=f"open({name})", remedy=f"{remedy}, or None")


def _seed_bytes(seed: int | None) -> bytes | None:
    return None if seed is None else seed.to_bytes(16, "little", signed=True)
