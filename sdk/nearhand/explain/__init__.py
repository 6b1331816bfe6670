"""Why an item is recommended."""

from __future__ import annotations

from nearhand.explain.attribution import contributions
from nearhand.explain.explanation import POPULAR, Evidence, Explanation, explain

__all__ = ["POPULAR", "Evidence", "Explanation", "contributions", "explain"]
