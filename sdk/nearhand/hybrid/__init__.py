"""Where a list is ranked: on the device, in the cloud, or both, by policy and under a deadline.

:class:`InferenceClient` speaks the Open Inference Protocol v2; :func:`decide` chooses; :class:`CloudReranker` asks for
one profile, as :meth:`nearhand.Personalizer.open` makes it of a :class:`HybridConfig`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nearhand.hybrid.client import InferenceClient
from nearhand.hybrid.config import HybridConfig
from nearhand.hybrid.messages import Inference, ModelMetadata, RefusedError, ServerMetadata
from nearhand.hybrid.router import Facts, Route, RoutePolicy, Surroundings, confidence, decide
from nearhand.hybrid.status import HybridStatus, RouteDecision
from nearhand.hybrid.tensors import DTYPES, ProtocolError, TensorSpec
from nearhand.lazily import lazily

if TYPE_CHECKING:
    from nearhand.hybrid.reranker import CloudReranker
else:
    __getattr__ = lazily(__name__, {"reranker": ["CloudReranker"]})

__all__ = [
    "DTYPES",
    "CloudReranker",
    "Facts",
    "HybridConfig",
    "HybridStatus",
    "Inference",
    "InferenceClient",
    "ModelMetadata",
    "ProtocolError",
    "RefusedError",
    "Route",
    "RouteDecision",
    "RoutePolicy",
    "ServerMetadata",
    "Surroundings",
    "TensorSpec",
    "confidence",
    "decide",
]
