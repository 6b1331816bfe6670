"""From a profile's history to a list: retrieve, filter, rank, apply the policy, explain."""

from nearhand.recommending.recommender import Recommender
from nearhand.recommending.request import Request, check_context, check_k
from nearhand.recommending.results import Recommendation, Source

__all__ = ["Recommendation", "Recommender", "Request", "Source", "check_context", "check_k"]
