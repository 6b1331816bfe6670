"""What a bundle says of how it is served: how a list is made of ranked candidates, and when which action is taken."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Literal, TypeAlias

from nearhand.bundle.fields import FieldError
from nearhand.bundle.schema import NAME
from nearhand.records import dataclass

MAX_DAYS = 3650
MAX_TIMES = 1000

CategoryKind: TypeAlias = Literal["genres", "directors"]


@dataclass(frozen=True)
class Freshness:
    """New items are lifted: by ``weight`` when they are added, by half of it after each ``half_life_days``.

    The unit of ``weight`` is the spread (standard deviation) of the candidates' scores.
    """

    weight: Decimal
    half_life_days: Decimal

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 100:
            raise FieldError("weight", f"is {self.weight}, not from 0 to 100", "use 0 for no freshness")
        if not 0 < self.half_life_days <= MAX_DAYS:
            raise FieldError("half_life_days", f"is {self.half_life_days}", f"use a number above 0 up to {MAX_DAYS}")


@dataclass(frozen=True)
class Exploration:
    """The places of a list are drawn at random, with the odds exp(score / temperature), so that rewards teach.

    Attributes:
        temperature: in units of the spread (standard deviation) of the candidates' scores.
        candidates: from how many of the best that are left each is drawn.
    """

    temperature: Decimal
    candidates: int = 20

    def __post_init__(self) -> None:
        if not 0 < self.temperature <= 100:
            raise FieldError("temperature", f"is {self.temperature}", "use a number above 0 up to 100")
        if self.candidates < 2:
            raise FieldError("candidates", f"is {self.candidates}", "use at least 2, or leave exploration out")


@dataclass(frozen=True)
class Learning:
    """A linear bandit on the device re-ranks the candidates by what the user's own answers have taught it.

    Attributes:
        rewards: event type → the reward of such an event that names a recommendation; an impression without one is 0.
        weight: how much the learned part counts beside the ranker's score, in units of the scores' spread.
        optimism: how much uncertainty counts for an item (LinUCB's alpha).
        ridge: the strength of the prior that nothing has been learned.
        memory: how many rewards it remembers, about: older ones fade.
    """

    rewards: dict[str, Decimal]
    weight: Decimal = Decimal(1)
    optimism: Decimal = Decimal("0.5")
    ridge: Decimal = Decimal(1)
    memory: int = 2000

    def __post_init__(self) -> None:
        if not self.rewards:
            raise FieldError("rewards", "is empty", "name an event type that is a reward")
        for name in ("weight", "optimism", "ridge"):
            value = getattr(self, name)
            if not 0 <= value <= 1000:
                raise FieldError(name, f"is {value}", "use a number from 0 to 1000")
        if self.ridge == 0:
            raise FieldError("ridge", "is 0", "use a positive number")
        if not 1 <= self.memory <= 10**6:
            raise FieldError("memory", f"is {self.memory}", "use 1 to 1,000,000")


@dataclass(frozen=True)
class Reaction:
    """Items that are like the latest likes are lifted, so that the next list answers the last event.

    Attributes:
        weight: by how much what is wholly like one of them is lifted, in units of the candidates' scores' spread.
        latest: how many of the latest items that were liked count.
        events: the event types that are a like.
    """

    weight: Decimal
    latest: int = 3
    events: tuple[str, ...] = ("item_liked",)

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 100:
            raise FieldError("weight", f"is {self.weight}, not from 0 to 100", "use 0 for no reaction")
        if not 1 <= self.latest <= 100:
            raise FieldError("latest", f"is {self.latest}", "use 1 to 100")


@dataclass(frozen=True)
class ListPolicy:
    """How a list is made of candidates. Without it the list is the candidates in the order of their retrieval score.

    Attributes:
        ranker: the ranker of this bundle that scores the candidates; None: their retrieval score.
        diversity: how much being unlike the items above it counts for an item: 0 not at all, 1 nothing else does
            (maximal marginal relevance; Carbonell and Goldstein 1998, with lambda = 1 − diversity).
        category: what the category of an item is.
        category_cap: how many items of one category a list may have; 0: any number. An item of several categories
            counts in each.
    """

    ranker: str | None = None
    diversity: Decimal = Decimal(0)
    category: CategoryKind = "genres"
    category_cap: int = 0
    freshness: Freshness | None = None
    exploration: Exploration | None = None
    learning: Learning | None = None
    reaction: Reaction | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.diversity <= 1:
            raise FieldError("diversity", f"is {self.diversity}", "use a number from 0 to 1")
        if self.category_cap < 0:
            raise FieldError("category_cap", f"is {self.category_cap}", "use a whole number from 0; 0 is no cap")


@dataclass(frozen=True)
class Rule:
    """An action, and from which prediction on it is taken. ``reason`` is a sentence for the log and the engineer."""

    action: str
    at_least: Decimal
    reason: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(NAME, self.action):
            raise FieldError("action", f"is {self.action!r}", "use lowercase words joined by '-' or '_'")


@dataclass(frozen=True)
class FrequencyCap:
    """At most ``times`` actions in any ``days`` days, which slide."""

    times: int
    days: Decimal

    def __post_init__(self) -> None:
        if not 1 <= self.times <= MAX_TIMES:  # the times of so many actions are remembered
            raise FieldError("times", f"is {self.times}", f"use 1 to {MAX_TIMES}")
        if not 0 < self.days <= MAX_DAYS:
            raise FieldError("days", f"is {self.days}", f"use a number above 0 up to {MAX_DAYS}")


@dataclass(frozen=True)
class DecisionPolicy:
    """A decision: a prediction, the rules that make an action of it, and what holds it back.

    Attributes:
        name: what the app asks for.
        predictor: a predictor of this bundle, regression or binary.
        rules: the one with the greatest ``at_least`` that the prediction reaches gives the action; none: ``otherwise``.
        otherwise: the action that does nothing; it needs no permission and is never held back.
        cooldown_days: after any action, other than ``otherwise``, nothing for so long.
        caps: how often at most, over all actions but ``otherwise``.
        holdout: the share of profiles that never get an action, so that its effect can be measured; by a hash of a
            random number of the profile's own and the policy's name.
        exploration: the probability with which an action is drawn evenly from all of the rules' actions and
            ``otherwise``, instead of what the rules say.
    """

    name: str
    predictor: str
    rules: tuple[Rule, ...]
    otherwise: str = "none"
    cooldown_days: Decimal = Decimal(0)
    caps: tuple[FrequencyCap, ...] = ()
    holdout: Decimal = Decimal(0)
    exploration: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        for field, text in (("name", self.name), ("otherwise", self.otherwise)):
            if not re.fullmatch(NAME, text):
                raise FieldError(field, f"is {text!r}", "use lowercase words joined by '-' or '_'")
        if not self.rules:
            raise FieldError("rules", "is empty", "give at least one rule")
        actions = [rule.action for rule in self.rules]
        if len(set(actions)) != len(actions) or self.otherwise in actions:
            raise FieldError("rules", f"have the actions {actions}", "give each an action of its own")
        if not 0 <= self.cooldown_days <= MAX_DAYS:
            raise FieldError("cooldown_days", f"is {self.cooldown_days}", f"use a number from 0 to {MAX_DAYS}")
        for field in ("holdout", "exploration"):
            if not 0 <= getattr(self, field) <= 1:
                raise FieldError(field, f"is {getattr(self, field)}", "use a share from 0 to 1")
