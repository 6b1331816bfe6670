"""Rankers and predictors: rows of a table in, scores, probabilities and labels out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nearhand.features import FeaturePlace
from nearhand.lazily import lazily
from nearhand.ranking.feature_rows import (
    RETRIEVAL_SCORE,
    FeatureRows,
    check_columns,
    feature_places,
    retrieval_windows,
)
from nearhand.ranking.filters import AppliedFilter, Catalogue, Filter, Kept, Predicate
from nearhand.ranking.listing import Listed, Listing, Uniform, intra_list_diversity
from nearhand.ranking.predictor import Predictions, Predictor
from nearhand.ranking.rows import RowEncoder, Table, TableRows

if TYPE_CHECKING:
    from nearhand.ranking.selftest import check_table_golden
    from nearhand.ranking.sent import SentFeatures
else:
    __getattr__ = lazily(__name__, {"selftest": ["check_table_golden"], "sent": ["SentFeatures"]})

__all__ = ["Predictions", "Predictor", "RowEncoder", "Table", "TableRows", "check_table_golden"]
__all__ += ["AppliedFilter", "Catalogue", "Filter", "Kept", "Predicate"]
__all__ += ["Listed", "Listing", "Uniform", "intra_list_diversity"]
__all__ += ["RETRIEVAL_SCORE", "FeaturePlace", "FeatureRows", "check_columns", "feature_places"]
__all__ += ["SentFeatures", "retrieval_windows"]
