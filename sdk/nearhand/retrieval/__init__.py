"""Histories, candidates, and the popular fallback."""

from __future__ import annotations

from nearhand.retrieval.history import History, HistoryEvent, HistoryFold, HistoryItem, padded
from nearhand.retrieval.popularity import Popularity
from nearhand.retrieval.retriever import Candidates, Retriever, User
from nearhand.retrieval.selftest import check_golden

__all__ = [
    "Candidates",
    "History",
    "HistoryEvent",
    "HistoryFold",
    "HistoryItem",
    "Popularity",
    "Retriever",
    "User",
    "check_golden",
    "padded",
]
