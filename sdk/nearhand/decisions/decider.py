"""A prediction and the bundle's rules make an action; a journal says why, and the decision can be made again from it.

In this order:

1. *Holdout.* ``slot = (murmur3_32(policy name, 0, profile's key) × 10,000) >> 32`` stays the same for this profile.
   Below ``holdout × 10,000`` the action is always ``otherwise``.
2. *Rules.* The rule with the greatest ``at_least`` that the prediction reaches, compared as float64.
3. *Exploration.* With probability e an action is drawn evenly from the n actions of the rules and ``otherwise``, so an
   action's propensity is e/n, and 1 − e more for the one that the rules say.
4. *Cooldown and caps.* While one of them holds, every action becomes ``otherwise``, with propensity 1, whatever was
   drawn. Of several that hold, the decision names the one that does so longest.

Cooldown and caps look at the actions that were taken: those that a journal line says, of the same policy name. An
action frees its place in a window of ``days`` when it is that old: at its time + ``days``, not a moment earlier.

*A clock that jumps.* Only the wall clock outlives a restart, so a jump forward lets time pass: a place comes free
earlier by as much as the jump, and no more. After a jump back an action may lie in the future. A decision that finds
one takes it to have happened now, from then on: it holds for its whole window again, and never for longer, however far
the clock had been ahead. So the age of an action is now minus the earliest time at which a decision of its policy was
made since.

*Consent.* While the user's is ``off``, no model is asked and no rule applied: the action is ``otherwise``, with the
reason ``consent`` and the prediction 0, and nothing is noted.

*What came of it.* The app records events with ``recommendation_id=decision.decision_id``; they are the outcomes, and
the line of that name has the propensity to weigh them with. In a holdout ``held_back`` is the action that would have
been taken, so that like can be compared with like (before caps: a profile in the holdout uses none of them up).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from nearhand.bundle.document import serialize
from nearhand.bundle.fields import nearest
from nearhand.bundle.serving import DecisionPolicy
from nearhand.clock import Clock
from nearhand.errors import ModelError, StorageError, UsageError, shown
from nearhand.events import DAY_MS, Scalar
from nearhand.hashing import murmur3_32, sha256
from nearhand.ids import random_id
from nearhand.profile import ProfileStore
from nearhand.records import dataclass

JOURNAL = "decision"
KEY = "decision_key"
KEPT_LINES = 1000
KEPT_ACTIONS = 100  # at least: the policy of the next bundle may have to look further back than this one's
MAX_NOTE_BYTES = 8_000

_SLOTS = 10_000
_DRAWS = 2**53  # as many as a JSON number can tell apart
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Reason: TypeAlias = Literal["rule", "below_all_rules", "explored", "holdout", "cooldown", "frequency_cap", "consent"]


@dataclass(frozen=True)
class Decision:
    """What to do, and why.

    Attributes:
        decision_id: name it as ``recommendation_id`` in the events that come of the decision.
        name: the policy's.
        action: what to do; the policy's ``otherwise`` is to do nothing.
        propensity: the probability with which this action was to be taken, given the prediction and what was held back.
        reason: what settled it; see the module.
        text: one or two sentences for a log, or for the engineer.
        prediction: what the rules were applied to.
        holdout: whether this profile never gets an action of this policy.
        at: when, milliseconds since the Unix epoch, by the device's clock.
        held_back: the action that the holdout, the cooldown or a cap turned into ``otherwise``; None: there was none.
    """

    decision_id: str
    name: str
    action: str
    propensity: float
    reason: Reason
    text: str
    prediction: float
    holdout: bool
    at: int
    held_back: str | None


@dataclass(frozen=True)
class _Given:
    """All that a decision depends on besides its policy, and what is noted with it."""

    decision_id: str
    name: str
    policy: str  # digest
    version: str
    explanation: str
    context: Mapping[str, Scalar]
    prediction: float
    at: int
    slot: int
    draw: int  # of _DRAWS
    actions: list[int]  # the times of the latest ones, the earliest first, none after `at`


class Decider:
    """Makes decisions for one profile and keeps them. Safe for several threads and processes with the same store.

    Args:
        store: the profile's. It holds the key of the profile (value ``decision_key``), for each policy the times of its
            latest actions (value ``decision_state/NAME``), and the journal ``decision``: its latest 1,000 lines, each
            under its ``decision_id``. Caps do not depend on what is left of the journal.
        policies: the bundle's.
        clock: where the time comes from.
        seed_of_profile: becomes the profile's key if it has none yet, for decisions that can be repeated; None: a
            random one.

    Raises:
        UsageError: two policies have the same name.
    """

    def __init__(
        self,
        store: ProfileStore,
        policies: Sequence[DecisionPolicy],
        clock: Clock,
        seed_of_profile: bytes | None = None,
    ) -> None:
        self._store = store
        self._policies = {policy.name: (policy, policy_digest(policy)) for policy in policies}
        self._clock = clock
        self._seed = seed_of_profile
        if len(self._policies) != len(policies):
            names = sorted(policy.name for policy in policies)
            raise UsageError(f"have the names {names}", place="policies", remedy="give each a name of its own")

    @property
    def values(self) -> tuple[str, ...]:
        """The names of the store's values that decisions depend on."""
        return (KEY, *(_state_name(name) for name in self._policies))

    def decide(
        self,
        name: str,
        prediction: float,
        *,
        version: str,
        explanation: str = "",
        context: Mapping[str, Scalar] = {},
    ) -> Decision:
        """Decide. When this returns, the decision is in the journal, and its action counts as taken.

        Args:
            name: the policy's.
            prediction: of the policy's predictor, for this moment.
            version: of what made the prediction; noted.
            explanation: of the prediction; noted, and the end of ``text``.
            context: what else the app knows of the moment: names with JSON values; noted, and no rule looks at it.

        Raises:
            UsageError: no policy has that name, or ``context`` is not JSON, or with the explanation over 8,000 bytes.
            ModelError: the prediction is not a finite number.
            StorageError: the decision could not be kept, and is not made: nothing counts as taken.
        """
        if not isinstance(name, str) or name not in self._policies:
            raise UsageError(
                f"{shown(name)} is not a decision of this bundle",
                place="decide(name)",
                remedy=nearest(name, self._policies) if self._policies else "use a bundle that has decisions",
            )
        policy, digest = self._policies[name]
        prediction = float(prediction)
        if not math.isfinite(prediction):
            raise ModelError(
                f"predicted {prediction}, which no rule can be applied to",
                place=f"predictor {policy.predictor!r}",
                remedy="check the features it was given, and verify the bundle",
            )
        _check_note(explanation, context)
        with self._store.transaction():
            at = self._clock.now_ms()
            key = self._key()
            count, taken = self._state(name)
            taken = [min(time, at) for time in taken]
            given = _Given(
                decision_id=random_id(),
                name=name,
                policy=digest,
                version=version,
                explanation=explanation,
                context=dict(context),
                prediction=prediction,
                at=at,
                slot=(murmur3_32(name.encode() + b"\0" + key) * _SLOTS) >> 32,
                draw=_draw(key, name, count),
                actions=taken[-_looks_back(policy) :],
            )
            decision = _decided(policy, given)
            if decision.action != policy.otherwise:
                taken.append(at)
            state = {"decisions": count + 1, "actions": taken[-max(KEPT_ACTIONS, _looks_back(policy)) :]}
            self._store.put(_state_name(name), _line(state))
            content = _line({**vars(given), **vars(decision)})
            self._store.append(JOURNAL, decision.decision_id, at, content, keep=KEPT_LINES)
        return decision

    def withheld(self, name: str) -> Decision:
        """What is decided while the user allows nothing to be noted: ``otherwise``. It is in no journal.

        Args:
            name: of one of the policies.
        """
        policy, _ = self._policies[name]
        text = f"The user does not consent, so {policy.otherwise}."
        now = self._clock.now_ms()
        return Decision(random_id(), name, policy.otherwise, 1.0, "consent", text, 0.0, False, now, None)

    def history(self, name: str) -> list[Decision]:
        """The decisions of a policy that the journal still has, the earliest first, whichever bundle had the policy.

        Raises:
            StorageError: the journal cannot be read.
        """
        found = []
        for entry in self._store.entries(JOURNAL):
            try:
                values = _values(entry.content)
            except ValueError as error:
                raise StorageError(
                    f"line {entry.sequence} {error}", place="journal decision", remedy="erase the profile's data"
                ) from error
            if values["name"] == name:
                found.append(Decision(**{each.name: values[each.name] for each in fields(Decision)}))
        return found

    def _key(self) -> bytes:
        key = self._store.get(KEY)
        if key is None:
            key = bytes.fromhex(random_id()) if self._seed is None else self._seed
            self._store.put(KEY, key)
        return key

    def _state(self, name: str) -> tuple[int, list[int]]:
        """How many decisions there were, and the times of the latest actions, the earliest first.

        Raises:
            StorageError: what is stored is not what was written; a guess could break a cap.
        """
        content = self._store.get(_state_name(name))
        if content is None:
            return 0, []
        try:
            state = json.loads(content)
            count, actions = state["decisions"], state["actions"]
            if type(count) is not int or any(type(time) is not int for time in actions):
                raise TypeError("a number is no integer")
        except (ValueError, KeyError, TypeError) as error:
            problem = f"is not what was written ({error})"
            remedy = "erase the profile's data"
            raise StorageError(problem, place=f"value {_state_name(name)}", remedy=remedy) from error
        return count, actions


