"""Histories, candidates, and the popular fallback."""

from __future__ import annotations

from nearhand.retrieval.history import History, HistoryEvent, HistoryFold, HistoryItem, padded
from nearhand.retrieval.opening import OpenedRetriever, open_retriever
from nearhand.retrieval.popularity import Popularity
from nearhand.retrieval.retriever import Candidates, Retriever, User
from nearhand.retrieval.selftest import check_golden

__all__ = [
    "Candidates",
    "History",
    "HistoryEvent",
    "HistoryFold",
    "HistoryItem",
    "OpenedRetriever",
    "Popularity",
    "Retriever",
    "User",
    "check_golden",
    "open_retriever",
    "padded",
]
