"""What an app chooses when its lists may be ranked in the cloud."""

from __future__ import annotations

from collections.abc import Mapping

from nearhand.errors import UsageError, shown
from nearhand.hybrid.client import check_endpoint, check_model_name
from nearhand.hybrid.router import RoutePolicy
from nearhand.records import dataclass, field


@dataclass(frozen=True)
class HybridConfig:
    """Where the heavy model is, and when it is asked.

    Attributes:
        endpoint: of a server of the Open Inference Protocol v2, without ``/v2``; https, or http to this machine.
        model: its name there; None: the bundle's. version: of the model; "": the server chooses.
        policy: when it is asked.
        headers: sent with every call, such as an authorization.
        binary: whether tensors go as bytes; None: if the server advertises it.
        shares_features: whether the profile's features go too, those that the model's metadata name. False: the model
            takes the profile for one of which no more than the history is known.
        allow_http: for a test network: asks an endpoint elsewhere without encryption.
        max_candidates: how many candidates are sent at the most, 1 to 200: the best by retrieval.
        max_calls: how many calls may be under way at once, 1 to 8, those that nobody waits for any more included.
    """

    endpoint: str
    model: str | None = None
    version: str = ""
    policy: RoutePolicy = field(default_factory=RoutePolicy)
    headers: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)  # they may hold a secret
    binary: bool | None = None
    shares_features: bool = True
    allow_http: bool = False
    max_candidates: int = 200
    max_calls: int = 2

    def __post_init__(self) -> None:
        check_endpoint(self.endpoint, allow_http=self.allow_http)
        if self.model is not None:
            check_model_name(self.model, "HybridConfig.model")
        if self.version:
            check_model_name(self.version, "HybridConfig.version")
        if not isinstance(self.policy, RoutePolicy):
            raise UsageError(f"is {shown(self.policy)}", place="HybridConfig.policy", remedy="give a RoutePolicy")
        if not isinstance(self.headers, Mapping):
            raise UsageError("are no mapping", place="HybridConfig.headers", remedy="write {'x-name': 'value'}")
        for name, choice in (("shares_features", self.shares_features), ("allow_http", self.allow_http)):
            if type(choice) is not bool:
                raise UsageError(f"is {shown(choice)}", place=f"HybridConfig.{name}", remedy="use True or False")
        if type(self.binary) is not bool and self.binary is not None:
            raise UsageError(f"is {shown(self.binary)}", place="HybridConfig.binary", remedy="use True, False or None")
        for name, value, highest in (("max_candidates", self.max_candidates, 200), ("max_calls", self.max_calls, 8)):
            if type(value) is not int or not 1 <= value <= highest:
                remedy = f"use a whole number from 1 to {highest}"
                raise UsageError(f"is {shown(value)}", place=f"HybridConfig.{name}", remedy=remedy)