def replay(line: str | bytes, policies: Sequence[DecisionPolicy]) -> Decision:
    """Make a decision again from its line in the journal ``decision`` alone: what is noted of the result is not used.

    Args:
        line: the content of the entry.
        policies: those of the bundle that decided, in any order, among others if need be.

    Raises:
        UsageError: it is no line of that journal, or it was decided by none of these policies.
    """
    try:
        values = _values(line)
    except ValueError as error:
        raise UsageError(str(error), place="replay(line)", remedy="give a line of the journal as it is") from error
    given = _Given(**{each.name: values[each.name] for each in fields(_Given)})
    for policy in policies:
        if policy.name == given.name and policy_digest(policy) == given.policy:
            return _decided(policy, given)
    raise UsageError(
        f"none of them is {given.name!r} with the digest {given.policy[:12]}…",
        place="replay(policies)",
        remedy="give the policies of the bundle that made the decision",
    )


def _state_name(policy: str) -> str:
    return f"decision_state/{policy}"


def policy_digest(policy: DecisionPolicy) -> str:
    """sha256 of the policy's canonical JSON, in hexadecimal."""
    return sha256(serialize(policy)).hexdigest()


class _Choice(NamedTuple):
    action: str
    propensity: float
    reason: Reason
    text: str


class _Limit(NamedTuple):
    until: int  # the first moment at which it holds no more
    reason: Reason
    text: str


