"""A ranker or a predictor of a bundle, opened on this device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from nearhand.bundle import BundleFolder, open_slot
from nearhand.bundle.durable import storage_errors
from nearhand.bundle.schema import Precision, RuntimeName, TensorSpec, Variant
from nearhand.bundle.tables import TableModel
from nearhand.config import Config
from nearhand.errors import ModelError, RuntimeUnavailableError
from nearhand.ranking.rows import RowEncoder, Table, TableRows
from nearhand.records import dataclass
from nearhand.runtime import Runtime, Session, installed_runtimes
from nearhand.version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH = 1024
"""At most so many rows are given to a runtime at once, which bounds its memory."""


@dataclass(frozen=True)
class Predictions:
    """What a model says of some rows, the same whether they are one or many.

    Attributes:
        outputs: name → array, rows first: ``value`` (regression, ranking), ``probability`` or ``score`` (classifiers),
            ``distance`` (clusters), ``transformed``: float32 [rows, width]; ``label`` (classifiers, clusters):
            int32 [rows], the place of the class, or the cluster, −1 for none.
        classes: of a classifier, the texts of its classes; else none.
    """

    outputs: Mapping[str, NDArray[Any]]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(next(iter(self.outputs.values())))

    def __getitem__(self, output: str) -> NDArray[Any]:
        return self.outputs[output]

    @property
    def labels(self) -> tuple[str, ...]:
        """For a classifier: each row's class as its text; else empty."""
        return tuple(self.classes[place] for place in self.outputs["label"].tolist()) if self.classes else ()


