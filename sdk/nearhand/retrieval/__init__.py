"""Histories, candidates, and the popular fallback."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nearhand.lazily import lazily
from nearhand.retrieval.history import History, HistoryEvent, HistoryFold, HistoryItem, padded
from nearhand.retrieval.opening import OpenedRetriever, open_retriever
from nearhand.retrieval.popularity import Popularity
from nearhand.retrieval.retriever import Candidates, Retriever, User

if TYPE_CHECKING:
    from nearhand.retrieval.selftest import check_golden
else:
    __getattr__ = lazily(__name__, {"selftest": ["check_golden"]})

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