def _decided(policy: DecisionPolicy, given: _Given) -> Decision:
    """The decision: a function of the policy and what is given, and of nothing else."""
    choice = _choice(policy, given)
    held_back = None if choice.action == policy.otherwise else choice.action
    holdout = given.slot < policy.holdout * _SLOTS
    limit = _limit(policy, given)
    if holdout:
        text = f"This profile is held out (slot {given.slot:,} of {_SLOTS:,}), so {policy.otherwise}"
        text += "." if held_back is None else f" instead of {held_back}."
        choice = _Choice(policy.otherwise, 1.0, "holdout", text)
    elif limit is None:
        held_back = None
    elif held_back is None:
        choice = choice._replace(propensity=1.0)  # whatever had been drawn, it would have come to this
    else:
        text = f"{held_back} is held back until {_utc(limit.until)}: {limit.text}."
        choice = _Choice(policy.otherwise, 1.0, limit.reason, text)
    return Decision(
        decision_id=given.decision_id,
        name=given.name,
        action=choice.action,
        propensity=choice.propensity,
        reason=choice.reason,
        text=f"{choice.text} {given.explanation}".rstrip(),
        prediction=given.prediction,
        holdout=holdout,
        at=given.at,
        held_back=held_back,
    )


def _choice(policy: DecisionPolicy, given: _Given) -> _Choice:
    """What the rules say, or what is drawn instead."""
    reached = [rule for rule in policy.rules if given.prediction >= float(rule.at_least)]
    best = max(reached, key=lambda rule: rule.at_least, default=None)
    ruled = policy.otherwise if best is None else best.action
    options = [*(rule.action for rule in policy.rules), policy.otherwise]
    # Exact fractions: the probabilities of all actions add up to 1, and no draw lies between two of them.
    explored, draw = Fraction(policy.exploration), Fraction(given.draw, _DRAWS)
    drawn = draw < explored
    action = options[int(draw / explored * len(options))] if drawn else ruled
    propensity = float(explored / len(options) + (1 - explored if action == ruled else 0))
    if drawn:
        text = f"{action} was drawn at random; the rules say {ruled} for {given.prediction:.6g}."
        return _Choice(action, propensity, "explored", text)
    if best is None:
        text = f"{given.prediction:.6g} reaches no rule, so {action}."
        return _Choice(action, propensity, "below_all_rules", text)
    text = f"{given.prediction:.6g} reaches {best.at_least}, so {action}. {_sentence(best.reason)}".rstrip()
    return _Choice(action, propensity, "rule", text)


