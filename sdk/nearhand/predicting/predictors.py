"""The predictors of a bundle over a profile's features, each loaded when it is first asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

import nearhand.explain as explaining  # most of it is imported when the first reason is read
from nearhand.bundle.manifest import Manifest
from nearhand.errors import UsageError, shown
from nearhand.events import Scalar
from nearhand.features import FeatureVector
from nearhand.features.store import FeatureStore
from nearhand.ranking import FeatureRows, Predictor, TableRows
from nearhand.records import dataclass, field

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nearhand.explain import FeatureAttribution

Kind: TypeAlias = Literal["prediction", "segment"]

_TASKS: Mapping[Kind, tuple[str, ...]] = {
    "prediction": ("regression", "binary", "multiclass"),
    "segment": ("cluster",),
}


@dataclass(frozen=True, init=False)
class PredictionExplanation:
    """What a prediction rests on.

    Attributes:
        text: a sentence for the user, such as "Fewer sessions than usual".
        attributions: the features, the most important first; see :func:`nearhand.explain.attribute`. Only features
            whose typical value the bundle knows are among them.
    """

    text: str
    attributions: tuple[FeatureAttribution, ...]

    # Explaining runs the model again, so it is done when somebody first asks.
    def __init__(self, make: Callable[[], tuple[tuple[FeatureAttribution, ...], str]]) -> None:
        vars(self)["_make"] = make

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            """Called for a field that is not set yet."""
            values = vars(self)
            if name not in ("text", "attributions") or "_make" not in values:
                raise AttributeError(name)
            values["attributions"], values["text"] = values["_make"]()
            return values[name]

        def __getstate__(self) -> object:
            """For copies and pickles: what it says, without what it is made of."""
            return {"text": self.text, "attributions": self.attributions}


@dataclass(frozen=True)
class Prediction:
    """What a predictor says of the profile now.

    Attributes:
        name: the predictor's.
        value: of a regression its number; of a classifier the probability of its last class, such as "yes" or 1 for
            two classes, or its decision value where it has no probabilities.
        label: of a classifier the most likely class; else None.
        probabilities: of a classifier class → probability, empty where it has none.
        version: of the bundle.
        explanation: what it rests on.
    """

    name: str
    value: float
    label: str | None
    probabilities: Mapping[str, float] = field(hash=False)
    version: str
    explanation: PredictionExplanation = field(compare=False)


@dataclass(frozen=True)
class Segment:
    """The cluster that the profile belongs to now.

    Attributes:
        name: the model's.
        label: the cluster's number; −1: none, an outlier.
        distances: to the centre of each cluster, where the model tells.
        version: of the bundle.
    """

    name: str
    label: int
    distances: tuple[float, ...]
    version: str


class _Loaded:
    def __init__(self, predictor: Predictor, rows: FeatureRows) -> None:
        self.predictor = predictor
        self.rows = rows
        self.users = 0
        self.is_dropped = False


class Predictors:
    """The rankers, predictors and segmenters of one bundle. Safe for several threads."""

    def __init__(
        self,
        manifest: Manifest,
        features: FeatureStore | None,
        uses_history: Callable[[], bool],
        load: Callable[[str], Predictor],
        passed_over: Callable[[str], None],
        locale: str,
    ) -> None:
        """
        Args:
            uses_history: whether the user lets the history be looked at; else a prediction is that of a new profile.
            load: opens the model of a name.
            passed_over: is told which variant could not be used, and why.
        """
        self._manifest = manifest
        self._features = features
        self._uses_history = uses_history
        self._load = load
        self._passed_over = passed_over
        self._locale = locale
        self._lock = threading.RLock()
        self._open: dict[str, _Loaded] = {}

    @contextmanager
    def using(self, name: str) -> Iterator[tuple[Predictor, FeatureRows]]:
        """The loaded model of a name, and what makes its rows. It stays loaded within the block.

        Raises:
            UsageError: the bundle has no such model, or its columns are not those of the feature program.
            RuntimeUnavailableError: no installed runtime computes it correctly here.
        """
        with self._lock:
            loaded = self._opened(name)
            loaded.users += 1
        try:
            yield loaded.predictor, loaded.rows
        finally:
            with self._lock:
                loaded.users -= 1
                if not loaded.users and loaded.is_dropped:
                    loaded.predictor.close()

    def predict(self, name: str | None, context: Mapping[str, Scalar]) -> Prediction:
        """See :meth:`nearhand.Personalizer.predict`."""
        chosen = self._name(name, "prediction")
        with self.using(chosen) as (predictor, rows):
            table = rows.rows(self._vector(context), None, context)
            outputs = predictor.predict_rows(table)
            value = float(predictor.scores(table)[0])
        chances = outputs.outputs.get("probability")
        return Prediction(
            name=chosen,
            value=value,
            label=outputs.labels[0] if outputs.classes else None,
            probabilities={} if chances is None else dict(zip(outputs.classes, map(float, chances[0]), strict=True)),
            version=self._manifest.version,
            explanation=PredictionExplanation(lambda: self._explained(chosen, table)),
        )

    def segment(self, name: str | None, context: Mapping[str, Scalar]) -> Segment:
        """See :meth:`nearhand.Personalizer.segment`."""
        chosen = self._name(name, "segment")
        with self.using(chosen) as (predictor, rows):
            outputs = predictor.predict_rows(rows.rows(self._vector(context), None, context)).outputs
        distances = outputs["distance"][0].tolist() if "distance" in outputs else []
        return Segment(chosen, int(outputs["label"][0]), tuple(distances), self._manifest.version)

    def close(self) -> None:
        """Free the models, one that is running when it has run; they are loaded again when they are asked."""
        with self._lock:
            for loaded in self._open.values():
                loaded.is_dropped = True
                if not loaded.users:
                    loaded.predictor.close()
            self._open.clear()

    def _name(self, name: str | None, kind: Kind) -> str:
        fitting = [model.name for model in self._manifest.table_models if model.task in _TASKS[kind]]
        fitting = [each for each in fitting if self._manifest.table_model(each).role == "predictor"]
        if isinstance(name, str) and name in fitting:
            return name
        if name is None and len(fitting) == 1:
            return fitting[0]
        names = ", ".join(map(repr, fitting))
        problem = f"has no {kind} {shown(name)}" if name is not None else f"has {len(fitting)} models for a {kind}"
        remedy = f"name one of {names}" if names else f"convert a bundle with a model for a {kind}"
        raise UsageError(problem, place=f"bundle {self._manifest.name}", remedy=remedy)

    def _opened(self, name: str) -> _Loaded:
        if name not in self._open:
            features = self._needed()
            predictor = self._load(name)
            try:
                rows = FeatureRows(features.program, predictor.model, predictor.encoder)
            except UsageError:
                predictor.close()
                raise
            for reason in predictor.passed_over:
                self._passed_over(f"{name}: {reason}")
            self._open[name] = _Loaded(predictor, rows)
        return self._open[name]

    def _vector(self, context: Mapping[str, Scalar]) -> FeatureVector:
        features = self._needed()
        return features.vector(context) if self._uses_history() else features.of_nobody(context)

    def _needed(self) -> FeatureStore:
        if self._features is None:
            remedy = "convert it with one: it says what a predictor is given"
            raise UsageError("has no feature program", place=f"bundle {self._manifest.name}", remedy=remedy)
        return self._features

    def _explained(self, name: str, table: TableRows) -> tuple[tuple[FeatureAttribution, ...], str]:
        with self.using(name) as (predictor, _):
            return self._attributed(predictor, table)

    def _labels(self) -> dict[str, str]:
        """Feature → what it is called in the language."""
        language, fallback = explaining.language_of(self._locale), explaining.FALLBACK
        return {
            feature: texts.get(language) or texts[fallback]
            for feature, texts in self._manifest.labels.items()
            if language in texts or fallback in texts
        }

    def _attributed(self, predictor: Predictor, table: TableRows) -> tuple[tuple[FeatureAttribution, ...], str]:
        model = predictor.model

        def predict(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
            categories = np.repeat(table.categories, len(numbers), axis=0)
            return predictor.scores(TableRows(numbers, categories))

        typical = [np.nan if column.typical is None else float(column.typical) for column in model.numbers]
        views = explaining.view_columns([column.name for column in model.numbers])
        kinds = explaining.kinds_of(self._needed().program.program)
        found = explaining.attribute(
            predict,
            table.numbers[0],
            np.array(typical),
            views,
            {view: kind for view, kind in kinds.items() if view in views},
        )
        return found, explaining.feature_sentence(found, self._locale, self._labels())
