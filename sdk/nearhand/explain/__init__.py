"""Why an item is recommended, and what a prediction rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nearhand.explain.explanation import POPULAR, Basis, Evidence, Explanation, explain, plain
from nearhand.lazily import lazily

if TYPE_CHECKING:
    from nearhand.explain.attribution import contributions, scores_without
    from nearhand.explain.features import (
        FeatureAttribution,
        attribute,
        feature_phrase,
        feature_sentence,
        kinds_of,
        view_columns,
    )
    from nearhand.explain.occlusion import event_ids, occlude, promising
    from nearhand.explain.texts import FALLBACK, LANGUAGES, because, language_of, say
else:
    __getattr__ = lazily(
        __name__,
        {
            "attribution": ["contributions", "scores_without"],
            "features": [
                "FeatureAttribution",
                "attribute",
                "feature_phrase",
                "feature_sentence",
                "kinds_of",
                "view_columns",
            ],
            "occlusion": ["event_ids", "occlude", "promising"],
            "texts": ["FALLBACK", "LANGUAGES", "because", "language_of", "say"],
        },
    )

__all__ = [
    "FALLBACK",
    "LANGUAGES",
    "POPULAR",
    "Basis",
    "Evidence",
    "Explanation",
    "FeatureAttribution",
    "attribute",
    "because",
    "contributions",
    "event_ids",
    "explain",
    "feature_phrase",
    "feature_sentence",
    "kinds_of",
    "language_of",
    "occlude",
    "plain",
    "promising",
    "say",
    "scores_without",
    "view_columns",
]