def _limit(policy: DecisionPolicy, given: _Given) -> _Limit | None:
    """Of the cooldown and the caps that hold now, the one that does so longest; None: none does."""
    limits = []
    if given.actions:
        until = given.actions[-1] + _milliseconds(policy.cooldown_days)
        limits.append(_Limit(until, "cooldown", f"nothing for {policy.cooldown_days} days after an action"))
    for cap in policy.caps:
        if len(given.actions) >= cap.times:
            until = given.actions[-cap.times] + _milliseconds(cap.days)
            limits.append(_Limit(until, "frequency_cap", f"at most {cap.times} in {cap.days} days"))
    holding = [limit for limit in limits if limit.until > given.at]
    return max(holding, key=lambda limit: limit.until, default=None)


def _sentence(text: str) -> str:
    """A text of somebody else as one of several sentences."""
    return f"{text}." if text and text[-1].isalnum() else text


def _looks_back(policy: DecisionPolicy) -> int:
    """How many of the latest actions decide: a cap is full if the one so many ago is in its window."""
    return max([1, *(cap.times for cap in policy.caps)])


def _draw(key: bytes, name: str, count: int) -> int:
    """An even draw from 0 … 2⁵³ − 1, another one for each decision of each policy of each profile."""
    digest = sha256(b"\0".join((name.encode(), str(count).encode(), key))).digest()
    return int.from_bytes(digest[:8], "big") >> 11


def _milliseconds(days: Decimal) -> int:
    return math.ceil(days * DAY_MS)


def _utc(at: int) -> str:
    try:
        return f"{_EPOCH + timedelta(milliseconds=at):%Y-%m-%d %H:%M:%S} UTC"
    except OverflowError:  # a clock that is far off: no year from 1 to 9999 has it
        return f"{at:,} ms after 1970"


def _check_note(explanation: str, context: Mapping[str, Scalar]) -> None:
    try:
        size = len(_line({"explanation": explanation, "context": dict(context)}))
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"is not JSON ({error})", place="decide(context)", remedy="use names with a text, a number, true or false"
        ) from error
    if size > MAX_NOTE_BYTES:
        raise UsageError(
            f"is, with the explanation, {size:,} bytes as JSON, over the limit of {MAX_NOTE_BYTES:,}",
            place="decide(context)",
            remedy="note less, or a reference to it",
        )


def _line(content: Mapping[str, Any]) -> bytes:
    """Canonical JSON in one line of ASCII: sorted keys, no spaces."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


_KINDS: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("decision_id", "name", "policy", "version", "explanation", "action", "reason", "text"), (str,)),
    **dict.fromkeys(("prediction", "propensity"), (float,)),
    **dict.fromkeys(("at", "slot", "draw"), (int,)),
    "context": (dict,),
    "actions": (list,),
    "holdout": (bool,),
    "held_back": (str, type(None)),
}


def _values(line: str | bytes) -> dict[str, Any]:
    """The fields of a line.

    Raises:
        ValueError: it is not what :meth:`Decider.decide` writes; the text goes on after the line's name.
    """
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON ({error})") from None
    if not isinstance(values, dict) or values.keys() != _KINDS.keys():
        raise ValueError("is not an object with the fields of a decision")
    for name, kinds in _KINDS.items():
        if type(values[name]) not in kinds:
            raise ValueError(f"has a {name} that no decision has")
    if values["reason"] not in get_args(Reason) or not all(type(time) is int for time in values["actions"]):
        raise ValueError("has a reason or actions that no decision has")
    return values
