"""Which variant of a bundle's encoder and index this device loads: the first one that proves itself here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from nearhand.bundle import BundleFolder
from nearhand.bundle.durable import storage_errors
from nearhand.bundle.schema import Precision, RuntimeName, Variant
from nearhand.config import Config
from nearhand.errors import ModelError, RuntimeUnavailableError
from nearhand.monitoring import Meter
from nearhand.records import dataclass
from nearhand.retrieval.retriever import Retriever
from nearhand.runtime import Runtime


@dataclass(frozen=True)
class OpenedRetriever:
    """A retriever, and what it runs on."""

    retriever: Retriever
    runtime: RuntimeName
    runtime_version: str
    precision: Precision


def open_retriever(
    bundle: BundleFolder,
    config: Config,
    runtimes: Mapping[RuntimeName, Callable[[], Runtime]],
    selftests: Path,
    meter: Meter,
) -> OpenedRetriever:
    """Load the first variant, in order of preference, that passes its golden vectors on this device.

    Args:
        selftests: the folder of the marks of what has passed.

    Raises:
        RuntimeUnavailableError: no installed runtime computes this bundle correctly here.
        StorageError: the data folder cannot be used.
    """
    reasons: list[str] = []
    for encoder, index in _variants(bundle, config):
        name = f"{encoder.runtime}/{encoder.precision}"
        if encoder.runtime not in runtimes:
            reasons.append(f"{name}: its runtime is not installed")
            continue
        try:
            runtime = runtimes[encoder.runtime]()
            retriever = _load(bundle, runtime, encoder, index, selftests)
        except (ModelError, ImportError) as error:
            meter.degraded(f"variant {name} was passed over", error)
            reasons.append(f"{name}: {error}")
            continue
        return OpenedRetriever(retriever, runtime.name, runtime.version, encoder.precision)
    raise RuntimeUnavailableError(
        "; ".join(reasons) or "no variant fits the Config",
        place=f"bundle {bundle.manifest.name}",
        remedy="install nearhand[onnx] or nearhand[tflite], or open with another Config",
    )


def _variants(bundle: BundleFolder, config: Config) -> Iterator[tuple[Variant, Variant]]:
    """The pairs of encoder and index that the Config allows: in the bundle's order of runtimes, smallest first."""
    encoders, indexes = (bundle.manifest.model(role).variants for role in ("encoder", "index"))
    order = {runtime: place for place, runtime in enumerate(dict.fromkeys(v.runtime for v in encoders))}
    pairs = [
        (encoder, index)
        for encoder in encoders
        for index in indexes
        if (encoder.runtime, encoder.precision) == (index.runtime, index.precision)
        and config.runtime in (None, encoder.runtime)
        and config.precision in (None, encoder.precision)
    ]
    yield from sorted(pairs, key=lambda pair: (order[pair[0].runtime], sum(v.file.bytes for v in pair)))


def _load(bundle: BundleFolder, runtime: Runtime, encoder: Variant, index: Variant, selftests: Path) -> Retriever:
    retrieval = bundle.manifest.retrieval
    with ExitStack() as unless_it_passes:
        sessions = []
        for variant in (encoder, index):
            sessions.append(runtime.load(bundle.path(variant.file)))
            unless_it_passes.callback(sessions[-1].close)
        policy = retrieval.policy
        retriever = Retriever(
            *sessions, items=retrieval.items.count, window=policy.window, candidates=policy.candidates
        )
        # One test for each bundle, variant and runtime version: an updated runtime has to prove itself again.
        passed = selftests / f"{bundle.digest}-{runtime.name}-{runtime.version}-{encoder.precision}"
        with storage_errors(str(passed)):
            if not passed.exists():
                from nearhand.retrieval.selftest import check_golden  # once for each bundle, not at each start

                place = f"{encoder.runtime}/{encoder.precision}"
                check_golden(retriever, bundle.golden(), encoder.precision, place=place)
                selftests.mkdir(parents=True, exist_ok=True)
                passed.touch()
        unless_it_passes.pop_all()
    return retriever
