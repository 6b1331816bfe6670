"""What a list is made of, as the app sees it."""

from __future__ import annotations

from typing import Literal, TypeAlias

from nearhand.explain import Explanation
from nearhand.records import dataclass

Source: TypeAlias = Literal["local", "cloud", "fallback"]


@dataclass(frozen=True)
class Recommendation:
    """One item of a list.

    Attributes:
        score: the ranker's, or without one the retrieval model's inner product; for ``fallback`` the item's share of
            all interactions; 0 for a pinned item that is none of the candidates. Comparable within one list only. The
            list's order also follows the bundle's policy.
        source: ``local``: from this device's history; ``cloud``: ranked by the heavy model in the cloud, or among the
            candidates that the app passed;
            ``fallback``: what is popular, because there is no history yet, it is not to be looked at, or the model
            failed (``status().degradations`` then says why).
        recommendation_id: the list's identifier; name it in the events that this recommendation causes.
        position: 0 is the top of the list.
        propensity: the probability with which the policy shows this item here, given the items above it; 1.0 where
            nothing is drawn.
    """

    item_id: str
    title: str
    score: float
    explanation: Explanation
    source: Source
    recommendation_id: str
    position: int
    propensity: float
