"""Rankers and predictors: rows of a table in, scores, probabilities and labels out."""

from __future__ import annotations

from nearhand.ranking.predictor import Predictions, Predictor
from nearhand.ranking.rows import RowEncoder, Table, TableRows
from nearhand.ranking.selftest import check_table_golden

__all__ = ["Predictions", "Predictor", "RowEncoder", "Table", "TableRows", "check_table_golden"]
