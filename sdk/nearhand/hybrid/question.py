"""What is asked of a ranking model: of what a profile lets go, the tensors that the model's metadata describe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from nearhand.errors import NearhandError, UsageError
from nearhand.features import CompiledProgram, FeatureVector
from nearhand.hybrid.allowed import AllowedHistory
from nearhand.hybrid.config import HybridConfig
from nearhand.hybrid.messages import ModelMetadata
from nearhand.hybrid.tensors import Array, TensorSpec, names, refuse
from nearhand.ranking import SentFeatures
from nearhand.records import dataclass

if TYPE_CHECKING:
    from numpy.typing import NDArray


class OtherCatalogueError(NearhandError):
    """Rows mean other items to the server."""


class NoFeaturesError(NearhandError):
    """The model reads features that cannot be sent."""


@dataclass(frozen=True, eq=False)
class Question:
    """What may be sent for one list.

    Attributes:
        k: how many items are wanted.
        candidates: int32 [n]; scores: float64 [n], theirs by retrieval.
        vector: the profile's features; None: there are none that may be sent.
    """

    k: int
    sent: AllowedHistory
    candidates: NDArray[np.int32]
    scores: NDArray[np.float64]
    vector: FeatureVector | None


class Questions:
    """Makes tensors of questions. Thread-safe."""

    def __init__(self, config: HybridConfig, parameters: Mapping[str, str], program: CompiledProgram | None) -> None:
        """
        Args:
            parameters: of each request; see :class:`nearhand.hybrid.CloudReranker`.
            program: what the features are made by; None: there are none.
        """
        self._config = config
        self._parameters = parameters
        self._program = program
        self._known: SentFeatures | None = None

    def inputs(self, question: Question, metadata: ModelMetadata) -> tuple[NDArray[np.intp], dict[str, Array]]:
        """Places of the candidates that are sent, the best by retrieval, and the tensors.

        Raises:
            ProtocolError: the model is no such ranker, or takes fewer candidates than are wanted.
            OtherCatalogueError, NoFeaturesError: see there.
        """
        place = f"model {metadata.name}"
        theirs = metadata.parameters.get("catalogue")
        if theirs is not None and theirs != self._parameters["catalogue"]:
            raise OtherCatalogueError("has another catalogue", place=place, remedy="serve the bundle of the devices")
        most, limit = self._config.max_candidates, metadata.parameters.get("max_candidates")
        if type(limit) is int and 0 < limit < most:
            most = limit
        if min(question.k, len(question.candidates)) > most:
            raise refuse(f"takes {most} candidates, and {question.k} items are wanted", place)
        at = np.sort(np.lexsort((question.candidates, -question.scores))[:most])
        inputs: dict[str, Array] = {
            "history": question.sent.rows[None],
            "weights": question.sent.weights[None],
            "candidates": question.candidates[at][None],
        }
        specs = {spec.name: spec for spec in metadata.inputs}  # none: a server that does not describe its models
        if specs and not inputs.keys() <= specs.keys():
            raise refuse(f"has the inputs {names(metadata.inputs)}, and not {', '.join(inputs)}", place)
        if "features" in specs and self._config.shares_features:
            inputs["features"] = self._features(question.vector, specs["features"], metadata, place)[None]
        return at, inputs

    def _features(
        self, vector: FeatureVector | None, spec: TensorSpec, metadata: ModelMetadata, place: str
    ) -> NDArray[np.float32]:
        """What the model reads of the profile, float32 [f]; without it, it would rank worse than the device."""
        if vector is None or self._program is None:
            remedy = "ask the user for consent for the past too, or set shares_features to False"
            raise NoFeaturesError("reads features, and they may not be sent", place=place, remedy=remedy)
        own = self._parameters["program"]
        if metadata.parameters.get("program", own) != own:
            raise NoFeaturesError("has another feature program", place=place, remedy="serve the bundle of the devices")
        columns, known = str(spec.parameters.get("columns", "")), self._known
        if known is None or ",".join(known.names) != columns:
            try:
                known = self._known = SentFeatures(self._program, columns.split(","))
            except UsageError as error:
                raise NoFeaturesError(error.problem, place=place, remedy=error.remedy) from error
        return known.of(vector)
