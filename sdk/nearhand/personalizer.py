"""The device, top to bottom: event → log → history and features → candidates → recommendation and explanation."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np

from nearhand.bundle import BundleFolder, install_bundle, open_slot
from nearhand.bundle.durable import storage_errors
from nearhand.bundle.schema import Items, Precision, RuntimeName, Variant
from nearhand.clock import Clock, SystemClock
from nearhand.config import Config
from nearhand.errors import ModelError, RuntimeUnavailableError, UsageError
from nearhand.events import DAY_MS, Caps, Event, EventLog, RecordedEvent
from nearhand.explain import POPULAR, Explanation, contributions, explain
from nearhand.features import CompiledProgram, ItemTable, compile_program, read_program
from nearhand.features.cache import PushedFeatures
from nearhand.features.store import FeatureStatus, FeatureStore, ProgramCheckpointer
from nearhand.ids import random_id
from nearhand.monitoring import Latency, Meter
from nearhand.retrieval import Candidates, HistoryFold, HistoryItem, Popularity, Retriever, User, check_golden, padded
from nearhand.runtime import Runtime, installed_runtimes
from nearhand.version import __version__

Source = Literal["local", "fallback"]


@dataclass(frozen=True)
class Recommendation:
    """One item of a list.

    Attributes:
        score: the model's inner product; for ``fallback`` the item's share of all interactions. Comparable within one
            list only.
        source: ``local``: from this device's history; ``fallback``: what is popular, because there is no history yet
            or the model failed (``status().degradations`` then says why).
        recommendation_id: the list's identifier; name it in the events that this recommendation causes.
        position: 0 is the top of the list.
        propensity: the probability with which the policy shows this item here; 1.0 while nothing is randomized.
    """

    item_id: str
    title: str
    score: float
    explanation: Explanation
    source: Source
    recommendation_id: str
    position: int
    propensity: float


@dataclass(frozen=True)
class Status:
    """What is loaded, how it performs, and what was degraded since opening.

    Attributes:
        slot: the folder of the unpacked bundle.
        events: number of events in the profile's log; log_bytes: its size on disk.
        unknown_items: events whose item this bundle's catalogue does not have.
        drops: reason → how many events left the log by its caps, ever.
        eviction_failures: how often, since opening, the caps could not be enforced; it is tried again.
        quarantined: the files that a damaged log was moved to.
        features: how features are served; None: the bundle has no feature program.
        latencies: verb → latency.
        degradations: reason → how often less was given than was asked.
    """

    bundle: str
    bundle_version: str
    digest: str
    slot: str
    runtime: RuntimeName
    runtime_version: str
    precision: Precision
    profile: str
    items: int
    events: int
    log_bytes: int
    unknown_items: int
    drops: Mapping[str, int]
    eviction_failures: int
    quarantined: tuple[str, ...]
    features: FeatureStatus | None
    latencies: Mapping[str, Latency]
    degradations: Mapping[str, int]


class Personalizer:
    """Personalization for one local profile. Make one with :meth:`open`; safe to call from several threads."""

    def __init__(
        self,
        *,
        bundle: BundleFolder,
        items: Items,
        log: EventLog,
        features: FeatureStore | None,
        config: Config,
        meter: Meter,
        runtimes: Mapping[RuntimeName, Callable[[], Runtime]],
        selftests: Path,
    ) -> None:
        self._bundle = bundle
        self._log = log
        self._features = features
        self._config = config
        self._meter = meter
        self._lock = threading.RLock()
        self._closed = False
        self._items = items
        self._rows = {item_id: row for row, item_id in enumerate(self._items.item_ids)}
        self._popularity = Popularity(self._items.popularity)
        self._fold = HistoryFold(bundle.manifest.retrieval.policy, self._rows)
        self._folded = 0
        self._rewrites: int | None = None
        self._load_models(runtimes, selftests)

    @classmethod
    def open(
        cls,
        bundle: str | Path,
        data_dir: str | Path,
        *,
        config: Config | None = None,
        clock: Clock | None = None,
        runtimes: Mapping[RuntimeName, Callable[[], Runtime]] | None = None,
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

        Raises:
            BundleError: the bundle is refused; nothing was written.
            RuntimeUnavailableError: no installed runtime computes this bundle correctly here.
            StorageError: the data folder or the event log cannot be used.
        """
        config, clock = config or Config(), clock or SystemClock()
        source, data = Path(bundle), Path(data_dir)
        profile = data / "profiles" / config.profile
        meter = Meter(clock)
        if source.is_dir():
            folder = open_slot(source, __version__)
        else:
            folder = install_bundle(source, data / "slots", sdk_version=__version__)
        items = folder.items()
        program = _compiled_program(folder, items)
        with ExitStack() as unless_it_opens:
            log = EventLog(
                profile / "events.db",
                clock=clock,
                durability=config.durability,
                event_types=folder.manifest.event_types,
                caps=Caps(max_bytes=config.log_bytes, max_age_ms=config.log_days * DAY_MS),
                checkpointer=None if program is None else ProgramCheckpointer(program, meter),
            )
            unless_it_opens.callback(log.close)
            features = None
            if program is not None:
                pushed = PushedFeatures(
                    profile / "pushed.db", clock=clock, meter=meter, budget_bytes=config.pushed_bytes
                )
                unless_it_opens.callback(pushed.close)
                features = FeatureStore(program, log, pushed, clock=clock, meter=meter)
            personalizer = cls(
                bundle=folder,
                items=items,
                log=log,
                features=features,
                config=config,
                meter=meter,
                runtimes=installed_runtimes() if runtimes is None else runtimes,
                selftests=data / "selftests",
            )
            unless_it_opens.pop_all()
        return personalizer

    def record(self, event: Event) -> RecordedEvent:
        """Keep an event. When this returns the event is durable, as ``Config.durability`` says.

        Its type is one of ``nearhand.events.EVENT_TYPES`` or one that the bundle declares.

        Raises:
            EventError: the event is malformed; names the field.
            StorageError: the event could not be written, and is not kept.
        """
        self._check_open()
        with self._meter.timed("record"):
            return self._log.append(event)

    def record_many(self, events: Sequence[Event]) -> list[RecordedEvent]:
        """Keep a burst of events, all or none, at about the price of one.

        Raises:
            EventError: one of them is malformed; names it and its field.
            StorageError: they could not be written, and none is kept.
        """
        self._check_open()
        with self._meter.timed("record_many"):
            return self._log.append_many(events)

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

    def recommend(self, k: int = 10) -> list[Recommendation]:
        """The ``k`` best items for this profile, best first; fewer only if the catalogue has no more.

        Items the user has already seen are not recommended. Without a positive history the most popular items are.

        Raises:
            UsageError: ``k`` is not a positive integer.
            StorageError: the event log cannot be read.
        """
        _check_k(k)
        with self._lock, self._meter.timed("recommend"):
            self._check_open()
            self._fold_new_events()
            history = self._fold.history().items
            exclude = {*self._fold.seen, *(item.row for item in history)}
            if any(item.confidence > 0 for item in history):
                try:
                    user, best = self._rank(exclude, k)
                    return self._recommendations(best, "local", self._explanations(history, user, best))
                except ModelError as error:
                    self._meter.degraded("recommend fell back to popularity", error)
            rows, scores = self._popularity.top(exclude=exclude, k=k)
            return self._recommendations(
                Candidates(rows, scores, np.empty((len(rows), 0), np.float32)), "fallback", [POPULAR] * len(rows)
            )

    def similar(self, item_id: str, k: int = 10) -> list[Recommendation]:
        """The ``k`` items most like one item, best first: by the cosine of their whitened item vectors.

        The cosine orders the candidates with the largest inner products (at least 100), so in a large catalogue an
        item that hardly anybody met can be missing here even if its direction fits.

        Raises:
            UsageError: the item is not in the catalogue, or ``k`` is not a positive integer.
            ModelError: the runtime fails.
        """
        _check_k(k)
        if item_id not in self._rows:
            raise UsageError(
                f"item {item_id!r} is not in the catalogue of {self._bundle.manifest.name}",
                place="similar(item_id)",
                remedy="use an item id of this bundle",
            )
        row = self._rows[item_id]
        with self._lock, self._meter.timed("similar"):
            self._check_open()
            # With a single event of confidence 1 the fold-in's matrix is I: the user vector is the item's own row.
            vector = self._retriever.encode(*padded([row], [1.0], self._retriever.window)).vector
            found = self._retriever.retrieve(vector, exclude={row}, k=k)
            lengths = np.linalg.norm(found.vectors, axis=1) * np.linalg.norm(vector)
            cosines = (found.scores / np.maximum(lengths, 1e-30)).astype(np.float32)
            found = Candidates(found.rows, cosines, found.vectors)
            best = found.take(np.lexsort((found.rows, -cosines))[:k])
            explanation = Explanation(f"Similar to {self._items.titles[row]}")
            return self._recommendations(best, "local", [explanation] * len(best.rows))

    def status(self) -> Status:
        """What is loaded, how it performs, and what was degraded.

        Raises:
            StorageError: the event log cannot be read.
        """
        manifest = self._bundle.manifest
        with self._lock:
            self._check_open()
            self._fold_new_events()
            return Status(
                bundle=manifest.name,
                bundle_version=manifest.version,
                digest=self._bundle.digest,
                slot=str(self._bundle.folder),
                runtime=self._runtime.name,
                runtime_version=self._runtime.version,
                precision=self._precision,
                profile=self._config.profile,
                items=len(self._items.item_ids),
                events=self._log.count(),
                log_bytes=self._log.bytes_on_disk(),
                unknown_items=self._fold.unknown_items,
                drops=self._log.drops(),
                eviction_failures=self._log.eviction_failures,
                quarantined=self._log.quarantined,
                features=None if self._features is None else self._features.status(),
                latencies=self._meter.latencies(),
                degradations=self._meter.degradations(),
            )

    def close(self) -> None:
        """Free the models and close the log. Closing twice is fine; any other call afterwards is a UsageError."""
        with self._lock:
            if not self._closed:
                self._closed = True
                with ExitStack() as closing:
                    closing.callback(self._log.close)
                    if self._features is not None:
                        closing.callback(self._features.close)
                    closing.callback(self._retriever.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _fold_new_events(self) -> None:
        """Read what the log holds beyond what was folded, whichever Personalizer wrote it."""
        reading = self._log.read("", self._folded, self._rewrites)
        if reading.anew:
            self._fold = HistoryFold(self._bundle.manifest.retrieval.policy, self._rows)
        self._fold.fold(reading.events)
        self._folded, self._rewrites = reading.through, reading.rewrites

    def _rank(self, exclude: Collection[int], k: int) -> tuple[User, Candidates]:
        rows, confidences = self._fold.history().padded(self._retriever.window)
        user = self._retriever.encode(rows, confidences)
        found = self._retriever.retrieve(user.vector, exclude=exclude, k=k)
        return user, found.take(np.arange(min(k, len(found.rows))))

    def _explanations(self, history: tuple[HistoryItem, ...], user: User, best: Candidates) -> list[Explanation]:
        confidences = np.array([item.confidence for item in history])
        parts = contributions(user.history_vectors[: len(history)], confidences, best.vectors)
        verbs = self._bundle.manifest.retrieval.policy.verbs
        return explain(history, parts, self._items, verbs)

    def _recommendations(
        self, best: Candidates, source: Source, explanations: list[Explanation]
    ) -> list[Recommendation]:
        recommendation_id = random_id()
        return [
            Recommendation(
                item_id=self._items.item_ids[row],
                title=self._items.titles[row],
                score=score,
                explanation=explanation,
                source=source,
                recommendation_id=recommendation_id,
                position=position,
                propensity=1.0,
            )
            for position, (row, score, explanation) in enumerate(
                zip(best.rows.tolist(), best.scores.tolist(), explanations, strict=True)
            )
        ]

    def _load_models(self, runtimes: Mapping[RuntimeName, Callable[[], Runtime]], selftests: Path) -> None:
        """Load the first variant, in order of preference, that passes its golden vectors on this device."""
        reasons: list[str] = []
        for encoder, index in self._variants():
            name = f"{encoder.runtime}/{encoder.precision}"
            if encoder.runtime not in runtimes:
                reasons.append(f"{name}: its runtime is not installed")
                continue
            try:
                runtime = runtimes[encoder.runtime]()
                self._retriever = self._load(runtime, encoder, index, selftests)
            except (ModelError, ImportError) as error:
                self._meter.degraded(f"variant {name} was passed over", error)
                reasons.append(f"{name}: {error}")
                continue
            self._runtime, self._precision = runtime, encoder.precision
            return
        raise RuntimeUnavailableError(
            "; ".join(reasons) or "no variant fits the Config",
            place=f"bundle {self._bundle.manifest.name}",
            remedy="install nearhand[onnx] or nearhand[tflite], or open with another Config",
        )

    def _variants(self) -> Iterator[tuple[Variant, Variant]]:
        """The pairs of encoder and index that the Config allows: in the bundle's order of runtimes, smallest first."""
        encoders, indexes = (self._bundle.manifest.model(role).variants for role in ("encoder", "index"))
        order = {runtime: place for place, runtime in enumerate(dict.fromkeys(v.runtime for v in encoders))}
        pairs = [
            (encoder, index)
            for encoder in encoders
            for index in indexes
            if (encoder.runtime, encoder.precision) == (index.runtime, index.precision)
            and self._config.runtime in (None, encoder.runtime)
            and self._config.precision in (None, encoder.precision)
        ]
        yield from sorted(pairs, key=lambda pair: (order[pair[0].runtime], sum(v.file.bytes for v in pair)))

    def _load(self, runtime: Runtime, encoder: Variant, index: Variant, selftests: Path) -> Retriever:
        policy = self._bundle.manifest.retrieval.policy
        with ExitStack() as unless_it_passes:
            sessions = []
            for variant in (encoder, index):
                sessions.append(runtime.load(self._bundle.path(variant.file)))
                unless_it_passes.callback(sessions[-1].close)
            retriever = Retriever(
                *sessions, items=len(self._items.item_ids), window=policy.window, candidates=policy.candidates
            )
            # One test for each bundle, variant and runtime version: an updated runtime has to prove itself again.
            passed = selftests / f"{self._bundle.digest}-{runtime.name}-{runtime.version}-{encoder.precision}"
            with storage_errors(str(passed)):
                if not passed.exists():
                    place = f"{encoder.runtime}/{encoder.precision}"
                    check_golden(retriever, self._bundle.golden(), encoder.precision, place=place)
                    selftests.mkdir(parents=True, exist_ok=True)
                    passed.touch()
            unless_it_passes.pop_all()
        return retriever

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("the Personalizer is closed", remedy="open it again")


def _compiled_program(bundle: BundleFolder, items: Items) -> CompiledProgram | None:
    reference = bundle.manifest.features
    if reference is None:
        return None
    place = f"bundle {bundle.manifest.name}: {reference.file.path}"
    with storage_errors(place):
        program = read_program(bundle.path(reference.file).read_bytes(), place=place)
    return compile_program(program, ItemTable.of_bundle(items))


def _check_k(k: int) -> None:
    if type(k) is not int or k < 1:
        raise UsageError(f"k is {k!r}", place="k", remedy="ask for at least 1 item")
