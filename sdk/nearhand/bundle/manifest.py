"""``manifest.json``: the bundle's first file, which names every other one with its size and sha256.

Nothing else may be in the bundle.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from nearhand.bundle.fields import FieldError
from nearhand.bundle.schema import (
    NAME,
    Evidence,
    FeaturesReference,
    FileReference,
    GoldenReference,
    ItemsReference,
    Model,
    Policy,
    Role,
    semantic_version,
)
from nearhand.bundle.serving import DecisionPolicy, ListPolicy
from nearhand.bundle.tables import TableModel, VocabulariesReference
from nearhand.errors import UsageError
from nearhand.events.event_types import EventSchema, check_event_types
from nearhand.records import dataclass, field, field_names


@dataclass(frozen=True)
class Retrieval:
    """What a bundle that recommends has beside its encoder and its index."""

    items: ItemsReference
    policy: Policy
    golden: GoldenReference
    evidence: Evidence


@dataclass(frozen=True)
class Manifest:
    """The bundle's first file.

    A bundle that recommends has one encoder and one index, and then ``items``, ``policy``, ``golden`` and
    ``evidence``; another has none of the six. Any bundle may have rankers and predictors.

    Attributes:
        event_types: the types of the app's own, beside :data:`nearhand.events.EVENT_TYPES`, and what each needs.
        features: the feature program, if the bundle has one.
        vocabularies: those of the columns of its rankers and predictors, if they have any.
        listing: how a list is made of the candidates; only for a bundle that recommends.
        decisions: what the app may ask to be decided.
        labels: feature → language, such as ``de`` → what people call it, for explanations of predictions.
    """

    format: int
    name: str
    version: str
    licence: str
    min_sdk: str
    models: tuple[Model | TableModel, ...]
    event_types: dict[str, EventSchema]
    provenance: dict[str, str]
    items: ItemsReference | None = None
    policy: Policy | None = None
    golden: GoldenReference | None = None
    evidence: Evidence | None = None
    features: FeaturesReference | None = None
    vocabularies: VocabulariesReference | None = None
    listing: ListPolicy | None = None
    decisions: tuple[DecisionPolicy, ...] = ()
    labels: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not re.fullmatch(NAME, self.name):
            raise ValueError(f"name {self.name!r} is not lowercase words joined by '-' or '_'")
        semantic_version(self.version)
        semantic_version(self.min_sdk)
        if not self.models:
            raise ValueError("there is no model")
        roles = [model.role for model in self.models if isinstance(model, Model)]
        if sorted(roles) not in ([], ["encoder", "index"]):
            raise ValueError(f"models have the roles {roles}, not one encoder and one index")
        for name in _RETRIEVAL:
            if (getattr(self, name) is not None) != bool(roles):
                problem = "is missing" if roles else "stands there without an encoder and an index"
                raise FieldError(name, problem, _REBUILD)
        names = [model.name for model in self.table_models]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two models have the name {twice!r}")
        known = {} if self.vocabularies is None else self.vocabularies.counts
        used = {column.vocabulary for model in self.table_models for column in model.categories}
        if used != set(known):
            raise ValueError(
                f"the columns use the vocabularies {sorted(map(str, used))}, and there are {sorted(known)}"
            )
        self._check_serving(bool(roles))
        spoken = set() if self.policy is None else {*self.policy.seen, *self.policy.verbs}  # each confidence has a verb
        check_event_types(self.event_types, spoken)

    def _check_serving(self, recommends: bool) -> None:
        models = {model.name: model for model in self.table_models}
        if self.listing is not None:
            if not recommends:
                raise FieldError("listing", "stands there without an encoder and an index", _REBUILD)
            ranker = self.listing.ranker
            if ranker is not None and (ranker not in models or models[ranker].role != "ranker"):
                raise FieldError("listing.ranker", f"is {ranker!r}, which is no ranker of the bundle", _REBUILD)
        names = [decision.name for decision in self.decisions]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise FieldError("decisions", f"have two of the name {twice!r}", _REBUILD)
        for number, decision in enumerate(self.decisions):
            model = models.get(decision.predictor)
            if model is None or model.role != "predictor" or model.task not in ("regression", "binary"):
                problem = (
                    f"is {decision.predictor!r}, which is no predictor of the bundle for regression or two classes"
                )
                raise FieldError(f"decisions[{number}].predictor", problem, _REBUILD)

    def files(self) -> Iterator[FileReference]:
        """Every file of the bundle but the manifest itself."""
        for part in (self.items, self.golden, self.features, self.vocabularies):
            if part is not None:
                yield part.file
        for model in self.models:
            for variant in model.variants:
                yield variant.file
                if variant.build_config is not None:
                    yield variant.build_config
            if isinstance(model, TableModel):
                yield model.golden.file
                if model.ranks is not None:
                    yield model.ranks.file

    @property
    def retrieval(self) -> Retrieval:
        """What its recommendations are made of.

        Raises:
            UsageError: it makes none; it holds rankers and predictors only.
        """
        if self.items is None or self.policy is None or self.golden is None or self.evidence is None:
            raise self._recommends_nothing()
        return Retrieval(self.items, self.policy, self.golden, self.evidence)

    def model(self, role: Role) -> Model:
        """The retrieval model of a role.

        Raises:
            UsageError: the bundle makes no recommendations.
        """
        for model in self.models:
            if isinstance(model, Model) and model.role == role:
                return model
        raise self._recommends_nothing()

    @property
    def table_models(self) -> tuple[TableModel, ...]:
        """Its rankers and predictors."""
        return tuple(model for model in self.models if isinstance(model, TableModel))

    def table_model(self, name: str | None = None) -> TableModel:
        """A ranker or a predictor by its name; without a name, the only one that there is.

        Raises:
            UsageError: there is none of that name, or there are several.
        """
        found = [model for model in self.table_models if name in (None, model.name)]
        if len(found) != 1:
            names = ", ".join(repr(model.name) for model in self.table_models)
            problem = f"has no model {name!r}" if name is not None else f"has {len(found)} rankers and predictors"
            remedy = f"name one of {names}" if names else "convert it with a ranker or a predictor"
            raise UsageError(problem, place=f"bundle {self.name}", remedy=remedy)
        return found[0]

    def _recommends_nothing(self) -> UsageError:
        names = ", ".join(repr(model.name) for model in self.table_models)
        return UsageError(
            f"makes no recommendations: it holds no retrieval model, only {names}",
            place=f"bundle {self.name}",
            remedy="open its models with nearhand.ranking.Predictor",
        )


_REBUILD = "build the bundle again with `nearhand convert`"
_RETRIEVAL = field_names(Retrieval)