class Predictor:
    """One ranker or predictor. Make one with :meth:`open`; safe to call from several threads."""

    def __init__(
        self,
        model: TableModel,
        encoder: RowEncoder,
        session: Session,
        runtime: Runtime,
        precision: Precision,
        passed_over: tuple[str, ...],
    ) -> None:
        self.model = model
        """The model's part of the manifest: its columns, task and classes."""
        self.runtime: RuntimeName = runtime.name
        self.runtime_version: str = runtime.version
        self.precision: Precision = precision
        self.passed_over = passed_over
        """The variants that were preferred but could not be used here, each with the reason."""
        self.encoder = encoder
        """Makes the model's inputs."""
        self._session = session

    @classmethod
    def open(
        cls,
        bundle: str | Path,
        data_dir: str | Path,
        *,
        model: str | None = None,
        config: Config | None = None,
        runtimes: Mapping[RuntimeName, Callable[[], Runtime]] | None = None,
    ) -> Predictor:
        """Open a model of a bundle on the first runtime that computes it correctly here. Needs no network.

        The first opening of a bundle verifies all of it, unpacks it below ``data_dir`` and runs the model's golden
        vectors on this device; later openings skip all three.

        Args:
            bundle: a ``.nearhand`` file, or the folder of an installed slot.
            data_dir: a folder of the app's own storage; created if need be.
            model: its name; None if the bundle has only one ranker or predictor.
            config: of which ``runtime`` and ``precision`` are read.
            runtimes: the runtimes to choose from; by default those that are installed.

        Raises:
            BundleError: the bundle is refused; nothing was written.
            UsageError: the bundle has no such model.
            RuntimeUnavailableError: no installed runtime computes this model correctly here.
            StorageError: the data folder cannot be used.
        """
        source, data = Path(bundle), Path(data_dir)
        if source.is_dir():
            folder = open_slot(source, __version__)
        else:
            from nearhand.bundle import install_bundle  # who gives a slot does not wait for it

            folder = install_bundle(source, data / "slots", sdk_version=__version__)
        return cls.of(folder, model, config=config, runtimes=runtimes, selftests=data / "selftests")

    @classmethod
    def of(
        cls,
        folder: BundleFolder,
        model_name: str | None,
        *,
        config: Config | None = None,
        runtimes: Mapping[RuntimeName, Callable[[], Runtime]] | None = None,
        selftests: Path,
    ) -> Predictor:
        """As :meth:`open`, of a bundle that is open already: nothing is verified or unpacked again.

        Args:
            selftests: the folder that remembers which golden vectors passed on this device; created if need be.

        Raises:
            UsageError: the bundle has no such model.
            RuntimeUnavailableError: no installed runtime computes this model correctly here.
            BundleFormatError: the model's documents are outside the schema.
            StorageError: the bundle cannot be read, or the folder cannot be used.
        """
        found = folder.manifest.table_model(model_name)
        encoder = RowEncoder(found.columns, folder.vocabularies(), folder.thresholds(found))
        available = installed_runtimes() if runtimes is None else runtimes
        reasons: list[str] = []
        for variant in _variants(found, config or Config()):
            name = f"{variant.runtime}/{variant.precision}"
            if variant.runtime not in available:
                reasons.append(f"{name}: its runtime is not installed")
                continue
            try:
                runtime = available[variant.runtime]()
                session = _load(runtime, folder, found, variant, encoder, selftests)
            except (ModelError, ImportError) as error:
                reasons.append(f"{name}: {error}")
                continue
            return cls(found, encoder, session, runtime, variant.precision, tuple(reasons))
        raise RuntimeUnavailableError(
            "; ".join(reasons) or "no variant fits the Config",
            place=f"bundle {folder.manifest.name}: {found.name}",
            remedy="install nearhand[onnx] or nearhand[tflite], or open with another Config",
        )

    def predict(self, rows: Table) -> Predictions:
        """What the model says of rows; see :data:`nearhand.ranking.Table` for their forms.

        A category that the model has never seen, and a number that is NaN or infinite, are answered as the original
        model answers them, or refused where it refuses them.

        Raises:
            UsageError: a column is absent, or a value is of the wrong type or shape; names it.
            ModelError: the runtime fails.
        """
        return self.predict_rows(self.encoder.rows(rows))

    def predict_rows(self, rows: TableRows) -> Predictions:
        """What the model says of rows whose texts are codes already.

        Raises:
            ModelError: the runtime fails.
        """
        inputs = self.encoder.inputs(rows)
        parts = [
            self._session.run({name: tensor[start : start + BATCH] for name, tensor in inputs.items()})
            for start in range(0, len(rows), BATCH)
        ]
        outputs = {spec.name: _joined(spec, [part[spec.name] for part in parts]) for spec in self.model.outputs}
        return Predictions(outputs, self.model.classes)

    def scores(self, rows: TableRows) -> NDArray[np.float64]:
        """One number for each row, float64 [rows]: the value of a regression or a ranking; of a classifier the
        probability of its last class, or its last decision value where it has no probabilities.

        Raises:
            ModelError: the runtime fails, the model gives no such number, or one is not finite.
        """
        outputs = self.predict_rows(rows).outputs
        found = next((outputs[name] for name in ("value", "probability", "score") if name in outputs), None)
        if found is None or not np.isfinite(found).all():
            problem = "gives no number" if found is None else "gives a number that is not finite"
            raise ModelError(problem, place=self.model.name, remedy="check the model and the features it was given")
        scores: NDArray[np.float64] = found[:, -1].astype(np.float64)
        return scores

    def close(self) -> None:
        """Free the model. Predicting afterwards raises ModelError. Closing twice is fine."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _joined(spec: TensorSpec, parts: list[NDArray[Any]]) -> NDArray[Any]:
    if not parts:
        return np.empty((0, *spec.shape[1:]), spec.dtype)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _variants(model: TableModel, config: Config) -> Iterator[Variant]:
    """Those that the Config allows: in the bundle's order of runtimes, smallest first."""
    order = {runtime: place for place, runtime in enumerate(dict.fromkeys(v.runtime for v in model.variants))}
    allowed = [
        variant
        for variant in model.variants
        if config.runtime in (None, variant.runtime) and config.precision in (None, variant.precision)
    ]
    yield from sorted(allowed, key=lambda variant: (order[variant.runtime], variant.file.bytes))


def _load(
    runtime: Runtime, bundle: BundleFolder, model: TableModel, variant: Variant, encoder: RowEncoder, selftests: Path
) -> Session:
    with ExitStack() as unless_it_passes:
        session = runtime.load(bundle.path(variant.file))
        unless_it_passes.callback(session.close)
        # One test for each bundle, model, variant and runtime version: an updated runtime has to prove itself again.
        name = f"{bundle.digest}-{model.name}-{runtime.name}-{runtime.version}-{variant.precision}"
        passed = selftests / name
        with storage_errors(str(passed)):
            if not passed.exists():
                from nearhand.ranking.selftest import check_table_golden  # once for each bundle, not at each start

                golden = bundle.table_golden(model)
                check_table_golden(session, encoder, golden, place=model.name)
                selftests.mkdir(parents=True, exist_ok=True)
                passed.touch()
        unless_it_passes.pop_all()
    return session
