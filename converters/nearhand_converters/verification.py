"""Whether a bundle computes on this machine what its golden vectors say."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from nearhand import Config, NearhandError
from nearhand.bundle import BundleFolder
from nearhand.bundle.schema import Precision, RuntimeName, Variant
from nearhand.ranking import Predictor
from nearhand.retrieval import Retriever, check_golden
from nearhand.runtime import installed_runtimes

PASSED, NOT_RUN = "passed", "not run: runtime not installed"


def run_golden(bundle: BundleFolder, selftests: Path) -> dict[str, str]:
    """Run the golden vectors of every variant.

    Args:
        selftests: an empty folder to work in; created if need be.

    Returns:
        Variant, after the name of its ranker or predictor → :data:`PASSED`, :data:`NOT_RUN`, or how it failed.
    """
    available = installed_runtimes()

    def result(model: str | None, variant: Variant) -> str:
        """Of a ranker or a predictor; without a name, of the retrieval."""
        if variant.runtime not in available:
            return NOT_RUN
        try:
            if model is None:
                _check_retrieval(bundle, variant.runtime, variant.precision)
            else:
                config = Config(runtime=variant.runtime, precision=variant.precision)
                Predictor.of(bundle, model, config=config, selftests=selftests).close()
        except NearhandError as error:
            return str(error)
        return PASSED

    manifest = bundle.manifest
    encoders = () if manifest.items is None else manifest.model("encoder").variants
    results = {f"{one.runtime}/{one.precision}": result(None, one) for one in encoders}
    for model in manifest.table_models:
        for one in model.variants:
            results[f"{model.name} {one.runtime}/{one.precision}"] = result(model.name, one)
    return results


def failures(results: Mapping[str, str]) -> list[str]:
    """The variants that computed something else, or did not run although their runtime is installed."""
    return [name for name, result in results.items() if result not in (PASSED, NOT_RUN)]


def _check_retrieval(bundle: BundleFolder, name: RuntimeName, precision: Precision) -> None:
    runtime = installed_runtimes()[name]()
    retrieval = bundle.manifest.retrieval
    with ExitStack() as closing:
        sessions = []
        for role in ("encoder", "index"):
            variants = bundle.manifest.model(role).variants
            variant = next(one for one in variants if (one.runtime, one.precision) == (name, precision))
            sessions.append(runtime.load(bundle.path(variant.file)))
            closing.callback(sessions[-1].close)
        retriever = Retriever(
            *sessions,
            items=retrieval.items.count,
            window=retrieval.policy.window,
            candidates=retrieval.policy.candidates,
        )
        check_golden(retriever, bundle.golden(), precision, place=f"{name}/{precision}")
