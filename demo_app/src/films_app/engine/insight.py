"""What runs below: the model's forms, what it forecasts, and what a policy advises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from films_app.engine.facts import Advice, Forecast, Hood, Variant
from films_app.engine.flight import FLIGHT_MODE
from nearhand import Personalizer
from nearhand.bundle import Manifest
from nearhand.bundle.schema import Precision, Role, RuntimeName
from nearhand.runtime import installed_runtimes


def hood(profile: Personalizer, manifest: Manifest, durations_ms: Sequence[float]) -> Hood:
    """What runs, and how fast."""
    status = profile.status()
    predictors = [model for model in manifest.table_models if model.role == "predictor" and model.task == "binary"]
    return Hood(
        bundle=status.bundle,
        version=status.bundle_version,
        digest=status.digest,
        films=status.items,
        runtime=status.runtime,
        runtime_version=status.runtime_version,
        precision=status.precision,
        variants=_variants(manifest, status.runtime, status.precision),
        durations_ms=tuple(durations_ms),
        features=status.features,
        ranker=None if manifest.listing is None else manifest.listing.ranker,
        forecasts=tuple(_forecast(profile, model.name) for model in predictors),
        policies=tuple(policy.name for policy in manifest.decisions),
        degradations=status.degradations,
        is_in_flight=FLIGHT_MODE.is_on,
        refused=FLIGHT_MODE.refused,
    )


def advice(profile: Personalizer, policy: str) -> Advice:
    """What a policy says is to be done now. It is noted, and counts."""
    found = profile.decide(policy)
    return Advice(policy, found.action, found.reason, found.text)


def _variants(manifest: Manifest, runtime: RuntimeName | None, precision: Precision | None) -> tuple[Variant, ...]:
    sizes: Counter[tuple[RuntimeName, Precision]] = Counter()
    roles: tuple[Role, ...] = ("encoder", "index")
    for role in roles:
        for variant in manifest.model(role).variants:
            sizes[variant.runtime, variant.precision] += variant.file.bytes
    overlaps = {(one.runtime, one.precision): float(one.top10_overlap) for one in manifest.retrieval.evidence.variants}
    return tuple(
        Variant(*key, size, overlaps.get(key, 1.0), key == (runtime, precision))
        for key, size in sorted(sizes.items())
        if key[0] in installed_runtimes() and key[1] in ("fp32", "int8")
    )


def _forecast(profile: Personalizer, name: str) -> Forecast:
    found = profile.predict(name)
    return Forecast(name, found.value, found.explanation.text)
